//! DescribeQuorum (key 55), versions 0 to 2: who votes on the metadata, and how far each is (KIP-595, KIP-836).
//!
//! The metadata is not a topic here; it is told of under the name that Kafka has for it, so that Kafka's tool shows it.

use buslane_meta::Leader;
use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;
use buslane_wire::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node as QuorumNode, PartitionQuorum,
    ReplicaState, TopicQuorum,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

/// Kafka's name of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DescribeQuorumRequest<'_> = decode(body, context.version)?;
    let asked_rightly = match &request.topics[..] {
        [topic] => {
            topic.topic_name == METADATA_TOPIC
                && matches!(&topic.partitions[..], [p] if p.partition_index == 0)
        }
        _ => false,
    };
    if !asked_rightly {
        let refused = |index| PartitionQuorum {
            partition_index: index,
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            error_message: Some("the one quorum is that of __cluster_metadata, partition 0"),
            leader_id: -1,
            leader_epoch: -1,
            high_watermark: -1,
            current_voters: Vec::new(),
            observers: Vec::new(),
        };
        let topics = request.topics.iter().map(|topic| TopicQuorum {
            topic_name: topic.topic_name,
            partitions: topic.partitions.iter().map(|p| refused(p.partition_index)).collect(),
        });
        return context.answer(&DescribeQuorumResponse { topics: topics.collect(), ..Default::default() });
    }
    let leader = match node.consensus.leader() {
        Leader::Me => node.id.0,
        Leader::Other(other) => other.0,
        Leader::Unknown => -1,
    };
    // Entries are numbered from 1; Kafka's end is exclusive.
    let end = node.consensus.image().version as i64 + 1;
    let now_ms = node.context.clock.wall_ms();
    let quorum = PartitionQuorum {
        partition_index: 0,
        error_code: ErrorCode::NONE,
        error_message: Some(""),
        leader_id: leader,
        leader_epoch: i32::try_from(node.consensus.term()).unwrap_or(i32::MAX),
        high_watermark: end,
        current_voters: vec![ReplicaState {
            replica_id: node.id.0,
            replica_directory_id: TopicId::ZERO,
            log_end_offset: end,
            last_fetch_timestamp: now_ms,
            last_caught_up_timestamp: now_ms,
        }],
        observers: Vec::new(),
    };
    let listener = Listener {
        name: "PLAINTEXT",
        host: &node.advertised_host,
        port: u16::try_from(node.advertised_port).unwrap_or_default(),
    };
    let voter = QuorumNode { node_id: node.id.0, listeners: vec![listener] };
    let nodes = if context.version >= 2 { vec![voter] } else { Vec::new() };
    context.answer(&DescribeQuorumResponse {
        topics: vec![TopicQuorum { topic_name: METADATA_TOPIC, partitions: vec![quorum] }],
        nodes,
        ..Default::default()
    })
}

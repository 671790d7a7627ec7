//! OffsetForLeaderEpoch (key 23), versions 2 to 4.
//!
//! Answered from the epoch list in metadata, which outlives segments, by Kafka's rules (KIP-101, KIP-279, KIP-320). The
//! end of the current epoch is the high watermark: nobody learns of offsets that are not committed.

use buslane_wire::ErrorCode;
use buslane_wire::ids::LeaderEpoch;
use buslane_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::{Answer, RequestContext, Unanswerable, decode, errors};
use crate::node::Node;
use crate::partitions::Topic;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: OffsetForLeaderEpochRequest<'_> = decode(body, context.version)?;
    let topics = node.topics.load();
    let topics = request
        .topics
        .iter()
        .map(|wanted| OffsetForLeaderTopicResult {
            topic: wanted.topic,
            partitions: wanted
                .partitions
                .iter()
                .map(|p| end_of(node, topics.named(wanted.topic).map(|t| &**t), p))
                .collect(),
        })
        .collect();
    context.answer(&OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics })
}

fn end_of(node: &Node, topic: Option<&Topic>, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let failed = |error_code| EpochEndOffset {
        error_code,
        partition: wanted.partition,
        leader_epoch: -1,
        end_offset: -1,
    };
    let Some(partition) = topic.and_then(|t| t.partition(wanted.partition)) else {
        return failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    };
    let offsets = match partition.offsets() {
        Ok(offsets) => offsets,
        Err(error) => return failed(errors::of_not_readable(&error)),
    };
    let fenced = errors::of_epoch(wanted.current_leader_epoch, offsets.leader_epoch.0);
    if fenced.is_err() {
        return failed(fenced);
    }
    let image = node.consensus.image();
    let Some(partition) = image.partition(partition.id) else {
        return failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    };
    match partition.end_offset_for_epoch(LeaderEpoch(wanted.leader_epoch), offsets.high_watermark) {
        Some((epoch, end_offset)) => EpochEndOffset {
            error_code: ErrorCode::NONE,
            partition: wanted.partition,
            leader_epoch: epoch.0,
            end_offset,
        },
        None => failed(ErrorCode::NONE),
    }
}

//! ElectLeaders (key 43), versions 0 to 2.
//!
//! A partition that lost its owner gets a new one without being asked for it, so there is never anything to elect: a
//! partition that is served says so (ELECTION_NOT_NEEDED), and one that is not has no store left to lead it. Nobody gives up
//! records by this request: that is done with `buslane log verify --repair --accept-loss`.

use std::collections::HashSet;

use buslane_partition::Phase;
use buslane_wire::ErrorCode;
use buslane_wire::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::partitions::{Partition, Topic};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: ElectLeadersRequest<'_> = decode(body, context.version)?;
    let no_leader = match request.election_type {
        PREFERRED => ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
        UNCLEAN => ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
        _ => {
            let error_code = ErrorCode::INVALID_REQUEST;
            return context.answer(&ElectLeadersResponse { error_code, ..Default::default() });
        }
    };
    let outcome = |partition: Option<&std::sync::Arc<Partition>>| match partition {
        None => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition"),
        Some(p) if p.phase() == Phase::Stopped => {
            (no_leader, "no store can serve the partition; see the broker's log")
        }
        Some(_) => (ErrorCode::ELECTION_NOT_NEEDED, "the partition has its leader"),
    };
    let told = |index: i32, (error_code, message)| PartitionResult {
        partition_id: index,
        error_code,
        error_message: Some(message),
    };
    let table = node.topics.load_full();
    let replica_election_results = match &request.topic_partitions {
        // Of all partitions only those are told of for which something was to do.
        None => {
            let in_need = |topic: &Topic| {
                let all = topic.partitions.iter().enumerate().map(|(i, p)| told(i as i32, outcome(Some(p))));
                all.filter(|result| result.error_code != ErrorCode::ELECTION_NOT_NEEDED).collect::<Vec<_>>()
            };
            let all =
                table.iter().map(|t| ReplicaElectionResult { topic: &t.name, partition_result: in_need(t) });
            all.filter(|topic| !topic.partition_result.is_empty()).collect()
        }
        Some(asked) => {
            let mut seen = HashSet::new();
            let mut results = Vec::new();
            for topic in asked {
                let found = table.named(topic.topic);
                let new = topic.partitions.iter().filter(|p| seen.insert((topic.topic, **p)));
                let partition_result =
                    new.map(|p| told(*p, outcome(found.and_then(|t| t.partition(*p))))).collect();
                results.push(ReplicaElectionResult { topic: topic.topic, partition_result });
            }
            results
        }
    };
    context.answer(&ElectLeadersResponse { replica_election_results, ..Default::default() })
}

//! DeleteRecords (key 21), versions 0 to 2.
//!
//! Moves the log start offset through metadata; segments wholly below it are dropped by the same command and their
//! files removed after it is durable. -1 means up to the high watermark (KIP-107). Topics that are compacted and not deleted
//! are refused (POLICY_VIOLATION).

use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::ids::LeaderEpoch;
use buslane_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::{Answer, RequestContext, Unanswerable, decode, errors};
use crate::node::Node;
use crate::partitions::Partition;
use crate::topics;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DeleteRecordsRequest<'_> = decode(body, context.version)?;
    let table = node.topics.load_full();
    let asked = request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name, p)));
    let mut low_watermarks: Vec<Result<i64, ErrorCode>> = Vec::new();
    // One proposal for all of them.
    let (mut places, mut starts) = (Vec::new(), Vec::new());
    for (place, (topic, asked)) in asked.enumerate() {
        if topics::is_internal(topic) {
            // As Kafka: what lies below would be offsets of groups.
            low_watermarks.push(Err(ErrorCode::INVALID_TOPIC_EXCEPTION));
            continue;
        }
        let topic = table.named(topic);
        let partition = topic.and_then(|t| t.partition(asked.partition_index));
        // As Kafka: of what is only compacted nobody expects that records with live keys go.
        let kept = topic.is_some_and(|t| !t.config.delete);
        let start = match partition {
            None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Some(_) if kept => Err(ErrorCode::POLICY_VIOLATION),
            Some(partition) => new_start(partition, asked),
        };
        if let (Ok((offset, Some(epoch))), Some(partition)) = (start, partition) {
            places.push(place);
            starts.push((partition.id, offset, epoch));
        }
        low_watermarks.push(start.map(|(offset, _)| offset));
    }
    for (place, outcome) in places.into_iter().zip(node.advance_log_starts(&starts).await) {
        low_watermarks[place] = outcome.and(low_watermarks[place]);
    }
    let mut low_watermarks = low_watermarks.into_iter();
    let mut result = |asked: &DeleteRecordsPartition| {
        let outcome = low_watermarks.next().expect("one for each partition asked for");
        DeleteRecordsPartitionResult {
            partition_index: asked.partition_index,
            low_watermark: outcome.unwrap_or(-1),
            error_code: outcome.err().unwrap_or(ErrorCode::NONE),
        }
    };
    let topics = request.topics.iter().filter(|t| !t.partitions.is_empty()).map(|t| {
        DeleteRecordsTopicResult { name: t.name, partitions: t.partitions.iter().map(&mut result).collect() }
    });
    context.answer(&DeleteRecordsResponse { throttle_time_ms: 0, topics: topics.collect() })
}

/// The log start to be, and where that moves it, as of which epoch.
fn new_start(
    partition: &Partition,
    asked: &DeleteRecordsPartition,
) -> Result<(i64, Option<LeaderEpoch>), ErrorCode> {
    let offsets = partition.offsets().map_err(|e| errors::of_not_readable(&e))?;
    let offset = if asked.offset == -1 { offsets.high_watermark } else { asked.offset };
    if offset < 0 || offset > offsets.high_watermark {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let moves = offset > offsets.log_start_offset;
    Ok((offset.max(offsets.log_start_offset), moves.then_some(offsets.leader_epoch)))
}

//! DeleteRecords (key 21), versions 0 to 2.
//!
//! Moves the log start offset through metadata; segments wholly below it are dropped by the same command and their
//! files removed after it is durable. -1 means up to the high watermark (KIP-107).

use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::{Answer, RequestContext, Unanswerable, decode, errors};
use crate::node::Node;
use crate::partitions::Partition;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DeleteRecordsRequest<'_> = decode(body, context.version)?;
    let table = node.topics.load_full();
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in &request.topics {
        let topic = table.named(wanted.name);
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for asked in &wanted.partitions {
            let outcome = match topic.and_then(|t| t.partition(asked.partition_index)) {
                Some(partition) => delete(node, partition, asked).await,
                None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: outcome.unwrap_or(-1),
                error_code: outcome.err().unwrap_or(ErrorCode::NONE),
            });
        }
        topics.push(DeleteRecordsTopicResult { name: wanted.name, partitions });
    }
    context.answer(&DeleteRecordsResponse { throttle_time_ms: 0, topics })
}

async fn delete(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    asked: &DeleteRecordsPartition,
) -> Result<i64, ErrorCode> {
    let offsets = partition.offsets().map_err(|e| errors::of_not_readable(&e))?;
    let offset = if asked.offset == -1 { offsets.high_watermark } else { asked.offset };
    if offset < 0 || offset > offsets.high_watermark {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    if offset > offsets.log_start_offset {
        node.advance_log_start(partition, offset).await?;
    }
    Ok(offset.max(offsets.log_start_offset))
}

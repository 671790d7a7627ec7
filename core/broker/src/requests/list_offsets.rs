//! ListOffsets (key 2), versions 1 to 11.
//!
//! By timestamp exactly, though create times are not monotone; each answer with that offset's own leader epoch.
//! -1 latest (the high watermark), -2 and -4 earliest, -3 the record with the greatest timestamp (KIP-734), -5 the last
//! tiered offset (there is none: -1), -6 the first not tiered (KIP-1023: the earliest).

use std::collections::HashSet;
use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::{Answer, RequestContext, Unanswerable, decode, errors};
use crate::node::Node;
use crate::partitions::{Partition, Sought};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// First version whose answers carry a leader epoch.
const EPOCH_FROM: i16 = 4;

pub async fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: ListOffsetsRequest<'_> = decode(body, context.version)?;
    let table = node.topics.load_full();
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in &request.topics {
        let topic = table.named(wanted.name);
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        let mut seen = HashSet::new();
        for asked in &wanted.partitions {
            let twice = !seen.insert(asked.partition_index);
            let partition = topic.and_then(|t| t.partition(asked.partition_index));
            partitions.push(match partition {
                _ if twice => failed(asked, ErrorCode::INVALID_REQUEST),
                Some(partition) => find(node, partition.clone(), asked).await,
                None => failed(asked, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            });
        }
        if context.version < EPOCH_FROM {
            for partition in &mut partitions {
                partition.leader_epoch = -1;
            }
        }
        topics.push(ListOffsetsTopicResponse { name: wanted.name, partitions });
    }
    context.answer(&ListOffsetsResponse { throttle_time_ms: 0, topics })
}

fn failed(asked: &ListOffsetsPartition, error_code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code,
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    }
}

async fn find(
    node: &Node,
    partition: Arc<Partition>,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let sought = match asked.timestamp {
        LATEST => Sought::Latest,
        EARLIEST | EARLIEST_LOCAL | EARLIEST_PENDING_UPLOAD => Sought::Earliest,
        MAX_TIMESTAMP => Sought::MaxTimestamp,
        LATEST_TIERED => return failed(asked, ErrorCode::NONE),
        timestamp if timestamp < 0 => return failed(asked, ErrorCode::INVALID_REQUEST),
        timestamp => Sought::Timestamp(timestamp),
    };
    let epoch = match partition.offsets() {
        Ok(offsets) => errors::of_epoch(asked.current_leader_epoch, offsets.leader_epoch.0),
        Err(error) => errors::of_not_readable(&error),
    };
    if epoch.is_err() {
        return failed(asked, epoch);
    }
    let found = match sought {
        Sought::Latest | Sought::Earliest => partition.find_offset(sought),
        // Reads the index and a batch: not on a runtime thread.
        Sought::MaxTimestamp | Sought::Timestamp(_) => {
            match node.runtime.spawn_blocking(move || partition.find_offset(sought)).await {
                Ok(found) => found,
                Err(_) => return failed(asked, ErrorCode::UNKNOWN_SERVER_ERROR),
            }
        }
    };
    match found {
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            error_code: ErrorCode::NONE,
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: found.leader_epoch.0,
        },
        Ok(None) => failed(asked, ErrorCode::NONE),
        Err(error) => failed(asked, errors::of_not_readable(&error)),
    }
}

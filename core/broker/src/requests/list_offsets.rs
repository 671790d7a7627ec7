//! ListOffsets (key 2), versions 1 to 11.
//!
//! By timestamp exactly, though create times are not monotone; each answer with that offset's own leader epoch.
//!
//! | asks for | meaning | from version |
//! | --- | --- | --- |
//! | -1 | latest: the high watermark | 1 |
//! | -2 | earliest | 1 |
//! | -3 | the record with the greatest timestamp (KIP-734) | 7 |
//! | -4 | earliest on local disks (KIP-405): the earliest | 8 |
//! | -5 | last tiered (KIP-1005): none, offset -1 | 9 |
//! | -6 | first not yet tiered (KIP-1023): nothing is ever tiered, offset -1 | 11 |
//!
//! Other negative ones, and these in older versions, are UNSUPPORTED_VERSION, whether or not the partition exists (Kafka's
//! `ReplicaManager.isListOffsetsTimestampUnsupported`). A partition named twice is INVALID_REQUEST, told once.

use std::collections::HashMap;
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
    let mut topics: Vec<ListOffsetsTopicResponse<'_>> = Vec::with_capacity(request.topics.len());
    // By the place of the topic's name: it may be long, and is hashed once.
    let mut names = HashMap::new();
    // Where each partition is answered.
    let mut seen: HashMap<(usize, i32), (usize, usize)> = HashMap::new();
    for wanted in &request.topics {
        let topic = table.named(wanted.name);
        let place = names.len();
        let place = *names.entry(wanted.name).or_insert(place);
        let mut partitions: Vec<ListOffsetsPartitionResponse> = Vec::with_capacity(wanted.partitions.len());
        for asked in &wanted.partitions {
            let at = (topics.len(), partitions.len());
            let first = *seen.entry((place, asked.partition_index)).or_insert(at);
            if first != at {
                let row = match first.0 == topics.len() {
                    true => &mut partitions[first.1],
                    false => &mut topics[first.0].partitions[first.1],
                };
                *row = failed(asked, ErrorCode::INVALID_REQUEST);
                continue;
            }
            let partition = topic.and_then(|t| t.partition(asked.partition_index));
            partitions.push(match partition {
                _ if context.version < first_version(asked.timestamp) => {
                    failed(asked, ErrorCode::UNSUPPORTED_VERSION)
                }
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

/// The first version in which something may be asked for.
fn first_version(timestamp: i64) -> i16 {
    match timestamp {
        LATEST | EARLIEST | 0.. => 1,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => i16::MAX,
    }
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
    let epoch = match partition.offsets() {
        Ok(offsets) => errors::of_epoch(asked.current_leader_epoch, offsets.leader_epoch.0),
        Err(error) => errors::of_not_readable(&error),
    };
    if epoch.is_err() {
        return failed(asked, epoch);
    }
    let sought = match asked.timestamp {
        LATEST => Sought::Latest,
        EARLIEST | EARLIEST_LOCAL => Sought::Earliest,
        MAX_TIMESTAMP => Sought::MaxTimestamp,
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return failed(asked, ErrorCode::NONE),
        timestamp => Sought::Timestamp(timestamp),
    };
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

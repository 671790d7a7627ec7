//! Produce (key 0), versions 3 to 13; 0 to 2 are advertised and refused (see `SERVED`).
//!
//! Every batch is checked before anything of its partition is appended; a bad batch fails its partition alone. Batches
//! are appended before the first await, so that two requests of one connection are appended in their order. acks=0 is
//! never answered. Not done: transactional ids (refused), more than one batch for a partition (INVALID_RECORD, as
//! Kafka), recompression.

use std::sync::Arc;
use std::time::Duration;

use buslane_wire::batch::Accepted;
use buslane_wire::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceData, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use buslane_wire::{ErrorCode, decode_prefix_within};
use bytes::Bytes;

use super::{Answer, RequestContext, Unanswerable, errors};
use crate::node::Node;
use crate::partitions::{Acks, AppendRefused, Appended, Batch, Partition, Ticket, Topic};
use crate::topics::is_internal;
use crate::validate::{self, Invalid};

/// Bytes of structs that a request may have for each of its bytes, and besides.
const HEAP_PER_BYTE: usize = 2;
const HEAP_SMALL: usize = 16 << 10;

/// What became of one partition's batch.
enum Outcome {
    Appended(Appended),
    Failed { code: ErrorCode, message: Option<String>, records: Vec<(i32, String)> },
}

impl Outcome {
    fn failed(code: ErrorCode) -> Outcome {
        Outcome::Failed { code, message: None, records: Vec::new() }
    }
}

enum Pending {
    Done(Outcome),
    Ticket(Ticket),
}

pub async fn handle(
    node: &Node,
    context: RequestContext,
    body: &[u8],
    frame: &Bytes,
) -> Result<Answer, Unanswerable> {
    // Each partition has a batch, whose header alone is as long as the structs that come of it.
    let heap_bytes = HEAP_PER_BYTE * body.len() + HEAP_SMALL;
    let request: ProduceRequest<'_> = decode_prefix_within(body, context.version, heap_bytes)?;
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::One),
        -1 => Some(Acks::All),
        _ => None,
    };
    let table = node.topics.load_full();
    let mut pending: Vec<Vec<Pending>> = Vec::with_capacity(request.topic_data.len());
    for wanted in &request.topic_data {
        let (topic, unknown) = if context.version >= 13 {
            (table.with_id(wanted.topic_id), ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            (table.named(wanted.name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let append = |data: &PartitionProduceData<'_>| {
            let Some(acks) = acks else {
                return Pending::Done(Outcome::failed(ErrorCode::INVALID_REQUIRED_ACKS));
            };
            if request.transactional_id.is_some() {
                return Pending::Done(Outcome::failed(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
            }
            let Some(topic) = topic else { return Pending::Done(Outcome::failed(unknown)) };
            if is_internal(&topic.name) {
                let message = format!("topic '{}' is the brokers' own", topic.name);
                let code = ErrorCode::INVALID_TOPIC_EXCEPTION;
                return Pending::Done(Outcome::Failed { code, message: Some(message), records: Vec::new() });
            }
            match topic.partition(data.index) {
                Some(partition) => append(node, context.version, topic, partition, data, acks, frame),
                None => Pending::Done(Outcome::failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
            }
        };
        pending.push(wanted.partition_data.iter().map(append).collect());
    }

    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let deadline = tokio::time::Instant::now() + timeout;
    let mut outcomes = Vec::with_capacity(pending.len());
    for partitions in pending {
        let mut done = Vec::with_capacity(partitions.len());
        for one in partitions {
            done.push(match one {
                Pending::Done(outcome) => outcome,
                Pending::Ticket(ticket) => settle(ticket, deadline).await,
            });
        }
        outcomes.push(done);
    }
    if request.acks == 0 {
        return Ok(Answer::Nothing);
    }
    let responses = request
        .topic_data
        .iter()
        .zip(&outcomes)
        .map(|(wanted, outcomes)| TopicProduceResponse {
            name: wanted.name,
            topic_id: wanted.topic_id,
            partition_responses: wanted
                .partition_data
                .iter()
                .zip(outcomes)
                .map(|(data, o)| told(data.index, o))
                .collect(),
        })
        .collect();
    context.answer(&ProduceResponse { responses, ..Default::default() })
}

/// Checks a partition's batch and hands it to the partition. Runs before the first await.
fn append(
    node: &Node,
    version: i16,
    topic: &Topic,
    partition: &Arc<Partition>,
    data: &PartitionProduceData<'_>,
    acks: Acks,
    frame: &Bytes,
) -> Pending {
    let records = data.records.as_ref().and_then(|r| r.borrowed()).unwrap_or_default();
    if !node.accepts_writes() {
        let message = Some("the disk is nearly full; writes are refused until space is freed".to_owned());
        let outcome = Outcome::Failed { code: ErrorCode::KAFKA_STORAGE_ERROR, message, records: Vec::new() };
        return Pending::Done(outcome);
    }
    match validate::batch(records, version, &topic.config, node.context.clock.wall_ms()) {
        Ok(Accepted { header, max_timestamp }) => {
            let batch =
                Batch { header, max_timestamp, bytes: frame.slice_ref(&records[..header.total_len()]) };
            Pending::Ticket(partition.append(batch, acks))
        }
        Err(Invalid { code, message, records }) => {
            Pending::Done(Outcome::Failed { code, message: Some(message), records })
        }
    }
}

async fn settle(mut ticket: Ticket, deadline: tokio::time::Instant) -> Outcome {
    loop {
        ticket = match ticket {
            Ticket::Done(Ok(appended)) => return Outcome::Appended(appended),
            Ticket::Done(Err(refused)) => return refusal(&refused),
            Ticket::Confirming(receiver) => match tokio::time::timeout_at(deadline, receiver).await {
                Ok(Ok(appended)) => return Outcome::Appended(appended),
                Ok(Err(_)) => return Outcome::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                Err(_) => return Outcome::failed(ErrorCode::REQUEST_TIMED_OUT),
            },
            Ticket::Waiting(receiver) => match tokio::time::timeout_at(deadline, receiver).await {
                Ok(Ok(next)) => next,
                Ok(Err(_)) => return Outcome::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                Err(_) => return Outcome::failed(ErrorCode::REQUEST_TIMED_OUT),
            },
        }
    }
}

fn refusal(refused: &AppendRefused) -> Outcome {
    Outcome::Failed {
        code: errors::of_append(refused),
        message: Some(refused.to_string()),
        records: Vec::new(),
    }
}

fn told(index: i32, outcome: &Outcome) -> PartitionProduceResponse<'_> {
    let current_leader = LeaderIdAndEpoch { leader_id: -1, leader_epoch: -1 };
    match outcome {
        Outcome::Appended(appended) => PartitionProduceResponse {
            index,
            error_code: ErrorCode::NONE,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset,
            record_errors: Vec::new(),
            error_message: None,
            current_leader,
        },
        Outcome::Failed { code, message, records } => PartitionProduceResponse {
            index,
            error_code: *code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: records
                .iter()
                .map(|(index, text)| BatchIndexAndErrorMessage {
                    batch_index: *index,
                    batch_index_error_message: Some(text),
                })
                .collect(),
            error_message: message.as_deref(),
            current_leader,
        },
    }
}

//! Produce (key 0), versions 3 to 13; 0 to 2 are advertised and refused (see `SERVED`).
//!
//! Every batch is checked before anything of its partition is appended; a bad batch fails its partition alone. Batches
//! are appended before the first await, so that two requests of one connection are appended in their order; a request
//! whose batches wait for a segment holds their copies and not its own bytes, and waits 5 minutes at most. acks=0 is
//! never answered; what is refused of it closes the connection, as in Kafka: so its client asks for metadata. Not done: transactional ids (refused), more than one batch for a partition (INVALID_RECORD, as
//! Kafka), recompression.

use std::borrow::Cow;
use std::sync::Arc;

use buslane_wire::batch::Accepted;
use buslane_wire::ids::TopicId;
use buslane_wire::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceData, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use buslane_wire::{ErrorCode, decode_prefix_within};
use bytes::Bytes;
use tokio::time::Instant;

use super::memory::produce_heap;
use super::{Answer, RequestContext, Unanswerable, client_wait, errors};
use crate::node::Node;
use crate::partitions::{Acks, AppendRefused, Appended, Batch, Partition, Ticket, Topic};
use crate::quotas::Usage;
use crate::topics::is_internal;
use crate::validate::{self, Allowance, Invalid};

/// Partitions in a request. A request has a batch for each; a client's longest ones (1 MB by default) have some thousands
/// of the smallest.
const PARTITIONS_MAX: usize = 1 << 16;

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

/// A topic as the request names it, and what became of its partitions.
struct Asked<'a> {
    name: Cow<'a, str>,
    topic_id: TopicId,
    partitions: Vec<(i32, Pending)>,
}

impl Asked<'_> {
    fn waits(&self) -> bool {
        self.partitions.iter().any(|(_, pending)| matches!(pending, Pending::Ticket(Ticket::Waiting(_))))
    }

    fn into_owned(self) -> Asked<'static> {
        let Asked { name, topic_id, partitions } = self;
        Asked { name: name.into_owned().into(), topic_id, partitions }
    }
}

/// `frame_len`: bytes of the whole request, which count against the client's quota.
pub async fn handle(
    node: &Node,
    context: RequestContext,
    body: Bytes,
    frame_len: usize,
    usage: &Usage<'_>,
) -> Result<Answer, Unanswerable> {
    let request: ProduceRequest<'_> = decode_prefix_within(&body, context.version, produce_heap(&body))?;
    let partitions: usize = request.topic_data.iter().map(|t| t.partition_data.len()).sum();
    if partitions > PARTITIONS_MAX {
        return Ok(Answer::Close(format!(
            "a produce request for {partitions} partitions; at most {PARTITIONS_MAX} are taken"
        )));
    }
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::One),
        -1 => Some(Acks::All),
        _ => None,
    };
    let table = node.topics.load_full();
    let mut allowance = Allowance::default();
    let mut asked: Vec<Asked<'_>> = Vec::with_capacity(request.topic_data.len());
    for wanted in &request.topic_data {
        let (topic, unknown) = if context.version >= 13 {
            (table.with_id(wanted.topic_id), ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            (table.named(wanted.name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let mut append = |data: &PartitionProduceData<'_>| {
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
                Some(partition) => {
                    let checked = check(node, context.version, topic, data, &mut allowance);
                    match checked {
                        Ok((accepted, records)) => store(partition, accepted, body.slice_ref(records), acks),
                        Err(outcome) => Pending::Done(outcome),
                    }
                }
                None => Pending::Done(Outcome::failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
            }
        };
        let partitions = wanted.partition_data.iter().map(|data| (data.index, append(data))).collect();
        asked.push(Asked { name: wanted.name.into(), topic_id: wanted.topic_id, partitions });
    }

    let (deadline, silent) = (Instant::now() + client_wait(request.timeout_ms), request.acks == 0);
    let used = || usage.produced(frame_len, !silent);
    if asked.iter().any(Asked::waits) {
        // Perhaps for long, with copies of their own: the request's buffer is free meanwhile.
        let asked: Vec<Asked<'static>> = asked.into_iter().map(Asked::into_owned).collect();
        drop(request);
        drop(body);
        return answer(context, asked, deadline, silent, used).await;
    }
    answer(context, asked, deadline, silent, used).await
}

/// Checks a partition's batch; returns the bytes that it has.
fn check<'a>(
    node: &Node,
    version: i16,
    topic: &Topic,
    data: &PartitionProduceData<'a>,
    allowance: &mut Allowance,
) -> Result<(Accepted, &'a [u8]), Outcome> {
    let records = data.records.as_ref().and_then(|r| r.borrowed()).unwrap_or_default();
    if !node.accepts_writes() {
        let message = Some("the disk is nearly full; writes are refused until space is freed".to_owned());
        return Err(Outcome::Failed { code: ErrorCode::KAFKA_STORAGE_ERROR, message, records: Vec::new() });
    }
    let now_ms = node.context.clock.wall_ms();
    match validate::in_order(records, version, &topic.config, now_ms, allowance) {
        Ok(accepted) => Ok((accepted, &records[..accepted.header.total_len()])),
        Err(Invalid { code, message, records }) => {
            Err(Outcome::Failed { code, message: Some(message), records })
        }
    }
}

/// Hands a checked batch to its partition.
fn store(partition: &Arc<Partition>, accepted: Accepted, bytes: Bytes, acks: Acks) -> Pending {
    let Accepted { header, max_timestamp } = accepted;
    Pending::Ticket(partition.append(Batch { header, max_timestamp, bytes }, acks))
}

/// Waits until everything is confirmed, and tells it. `used` is called then, and says the throttle time.
async fn answer(
    context: RequestContext,
    asked: Vec<Asked<'_>>,
    deadline: Instant,
    silent: bool,
    used: impl FnOnce() -> i32,
) -> Result<Answer, Unanswerable> {
    let mut settled: Vec<Settled<'_>> = Vec::with_capacity(asked.len());
    for Asked { name, topic_id, partitions } in asked {
        let mut outcomes = Vec::with_capacity(partitions.len());
        for (index, pending) in partitions {
            let outcome = match pending {
                Pending::Done(outcome) => outcome,
                Pending::Ticket(ticket) => settle(ticket, deadline).await,
            };
            outcomes.push((index, outcome));
        }
        settled.push((name, topic_id, outcomes));
    }
    let throttle_time_ms = used();
    if silent {
        return Ok(refused(&settled).map_or(Answer::Nothing, Answer::Close));
    }
    let responses = settled
        .iter()
        .map(|(name, topic_id, outcomes)| TopicProduceResponse {
            name,
            topic_id: *topic_id,
            partition_responses: outcomes.iter().map(|(index, outcome)| told(*index, outcome)).collect(),
        })
        .collect();
    context.answer(&ProduceResponse { responses, throttle_time_ms, ..Default::default() })
}

/// A topic's name and id, and what became of its partitions.
type Settled<'a> = (Cow<'a, str>, TopicId, Vec<(i32, Outcome)>);

/// What was refused first, for the log.
fn refused(settled: &[Settled<'_>]) -> Option<String> {
    settled.iter().find_map(|(name, topic_id, outcomes)| {
        outcomes.iter().find_map(|(index, outcome)| {
            let Outcome::Failed { code, message, .. } = outcome else { return None };
            let topic = if name.is_empty() { topic_id.to_string() } else { name.to_string() };
            let why = message.as_ref().map_or(String::new(), |message| format!(": {message}"));
            Some(format!("produce with acks=0 to partition {index} of topic '{topic}': {code}{why}"))
        })
    })
}

async fn settle(mut ticket: Ticket, deadline: Instant) -> Outcome {
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

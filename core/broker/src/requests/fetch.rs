//! Fetch (key 1), versions 4 to 18.
//!
//! Long poll on min bytes and max wait (woken by commits), incremental sessions (KIP-227), topic ids from version 13
//! (KIP-516), epoch fencing (KIP-320), divergence by last fetched epoch (KIP-595). Whole batches, never split; the first
//! one of an answer comes even when it is larger than the limits (KIP-74); an offset inside a batch gets that batch.
//! Records are ranges of segment files, sent by sendfile. There are no transactions: the last stable offset is the high
//! watermark and nothing is aborted. Not done: preferred replicas, fetches of followers (served as a consumer's).
//!
//! What is at hand is read on the runtime thread, the rest on the blocking pool. While it waits a fetch holds what it
//! wants ([`Plan`]) and not the bytes of its request; it waits [`WAIT_MAX`] at most, and until the server stops.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use buslane_log::ReadSlice;
use buslane_wire::ids::{LeaderEpoch, TopicId};
use buslane_wire::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use buslane_wire::{ErrorCode, Records};
use bytes::Bytes;
use tokio::time::Instant;

use super::memory::Memory;
use super::{Answer, RequestContext, Unanswerable, client_wait, decode, errors};
use crate::fetch_sessions::{Plan, SessionError, Tell, Told, TopicKey, Wanted};
use crate::node::Node;
use crate::partitions::{FetchWait, Offsets, Partition, Topics};
use crate::quotas::Usage;

/// Bytes that a partition takes while a fetch waits for it: its place in the plan, and that of the fetch in its list.
const WAITING_BYTES: usize = 128;

/// With more partitions than this a fetch is read on a thread of its own.
const PARTITIONS_AT_ONCE: usize = 1_000;

/// Longest name that a topic can have (Kafka), in bytes: a session keeps no other.
const NAME_MAX: usize = 249;

/// What was read of one partition.
struct Piece {
    error_code: ErrorCode,
    offsets: Option<Offsets>,
    slice: Option<ReadSlice>,
    diverging: Option<(LeaderEpoch, i64)>,
}

impl Piece {
    fn failed(error_code: ErrorCode) -> Piece {
        Piece { error_code, offsets: None, slice: None, diverging: None }
    }

    /// An answer that the client must see at once.
    fn is_urgent(&self) -> bool {
        self.error_code.is_err() || self.diverging.is_some()
    }

    fn len(&self) -> u64 {
        self.slice.as_ref().map_or(0, |s| s.len)
    }
}

/// The isolation level of the same name.
const READ_COMMITTED: i8 = 1;

/// What a fetch waits for.
struct Begun {
    plan: Arc<Plan>,
    max_bytes: u64,
    min_bytes: i64,
    deadline: Instant,
    /// Asked for what is committed, and of that for what was aborted.
    read_committed: bool,
}

pub async fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    body: Bytes,
    memory: &Memory<'_>,
    usage: &Usage<'_>,
) -> Result<Answer, Unanswerable> {
    let begun = match begin(node, &context, &body, usage.fetch_bytes_max())? {
        Ok(begun) => begun,
        Err(error_code) => return context.answer(&FetchResponse { error_code, ..Default::default() }),
    };
    // The request's buffer is free while this waits.
    drop(body);
    if begun.plan.wanted.len() > PARTITIONS_AT_ONCE {
        memory.becomes_wide();
        tokio::task::yield_now().await;
    }
    let pieces = wait_and_read(node, &begun, memory).await;
    let (throttle_time_ms, sent) = usage.fetched(pieces.iter().map(Piece::len).sum());
    if !sent {
        // As it was: what is new will be told next time (KIP-219).
        let session_id = node.sessions.tell_nothing(&begun.plan);
        return context.answer(&FetchResponse { throttle_time_ms, session_id, ..Default::default() });
    }
    answer(node, context, &begun, pieces, throttle_time_ms)
}

/// Ends the waits of all fetches, now and from now on: the server stops.
pub fn end_long_polls(node: &Node) {
    node.context.waiting.end_fetches();
    for partition in node.topics.load().iter().flat_map(|topic| &topic.partitions) {
        partition.wake_fetches();
    }
}

fn begin(
    node: &Node,
    context: &RequestContext,
    body: &[u8],
    quota_max: u64,
) -> Result<Result<Begun, ErrorCode>, Unanswerable> {
    let request: FetchRequest<'_> = decode(body, context.version)?;
    let by_id = context.version >= 13;
    if let Some(topic) = request.topics.iter().find(|t| t.topic.len() > NAME_MAX) {
        return Err(Unanswerable::LongName(topic.topic.len()));
    }
    let wanted = wanted_of(&request, by_id);
    let mut forgotten: Vec<(TopicKey, i32)> = Vec::new();
    for topic in request.forgotten_topics_data.iter().filter(|t| t.topic.len() <= NAME_MAX) {
        let key = topic_key(by_id, topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|p| (key.clone(), *p)));
    }
    let now_ms = node.context.clock.now_ms();
    let plan =
        node.sessions.begin(now_ms, request.session_id, request.session_epoch, by_id, wanted, &forgotten);
    let plan = match plan {
        Ok(plan) => Arc::new(plan),
        Err(error) => {
            return Ok(Err(match error {
                SessionError::NotFound(_) => ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
                SessionError::Epoch { .. } => ErrorCode::INVALID_FETCH_SESSION_EPOCH,
                SessionError::TopicIds(_) => ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
            }));
        }
    };
    let max_bytes =
        u64::try_from(request.max_bytes.max(0)).unwrap_or(0).min(node.fetch_max_bytes).min(quota_max);
    let min_bytes = i64::from(request.min_bytes).min(max_bytes as i64);
    let deadline = Instant::now() + client_wait(request.max_wait_ms);
    let read_committed = request.isolation_level == READ_COMMITTED;
    Ok(Ok(Begun { plan, max_bytes, min_bytes, deadline, read_committed }))
}

fn topic_key(by_id: bool, name: &str, id: TopicId) -> TopicKey {
    if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) }
}

/// Each partition once, as it is asked for last (Kafka's `FetchRequest.fetchData`).
fn wanted_of(request: &FetchRequest<'_>, by_id: bool) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut places = HashMap::new();
    for topic in &request.topics {
        let key = topic_key(by_id, topic.topic, topic.topic_id);
        for p in &topic.partitions {
            let wanted = Wanted {
                topic: key.clone(),
                partition: p.partition,
                fetch_offset: p.fetch_offset,
                max_bytes: p.partition_max_bytes,
                current_leader_epoch: p.current_leader_epoch,
                last_fetched_epoch: p.last_fetched_epoch,
            };
            match places.entry((topic.topic, topic.topic_id, p.partition)) {
                Entry::Vacant(place) => {
                    place.insert(all.len());
                    all.push(wanted);
                }
                Entry::Occupied(place) => all[*place.get()] = wanted,
            }
        }
    }
    all
}

/// Reads until there are `min_bytes`, something urgent, or no time left.
async fn wait_and_read(node: &Arc<Node>, begun: &Begun, memory: &Memory<'_>) -> Vec<Piece> {
    let Begun { plan, max_bytes, min_bytes, deadline, .. } = begun;
    let (max_bytes, min_bytes, deadline) = (*max_bytes, *min_bytes, *deadline);
    let mut parked = false;
    loop {
        let pieces = read_pass(node, plan, max_bytes).await;
        let total: u64 = pieces.iter().map(Piece::len).sum();
        let enough = total as i64 >= min_bytes || pieces.iter().any(Piece::is_urgent);
        if enough || Instant::now() >= deadline || plan.wanted.is_empty() {
            return pieces;
        }
        // What would be too much to keep is answered as it is.
        parked = parked || memory.park(plan.wanted.len() * WAITING_BYTES);
        if !parked {
            return pieces;
        }
        drop(pieces);
        let wait = FetchWait::new((min_bytes - total as i64).max(1));
        let table = node.topics.load_full();
        for wanted in &plan.wanted {
            if let Some(partition) = find(&table, wanted) {
                partition.wait_for_bytes(&wait);
            }
        }
        // What was committed between the read and the registration was not counted: look again before waiting. Nor was it
        // heard that the server stops.
        let pieces = read_pass(node, plan, max_bytes).await;
        if node.context.waiting.fetches_have_ended() {
            return pieces;
        }
        let again: u64 = pieces.iter().map(Piece::len).sum();
        if again > total || pieces.iter().any(Piece::is_urgent) {
            if again as i64 >= min_bytes || pieces.iter().any(Piece::is_urgent) {
                return pieces;
            }
            continue;
        }
        drop(pieces);
        // At the deadline the loop reads once more and answers with what there is.
        let _ = tokio::time::timeout_at(deadline, wait.enough()).await;
    }
}

/// The partitions of a plan, read one after another as far as that has come.
struct Pass {
    pieces: Vec<Piece>,
    bytes_left: u64,
    /// Nothing was found so far, so that the first batch may be larger than the limits.
    empty: bool,
}

impl Pass {
    fn new(plan: &Plan, max_bytes: u64) -> Pass {
        Pass { pieces: Vec::with_capacity(plan.wanted.len()), bytes_left: max_bytes, empty: true }
    }

    /// Reads on to the end; with `at_hand` to the first partition whose answer is not at hand. True at the end.
    fn read(&mut self, table: &Topics, plan: &Plan, at_hand: bool) -> bool {
        for wanted in &plan.wanted[self.pieces.len()..] {
            let piece = match find(table, wanted) {
                Some(partition) => match read_one(partition, wanted, self.bytes_left, self.empty, at_hand) {
                    Some(piece) => piece,
                    None => return false,
                },
                None => Piece::failed(match &wanted.topic {
                    TopicKey::Id(id) if table.with_id(*id).is_none() => ErrorCode::UNKNOWN_TOPIC_ID,
                    _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                }),
            };
            self.bytes_left = self.bytes_left.saturating_sub(piece.len());
            self.empty &= piece.len() == 0;
            self.pieces.push(piece);
        }
        true
    }
}

async fn read_pass(node: &Arc<Node>, plan: &Arc<Plan>, max_bytes: u64) -> Vec<Piece> {
    let table = node.topics.load_full();
    let mut pass = Pass::new(plan, max_bytes);
    if pass.read(&table, plan, true) {
        return pass.pieces;
    }
    // The rest, from where an index or headers may have to come from disk: not on a runtime thread.
    let plan = plan.clone();
    let failed = plan.wanted.len();
    let read = node.runtime.spawn_blocking(move || {
        pass.read(&table, &plan, false);
        pass.pieces
    });
    read.await
        .unwrap_or_else(|_| (0..failed).map(|_| Piece::failed(ErrorCode::UNKNOWN_SERVER_ERROR)).collect())
}

fn find<'t>(table: &'t Topics, wanted: &Wanted) -> Option<&'t Arc<Partition>> {
    let topic = match &wanted.topic {
        TopicKey::Name(name) => table.named(name),
        TopicKey::Id(id) => table.with_id(*id),
    };
    topic.and_then(|t| t.partition(wanted.partition))
}

/// `None`: with `at_hand`, where it is not.
fn read_one(
    partition: &Arc<Partition>,
    wanted: &Wanted,
    left: u64,
    at_least_one: bool,
    at_hand: bool,
) -> Option<Piece> {
    let empty = |offsets, diverging| Piece { error_code: ErrorCode::NONE, offsets, slice: None, diverging };
    let current = match partition.offsets() {
        Ok(offsets) => offsets.leader_epoch.0,
        Err(error) => return Some(Piece::failed(errors::of_not_readable(&error))),
    };
    // As in Kafka: any negative epoch is none.
    let epoch = errors::of_epoch(wanted.current_leader_epoch.max(-1), current);
    if epoch.is_err() {
        return Some(Piece::failed(epoch));
    }
    if wanted.last_fetched_epoch > current {
        // Nothing was ever written in an epoch that is still to come, so there is nowhere to go on.
        return Some(Piece::failed(ErrorCode::OFFSET_OUT_OF_RANGE));
    }
    if wanted.last_fetched_epoch >= 0
        && let Some(diverging) =
            partition.divergence(LeaderEpoch(wanted.last_fetched_epoch), wanted.fetch_offset)
    {
        return Some(empty(partition.offsets().ok(), Some(diverging)));
    }
    let max = left.min(u64::try_from(wanted.max_bytes.max(0)).unwrap_or(0));
    if max == 0 && !at_least_one {
        return Some(empty(partition.offsets().ok(), None));
    }
    let found = if at_hand {
        partition.read_at_hand(wanted.fetch_offset, max, at_least_one).transpose()?
    } else {
        partition.read(wanted.fetch_offset, max, at_least_one)
    };
    Some(match found {
        Ok(found) => Piece { slice: found.slice, ..empty(Some(found.offsets), None) },
        Err(refused) => Piece::failed(errors::of_read(&refused)),
    })
}

fn answer(
    node: &Node,
    context: RequestContext,
    begun: &Begun,
    pieces: Vec<Piece>,
    throttle_time_ms: i32,
) -> Result<Answer, Unanswerable> {
    let plan = &begun.plan;
    let mut files = Vec::new();
    let mut topics: Vec<(&TopicKey, Vec<PartitionData<'_>>)> = Vec::new();
    let told = |piece: &Piece| Told {
        high_watermark: piece.offsets.map_or(-1, |o| o.high_watermark),
        log_start_offset: piece.offsets.map_or(-1, |o| o.log_start_offset),
    };
    let changed = node.sessions.tell(plan, |i| Tell {
        now: told(&pieces[i]),
        records: pieces[i].len() > 0,
        urgent: pieces[i].is_urgent(),
    });
    for (i, (wanted, piece)) in plan.wanted.iter().zip(pieces).enumerate() {
        if plan.incremental && !changed[i] {
            continue;
        }
        let told = told(&piece);
        let data = told_partition(wanted, piece, told, begun.read_committed, &mut files);
        match topics.last_mut() {
            Some((topic, partitions)) if *topic == &wanted.topic => partitions.push(data),
            _ => topics.push((&wanted.topic, vec![data])),
        }
    }
    let responses = topics
        .into_iter()
        .map(|(topic, partitions)| match topic {
            TopicKey::Name(name) => FetchableTopicResponse { topic: name, partitions, ..Default::default() },
            TopicKey::Id(id) => FetchableTopicResponse { topic_id: *id, partitions, ..Default::default() },
        })
        .collect();
    let session_id = plan.session_id;
    let response = FetchResponse { throttle_time_ms, session_id, responses, ..Default::default() };
    context.answer_with(&response, files)
}

fn told_partition<'a>(
    wanted: &Wanted,
    piece: Piece,
    told: Told,
    read_committed: bool,
    files: &mut Vec<ReadSlice>,
) -> PartitionData<'a> {
    let mut data = PartitionData {
        partition_index: wanted.partition,
        error_code: piece.error_code,
        high_watermark: told.high_watermark,
        last_stable_offset: told.high_watermark,
        log_start_offset: told.log_start_offset,
        // Nothing is aborted; as Kafka says it of what it reads, and of what is not there.
        aborted_transactions: matches!(
            piece.error_code,
            ErrorCode::UNKNOWN_TOPIC_ID | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        )
        .then(Vec::new)
        .or_else(|| (read_committed && !piece.error_code.is_err()).then(Vec::new)),
        records: Some(Records::Slice(&[])),
        ..Default::default()
    };
    if let Some((epoch, end_offset)) = piece.diverging {
        data.diverging_epoch = EpochEndOffset { epoch: epoch.0, end_offset };
    }
    if let Some(slice) = piece.slice {
        let len =
            u32::try_from(slice.len).expect("a read is bounded by the fetch's 32-bit limits or one batch");
        data.records = Some(Records::External { len, token: files.len() as u64 });
        files.push(slice);
    }
    data
}

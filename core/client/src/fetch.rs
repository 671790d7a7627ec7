//! Raw record batches out of partitions, as the broker has them: nothing is decompressed, nothing copied.

use std::collections::HashMap;
use std::time::Duration;

use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;
use buslane_wire::messages::FetchRequest;
use buslane_wire::messages::fetch::{FetchPartition, FetchTopic};
use bytes::Bytes;

use crate::client::{Client, Purpose};
use crate::error::Error;
use crate::produce::{PartitionRefused, millis, throttle};

/// Where to read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFrom {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The first offset wanted.
    pub offset: i64,
    /// Bytes of batches at most; the first batch comes whole even if it is larger (KIP-74).
    pub bytes_max: i32,
}

/// How much, and how long to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// The broker waits for so long at most until there are [`FetchLimits::bytes_min`].
    pub wait_max: Duration,
    /// Bytes for which it does not wait on.
    pub bytes_min: i32,
    /// Bytes of the whole answer; the first batch comes whole even if it is larger.
    pub bytes_max: i32,
    /// Only what is decided: nothing of transactions that are open, and those that were aborted are named.
    pub committed_only: bool,
}

impl Default for FetchLimits {
    /// Kafka's defaults of a consumer.
    fn default() -> FetchLimits {
        FetchLimits {
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 50 << 20,
            committed_only: false,
        }
    }
}

/// What a partition has from an offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Whole batches; the first may begin before the offset, and the last may be cut off. They hold the whole answer in
    /// memory.
    pub batches: Bytes,
    /// Exclusive end of what may be read.
    pub high_watermark: i64,
    /// Exclusive end of what is decided; -1 where the broker does not tell.
    pub last_stable_offset: i64,
    /// The first offset that can still be read; -1 where the broker does not tell.
    pub log_start_offset: i64,
    /// Transactions to leave out, as (producer id, first offset).
    pub aborted: Vec<(i64, i64)>,
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    /// One for each partition, in the order they were asked for. A broker may leave out those for which there was no room:
    /// their batches are empty, and their offsets -1.
    pub results: Vec<Result<Fetched, PartitionRefused>>,
    /// So long the client should send nothing more (quotas).
    pub throttle: Duration,
}

impl Client {
    /// Reads from partitions that a node leads. Every request stands for itself (no fetch session).
    ///
    /// # Errors
    /// As [`Client::node`] and [`crate::Connection::ask`]; [`Error::Refused`] for all of it.
    pub async fn fetch(
        &self,
        node: i32,
        limits: FetchLimits,
        wanted: &[FetchFrom],
    ) -> Result<FetchAnswer, Error> {
        let metadata = self.metadata();
        let known = |from: &FetchFrom| metadata.topics.get(&from.topic);
        let id = |from: &FetchFrom| known(from).map_or(TopicId::default(), |topic| topic.id);
        let mut topics: Vec<FetchTopic<'_>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for from in wanted {
            let place = *places.entry(&from.topic).or_insert_with(|| {
                topics.push(FetchTopic { topic: &from.topic, topic_id: id(from), partitions: Vec::new() });
                topics.len() - 1
            });
            let epoch =
                metadata.partition(&from.topic, from.partition).map_or(-1, |known| known.leader_epoch);
            topics[place].partitions.push(FetchPartition {
                partition: from.partition,
                current_leader_epoch: epoch,
                fetch_offset: from.offset,
                partition_max_bytes: from.bytes_max,
                ..Default::default()
            });
        }
        let newest = if topics.iter().all(|topic| !topic.topic_id.is_zero()) { i16::MAX } else { 12 };
        let request = FetchRequest {
            max_wait_ms: millis(limits.wait_max),
            min_bytes: limits.bytes_min,
            max_bytes: limits.bytes_max,
            isolation_level: i8::from(limits.committed_only),
            topics,
            ..Default::default()
        };
        let limit = limits.wait_max.saturating_add(self.config().request_timeout);
        let answer = self.node(node, Purpose::Fetch).await?.ask(4..=newest, &request, limit).await?;
        let response = answer.read()?;
        if response.error_code.is_err() {
            let (peer, code) = (answer.peer().to_owned(), response.error_code);
            return Err(Error::Refused { peer, request: "Fetch", code, message: None });
        }
        let by_id = answer.version() >= 13;
        let mut found: HashMap<(&str, TopicId, i32), _> = HashMap::new();
        for topic in &response.responses {
            for partition in &topic.partitions {
                let key = if by_id { ("", topic.topic_id) } else { (topic.topic, TopicId::default()) };
                found.insert((key.0, key.1, partition.partition_index), partition);
            }
        }
        let mut results = Vec::with_capacity(wanted.len());
        for from in wanted {
            let key = if by_id {
                ("", id(from), from.partition)
            } else {
                (from.topic.as_str(), TopicId::default(), from.partition)
            };
            let Some(told) = found.remove(&key) else {
                results.push(Ok(Fetched {
                    batches: Bytes::new(),
                    high_watermark: -1,
                    last_stable_offset: -1,
                    log_start_offset: -1,
                    aborted: Vec::new(),
                }));
                continue;
            };
            if told.current_leader.leader_id >= 0 {
                let (leader, epoch) = (told.current_leader.leader_id, told.current_leader.leader_epoch);
                self.learn_leader(&from.topic, id(from), from.partition, leader, epoch);
            }
            if told.error_code != ErrorCode::NONE {
                results.push(Err(PartitionRefused {
                    topic: from.topic.clone(),
                    partition: from.partition,
                    code: told.error_code,
                    message: None,
                    records: Vec::new(),
                }));
                continue;
            }
            let batches = told.records.as_ref().and_then(|records| records.borrowed());
            results.push(Ok(Fetched {
                batches: batches.map_or(Bytes::new(), |batches| answer.share(batches)),
                high_watermark: told.high_watermark,
                last_stable_offset: told.last_stable_offset,
                log_start_offset: told.log_start_offset,
                aborted: told
                    .aborted_transactions
                    .iter()
                    .flatten()
                    .map(|transaction| (transaction.producer_id, transaction.first_offset))
                    .collect(),
            }));
        }
        Ok(FetchAnswer { results, throttle: throttle(response.throttle_time_ms) })
    }
}

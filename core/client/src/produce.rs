//! Prebuilt batches into partitions: many of them in one request to the node that leads them.
//!
//! A batch is sent as it is: its producer id, epoch and sequence are the caller's, who made them durable before. What
//! becomes of it is one of three things, and never a guess: appended; refused, with a code; or in doubt
//! ([`Error::is_in_doubt`]), when the answer did not come.

use std::collections::HashMap;
use std::time::Duration;

use buslane_wire::ids::TopicId;
use buslane_wire::messages::ProduceRequest;
use buslane_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use buslane_wire::{ErrorCode, Records};
use bytes::Bytes;

use crate::answer::Answer;
use crate::client::{Client, Purpose};
use crate::connection::{Connection, Pending};
use crate::error::Error;

/// When a batch counts as appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// When the leader has it (acks=1).
    Leader,
    /// When every replica in sync has it (acks=all).
    All,
}

/// A batch for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// One whole batch of format 2.
    pub batch: Bytes,
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record; -1 where the broker knows it for a batch that it has, and not where.
    pub base_offset: i64,
    /// When the broker appended it, where the topic stamps records with that time; -1 elsewhere.
    pub log_append_time_ms: i64,
    /// The first offset that can still be read; -1 where the broker does not tell.
    pub log_start_offset: i64,
}

/// A partition's part of a request that the broker refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition} of topic {topic:?} refuses it: {code}{}", .message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default())]
pub struct PartitionRefused {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Why, by Kafka's names.
    pub code: ErrorCode,
    /// What the broker says beside.
    pub message: Option<String>,
    /// Records for which it was refused, by their place in the batch, and why.
    pub records: Vec<(i32, Option<String>)>,
}

/// What became of a request's batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// One for each batch, in the order they were given.
    pub results: Vec<Result<Appended, PartitionRefused>>,
    /// So long the client should send nothing more (quotas); the broker does not read it meanwhile.
    pub throttle: Duration,
}

/// A produce request that is on its way.
#[must_use = "its answer is waited for, or nobody learns what became of its batches"]
pub struct Producing {
    client: Client,
    pending: Pending<ProduceRequest<'static>>,
    asked: Vec<(String, TopicId, i32)>,
}

impl Client {
    /// Sends batches to the node at the other end of a connection, behind all that were sent there before. There is one
    /// batch for a partition at most. `timeout`: how long the broker may wait for the other replicas.
    ///
    /// # Errors
    /// Nothing of it was sent: as [`Connection::send`].
    pub fn send_batches(
        &self,
        connection: &Connection,
        acks: Acks,
        timeout: Duration,
        batches: &[Append],
    ) -> Result<Producing, Error> {
        let metadata = self.metadata();
        let id = |topic: &str| metadata.topics.get(topic).map_or(TopicId::default(), |topic| topic.id);
        let mut topics: Vec<TopicProduceData<'_>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for Append { topic, partition, batch } in batches {
            let place = *places.entry(topic).or_insert_with(|| {
                topics.push(TopicProduceData {
                    name: topic,
                    topic_id: id(topic),
                    partition_data: Vec::new(),
                });
                topics.len() - 1
            });
            let records = Some(Records::Shared(batch.clone()));
            topics[place].partition_data.push(PartitionProduceData { index: *partition, records });
        }
        // From 13 on topics have no names: their ids must be known.
        let newest = if topics.iter().all(|topic| !topic.topic_id.is_zero()) { i16::MAX } else { 12 };
        let asked =
            batches.iter().map(|batch| (batch.topic.clone(), id(&batch.topic), batch.partition)).collect();
        let request = ProduceRequest {
            transactional_id: None,
            acks: match acks {
                Acks::Leader => 1,
                Acks::All => -1,
            },
            timeout_ms: millis(timeout),
            topic_data: topics,
        };
        let pending = connection.send(3..=newest, &request)?;
        Ok(Producing { client: self.clone(), pending, asked })
    }

    /// Sends batches to the node that leads their partitions and waits for what becomes of them.
    ///
    /// # Errors
    /// As [`Client::node`], [`Client::send_batches`] and [`Producing::answer`].
    pub async fn produce(
        &self,
        node: i32,
        acks: Acks,
        timeout: Duration,
        batches: &[Append],
    ) -> Result<Produced, Error> {
        let connection = self.node(node, Purpose::Produce).await?;
        let limit = timeout.saturating_add(self.config().request_timeout);
        self.send_batches(&connection, acks, timeout, batches)?.answer(limit).await
    }
}

impl Producing {
    /// Waits for what becomes of the batches. Leaders that the broker names instead of itself are taken over.
    ///
    /// # Errors
    /// As [`Pending::answer`], and [`Error::Malformed`]: then every batch is in doubt.
    pub async fn answer(self, limit: Duration) -> Result<Produced, Error> {
        let Producing { client, pending, asked } = self;
        let answer = pending.answer(limit).await?;
        read(&client, &answer, &asked)
    }
}

fn read(
    client: &Client,
    answer: &Answer<ProduceRequest<'static>>,
    asked: &[(String, TopicId, i32)],
) -> Result<Produced, Error> {
    let response = answer.read()?;
    let by_id = answer.version() >= 13;
    let mut found: HashMap<(&str, TopicId, i32), _> = HashMap::new();
    for topic in &response.responses {
        for partition in &topic.partition_responses {
            let key = if by_id { ("", topic.topic_id) } else { (topic.name, TopicId::default()) };
            found.insert((key.0, key.1, partition.index), partition);
        }
    }
    let mut results = Vec::with_capacity(asked.len());
    for (topic, id, index) in asked {
        let key = if by_id { ("", *id, *index) } else { (topic.as_str(), TopicId::default(), *index) };
        let Some(told) = found.remove(&key) else {
            return Err(answer.malformed(format!("nothing of partition {index} of topic {topic:?}")));
        };
        if told.current_leader.leader_id >= 0 {
            let (leader, epoch) = (told.current_leader.leader_id, told.current_leader.leader_epoch);
            client.learn_leader(topic, *id, *index, leader, epoch);
        }
        results.push(if told.error_code.is_err() {
            Err(PartitionRefused {
                topic: topic.clone(),
                partition: *index,
                code: told.error_code,
                message: told.error_message.map(str::to_owned),
                records: told
                    .record_errors
                    .iter()
                    .map(|record| (record.batch_index, record.batch_index_error_message.map(str::to_owned)))
                    .collect(),
            })
        } else {
            Ok(Appended {
                base_offset: told.base_offset,
                log_append_time_ms: told.log_append_time_ms,
                log_start_offset: told.log_start_offset,
            })
        });
    }
    Ok(Produced { results, throttle: throttle(response.throttle_time_ms) })
}

pub(crate) fn throttle(throttle_time_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(throttle_time_ms).unwrap_or(0))
}

pub(crate) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// True when another leader may take what this one refused, once the metadata is known anew.
pub fn is_stale_leader(code: ErrorCode) -> bool {
    [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INCONSISTENT_TOPIC_ID,
        ErrorCode::FENCED_LEADER_EPOCH,
        ErrorCode::UNKNOWN_LEADER_EPOCH,
        ErrorCode::KAFKA_STORAGE_ERROR,
    ]
    .contains(&code)
}

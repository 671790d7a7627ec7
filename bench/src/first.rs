//! No limit: when a broker that is being started acknowledges its first record.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use buslane_wire::batch::{BatchBuilder, BatchOptions, NewRecord};
use buslane_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use buslane_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use buslane_wire::{ErrorCode, Records};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::client::Connection;

const PAUSE: Duration = Duration::from_millis(1);
const GIVE_UP: Duration = Duration::from_secs(120);

/// Tries until a record of a new topic is acknowledged, and tells when that was: seconds of `CLOCK_MONOTONIC`, which all
/// processes of a machine share.
pub fn run(bootstrap: &str, topic: &str) -> anyhow::Result<serde_json::Value> {
    let mut builder = BatchBuilder::default();
    builder.add(&NewRecord { timestamp: 0, key: None, value: Some(b"x"), headers: &[] })?;
    let mut batch = Vec::new();
    builder.build(&BatchOptions::default(), &mut batch)?;
    let end = Instant::now() + GIVE_UP;
    loop {
        match produce(bootstrap, topic, &batch) {
            Ok(()) => break,
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    let now = clock_gettime(ClockId::Monotonic);
    Ok(json!({ "acknowledged_s": now.tv_sec as f64 + now.tv_nsec as f64 / 1e9 }))
}

fn produce(bootstrap: &str, topic: &str, batch: &[u8]) -> anyhow::Result<()> {
    let mut connection = Connection::open(bootstrap)?;
    let wanted = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id: Default::default(), name: Some(topic) }]),
        allow_auto_topic_creation: true,
        include_cluster_authorized_operations: false,
        include_topic_authorized_operations: false,
    };
    let metadata = connection.ask(9, &wanted)?;
    if metadata.topics.first().is_none_or(|topic| topic.error_code != ErrorCode::NONE) {
        bail!("no topic yet");
    }
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: topic,
            topic_id: Default::default(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(Records::from(batch)) }],
        }],
    };
    let answer = connection.ask(9, &request)?;
    let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    match partition.context("an answer for the partition")?.error_code {
        ErrorCode::NONE => Ok(()),
        error => bail!("not acknowledged: {error:?}"),
    }
}

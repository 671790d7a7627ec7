//! DescribeProducers (key 61), version 0.
//!
//! The idempotent producers that wrote to partitions within `producer.id.expiration.ms` (KIP-664). There are no
//! transactions: no coordinator, and none is open. The last timestamp is that of the last append by the broker's clock;
//! Kafka's is the greatest one in the last batch.

use buslane_partition::ProducerView;
use buslane_wire::ErrorCode;
use buslane_wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use super::{Answer, RequestContext, Unanswerable, decode, errors};
use crate::node::Node;
use crate::partitions::Topic;
use crate::topics::is_bad_name;

/// Producers told in one answer: as many as one partition remembers.
const PRODUCERS_MAX: usize = 100_000;

const TOO_MANY: &str = "one answer tells of 100,000 producers at most; ask for fewer partitions at once";

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DescribeProducersRequest<'_> = decode(body, context.version)?;
    let table = node.topics.load();
    let mut left = PRODUCERS_MAX;
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = table.named(asked.name).map(|t| &**t).ok_or_else(|| match is_bad_name(asked.name) {
            Some(_) => (ErrorCode::INVALID_TOPIC_EXCEPTION, "this cannot be a topic's name"),
            None => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic"),
        });
        let partitions = asked.partition_indexes.iter().map(|index| describe(topic, *index, &mut left));
        topics.push(TopicResponse { name: asked.name, partitions: partitions.collect() });
    }
    context.answer(&DescribeProducersResponse { throttle_time_ms: 0, topics })
}

fn describe<'a>(
    topic: Result<&Topic, (ErrorCode, &'static str)>,
    index: i32,
    left: &mut usize,
) -> PartitionResponse<'a> {
    let failed = |error_code, error_message| PartitionResponse {
        partition_index: index,
        error_code,
        error_message,
        active_producers: Vec::new(),
    };
    let topic = match topic {
        Ok(topic) => topic,
        Err((code, message)) => return failed(code, Some(message)),
    };
    let Some(partition) = topic.partition(index) else {
        return failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None);
    };
    match partition.producers(*left) {
        Ok(Some(producers)) => {
            *left -= producers.len();
            let active_producers = producers.iter().map(told).collect();
            PartitionResponse { active_producers, ..failed(ErrorCode::NONE, None) }
        }
        Ok(None) => failed(ErrorCode::POLICY_VIOLATION, Some(TOO_MANY)),
        Err(error) => failed(errors::of_not_readable(&error), None),
    }
}

fn told(producer: &ProducerView) -> ProducerState {
    ProducerState {
        producer_id: producer.id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.touched_ms,
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    }
}

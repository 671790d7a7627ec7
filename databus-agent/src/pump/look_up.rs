//! What a partition has of a producer: asked of its leader, and looked for in its tail where the leader does not know.

use std::time::Duration;

use buslane_client::{ANY_VERSION, At, Client, Error, FetchFrom, FetchLimits, ProducerId, Purpose};
use buslane_wire::ErrorCode;
use buslane_wire::batch::Batches;
use buslane_wire::messages::DescribeProducersRequest;
use buslane_wire::messages::describe_producers::TopicRequest;

use crate::drain::Found;

/// Bytes of one fetch of the tail.
const FETCH_BYTES: i32 = 8 << 20;

/// Answers without anything, where there is something, after which the look-up is put off.
const EMPTY_MAX: u32 = 50;

/// How far a broker's clock may be behind this host's, where the broker stamps records.
const SKEW_MS: i64 = 600_000;

/// The last sequence that a partition has of a producer in its epoch. `since_ms`: least timestamp of what is looked for.
///
/// # Errors
/// As [`Client::leader`] and [`Client::fetch`]; it is tried again later.
pub async fn look_up(
    client: &Client,
    topic: &str,
    partition: i32,
    producer: ProducerId,
    since_ms: i64,
) -> Result<Found, Error> {
    // Who leads it may have changed while nobody asked.
    client.refresh(&[topic]).await?;
    match ask(client, topic, partition, producer).await {
        Ok(Known::Sequence(last)) => return Ok(Some(last)),
        Ok(Known::NothingYet) => return Ok(None),
        // Forgotten after a while without writes (producer.id.expiration.ms), or not told to this agent.
        Ok(Known::Nothing) => {}
        Err(error @ (Error::Unreachable { .. } | Error::Lost { .. } | Error::Late { .. })) => {
            return Err(error);
        }
        Err(error) => {
            tracing::debug!(topic, partition, %error, "the leader does not tell its producers; its tail is read");
        }
    }
    scan(client, topic, partition, producer, since_ms).await
}

/// What a leader says of a producer.
enum Known {
    Sequence(i32),
    /// It knows the producer in an older epoch: nothing of this one was taken.
    NothingYet,
    Nothing,
}

/// DescribeProducers (KIP-664).
async fn ask(client: &Client, topic: &str, partition: i32, producer: ProducerId) -> Result<Known, Error> {
    let node = client.leader(topic, partition).await?;
    let request = DescribeProducersRequest {
        topics: vec![TopicRequest { name: topic, partition_indexes: vec![partition] }],
    };
    let connection = client.node(node, Purpose::Requests).await?;
    let answer = connection.ask(ANY_VERSION, &request, client.config().request_timeout).await?;
    let response = answer.read()?;
    let mut told = response.topics.iter().flat_map(|topic| &topic.partitions);
    let Some(told) = told.rfind(|told| told.partition_index == partition) else {
        return Err(Error::Malformed {
            peer: answer.peer().to_owned(),
            request: "DescribeProducers",
            reason: format!("nothing of partition {partition} of topic {topic:?}"),
        });
    };
    if told.error_code != ErrorCode::NONE {
        let message = told.error_message.map(str::to_owned);
        let (peer, code) = (answer.peer().to_owned(), told.error_code);
        return Err(Error::Refused { peer, request: "DescribeProducers", code, message });
    }
    let Some(state) = told.active_producers.iter().find(|state| state.producer_id == producer.id) else {
        return Ok(Known::Nothing);
    };
    Ok(match state.producer_epoch.cmp(&i32::from(producer.epoch)) {
        std::cmp::Ordering::Equal if state.last_sequence >= 0 => Known::Sequence(state.last_sequence),
        std::cmp::Ordering::Less => Known::NothingYet,
        _ => Known::Nothing,
    })
}

/// Reads the headers of the batches since a time.
async fn scan(
    client: &Client,
    topic: &str,
    partition: i32,
    producer: ProducerId,
    since_ms: i64,
) -> Result<Found, Error> {
    let Some(end) = client.offset(topic, partition, At::Latest).await? else { return Ok(None) };
    let since = At::Timestamp(since_ms.saturating_sub(SKEW_MS));
    // No record is as young: then nothing of ours is there.
    let Some(mut at) = client.offset(topic, partition, since).await? else { return Ok(None) };
    let limits = FetchLimits {
        wait_max: Duration::from_millis(100),
        bytes_max: FETCH_BYTES,
        ..FetchLimits::default()
    };
    let (mut found, mut empty) = (None, 0);
    while at < end {
        let node = client.leader(topic, partition).await?;
        let from = FetchFrom { topic: topic.to_owned(), partition, offset: at, bytes_max: FETCH_BYTES };
        let answer = client.fetch(node, limits, &[from]).await?;
        let fetched = match answer.results.into_iter().next() {
            Some(Ok(fetched)) => fetched,
            Some(Err(refused)) => {
                let message = Some(refused.to_string());
                let peer = format!("node {node}");
                return Err(Error::Refused { peer, request: "Fetch", code: refused.code, message });
            }
            None => return Ok(found),
        };
        let before = at;
        for (_, header, _) in Batches::new(&fetched.batches).map_while(Result::ok) {
            at = at.max(header.next_offset());
            let same = (header.producer_id, header.producer_epoch) == (producer.id, producer.epoch);
            if same && !header.is_control() {
                found = Some(header.last_sequence());
            }
        }
        if at == before {
            // Retention was faster; or nothing was sent, as to a client that is over its quota (KIP-219).
            at = at.max(fetched.log_start_offset);
            if at == before {
                empty += 1;
                if empty > EMPTY_MAX {
                    let reason =
                        format!("nothing at offset {at} of partition {partition}, which ends at {end}");
                    return Err(Error::Malformed { peer: format!("node {node}"), request: "Fetch", reason });
                }
                tokio::time::sleep(answer.throttle.max(Duration::from_millis(100))).await;
            }
        }
    }
    Ok(found)
}

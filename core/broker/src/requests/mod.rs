//! Requests: which kinds and versions are served, and the way from a frame to its answer.
//!
//! One file a kind. A handler gets the decoded request and a [`Node`], and gives back an encoded [`Answer`]. What it
//! does before its first await happens in the order of arrival on the connection; produce relies on that.

mod alter_client_quotas;
mod alter_configs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod errors;
mod fetch;
mod find_coordinator;
mod groups;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
pub mod memory;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;
mod throttle_time;
#[cfg(test)]
mod waits;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use buslane_log::ReadSlice;
use buslane_wire::frame::{RequestHeader, encode_response};
use buslane_wire::{ApiKey, DecodeError, Encoder, Message, Request};
use bytes::Bytes;

use crate::node::Node;
use crate::quotas::Usage;

pub use fetch::end_long_polls;
use memory::Memory;

/// Longest wait that a client may ask for, in a fetch's `max_wait_ms` and a produce request's `timeout_ms`.
const CLIENT_WAIT_MAX: Duration = Duration::from_secs(300);

/// How long a request may wait that asks for `ms`.
fn client_wait(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0) as u64).min(CLIENT_WAIT_MAX)
}

/// A request kind and its versions.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// The kind.
    pub key: ApiKey,
    /// First version that ApiVersions tells of. Lower than `first` only where old clients need it: a range that starts
    /// above 2 makes librdkafka before 2.11.1 drop compression silently (KAFKA-18659).
    pub advertised_first: i16,
    /// First version served.
    pub first: i16,
    /// Last version served.
    pub last: i16,
}

const fn served(key: ApiKey, first: i16, last: i16) -> Served {
    Served { key, advertised_first: first, first, last }
}

/// Everything served. What is not here is not advertised, and closes the connection as Kafka does.
pub static SERVED: &[Served] = &[
    Served { key: ApiKey::Produce, advertised_first: 0, first: 3, last: 13 },
    served(ApiKey::Fetch, 4, 18),
    served(ApiKey::ListOffsets, 1, 11),
    served(ApiKey::Metadata, 0, 13),
    served(ApiKey::OffsetCommit, 2, 10),
    served(ApiKey::OffsetFetch, 1, 10),
    served(ApiKey::FindCoordinator, 0, 6),
    served(ApiKey::JoinGroup, 0, 9),
    served(ApiKey::Heartbeat, 0, 4),
    served(ApiKey::LeaveGroup, 0, 5),
    served(ApiKey::SyncGroup, 0, 5),
    served(ApiKey::DescribeGroups, 0, 6),
    served(ApiKey::ListGroups, 0, 5),
    served(ApiKey::ApiVersions, 0, 5),
    served(ApiKey::CreateTopics, 2, 7),
    served(ApiKey::DeleteTopics, 1, 6),
    served(ApiKey::DeleteRecords, 0, 2),
    served(ApiKey::InitProducerId, 0, 5),
    served(ApiKey::OffsetForLeaderEpoch, 2, 4),
    served(ApiKey::DescribeConfigs, 1, 4),
    served(ApiKey::AlterConfigs, 0, 2),
    served(ApiKey::DescribeLogDirs, 1, 5),
    served(ApiKey::CreatePartitions, 0, 3),
    served(ApiKey::DeleteGroups, 0, 3),
    served(ApiKey::ElectLeaders, 0, 2),
    served(ApiKey::IncrementalAlterConfigs, 0, 1),
    served(ApiKey::OffsetDelete, 0, 0),
    served(ApiKey::DescribeClientQuotas, 0, 1),
    served(ApiKey::AlterClientQuotas, 0, 1),
    served(ApiKey::DescribeQuorum, 0, 2),
    served(ApiKey::DescribeCluster, 0, 2),
    served(ApiKey::DescribeProducers, 0, 0),
    served(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    served(ApiKey::ConsumerGroupDescribe, 0, 1),
    served(ApiKey::ListConfigResources, 0, 1),
    served(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// What goes back over the connection.
pub enum Answer {
    /// A response frame. An external piece's token is the index of its slice.
    Send {
        /// The frame.
        encoder: Encoder,
        /// Ranges of files that stand for the external pieces.
        files: Vec<ReadSlice>,
    },
    /// Nothing (produce with acks=0).
    Nothing,
    /// Close the connection; the text is for the log.
    Close(String),
}

/// Why a request cannot be answered: the connection is closed, as Kafka does.
#[derive(Debug, thiserror::Error)]
enum Unanswerable {
    #[error("request cannot be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("response cannot be written: {0}")]
    Encode(#[from] buslane_wire::EncodeError),
    #[error("a topic's name has {0} bytes, more than any topic's can have")]
    LongName(usize),
}

/// What a handler knows of the request it answers.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// Its version.
    pub version: i16,
    /// Its correlation id.
    pub correlation_id: i32,
    /// Who sent it.
    pub peer: IpAddr,
}

impl RequestContext {
    fn answer<M: Message>(&self, response: &M) -> Result<Answer, Unanswerable> {
        self.answer_with(response, Vec::new())
    }

    fn answer_with<M: Message>(&self, response: &M, files: Vec<ReadSlice>) -> Result<Answer, Unanswerable> {
        let mut encoder = Encoder::new();
        encode_response(&mut encoder, self.correlation_id, self.version, response)?;
        Ok(Answer::Send { encoder, files })
    }
}

fn decode<'a, R: Request + buslane_wire::Decode<'a>>(
    body: &'a [u8],
    version: i16,
) -> Result<R, Unanswerable> {
    Ok(buslane_wire::decode_prefix::<R>(body, version)?)
}

/// Answers one request frame (without its size). `memory`: what was charged for it. `usage`: what it uses of its client's
/// quotas.
pub async fn handle(
    node: Arc<Node>,
    peer: IpAddr,
    frame: Bytes,
    memory: &Memory<'_>,
    usage: &Usage<'_>,
) -> Answer {
    let (header, body) = match RequestHeader::decode(&frame) {
        Ok(parts) => parts,
        Err(error) => return Answer::Close(format!("request header cannot be read: {error}")),
    };
    let (key, version) = (header.api_key, header.api_version);
    let Some(served) = SERVED.iter().find(|s| s.key as i16 == key) else {
        return Answer::Close(format!("request kind {key} is not served"));
    };
    let context = RequestContext { version, correlation_id: header.correlation_id, peer };
    if version < served.first || version > served.last {
        if served.key == ApiKey::ApiVersions {
            // KIP-511: the client reads version 0, whatever it asked for, and asks again.
            return api_versions::unsupported(header.correlation_id)
                .unwrap_or_else(|error| Answer::Close(error.to_string()));
        }
        return Answer::Close(format!(
            "{} version {version} is not served, only {} to {}",
            served.key.name(),
            served.first,
            served.last
        ));
    }
    usage.identify(header.client_id);
    let frame_len = frame.len();
    let mut answer = match served.key {
        // These may wait for long, and drop their bytes before.
        ApiKey::Produce => {
            let body = frame.slice_ref(body);
            drop(frame);
            produce::handle(&node, context, body, frame_len, usage).await
        }
        ApiKey::Fetch => {
            let body = frame.slice_ref(body);
            drop(frame);
            fetch::handle(&node, context, body, memory, usage).await
        }
        ApiKey::ListOffsets => list_offsets::handle(&node, context, body).await,
        ApiKey::Metadata => metadata::handle(&node, context, body).await,
        ApiKey::FindCoordinator => find_coordinator::handle(&node, context, body).await,
        // Others' requests are what these wait for, and those need memory, too.
        ApiKey::JoinGroup => match join_group::read(context, header.client_id, body) {
            Ok(asked) => {
                drop(frame);
                memory.park(0);
                join_group::handle(&node, context, asked).await
            }
            Err(error) => Err(error),
        },
        ApiKey::SyncGroup => match sync_group::read(context, body) {
            Ok(asked) => {
                drop(frame);
                memory.park(0);
                sync_group::handle(&node, context, asked).await
            }
            Err(error) => Err(error),
        },
        ApiKey::Heartbeat => heartbeat::handle(&node, context, body).await,
        ApiKey::LeaveGroup => leave_group::handle(&node, context, body).await,
        ApiKey::OffsetCommit => offset_commit::handle(&node, context, body).await,
        ApiKey::OffsetFetch => offset_fetch::handle(&node, context, body).await,
        ApiKey::OffsetDelete => offset_delete::handle(&node, context, body).await,
        ApiKey::DescribeGroups => describe_groups::handle(&node, context, body).await,
        ApiKey::ListGroups => list_groups::handle(&node, context, body).await,
        ApiKey::DeleteGroups => delete_groups::handle(&node, context, body).await,
        ApiKey::ApiVersions => api_versions::handle(&node, context, body, usage),
        ApiKey::CreateTopics => create_topics::handle(&node, context, body, usage).await,
        ApiKey::DeleteTopics => delete_topics::handle(&node, context, body, usage).await,
        ApiKey::DeleteRecords => delete_records::handle(&node, context, body).await,
        ApiKey::InitProducerId => init_producer_id::handle(&node, context, body).await,
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::handle(&node, context, body),
        ApiKey::DescribeConfigs => describe_configs::handle(&node, context, body),
        ApiKey::AlterConfigs => alter_configs::replace(&node, context, body).await,
        ApiKey::IncrementalAlterConfigs => alter_configs::incremental(&node, context, body).await,
        ApiKey::DescribeLogDirs => describe_log_dirs::handle(&node, context, body),
        ApiKey::DescribeProducers => describe_producers::handle(&node, context, body),
        ApiKey::DescribeTopicPartitions => describe_topic_partitions::handle(&node, context, body),
        ApiKey::ConsumerGroupHeartbeat => {
            consumer_group_heartbeat::handle(&node, context, header.client_id, body).await
        }
        ApiKey::ConsumerGroupDescribe => consumer_group_describe::handle(&node, context, body).await,
        ApiKey::CreatePartitions => create_partitions::handle(&node, context, body, usage).await,
        ApiKey::ElectLeaders => elect_leaders::handle(&node, context, body),
        ApiKey::DescribeQuorum => describe_quorum::handle(&node, context, body),
        ApiKey::DescribeClientQuotas => describe_client_quotas::handle(&node, context, body, memory).await,
        ApiKey::AlterClientQuotas => alter_client_quotas::handle(&node, context, body).await,
        ApiKey::ListConfigResources => list_config_resources::handle(&node, context, body),
        ApiKey::DescribeCluster => describe_cluster::handle(&node, context, body),
        other => unreachable!("{} is not in SERVED", other.name()),
    };
    let throttle_time_ms = usage.finish();
    if throttle_time_ms > 0
        && let Ok(Answer::Send { encoder, .. }) = &mut answer
    {
        throttle_time::tell(encoder, served.key, version, throttle_time_ms);
    }
    answer.unwrap_or_else(|error| Answer::Close(format!("{} version {version}: {error}", served.key.name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic_config::KEYS;

    const DOCUMENT: &str = include_str!("../../../../docs/compatibility.md");

    /// The cells of the table rows under a heading.
    fn rows(heading: &str) -> Vec<Vec<&'static str>> {
        let section = DOCUMENT.split("\n## ").find(|s| s.starts_with(heading)).expect("the heading is there");
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
        section.lines().filter(|l| l.starts_with('|')).skip(2).map(cells).collect()
    }

    #[test]
    fn the_document_names_every_request_served_with_its_versions() {
        let told: Vec<(i16, String, String)> = rows("Requests")
            .into_iter()
            .map(|r| (r[0].parse().expect("a key"), r[1].to_owned(), r[2].to_owned()))
            .collect();
        let served: Vec<(i16, String, String)> = SERVED
            .iter()
            .map(|s| (s.key as i16, s.key.name().to_owned(), format!("{} to {}", s.first, s.last)))
            .collect();
        assert_eq!(told, served);
    }

    #[test]
    fn the_document_says_of_every_topic_setting_whether_it_is_honoured() {
        let mut told: Vec<(String, bool)> = Vec::new();
        for (heading, honoured) in [("Topic settings: honoured", true), ("Topic settings: known", false)] {
            told.extend(rows(heading).into_iter().map(|r| (r[0].trim_matches('`').to_owned(), honoured)));
        }
        told.sort();
        // A key that takes anything but its default is honoured.
        let known: Vec<(String, bool)> = KEYS
            .iter()
            .map(|k| {
                let other = ["7", "0.25", "synced", "strict", "LogAppendTime", "2048", "compact"];
                (k.name.to_owned(), other.iter().any(|v| *v != k.default && k.check(v).is_ok()))
            })
            .collect();
        assert_eq!(told, known);
    }

    #[test]
    fn waits_asked_for_are_bounded() {
        let waits = [-1, 0, 500, i32::MAX].map(client_wait).map(|wait| wait.as_millis());
        assert_eq!(waits, [0, 0, 500, 300_000]);
    }

    #[test]
    fn what_is_served_is_sorted_and_known_to_the_codec() {
        assert!(SERVED.windows(2).all(|w| (w[0].key as i16) < w[1].key as i16));
        for served in SERVED {
            assert!(served.advertised_first <= served.first);
            for version in [served.first, served.last] {
                assert!(served.key.request().versions.contains(version), "{} {version}", served.key.name());
            }
        }
    }
}

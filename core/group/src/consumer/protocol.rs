//! What classic consumers embed in JoinGroup and SyncGroup: ConsumerProtocolSubscription and ConsumerProtocolAssignment,
//! versions 0-3, each behind its version in two bytes. A later version is read as version 3: by Kafka's promise it only
//! adds at the end.

use buslane_wire_derive::Wire;
use bytes::Bytes;

use super::partitions::Partitions;
use super::topics::TopicsView;
use crate::{Decode, DecodeError, Decoder, Encode, Encoder};

/// The protocol type of consumers.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The last version known.
const LAST_VERSION: i16 = 3;

/// What a classic consumer wants.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerProtocolSubscription<'a> {
    /// Topic names.
    pub topics: Vec<&'a str>,
    /// For the assignor on the client.
    #[wire(nullable = "0+", default = null)]
    pub user_data: Option<&'a [u8]>,
    /// What it holds while it joins; nothing where it gives up everything first.
    #[wire(versions = "1+", ignorable)]
    pub owned_partitions: Vec<NamedPartitions<'a>>,
    /// The generation in which it got them.
    #[wire(versions = "2+", ignorable, default = -1)]
    pub generation_id: i32,
    /// Where it runs.
    #[wire(versions = "3+", nullable = "3+", ignorable, default = null)]
    pub rack_id: Option<&'a str>,
}

/// What a classic consumer is to have.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerProtocolAssignment<'a> {
    /// The partitions.
    pub assigned_partitions: Vec<NamedPartitions<'a>>,
    /// For the assignor on the client.
    #[wire(nullable = "0+", default = null)]
    pub user_data: Option<&'a [u8]>,
}

/// Partitions of a topic by its name.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct NamedPartitions<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// Why embedded bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddedError {
    /// Not even a version.
    #[error("it ends before its version")]
    Short,
    /// A version below 0.
    #[error("version {0} does not exist")]
    Version(i16),
    /// The rest does not parse.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The version in front.
pub fn embedded_version(bytes: &[u8]) -> Result<i16, EmbeddedError> {
    let prefix = bytes.first_chunk::<2>().ok_or(EmbeddedError::Short)?;
    match i16::from_be_bytes(*prefix) {
        version if version < 0 => Err(EmbeddedError::Version(version)),
        version => Ok(version.min(LAST_VERSION)),
    }
}

/// Reads a subscription.
pub fn read_subscription(bytes: &[u8]) -> Result<ConsumerProtocolSubscription<'_>, EmbeddedError> {
    read(bytes)
}

/// Reads an assignment.
pub fn read_assignment(bytes: &[u8]) -> Result<ConsumerProtocolAssignment<'_>, EmbeddedError> {
    read(bytes)
}

fn read<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, EmbeddedError> {
    let version = embedded_version(bytes)?;
    Ok(T::decode(&mut Decoder::new(&bytes[2..], version, false))?)
}

/// Writes an assignment in `version`. Topics that no longer exist are left out.
pub(super) fn write_assignment(partitions: &Partitions, topics: &dyn TopicsView, version: i16) -> Bytes {
    let assigned_partitions = partitions
        .topics()
        .filter_map(|(id, set)| {
            let topic = topics.name_of(id)?;
            Some(NamedPartitions { topic, partitions: set.iter().copied().collect() })
        })
        .collect();
    write(&ConsumerProtocolAssignment { assigned_partitions, user_data: None }, version)
}

pub(super) fn write(body: &impl Encode, version: i16) -> Bytes {
    let mut encoder = Encoder::new();
    encoder.set_version(version, false);
    encoder.raw(&version.to_be_bytes());
    body.encode(&mut encoder).expect("topic names are short, and a group has no million topics");
    encoder.take().0.into()
}

/// The partitions of topics that exist. Indexes below 0 are left out.
pub(super) fn to_partitions(named: &[NamedPartitions<'_>], topics: &dyn TopicsView) -> Partitions {
    named
        .iter()
        .filter_map(|entry| Some((topics.by_name(entry.topic)?.id, entry)))
        .flat_map(|(id, entry)| {
            entry.partitions.iter().filter(|index| **index >= 0).map(move |index| (id, *index))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{parts, table};
    use super::*;

    /// Version 1 as Java's consumer writes it: one topic, no user data, one partition owned.
    const JAVA_V1: &[u8] = &[
        0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 7,
    ];

    #[test]
    fn a_subscription_is_read() {
        let read = read_subscription(JAVA_V1).unwrap();
        assert_eq!(read.topics, ["t"]);
        assert_eq!(read.user_data, None);
        assert_eq!(read.owned_partitions, [NamedPartitions { topic: "t", partitions: vec![7] }]);
        assert_eq!((read.generation_id, read.rack_id), (-1, None));
    }

    #[test]
    fn versions_come_back_as_written() {
        for version in 0..=LAST_VERSION {
            let subscription = ConsumerProtocolSubscription {
                topics: vec!["a", "b"],
                user_data: Some(b"x"),
                owned_partitions: if version >= 1 {
                    vec![NamedPartitions { topic: "a", partitions: vec![1] }]
                } else {
                    vec![]
                },
                generation_id: if version >= 2 { 4 } else { -1 },
                rack_id: (version >= 3).then_some("r"),
            };
            let bytes = write(&subscription, version);
            assert_eq!(read_subscription(&bytes).unwrap(), subscription);
            assert_eq!(embedded_version(&bytes), Ok(version));
        }
    }

    #[test]
    fn a_later_version_is_read_as_the_last_known() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["a"],
            user_data: None,
            owned_partitions: vec![],
            generation_id: 1,
            rack_id: None,
        };
        let mut bytes = write(&subscription, 3).to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"something new");
        assert_eq!(read_subscription(&bytes).unwrap(), subscription);
        assert_eq!(read_subscription(&[0]), Err(EmbeddedError::Short));
        assert_eq!(read_subscription(&[0xff, 0xff]), Err(EmbeddedError::Version(-1)));
        assert!(matches!(read_subscription(&[0, 0, 0, 0]), Err(EmbeddedError::Decode(_))));
    }

    #[test]
    fn an_assignment_names_the_topics_that_exist() {
        let topics = table(&[("t", 3)]);
        let mut partitions = parts("t", &[0, 2]);
        partitions.insert(buslane_wire::ids::TopicId([9; 16]), 1);
        let bytes = write_assignment(&partitions, &topics, 1);
        let read = read_assignment(&bytes).unwrap();
        assert_eq!(to_partitions(&read.assigned_partitions, &topics), parts("t", &[0, 2]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64), version in 0u8..5) {
            let mut prefixed = vec![0, version];
            prefixed.extend(bytes);
            let _ = read_subscription(&prefixed);
            let _ = read_assignment(&prefixed);
        }
    }
}

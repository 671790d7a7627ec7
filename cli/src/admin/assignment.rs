//! What a classic member owns, as it stands in DescribeGroups: ConsumerProtocolAssignment of Kafka's clients.

use std::collections::BTreeMap;

use buslane_wire::{Decode, DecodeError, Decoder};

/// Partitions by topic.
pub type Owned = BTreeMap<String, Vec<i32>>;

/// Reads the partitions. Members of other protocols (Connect) put something else there: only those of `consumer` are
/// to be read. No bytes are no partitions: the member has not been given any yet.
pub fn parse(bytes: &[u8]) -> Result<Owned, DecodeError> {
    if bytes.is_empty() {
        return Ok(Owned::new());
    }
    let mut d = Decoder::new(bytes, 0, false);
    d.at("Version");
    i16::decode(&mut d)?;
    d.at("AssignedPartitions");
    let topics = d.array::<Topic<'_>>()?;
    // User data follows, and what later versions may add: neither is ours to read.
    let mut owned = Owned::new();
    for topic in topics {
        owned.entry(topic.name.to_owned()).or_default().extend(topic.partitions);
    }
    owned.values_mut().for_each(|partitions| partitions.sort_unstable());
    Ok(owned)
}

struct Topic<'a> {
    name: &'a str,
    partitions: Vec<i32>,
}

impl<'a> Decode<'a> for Topic<'a> {
    fn min_size(_: i16, _: bool) -> usize {
        2 + 4
    }

    fn decode(d: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: <&str>::decode(d)?, partitions: d.array()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_of_kafkas_clients_are_read_and_other_bytes_refused() {
        // Version 1, topic "t" with partitions 2 and 0, no user data: as the Java client writes it.
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2];
        bytes.extend([0, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        let expected = Owned::from([("t".to_owned(), vec![0, 2])]);
        assert_eq!(parse(&bytes), Ok(expected.clone()));
        // librdkafka and others: version 0, user data.
        bytes[1] = 0;
        bytes.truncate(bytes.len() - 4);
        bytes.extend([0, 0, 0, 1, 7]);
        assert_eq!(parse(&bytes), Ok(expected));
        assert_eq!(parse(&[]), Ok(Owned::new()));
        for cut in 1..21 {
            assert!(parse(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(parse(&[0, 0, 0x7f, 0xff, 0xff, 0xff]).is_err());
    }
}

//! The topics in a member's subscription, for groups of protocol type `consumer`.

use buslane_wire_derive::Wire;

use crate::{Decode, Decoder};

/// The part of ConsumerProtocolSubscription that every version begins with.
#[derive(Debug, Clone, PartialEq, Wire)]
struct Subscription<'a> {
    topics: Vec<&'a str>,
    #[wire(nullable = "0+")]
    user_data: Option<&'a [u8]>,
}

/// The topics a member subscribes to; `None` when the bytes are no subscription. Kafka reads every version as version 0 for
/// this purpose, and so does this.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    Some(Subscription::decode(&mut Decoder::new(rest, 0, false)).ok()?.topics)
}

#[cfg(test)]
mod tests {
    use super::topics;

    #[test]
    fn topics_of_any_version_are_read() {
        // Version 3 of two topics, no user data, no owned partitions, generation 7, a rack.
        let mut bytes = vec![0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 0xff, 0xff, 0xff, 0xff];
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 7, 0, 1, b'r']);
        assert_eq!(topics(&bytes), Some(vec!["a", "bc"]));
        bytes[..2].copy_from_slice(&[0, 0]);
        assert_eq!(topics(&bytes), Some(vec!["a", "bc"]));
    }

    #[test]
    fn what_is_no_subscription_has_no_topics() {
        for bytes in
            [&[][..], &[0], &[0xff, 0xff, 0, 0, 0, 0], &[0, 0, 0x7f, 0xff, 0xff, 0xff], &[0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(topics(bytes), None, "{bytes:?}");
        }
    }
}

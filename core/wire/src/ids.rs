//! Identities that every part of the core shares, kept apart as types.
//!
//! Offsets are plain `i64` and file positions plain `u64`; their names say which is which
//! (`base_offset`, `last_offset` inclusive; `end_offset`, `log_end_offset` exclusive).

use std::fmt;

/// A topic's identity for ever: 16 random bytes, new for each creation of a name (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The reserved id that means "no id" on the wire.
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// True for the reserved id that means "no id".
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Parses the hyphenated or plain hexadecimal form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<TopicId> {
        let mut out = [0u8; 16];
        let mut digits = 0;
        for c in text.chars().filter(|c| *c != '-') {
            let digit = c.to_digit(16)? as u8;
            let byte = out.get_mut(digits / 2)?;
            *byte = (*byte << 4) | digit;
            digits += 1;
        }
        (digits == 32).then_some(TopicId(out))
    }
}

impl fmt::Display for TopicId {
    /// The 8-4-4-4-12 hexadecimal form, also used as the folder name on disk.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl serde::Serialize for TopicId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TopicId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<TopicId, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        TopicId::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("'{text}' is not a topic id")))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition of one creation of a topic.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition's index in the topic, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A segment's identity, unique in its partition for ever (design: "Identity and epochs").
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One segment of one partition.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub struct SegmentRef {
    /// The partition.
    pub partition: TopicPartition,
    /// The segment.
    pub segment: SegmentId,
}

impl fmt::Display for SegmentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.partition, self.segment)
    }
}

/// A node of the cluster (Kafka's broker id). Stable for ever.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub struct NodeId(pub i32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Kafka's leader epoch: belongs to one process run of one owner of one partition; only ever rises.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub struct LeaderEpoch(pub i32);

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When an append counts as stored on one store (design: "What is promised"). Fixed when a segment opens.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub enum Durability {
    /// In the page cache; synced in the background within about a second.
    #[default]
    Replicated,
    /// After `fdatasync`, group-committed.
    Synced,
}

impl Durability {
    /// The word of the topic setting `buslane.durability`.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Replicated => "replicated",
            Durability::Synced => "synced",
        }
    }

    /// Parses the word of the topic setting.
    pub fn parse(text: &str) -> Option<Durability> {
        match text {
            "replicated" => Some(Durability::Replicated),
            "synced" => Some(Durability::Synced),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_text_round_trips() {
        let id = TopicId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0eff");
        assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        assert_eq!(TopicId::parse("00010203"), None);
        assert_eq!(TopicId::parse("00010203-0405-0607-0809-0a0b0c0d0eff00"), None);
    }
}

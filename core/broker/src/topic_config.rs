//! Topic settings: every key of Kafka 4.x that a topic can carry, and ours.
//!
//! A key is *honoured*, or it is *fixed*: known, described with its one value, and refused with INVALID_CONFIG when
//! somebody sets another. Nothing is stored silently. Keys and defaults: Kafka 4.4 `TopicConfig`, KIP-1030 for
//! `message.timestamp.after.max.ms`; `buslane.*` are design/core.md's.

use std::collections::BTreeMap;

use buslane_wire::batch::TimestampType;
use buslane_wire::ids::Durability;

use crate::server_values::ServerValues;

/// How a value is written, as DescribeConfigs tells it (KIP-569).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// Text, one of a few words where the key says so.
    String,
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// A floating-point number.
    Double,
    /// Words separated by commas.
    List,
}

impl ValueType {
    /// The number in a DescribeConfigs answer.
    pub fn code(self) -> i8 {
        match self {
            ValueType::Boolean => 1,
            ValueType::String => 2,
            ValueType::Int => 3,
            ValueType::Long => 5,
            ValueType::Double => 6,
            ValueType::List => 7,
        }
    }
}

/// Which values a key takes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Accepts {
    /// A whole number in this inclusive range.
    Number(i64, i64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `delete`, `compact` or both, separated by a comma.
    Policies,
    /// A number from 0 to 1.
    Ratio,
    /// Its default and nothing else; the text says what there is instead.
    Fixed(&'static str),
}

/// One key that a topic can carry.
#[derive(Debug)]
pub struct Key {
    /// Kafka's name, or ours with the prefix `buslane.`.
    pub name: &'static str,
    /// How its value is written.
    pub value_type: ValueType,
    /// What holds when neither the topic nor the server sets it.
    pub default: &'static str,
    /// The server's key for the same thing, where there is one (a synonym in DescribeConfigs).
    pub server_key: Option<&'static str>,
    /// One sentence for people.
    pub doc: &'static str,
    accepts: Accepts,
}

const MAX: i64 = i64::MAX;
const INT_MAX: i64 = i32::MAX as i64;
const NOT_TIERED: &str = "there is no tiered storage yet";

macro_rules! key {
    ($name:literal, $type:ident, $default:literal, $server:expr, $accepts:expr, $doc:literal) => {
        Key {
            name: $name,
            value_type: ValueType::$type,
            default: $default,
            server_key: $server,
            doc: $doc,
            accepts: $accepts,
        }
    };
}

use Accepts::{Fixed, Number, OneOf, Policies, Ratio};

/// All keys, sorted by name.
pub static KEYS: &[Key] = &[
    key!(
        "buslane.durability",
        String,
        "replicated",
        Some("buslane.durability"),
        OneOf(&["replicated", "synced"]),
        "When an append counts as stored: in the page cache of every store, or after fdatasync. A change rolls the segment."
    ),
    key!(
        "buslane.validation",
        String,
        "relaxed",
        Some("buslane.validation"),
        OneOf(&["relaxed", "strict"]),
        "How much of a produced batch is checked: its header, CRC, sizes and sequence, or every record in it too."
    ),
    key!(
        "cleanup.policy",
        List,
        "delete",
        Some("log.cleanup.policy"),
        Policies,
        "What becomes of old records: delete drops segments by age and size, compact keeps the newest record of each key."
    ),
    key!(
        "compression.gzip.level",
        Int,
        "-1",
        Some("compression.gzip.level"),
        Fixed("batches keep the producer's compression"),
        "Level for recompression to gzip."
    ),
    key!(
        "compression.lz4.level",
        Int,
        "9",
        Some("compression.lz4.level"),
        Fixed("batches keep the producer's compression"),
        "Level for recompression to lz4."
    ),
    key!(
        "compression.type",
        String,
        "producer",
        Some("compression.type"),
        Fixed("batches keep the producer's compression"),
        "Compression in which batches are stored."
    ),
    key!(
        "compression.zstd.level",
        Int,
        "3",
        Some("compression.zstd.level"),
        Fixed("batches keep the producer's compression"),
        "Level for recompression to zstd."
    ),
    key!(
        "delete.retention.ms",
        Long,
        "86400000",
        Some("log.cleaner.delete.retention.ms"),
        Number(0, MAX),
        "How long a tombstone of a compacted topic is kept after the compaction that first finds it."
    ),
    key!(
        "errors.deadletterqueue.group.enable",
        Boolean,
        "false",
        None,
        Fixed("share groups and their dead letter queues are not served yet"),
        "Whether share groups may have this topic as their dead letter queue."
    ),
    key!(
        "file.delete.delay.ms",
        Long,
        "60000",
        Some("log.segment.delete.delay.ms"),
        Fixed("a dropped segment's file goes at once; readers keep their open file"),
        "Pause before a dropped segment's file is removed."
    ),
    key!(
        "flush.messages",
        Long,
        "9223372036854775807",
        Some("log.flush.interval.messages"),
        Fixed("use buslane.durability=synced, which answers after fdatasync"),
        "Records after which the log is synced."
    ),
    key!(
        "flush.ms",
        Long,
        "9223372036854775807",
        Some("log.flush.interval.ms"),
        Fixed("logs are synced within about a second; use buslane.durability=synced for more"),
        "Time after which the log is synced."
    ),
    key!(
        "follower.replication.throttled.replicas",
        List,
        "",
        None,
        Fixed("there is no follower replication"),
        "Replicas whose catching up is throttled on the follower."
    ),
    key!(
        "index.interval.bytes",
        Int,
        "4096",
        Some("log.index.interval.bytes"),
        Fixed("the index has an entry each 4096 bytes"),
        "Bytes of log between two index entries."
    ),
    key!(
        "leader.replication.throttled.replicas",
        List,
        "",
        None,
        Fixed("there is no follower replication"),
        "Replicas whose catching up is throttled on the leader."
    ),
    key!(
        "local.retention.bytes",
        Long,
        "-2",
        Some("log.local.retention.bytes"),
        Fixed(NOT_TIERED),
        "Bytes kept on local disks of a tiered topic."
    ),
    key!(
        "local.retention.ms",
        Long,
        "-2",
        Some("log.local.retention.ms"),
        Fixed(NOT_TIERED),
        "Time for which a tiered topic is kept on local disks."
    ),
    key!(
        "max.compaction.lag.ms",
        Long,
        "9223372036854775807",
        Some("log.cleaner.max.compaction.lag.ms"),
        Number(1, MAX),
        "Longest time for which a record of a compacted topic stays uncompacted."
    ),
    key!(
        "max.decompressed.message.bytes",
        Int,
        "2147483639",
        Some("max.decompressed.message.bytes"),
        Fixed(
            "buslane.validation=strict decompresses a batch to at most 64 times max.message.bytes, nothing else does"
        ),
        "Largest size to which a produced batch is decompressed."
    ),
    key!(
        "max.message.bytes",
        Int,
        "1048588",
        Some("message.max.bytes"),
        Number(61, INT_MAX),
        "Largest record batch accepted, as it is on the wire (compressed), in bytes."
    ),
    key!(
        "message.timestamp.after.max.ms",
        Long,
        "3600000",
        Some("log.message.timestamp.after.max.ms"),
        Number(0, MAX),
        "How far a record's timestamp may lie ahead of the broker's clock."
    ),
    key!(
        "message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
        Some("log.message.timestamp.before.max.ms"),
        Number(0, MAX),
        "How far a record's timestamp may lie behind the broker's clock."
    ),
    key!(
        "message.timestamp.type",
        String,
        "CreateTime",
        Some("log.message.timestamp.type"),
        OneOf(&["CreateTime", "LogAppendTime"]),
        "Whose clock stamps a record: the producer's or the broker's."
    ),
    key!(
        "min.cleanable.dirty.ratio",
        Double,
        "0.5",
        Some("log.cleaner.min.cleanable.ratio"),
        Ratio,
        "Share of uncompacted bytes above which a partition is compacted."
    ),
    key!(
        "min.compaction.lag.ms",
        Long,
        "0",
        Some("log.cleaner.min.compaction.lag.ms"),
        Number(0, MAX),
        "Shortest time for which a record of a compacted topic stays uncompacted."
    ),
    key!(
        "min.insync.replicas",
        Int,
        "1",
        Some("min.insync.replicas"),
        Number(1, INT_MAX),
        "Fewest copies with which a produce request with acks=all is accepted."
    ),
    key!(
        "preallocate",
        Boolean,
        "false",
        Some("log.preallocate"),
        Fixed("files grow as they are written"),
        "Whether a segment's file is allocated when it is created."
    ),
    key!(
        "remote.copy.lag.bytes",
        Long,
        "-1",
        Some("log.remote.copy.lag.bytes"),
        Fixed(NOT_TIERED),
        "Bytes for which tiering may lag behind."
    ),
    key!(
        "remote.copy.lag.ms",
        Long,
        "0",
        Some("log.remote.copy.lag.ms"),
        Fixed(NOT_TIERED),
        "Time for which tiering may lag behind."
    ),
    key!("remote.log.copy.disable", Boolean, "false", None, Fixed(NOT_TIERED), "Whether tiering is stopped."),
    key!(
        "remote.log.delete.on.disable",
        Boolean,
        "false",
        None,
        Fixed(NOT_TIERED),
        "Whether tiered data goes when tiering is stopped."
    ),
    key!(
        "remote.storage.enable",
        Boolean,
        "false",
        None,
        Fixed(NOT_TIERED),
        "Whether sealed segments are tiered."
    ),
    key!(
        "retention.bytes",
        Long,
        "-1",
        Some("log.retention.bytes"),
        Number(-1, MAX),
        "Bytes a partition may hold before its oldest segments go; -1 is no limit."
    ),
    key!(
        "retention.ms",
        Long,
        "604800000",
        Some("log.retention.ms"),
        Number(-1, MAX),
        "Age at which a segment's records go, counted from its newest record; -1 is for ever."
    ),
    key!(
        "segment.bytes",
        Int,
        "1073741824",
        Some("log.segment.bytes"),
        Number(1024, INT_MAX),
        "Size at which a segment is sealed and the next one opened."
    ),
    key!(
        "segment.index.bytes",
        Int,
        "10485760",
        Some("log.index.size.max.bytes"),
        Fixed("an index grows with its segment"),
        "Size of a segment's index."
    ),
    key!(
        "segment.jitter.ms",
        Long,
        "0",
        Some("log.roll.jitter.ms"),
        Fixed("rolls are spread by the load itself"),
        "Random part of segment.ms."
    ),
    key!(
        "segment.ms",
        Long,
        "604800000",
        Some("log.roll.ms"),
        Number(1, MAX),
        "Age at which a segment is sealed."
    ),
    key!(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        Some("unclean.leader.election.enable"),
        Fixed("a copy that may miss records is never taken silently; an operator accepts a loss by command"),
        "Whether a replica that is not in sync may lead."
    ),
];

/// The key of that name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.binary_search_by(|k| k.name.cmp(name)).ok().map(|i| &KEYS[i])
}

/// Why a setting is refused (INVALID_CONFIG); the text is for the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("unknown topic config '{name}'{}", nearest.map(|n| format!("; did you mean '{n}'?")).unwrap_or_default())]
    Unknown {
        /// What was given.
        name: String,
        /// The known key most like it.
        nearest: Option<&'static str>,
    },
    /// The value cannot be read or is out of bounds.
    #[error("{of} config '{name}' cannot be '{value}': it takes {takes}")]
    Invalid {
        /// Whose it is: "topic" or "broker".
        of: &'static str,
        /// The key.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        takes: String,
    },
    /// The key is known, and only its default is served.
    #[error("{of} config '{name}' can only be '{only}': {instead}")]
    Fixed {
        /// Whose it is: "topic" or "broker".
        of: &'static str,
        /// The key.
        name: &'static str,
        /// Its one value.
        only: &'static str,
        /// What there is instead.
        instead: &'static str,
    },
    /// Each of two settings would do, but not beside the other.
    #[error("min.compaction.lag.ms {min_ms} is more than max.compaction.lag.ms {max_ms}")]
    Lags {
        /// Shortest time for which a record stays uncompacted, in milliseconds.
        min_ms: i64,
        /// The longest.
        max_ms: i64,
    },
}

impl ConfigError {
    /// The same of a broker's setting, which has this name.
    pub fn of_broker(self, name: &'static str) -> ConfigError {
        let of = "broker";
        match self {
            ConfigError::Invalid { value, takes, .. } => ConfigError::Invalid { of, name, value, takes },
            ConfigError::Fixed { only, instead, .. } => ConfigError::Fixed { of, name, only, instead },
            other @ (ConfigError::Unknown { .. } | ConfigError::Lags { .. }) => other,
        }
    }
}

impl Key {
    /// Checks a value given for this key.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        let (of, value) = ("topic", value.trim());
        let invalid =
            |takes: String| ConfigError::Invalid { of, name: self.name, value: value.to_owned(), takes };
        match self.accepts {
            Number(min, max) => {
                let takes = || format!("a whole number from {min} to {max}");
                let number: i64 = value.parse().map_err(|_| invalid(takes()))?;
                if number < min || number > max { Err(invalid(takes())) } else { Ok(()) }
            }
            OneOf(words) if words.contains(&value) => Ok(()),
            OneOf(words) => Err(invalid(format!("one of {}", words.join(", ")))),
            Policies => match policies(value) {
                Some(_) => Ok(()),
                None => Err(invalid("delete, compact, or both with a comma between".to_owned())),
            },
            Ratio => match value.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
                _ => Err(invalid("a number from 0 to 1".to_owned())),
            },
            Fixed(_) if value == self.default => Ok(()),
            Fixed(_) if self.value_type == ValueType::Boolean && value.eq_ignore_ascii_case(self.default) => {
                Ok(())
            }
            Fixed(instead) => Err(ConfigError::Fixed { of, name: self.name, only: self.default, instead }),
        }
    }
}

/// What `cleanup.policy` says: compact, and delete. Nothing when it says neither, or something else.
fn policies(value: &str) -> Option<(bool, bool)> {
    let (mut compact, mut delete) = (false, false);
    for word in value.split(',').map(str::trim) {
        match word {
            "compact" => compact = true,
            "delete" => delete = true,
            _ => return None,
        }
    }
    Some((compact, delete))
}

/// The key of that name, or what was perhaps meant.
pub fn known(name: &str) -> Result<&'static Key, ConfigError> {
    key(name).ok_or_else(|| {
        let nearest = KEYS
            .iter()
            .map(|k| (strsim::damerau_levenshtein(name, k.name), k.name))
            .min()
            .filter(|(distance, _)| *distance <= 4)
            .map(|(_, name)| name);
        ConfigError::Unknown { name: name.to_owned(), nearest }
    })
}

/// Checks one setting as CreateTopics brings it.
pub fn check(name: &str, value: &str) -> Result<&'static Key, ConfigError> {
    let key = known(name)?;
    key.check(value)?;
    Ok(key)
}

/// Checks the settings of a topic, each of which was found right, beside each other.
pub fn check_together(topic: &BTreeMap<String, String>, server: &ServerValues) -> Result<(), ConfigError> {
    let config = TopicConfig::resolve(topic, server);
    let (min_ms, max_ms) = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
    if min_ms > max_ms { Err(ConfigError::Lags { min_ms, max_ms }) } else { Ok(()) }
}

/// A topic's settings in force: its own over the server's over the defaults.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `max.compaction.lag.ms`, `i64::MAX` for none.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `buslane.durability`.
    pub durability: Durability,
    /// `buslane.validation` is `strict`.
    pub strict_validation: bool,
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// `retention.bytes`, none for no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`, none for ever.
    pub retention_ms: Option<i64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: i64,
}

/// Where a value in force comes from, as DescribeConfigs tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Set on the topic.
    Topic,
    /// Changed while it ran, for this broker.
    Broker,
    /// Changed while they ran, for all brokers.
    AllBrokers,
    /// Set in the server's configuration file.
    Server,
    /// The key's default.
    Default,
}

/// The value of a key in force, and where it comes from.
pub fn effective<'a>(
    key: &'static Key,
    topic: &'a BTreeMap<String, String>,
    server: &'a ServerValues,
) -> (&'a str, Source) {
    if let Some(value) = topic.get(key.name) {
        return (value.trim(), Source::Topic);
    }
    key.server_key.and_then(|name| server.get(name)).unwrap_or((key.default, Source::Default))
}

impl TopicConfig {
    /// The settings in force. Both maps hold checked values only (see [`check`]); one that is not, written by another
    /// version of the program, falls back to the key's default.
    pub fn resolve(topic: &BTreeMap<String, String>, server: &ServerValues) -> TopicConfig {
        let text = |name: &str| {
            let key = key(name).expect("the name is one of KEYS");
            let (value, _) = effective(key, topic, server);
            if key.check(value).is_ok() { value } else { key.default }
        };
        let number = |name: &str| text(name).parse::<i64>().expect("checked to be a number");
        let (compact, delete) = policies(text("cleanup.policy")).expect("checked to be policies");
        TopicConfig {
            compact,
            delete,
            delete_retention_ms: number("delete.retention.ms"),
            max_compaction_lag_ms: number("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio")
                .parse()
                .expect("checked to be a number"),
            min_compaction_lag_ms: number("min.compaction.lag.ms"),
            durability: Durability::parse(text("buslane.durability")).unwrap_or_default(),
            strict_validation: text("buslane.validation") == "strict",
            max_message_bytes: number("max.message.bytes") as usize,
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_type: match text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_insync_replicas: number("min.insync.replicas") as usize,
            retention_bytes: u64::try_from(number("retention.bytes")).ok(),
            retention_ms: Some(number("retention.ms")).filter(|ms| *ms >= 0),
            segment_bytes: number("segment.bytes") as u64,
            segment_ms: number("segment.ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn keys_are_sorted_and_their_defaults_are_accepted() {
        assert!(KEYS.windows(2).all(|w| w[0].name < w[1].name));
        for key in KEYS {
            assert_eq!(key.check(key.default), Ok(()), "{}", key.name);
        }
    }

    #[test]
    fn the_shortest_lag_is_not_above_the_longest_whoever_sets_them() {
        let lags = |topic: &[(&str, &str)], server: &[(&str, &str)]| {
            check_together(&map(topic), &ServerValues::of_file(map(server)))
        };
        let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        assert_eq!(lags(&[(min, "10"), (max, "10")], &[]), Ok(()));
        let refused = Err(ConfigError::Lags { min_ms: 11, max_ms: 10 });
        assert_eq!(lags(&[(min, "11"), (max, "10")], &[]), refused);
        assert_eq!(lags(&[(min, "11")], &[("log.cleaner.max.compaction.lag.ms", "10")]), refused);
    }

    #[test]
    fn words_for_yes_and_no_are_taken_in_any_case() {
        assert_eq!(key("preallocate").unwrap().check("FALSE"), Ok(()));
        assert!(key("preallocate").unwrap().check("TRUE").is_err());
    }

    #[test]
    fn the_topic_wins_over_the_server_and_the_server_over_the_default() {
        let server =
            ServerValues::of_file(map(&[("log.retention.ms", "5000"), ("log.segment.bytes", "2048")]));
        let config = TopicConfig::resolve(&map(&[("retention.ms", "7000")]), &server);
        assert_eq!((config.retention_ms, config.segment_bytes), (Some(7000), 2048));
        assert_eq!(config.retention_bytes, None);
        let none = BTreeMap::new();
        let (value, source) = effective(key("segment.bytes").unwrap(), &none, &server);
        assert_eq!((value, source), ("2048", Source::Server));
        assert_eq!(
            TopicConfig::resolve(&map(&[("retention.ms", "-1")]), &ServerValues::default()).retention_ms,
            None
        );
    }

    #[test]
    fn what_is_not_served_is_refused_and_says_what_there_is_instead() {
        let preallocated = check("preallocate", "true").unwrap_err();
        assert_eq!(
            preallocated.to_string(),
            "topic config 'preallocate' can only be 'false': files grow as they are written"
        );
        assert!(check("flush.messages", "1").unwrap_err().to_string().contains("buslane.durability=synced"));
        let unknown = check("retention.mss", "1").unwrap_err();
        assert_eq!(unknown.to_string(), "unknown topic config 'retention.mss'; did you mean 'retention.ms'?");
        let bad = check("segment.bytes", "10").unwrap_err();
        assert_eq!(
            bad.to_string(),
            "topic config 'segment.bytes' cannot be '10': it takes a whole number from 1024 to 2147483647"
        );
        assert!(check("message.timestamp.type", "Sometimes").is_err());
    }

    #[test]
    fn policies_and_ratios_are_read_as_kafka_writes_them() {
        for (value, expected) in [
            ("delete", (false, true)),
            ("compact", (true, false)),
            ("compact,delete", (true, true)),
            ("delete, compact", (true, true)),
        ] {
            assert!(check("cleanup.policy", value).is_ok());
            let config = TopicConfig::resolve(&map(&[("cleanup.policy", value)]), &ServerValues::default());
            assert_eq!((config.compact, config.delete), expected, "{value}");
        }
        for wrong in ["", "compact,", "Compact", "compact;delete", "none"] {
            assert!(check("cleanup.policy", wrong).is_err(), "{wrong}");
        }
        for right in ["0", "1", "0.01", "1.0", "5e-1"] {
            assert!(check("min.cleanable.dirty.ratio", right).is_ok(), "{right}");
        }
        for wrong in ["", "-0.1", "1.01", "NaN", "half", "inf"] {
            assert!(check("min.cleanable.dirty.ratio", wrong).is_err(), "{wrong}");
        }
    }
}

//! The settings that the coordinator obeys.

use crate::consumer::ConsumerGroupConfig;

/// Settings of groups and of offsets, with Kafka 4.x's defaults (but for the first delay: docs/decisions/0013). Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`: an empty group waits this long for more members before its first generation,
    /// again and again while more come, up to the rebalance timeout. 0 for not at all.
    pub initial_rebalance_delay_ms: i32,
    /// A new member whose JoinGroup is still unanswered after this long is taken for dead (a constant in Kafka).
    pub new_member_join_timeout_ms: i32,
    /// `group.max.size`: members of a group, at most.
    pub group_max_size: usize,
    /// `offset.metadata.max.bytes`: UTF-16 units of an offset's text, at most, as Kafka counts.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// Key and value of one record, at most: what fits a batch of `__consumer_offsets` (its `max.message.bytes`, less the
    /// batch's and the record's own fields).
    pub record_max_bytes: usize,
    /// Groups of the consumer protocol.
    pub consumer: ConsumerGroupConfig,
    /// Records that one run of the expiry makes, at most; the rest follows in the next run, at once.
    pub expiry_batch: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 1_000,
            new_member_join_timeout_ms: 300_000,
            group_max_size: i32::MAX as usize,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
            record_max_bytes: 1_048_588 - 128,
            consumer: ConsumerGroupConfig::default(),
            expiry_batch: 1_000,
        }
    }
}

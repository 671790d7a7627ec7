//! The settings that a consumer group obeys.

use super::assignor::AssignorKind;

/// Settings of consumer groups; the broker's, with the group's own over them. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`: a member that is silent this long is removed.
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: told to members in every answer.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`: members of a group, at most.
    pub max_size: usize,
    /// `group.consumer.assignors`: the first is used where no member asks for one.
    pub assignors: Vec<AssignorKind>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`: patterns are resolved again after this long, though no topic changed:
    /// what a member may see can change without one.
    pub regex_refresh_interval_ms: i64,
    /// `group.consumer.assignment.interval.ms` (KIP-1263): no target is computed sooner than this after the last. Kafka's
    /// default is 1000, to spare its processor; ours is 0, because one computation takes milliseconds even for a thousand
    /// members, and each wait delays the rebalance by as much.
    pub assignment_interval_ms: i64,
    /// `group.max.size`: members of a classic group, at most; a larger consumer group is not turned into one.
    pub classic_max_size: usize,
}

impl Default for ConsumerGroupConfig {
    fn default() -> ConsumerGroupConfig {
        ConsumerGroupConfig {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            max_size: i32::MAX as usize,
            assignors: vec![AssignorKind::Uniform, AssignorKind::Range],
            migration_policy: MigrationPolicy::Bidirectional,
            regex_refresh_interval_ms: 600_000,
            assignment_interval_ms: 0,
            classic_max_size: i32::MAX as usize,
        }
    }
}

impl ConsumerGroupConfig {
    /// The assignor used where no member asks for one.
    pub fn default_assignor(&self) -> AssignorKind {
        self.assignors.first().copied().unwrap_or(AssignorKind::Uniform)
    }
}

/// Which way a group may go over to the other protocol while it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MigrationPolicy {
    /// Neither way.
    Disabled,
    /// Classic to consumer, when a member of the consumer protocol joins.
    Upgrade,
    /// Consumer to classic, when the last member of the consumer protocol goes.
    Downgrade,
    /// Both.
    #[default]
    Bidirectional,
}

impl MigrationPolicy {
    /// The policy of this name, in any case.
    pub fn parse(text: &str) -> Option<MigrationPolicy> {
        [
            MigrationPolicy::Disabled,
            MigrationPolicy::Upgrade,
            MigrationPolicy::Downgrade,
            MigrationPolicy::Bidirectional,
        ]
        .into_iter()
        .find(|policy| policy.as_str().eq_ignore_ascii_case(text))
    }

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            MigrationPolicy::Disabled => "disabled",
            MigrationPolicy::Upgrade => "upgrade",
            MigrationPolicy::Downgrade => "downgrade",
            MigrationPolicy::Bidirectional => "bidirectional",
        }
    }

    /// True when a classic group may become a consumer group.
    pub fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    /// True when a consumer group may become a classic group.
    pub fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

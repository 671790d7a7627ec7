//! The section of groups: Kafka's settings of the group coordinator, and what the coordinator is told.
//!
//! Kafka's smallest and largest values of `group.consumer.session.timeout.ms` and its like bound what a single group may be
//! given by a dynamic setting of its own; there are none here, so there is nothing to bound.

use std::time::Duration;

use buslane_group::consumer::{AssignorKind, ConsumerGroupConfig, MigrationPolicy};
use toml::de::DeValue;

use super::section::section;
use super::value::{ByteSize, ConfigValue, quoted};

section! {
    /// Consumer groups and the offsets they commit.
    GroupsSection "groups" {
        /// Shortest session timeout that a member of a classic group may ask for.
        session_timeout_min: Duration = "6s" in "1ms"..="1d" kafka "group.min.session.timeout.ms";
        /// Longest session timeout that a member of a classic group may ask for.
        session_timeout_max: Duration = "30m" in "1ms"..="1d" kafka "group.max.session.timeout.ms";
        /// How long an empty classic group waits for more members before its first generation; Kafka has 3s.
        initial_rebalance_delay: Duration = "1s" in "0s"..="1h" kafka "group.initial.rebalance.delay.ms";
        /// Members of a classic group, at most.
        size_max: u32 = "2147483647" in "1"..="2147483647" kafka "group.max.size";
        /// Silence after which a member of the consumer protocol is removed.
        consumer_session_timeout: Duration = "45s" in "1ms"..="1d" kafka "group.consumer.session.timeout.ms";
        /// How often members of the consumer protocol are told to send heartbeats.
        consumer_heartbeat_interval: Duration = "5s" in "1ms"..="1h"
            kafka "group.consumer.heartbeat.interval.ms";
        /// Members of a group of the consumer protocol, at most.
        consumer_size_max: u32 = "2147483647" in "1"..="2147483647" kafka "group.consumer.max.size";
        /// Assignors that members of the consumer protocol may ask for; the first where none asks.
        consumer_assignors: Assignors = "uniform,range" kafka "group.consumer.assignors";
        /// Which way a group may change its protocol while it has members.
        consumer_migration: MigrationPolicy = "bidirectional" kafka "group.consumer.migration.policy";
        /// Shortest time between two new assignments of a group of the consumer protocol; Kafka has 1s.
        consumer_assignment_interval: Duration = "0s" in "0s"..="1h"
            kafka "group.consumer.assignment.interval.ms";
        /// How often subscriptions by pattern are resolved anew though no topic changed.
        consumer_regex_refresh: Duration = "10m" in "10s"..="1d"
            kafka "group.consumer.regex.refresh.interval.ms";
        /// Longest text of a committed offset, in UTF-16 units.
        offset_metadata_max: ByteSize = "4KiB" in "0B"..="31KiB" kafka "offset.metadata.max.bytes";
        /// Offsets of a group without members, or of topics it does not read, are dropped after this time.
        offsets_retention: Duration = "7d" in "1s"..="3650d" kafka "offsets.retention.minutes";
        /// How often expired offsets are looked for.
        offsets_retention_check: Duration = "10m" in "100ms"..="1d"
            kafka "offsets.retention.check.interval.ms";
    }
}

/// At most a day, by the bounds above, but for the retention.
fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

impl GroupsSection {
    /// What the coordinator is told.
    pub fn coordinator(&self) -> buslane_group::Config {
        buslane_group::Config {
            session_timeout_min_ms: millis(self.session_timeout_min),
            session_timeout_max_ms: millis(self.session_timeout_max),
            initial_rebalance_delay_ms: millis(self.initial_rebalance_delay),
            group_max_size: self.size_max as usize,
            offset_metadata_max: self.offset_metadata_max.as_usize(),
            offsets_retention_ms: self.offsets_retention.as_millis() as i64,
            offsets_retention_check_interval_ms: self.offsets_retention_check.as_millis() as i64,
            consumer: ConsumerGroupConfig {
                session_timeout_ms: millis(self.consumer_session_timeout),
                heartbeat_interval_ms: millis(self.consumer_heartbeat_interval),
                max_size: self.consumer_size_max as usize,
                assignors: self.consumer_assignors.0.clone(),
                migration_policy: self.consumer_migration,
                regex_refresh_interval_ms: i64::from(millis(self.consumer_regex_refresh)),
                assignment_interval_ms: i64::from(millis(self.consumer_assignment_interval)),
                classic_max_size: self.size_max as usize,
            },
            ..buslane_group::Config::default()
        }
    }

    /// What keys must be to each other.
    pub(super) fn check(&self, wrong: &mut impl FnMut(&str, String)) {
        if self.session_timeout_min > self.session_timeout_max {
            wrong(
                "groups.session_timeout_min",
                "must not be longer than groups.session_timeout_max".to_owned(),
            );
        }
        if self.consumer_heartbeat_interval >= self.consumer_session_timeout {
            wrong(
                "groups.consumer_heartbeat_interval",
                "must be shorter than groups.consumer_session_timeout".to_owned(),
            );
        }
    }
}

/// Assignors, best first: at least one, none twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignors(pub Vec<AssignorKind>);

impl Assignors {
    fn of_names<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Option<Assignors> {
        let mut found = Vec::new();
        for name in names {
            let kind = AssignorKind::parse(name?.trim())?;
            if found.contains(&kind) {
                return None;
            }
            found.push(kind);
        }
        (!found.is_empty()).then_some(Assignors(found))
    }

    /// As Kafka writes it.
    pub fn joined(&self) -> String {
        self.0.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")
    }
}

impl ConfigValue for Assignors {
    const TAKES: &'static str = "an array of names, best first, of \"uniform\" and \"range\"";

    fn from_text(text: &str) -> Option<Assignors> {
        Assignors::of_names(text.split(',').map(Some))
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Assignors> {
        Assignors::of_names(value.as_array()?.iter().map(|name| name.get_ref().as_str()))
    }

    fn to_toml(&self) -> String {
        format!("[{}]", self.0.iter().map(|kind| quoted(kind.name())).collect::<Vec<_>>().join(", "))
    }
}

impl ConfigValue for MigrationPolicy {
    const TAKES: &'static str = "one of \"bidirectional\", \"upgrade\", \"downgrade\", \"disabled\"";

    fn from_text(text: &str) -> Option<MigrationPolicy> {
        MigrationPolicy::parse(text)
    }

    fn to_toml(&self) -> String {
        quoted(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_coordinators() {
        assert_eq!(GroupsSection::default().coordinator(), buslane_group::Config::default());
    }

    #[test]
    fn assignors_are_names_in_an_order() {
        let (uniform, range) = (AssignorKind::Uniform, AssignorKind::Range);
        for (text, kinds) in [("range", vec![range]), ("range, uniform", vec![range, uniform])] {
            assert_eq!(Assignors::from_text(text), Some(Assignors(kinds)));
        }
        for wrong in ["", "sticky", "range,range", "range,"] {
            assert_eq!(Assignors::from_text(wrong), None, "{wrong}");
        }
        assert_eq!(Assignors(vec![uniform, range]).to_toml(), r#"["uniform", "range"]"#);
    }
}

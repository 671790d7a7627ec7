//! The shard out of its log.

use std::sync::Arc;

use super::{Call, Group, Shard};
use crate::api::Effects;
use crate::classic::ClassicGroup;
use crate::consumer::{ConsumerGroup, Fact};
use crate::offsets::StoredOffset;
use crate::records::{self, GroupMetadataKey, GroupMetadataValue, Known, Parsed, RecordError};
use crate::turn::Timer;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is part of the state now.
    Applied,
    /// It is of a kind that this shard does not hold: share groups, streams groups, a later Kafka's. It stays in the log.
    PassedOver {
        /// The number in front of the key.
        record_type: i16,
        /// The value's version, when that is what is not known.
        value_version: Option<i16>,
    },
}

impl Shard {
    /// A record of the log, in the log's order; control batches and aborted transactions left out.
    ///
    /// # Errors
    /// When a record of a known type and version does not parse: the log is damaged. Nothing has changed.
    ///
    /// # Panics
    /// After [`Shard::loaded`].
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Replayed, RecordError> {
        assert!(!self.loaded, "records are replayed before requests are served");
        // Nothing that a replayed record does depends on the time.
        let mut call = self.call(0);
        match records::parse(key, value)? {
            Parsed::Known(Known::OffsetCommit(key, value)) => {
                call.replay_offset(
                    key.group,
                    key.topic,
                    key.partition,
                    value.as_ref().map(StoredOffset::of_value),
                );
            }
            Parsed::Known(Known::LegacyOffsetCommit(key, value)) => {
                let value = value.map(|value| StoredOffset::of_value(&value.into()));
                call.replay_offset(key.group, key.topic, key.partition, value);
            }
            Parsed::Known(Known::GroupMetadata(key, value)) => call.replay_group(&key, value.as_ref()),
            Parsed::Known(known) => {
                if let Some((group, fact)) = Fact::from_record(&known) {
                    call.replay_fact(group, fact);
                    return Ok(Replayed::Applied);
                }
                // What Kafka before 4.1 knew of a group's topics: nothing that is needed.
                let record_type = i16::from_be_bytes([key[0], key[1]]);
                return Ok(Replayed::PassedOver { record_type, value_version: None });
            }
            Parsed::Unknown { record_type, value_version } => {
                return Ok(Replayed::PassedOver { record_type, value_version });
            }
        }
        Ok(Replayed::Applied)
    }

    /// The log is replayed to its end: requests are served from now on. Members have a whole session timeout to show that
    /// they are alive, since nobody could have heard them before.
    ///
    /// # Panics
    /// When it is loaded already.
    pub fn loaded(&mut self, now_ms: i64) -> Effects {
        assert!(!self.loaded, "a shard is loaded once");
        self.loaded = true;
        let mut call = self.call(now_ms);
        // The log may have broken off while a group went over to the other protocol: its offsets must not outlive it.
        for (id, _) in call.offsets.iter() {
            if !call.groups.contains_key(id) {
                call.groups.insert(id.clone(), Group::Classic(ClassicGroup::new(id.clone(), None)));
            }
        }
        let turn = &mut call.turn;
        let mut groups: Vec<_> = call.groups.iter_mut().collect();
        groups.sort_by_key(|(id, _)| Arc::clone(id));
        let mut consumers = Vec::new();
        for (id, group) in groups {
            let group = match group {
                Group::Classic(group) => group,
                Group::Consumer(group) => {
                    group.loaded(now_ms, &turn.config.consumer);
                    consumers.push(id.clone());
                    continue;
                }
            };
            let member_ids: Vec<_> = group.members().map(|member| member.id.clone()).collect();
            for member_id in &member_ids {
                group.restart_session(turn, member_id);
            }
            if member_ids.len() > turn.config.group_max_size {
                // The rebalance lets the members commit before the last ones find no room.
                group.prepare_rebalance(
                    turn,
                    "the loaded group has more members than a group may have".into(),
                );
            }
        }
        for id in consumers {
            call.set_consumer_deadline(&id);
        }
        let turn = &mut call.turn;
        let first_look = turn.now_ms.saturating_add(turn.config.offsets_retention_check_interval_ms.max(1));
        turn.timers.set(Timer::Expiry, first_look);
        call.turn.finish()
    }
}

impl Call<'_> {
    fn replay_offset(&mut self, group: &str, topic: &str, partition: i32, offset: Option<StoredOffset>) {
        match offset {
            Some(offset) => self.put_offset(group, topic, partition, offset),
            None => self.offsets.remove(group, topic, partition),
        }
    }

    /// A fact makes its group, in the place of one that only stands for offsets or went over; what removes makes none.
    fn replay_fact(&mut self, id: &str, fact: Fact) {
        let removes = matches!(
            fact,
            Fact::GroupRemoved
                | Fact::MemberRemoved { .. }
                | Fact::TargetEpochRemoved
                | Fact::TargetRemoved { .. }
                | Fact::CurrentAssignmentRemoved { .. }
                | Fact::RegexRemoved { .. }
        );
        if !matches!(self.groups.get(id), Some(Group::Consumer(_))) {
            if removes {
                return;
            }
            self.groups.insert(id.into(), Group::Consumer(ConsumerGroup::new(id)));
        }
        let Some(Group::Consumer(group)) = self.groups.get_mut(id) else { unreachable!("it was just made") };
        let gone = fact == Fact::GroupRemoved;
        group.replay(fact);
        if gone {
            self.groups.remove(id);
        }
    }

    fn replay_group(&mut self, key: &GroupMetadataKey<'_>, value: Option<&GroupMetadataValue<'_>>) {
        match value {
            Some(value) => {
                let id: Arc<str> = key.group.into();
                let group = ClassicGroup::of_value(id.clone(), value);
                self.groups.insert(id, Group::Classic(group));
            }
            None => {
                // A group that went over to the other protocol has left its old record's tombstone behind.
                if let Some(Group::Classic(_)) = self.groups.get(key.group) {
                    self.groups.remove(key.group);
                }
            }
        }
    }
}

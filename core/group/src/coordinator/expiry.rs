//! Offsets and groups that nobody needs any more (KIP-211): looked for from time to time, a bounded number at once.

use std::sync::Arc;

use super::{Call, Group};
use crate::classic::Retention;
use crate::turn::Timer;

impl Call<'_> {
    /// One run. It ends at the batch's bound and goes on in the next one at once.
    pub(super) fn expire(&mut self) {
        if self.expiry_queue.is_empty() {
            let mut all: Vec<Arc<str>> = self.groups.keys().cloned().collect();
            all.sort();
            self.expiry_queue.extend(all);
        }
        while self.turn.record_count() < self.turn.config.expiry_batch {
            let Some(group) = self.expiry_queue.front().cloned() else { break };
            if self.expire_group(&group) {
                self.expiry_queue.pop_front();
            }
        }
        let next = match self.expiry_queue.is_empty() {
            true => {
                self.turn.now_ms.saturating_add(self.turn.config.offsets_retention_check_interval_ms.max(1))
            }
            false => self.turn.now_ms,
        };
        self.turn.timers.set(Timer::Expiry, next);
    }

    /// Removes what has expired of a group, the group too when nothing is left. False when the batch is full before.
    fn expire_group(&mut self, id: &Arc<str>) -> bool {
        let (retention, may_expire) = match self.groups.get(id) {
            Some(Group::Classic(group)) => (group.retention(), group.may_expire()),
            Some(Group::Consumer(group)) => (Retention::FromCommit, group.members().is_empty()),
            None => return true,
        };
        let (now_ms, keep_ms) = (self.turn.now_ms, self.turn.config.offsets_retention_ms);
        let room = self.turn.config.expiry_batch.saturating_sub(self.turn.record_count()).max(1);
        let mut expired = Vec::new();
        for (topic, partitions) in self.offsets.of_group(id).into_iter().flatten() {
            if self.is_subscribed(id, topic) {
                continue;
            }
            for (index, offset) in partitions {
                let since_ms = match retention {
                    Retention::Never => continue,
                    Retention::FromCommit => offset.commit_timestamp_ms,
                    Retention::Since(since_ms) => since_ms,
                };
                if expired.len() < room && offset.is_expired(now_ms, since_ms, keep_ms) {
                    expired.push((topic.clone(), *index));
                }
            }
        }
        let full = expired.len() == room;
        for (topic, index) in expired {
            self.remove_offset(id, &topic, index);
        }
        if self.offsets.of_group(id).is_none() && may_expire {
            self.remove_empty_group(id);
            return true;
        }
        !full
    }
}

//! What one call gathers: records, replies, events, timers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::{Append, AppendId, Effects, Event, Reply, RequestId};
use crate::config::Config;
use crate::records::Record;
use crate::timers::Timers;

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// A classic member's session, or a new member's promise to come back with its id.
    Member { group: Arc<str>, member_id: Arc<str> },
    /// Members of a classic group have until then to rejoin.
    Join { group: Arc<str> },
    /// Members of a classic group have until then to sync.
    Sync { group: Arc<str> },
    /// A group of the consumer protocol has something to do.
    Consumer { group: Arc<str> },
    /// Offsets and groups are looked through for expired ones.
    Expiry,
}

/// What happens once an append is committed.
#[derive(Debug)]
pub(crate) enum AfterCommit {
    /// A reply goes out.
    Reply(RequestId, Reply),
    /// A leader's assignment takes effect, if the group is still where it was.
    Assigned { group: Arc<str>, append: AppendId, assignments: Vec<(Arc<str>, Bytes)> },
}

/// Appends that are not committed yet, and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Highest id given out.
    last: AppendId,
    /// Highest id known to be committed.
    committed: AppendId,
    waiting: VecDeque<(AppendId, AfterCommit)>,
}

impl Outbox {
    /// Takes out the next thing that no longer has to wait.
    pub fn pop_committed(&mut self) -> Option<AfterCommit> {
        let due = self.waiting.front().is_some_and(|(id, _)| *id <= self.committed);
        if due { self.waiting.pop_front().map(|(_, after)| after) } else { None }
    }

    /// Everything up to `id` is committed.
    ///
    /// # Panics
    /// When there is no such append.
    pub fn advance(&mut self, id: AppendId) {
        assert!(id <= self.last, "append {id:?} was never made, the last is {:?}", self.last);
        self.committed = self.committed.max(id);
    }

    /// Takes out everything, committed or not.
    pub fn drain(&mut self) -> impl Iterator<Item = AfterCommit> + '_ {
        self.waiting.drain(..).map(|(_, after)| after)
    }

    /// True when every append is committed and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.committed == self.last
    }
}

/// One call: the time it is made at, what it may change beside its group, and what it leads to.
pub(crate) struct Turn<'s> {
    pub now_ms: i64,
    pub config: &'s Config,
    pub timers: &'s mut Timers<Timer>,
    outbox: &'s mut Outbox,
    records: Vec<Record>,
    effects: Effects,
}

impl<'s> Turn<'s> {
    pub fn new(
        now_ms: i64,
        config: &'s Config,
        timers: &'s mut Timers<Timer>,
        outbox: &'s mut Outbox,
    ) -> Turn<'s> {
        Turn { now_ms, config, timers, outbox, records: Vec::new(), effects: Effects::default() }
    }

    /// Ends the call. All of its records form one append.
    pub fn finish(mut self) -> Effects {
        if !self.records.is_empty() {
            let id = AppendId(self.outbox.last.0 + 1);
            self.outbox.last = id;
            self.effects.append = Some(Append { id, records: self.records });
        }
        self.effects
    }

    /// A record to be written.
    pub fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Records of this call so far.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// Answers at once: for what depends on no record, and for errors.
    pub fn reply(&mut self, to: RequestId, reply: Reply) {
        self.effects.replies.push((to, reply));
    }

    /// Answers once everything that this call and those before it wrote is committed.
    pub fn reply_committed(&mut self, to: RequestId, reply: Reply) {
        if self.records.is_empty() && self.outbox.is_idle() {
            self.reply(to, reply);
        } else {
            self.after_commit(AfterCommit::Reply(to, reply));
        }
    }

    /// Does something once everything that this call and those before it wrote is committed.
    pub fn after_commit(&mut self, after: AfterCommit) {
        self.outbox.waiting.push_back((self.append_id(), after));
    }

    /// The append that this call's records will form, or the last one while there are none.
    pub fn append_id(&self) -> AppendId {
        AppendId(self.outbox.last.0 + u64::from(!self.records.is_empty()))
    }

    /// Something to be known.
    pub fn event(&mut self, event: Event) {
        self.effects.events.push(event);
    }

    /// Takes out the next thing that no longer has to wait.
    pub fn pop_committed(&mut self) -> Option<AfterCommit> {
        self.outbox.pop_committed()
    }

    /// The time `timeout_ms` from now; a negative one is none at all.
    pub fn after(&self, timeout_ms: i32) -> i64 {
        self.now_ms.saturating_add(i64::from(timeout_ms.max(0)))
    }
}

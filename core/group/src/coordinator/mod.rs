//! One shard: the groups and offsets of one partition of `__consumer_offsets`.

mod admin;
mod consumer;
mod expiry;
mod membership;
mod offsets;
mod replay;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use buslane_wire::ErrorCode;

pub use replay::Replayed;

use crate::api::{AppendId, Effects, JoinGroupReply, Reply, Request, RequestId, SyncGroupReply};
use crate::classic::ClassicGroup;
use crate::config::Config;
use crate::consumer::{ConsumerGroup, TopicsView};
use crate::offsets::{Offsets, StoredOffset};
use crate::timers::Timers;
use crate::turn::{AfterCommit, Outbox, Timer, Turn};

/// A group of any protocol.
#[derive(Debug)]
enum Group {
    /// The classic protocol, and simple consumers' offsets.
    Classic(ClassicGroup),
    /// The consumer protocol (KIP-848), perhaps with classic members.
    Consumer(ConsumerGroup),
}

/// The groups and offsets of one partition of `__consumer_offsets`.
///
/// # Life
/// 1. [`Shard::new`] when this process becomes the partition's owner; [`Shard::replay`] each record up to the log's end;
///    [`Shard::loaded`].
/// 2. [`Shard::handle`] each request, [`Shard::committed`] when an append is committed, [`Shard::on_time`] at
///    [`Shard::next_deadline`], [`Shard::topics_deleted`] when topics go. Each returns [`Effects`]: records to write, replies
///    to send.
/// 3. [`Shard::unload`] when the ownership ends **or an append fails**: the shard's state runs ahead of the log, so a shard
///    whose log refused a record is wrong. Every request that still waits gets its error; the shard is dropped and, if this
///    process is still the owner, a new one replays the log.
///
/// # Time
/// `now_ms` is milliseconds since 1970 that never go back and do not jump: the wall clock at some start plus the monotonic
/// time since. It dates records and drives deadlines.
///
/// # Guarantees
/// Each request is answered exactly once, by one of these calls. A reply that tells of records comes after they are committed;
/// a read (OffsetFetch, DescribeGroups, ListGroups) waits for the appends made before it, so nobody sees what may still be
/// lost. Before [`Shard::loaded`] every request is answered COORDINATOR_LOAD_IN_PROGRESS.
#[derive(Debug)]
pub struct Shard {
    config: Config,
    loaded: bool,
    groups: HashMap<Arc<str>, Group>,
    offsets: Offsets,
    timers: Timers<Timer>,
    outbox: Outbox,
    /// Groups that the running look for expired offsets has not reached.
    expiry_queue: VecDeque<Arc<str>>,
}

/// A group as metrics see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSummary<'s> {
    /// Its id.
    pub group: &'s str,
    /// Kafka's name of its type: `Classic`, `Consumer`.
    pub group_type: &'static str,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Its members.
    pub members: usize,
    /// Its generation or epoch.
    pub generation: i32,
}

impl Shard {
    /// A shard that knows nothing and answers nothing yet.
    pub fn new(config: Config) -> Shard {
        Shard {
            config,
            loaded: false,
            groups: HashMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            expiry_queue: VecDeque::new(),
        }
    }

    /// Replaces the settings. Deadlines that run keep their times.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// A request. `topics` is how the cluster looks now.
    pub fn handle(
        &mut self,
        now_ms: i64,
        to: RequestId,
        request: Request,
        topics: &dyn TopicsView,
    ) -> Effects {
        if !self.loaded {
            let reply = request.refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
            return Effects { replies: vec![(to, reply)], ..Effects::default() };
        }
        let mut call = self.call(now_ms);
        match request {
            Request::JoinGroup(request) => call.join_group(to, request, topics),
            Request::SyncGroup(request) => call.sync_group(to, request, topics),
            Request::Heartbeat(request) => call.heartbeat(to, &request, topics),
            Request::LeaveGroup(request) => call.leave_group(to, request, topics),
            Request::OffsetCommit(request) => call.offset_commit(to, &request, topics),
            Request::OffsetFetch(request) => call.offset_fetch(to, &request, topics),
            Request::OffsetDelete(request) => call.offset_delete(to, &request, topics),
            Request::DescribeGroups(request) => call.describe_groups(to, &request),
            Request::ListGroups(request) => call.list_groups(to, &request),
            Request::DeleteGroups(request) => call.delete_groups(to, &request),
            Request::ConsumerGroupHeartbeat(request) => call.consumer_heartbeat(to, request, topics),
            Request::ConsumerGroupDescribe(request) => call.consumer_describe(to, &request),
        }
        call.turn.finish()
    }

    /// Every append up to `id` is committed.
    ///
    /// # Panics
    /// When no such append was made.
    pub fn committed(&mut self, now_ms: i64, id: AppendId) -> Effects {
        self.outbox.advance(id);
        let mut call = self.call(now_ms);
        while let Some(after) = call.turn.pop_committed() {
            match after {
                AfterCommit::Reply(to, reply) => call.turn.reply(to, reply),
                AfterCommit::Assigned { group, append, assignments } => {
                    if let Some(Group::Classic(group)) = call.groups.get_mut(&group) {
                        group.assignment_committed(&mut call.turn, append, assignments);
                    }
                }
            }
        }
        call.turn.finish()
    }

    /// When [`Shard::on_time`] has something to do, in milliseconds; may be in the past.
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    /// Does what is due. `topics` is how the cluster looks now.
    pub fn on_time(&mut self, now_ms: i64, topics: &dyn TopicsView) -> Effects {
        let mut call = self.call(now_ms);
        let later = call.turn.timers.later();
        while let Some(timer) = call.turn.timers.pop_due(now_ms, later) {
            match timer {
                Timer::Member { group, member_id } => {
                    call.classic_of_timer(&group, |group, turn| group.member_silent(turn, &member_id));
                }
                Timer::Join { group } => call.classic_of_timer(&group, ClassicGroup::join_deadline_passed),
                Timer::Sync { group } => call.classic_of_timer(&group, ClassicGroup::sync_deadline_passed),
                Timer::Consumer { group } => call.consumer_deadline_passed(&group, topics),
                Timer::Expiry => call.expire(),
            }
        }
        call.turn.finish()
    }

    /// Ends the shard: everything that still waits is answered with `error` (NOT_COORDINATOR when another process owns the
    /// partition now, COORDINATOR_NOT_AVAILABLE when an append failed). Nothing but dropping it may follow.
    pub fn unload(&mut self, error: ErrorCode) -> Vec<(RequestId, Reply)> {
        self.loaded = false;
        let mut replies = Vec::new();
        for after in self.outbox.drain() {
            if let AfterCommit::Reply(to, mut reply) = after {
                reply.fail(error);
                replies.push((to, reply));
            }
        }
        for group in self.groups.values_mut() {
            // Consumer groups hold no request back.
            let Group::Classic(group) = group else { continue };
            for member in group.members_mut() {
                if let Some(join) = member.awaiting_join.take() {
                    replies.push((join, Reply::JoinGroup(JoinGroupReply::error(member.id.clone(), error))));
                }
                if let Some(sync) = member.awaiting_sync.take() {
                    replies.push((sync, Reply::SyncGroup(SyncGroupReply::error(error))));
                }
            }
        }
        self.groups.clear();
        replies
    }

    /// Every group, in no order. For metrics.
    pub fn groups(&self) -> impl Iterator<Item = GroupSummary<'_>> {
        self.groups.values().map(|group| match group {
            Group::Classic(group) => GroupSummary {
                group: &group.id,
                group_type: "classic",
                state: group.state().name(),
                members: group.members().len(),
                generation: group.generation,
            },
            Group::Consumer(group) => GroupSummary {
                group: group.group_id(),
                group_type: "consumer",
                state: group.state().name(),
                members: group.members().len(),
                generation: group.epoch(),
            },
        })
    }

    /// Every offset with its group, topic and partition, in no order. For metrics: some may not be committed yet.
    pub fn offsets(&self) -> impl Iterator<Item = (&str, &str, i32, &StoredOffset)> {
        self.offsets.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(topic, partitions)| {
                partitions.iter().map(move |(partition, offset)| (&**group, &**topic, *partition, offset))
            })
        })
    }

    fn call(&mut self, now_ms: i64) -> Call<'_> {
        let Shard { config, groups, offsets, timers, outbox, expiry_queue, .. } = self;
        Call { groups, offsets, expiry_queue, turn: Turn::new(now_ms, config, timers, outbox) }
    }
}

/// One call: the shard's parts, lent to it.
struct Call<'s> {
    groups: &'s mut HashMap<Arc<str>, Group>,
    offsets: &'s mut Offsets,
    expiry_queue: &'s mut VecDeque<Arc<str>>,
    turn: Turn<'s>,
}

impl Call<'_> {
    fn classic_of_timer(&mut self, group: &Arc<str>, due: impl FnOnce(&mut ClassicGroup, &mut Turn<'_>)) {
        match self.groups.get_mut(group) {
            Some(Group::Classic(group)) => due(group, &mut self.turn),
            _ => unreachable!("group {group} is gone, its deadline is not"),
        }
    }

    /// Takes a group out that has no members.
    fn remove_group(&mut self, group: &str) {
        match self.groups.remove_entry(group) {
            Some((group, Group::Classic(classic))) => {
                for member_id in classic.pending_join {
                    self.turn.timers.cancel(&Timer::Member { group: group.clone(), member_id });
                }
            }
            Some((group, Group::Consumer(_))) => self.turn.timers.cancel(&Timer::Consumer { group }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

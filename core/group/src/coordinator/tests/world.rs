//! A shard, its log, its clients' mailboxes, and the time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;

use super::*;
use crate::classic::GroupState;
use crate::config::Config;
use crate::consumer::TopicTable;
use crate::coordinator::{Group, Shard};
use crate::records::Record;

pub struct World {
    pub shard: Shard,
    pub topics: TopicTable,
    pub now: i64,
    /// What is committed.
    pub log: Vec<Record>,
    /// What is written and not committed.
    pub in_flight: VecDeque<Append>,
    /// Commit every append at once.
    pub commits: bool,
    pub answers: BTreeMap<RequestId, Reply>,
    pub events: Vec<Event>,
    sent: u64,
    /// Requests whose answers `ask` took.
    asked: std::collections::BTreeSet<RequestId>,
    suffixes: u64,
}

impl World {
    pub fn new() -> World {
        World::with(Config::default())
    }

    /// Topics `t` and `u` have three partitions each.
    pub fn with(config: Config) -> World {
        let mut topics = TopicTable::new();
        topics.set("t", TopicId([1; 16]), 3);
        topics.set("u", TopicId([2; 16]), 3);
        let mut world = World {
            shard: Shard::new(config),
            topics,
            now: 1_000_000,
            log: Vec::new(),
            in_flight: VecDeque::new(),
            commits: true,
            answers: BTreeMap::new(),
            events: Vec::new(),
            sent: 0,
            asked: Default::default(),
            suffixes: 0,
        };
        let effects = world.shard.loaded(world.now);
        world.take(effects);
        world
    }

    pub fn take(&mut self, effects: Effects) {
        for (to, reply) in effects.replies {
            let twice = self.answers.insert(to, reply);
            assert_eq!(twice, None, "request {to:?} is answered twice");
        }
        self.events.extend(effects.events);
        if let Some(append) = effects.append {
            assert!(!append.records.is_empty());
            self.in_flight.push_back(append);
            if self.commits {
                self.commit_all();
            }
        }
    }

    pub fn commit_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.commit_one();
        }
    }

    pub fn commit_one(&mut self) {
        let append = self.in_flight.pop_front().unwrap();
        self.log.extend(append.records);
        let effects = self.shard.committed(self.now, append.id);
        self.take(effects);
    }

    /// Sends a request. New members are called `c-1`, `c-2`, ... or by their static name in place of the `c`.
    pub fn send(&mut self, mut request: Request) -> RequestId {
        if let Request::JoinGroup(join) = &mut request
            && join.member_id.is_empty()
        {
            self.suffixes += 1;
            join.new_member_suffix = self.suffixes.to_string().into();
        }
        self.sent += 1;
        let to = RequestId(self.sent);
        let effects = self.shard.handle(self.now, to, request, &self.topics);
        self.take(effects);
        to
    }

    /// Sends a request that is answered at once.
    pub fn ask(&mut self, request: Request) -> Reply {
        let to = self.send(request);
        self.asked.insert(to);
        self.answers.remove(&to).expect("an answer at once")
    }

    /// Requests sent so far; their ids run from 1.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn was_asked(&self, to: RequestId) -> bool {
        self.asked.contains(&to)
    }

    pub fn answer(&mut self, to: RequestId) -> Option<Reply> {
        self.answers.remove(&to)
    }

    pub fn joined(&mut self, to: RequestId) -> JoinGroupReply {
        match self.answer(to) {
            Some(Reply::JoinGroup(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub fn synced(&mut self, to: RequestId) -> SyncGroupReply {
        match self.answer(to) {
            Some(Reply::SyncGroup(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub fn send_join(&mut self, request: JoinGroup) -> RequestId {
        self.send(Request::JoinGroup(request))
    }

    pub fn ask_join(&mut self, request: JoinGroup) -> JoinGroupReply {
        let to = self.send_join(request);
        self.joined(to)
    }

    pub fn send_sync(&mut self, request: SyncGroup) -> RequestId {
        self.send(Request::SyncGroup(request))
    }

    pub fn ask_sync(&mut self, request: SyncGroup) -> SyncGroupReply {
        let to = self.send_sync(request);
        self.synced(to)
    }

    pub fn beat(&mut self, group: &str, generation: i32, member_id: &str) -> ErrorCode {
        match self.ask(Request::Heartbeat(heartbeat(group, generation, member_id))) {
            Reply::Heartbeat(reply) => reply.error_code,
            other => panic!("{other:?}"),
        }
    }

    pub fn ask_commit(&mut self, request: OffsetCommit) -> ErrorCode {
        commit_error(self.ask(Request::OffsetCommit(request)))
    }

    /// The offset of a partition; -1 for none.
    pub fn offset(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        match self.ask(Request::OffsetFetch(fetch(group, topic, partition))) {
            Reply::OffsetFetch(reply) => reply.topics[0].partitions[0].offset,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass, deadline by deadline.
    pub fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            let effects = self.shard.on_time(self.now, &self.topics);
            self.take(effects);
        }
        self.now = until;
    }

    /// Lets time pass, deadline by deadline, until a request is answered.
    pub fn until_answered(&mut self, to: RequestId) {
        for _ in 0..1_000 {
            if self.answers.contains_key(&to) {
                return;
            }
            let deadline = self.shard.next_deadline().expect("something to wait for");
            self.pass((deadline - self.now).max(0));
        }
        panic!("{to:?} is never answered");
    }

    pub fn state(&self, group: &str) -> GroupState {
        match self.shard.groups.get(group) {
            Some(Group::Classic(group)) => group.state(),
            Some(Group::Consumer(_)) => panic!("{group} is a consumer group"),
            None => GroupState::Dead,
        }
    }

    pub fn state_name(&self, group: &str) -> &'static str {
        self.shard.groups().find(|summary| summary.group == group).map_or("", |summary| summary.group_type)
    }

    pub fn generation(&self, group: &str) -> i32 {
        self.shard.groups().find(|summary| summary.group == group).map_or(-1, |summary| summary.generation)
    }

    /// A new dynamic member that has been told its id and waits for its generation.
    pub fn enter(&mut self, group: &str) -> (Arc<str>, RequestId) {
        let told = self.ask_join(join(group, ""));
        assert_eq!(told.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        let waiting = self.send_join(join(group, &told.member_id));
        (told.member_id, waiting)
    }

    /// A stable group of so many dynamic members with assignments `a0`, `a1`, ...: ids, the leader's first.
    pub fn stable(&mut self, group: &str, members: usize) -> Vec<Arc<str>> {
        let entered: Vec<_> = (0..members).map(|_| self.enter(group)).collect();
        self.until_answered(entered[0].1);
        let replies: Vec<_> = entered.iter().map(|(_, waiting)| self.joined(*waiting)).collect();
        let leader = replies[0].leader.clone();
        let mut ids: Vec<Arc<str>> = replies.iter().map(|reply| reply.member_id.clone()).collect();
        let at = ids.iter().position(|id| *id == leader).unwrap();
        ids.swap(0, at);
        let given: Vec<String> = (0..members).map(|index| format!("a{index}")).collect();
        let assignments: Vec<(&str, &str)> =
            ids.iter().zip(&given).map(|(id, given)| (&**id, given.as_str())).collect();
        let generation = replies[0].generation;
        for (index, id) in ids.iter().enumerate() {
            let sent = if index == 0 { &assignments[..] } else { &[] };
            let reply = self.ask_sync(sync(group, generation, id, sent));
            assert_eq!((reply.error_code, &reply.assignment[..]), (NONE, given[index].as_bytes()));
        }
        assert_eq!(self.state(group), GroupState::Stable);
        ids
    }

    /// Ends this process: what is in flight is lost, a new shard replays the log.
    pub fn restart(&mut self) {
        let config = self.shard.config.clone();
        for (to, reply) in self.shard.unload(ErrorCode::NOT_COORDINATOR) {
            let twice = self.answers.insert(to, reply);
            assert_eq!(twice, None, "request {to:?} is answered twice");
        }
        self.in_flight.clear();
        self.shard = Shard::new(config);
        for record in &self.log {
            self.shard.replay(&record.key, record.value.as_deref()).unwrap();
        }
        let effects = self.shard.loaded(self.now);
        self.take(effects);
    }
}

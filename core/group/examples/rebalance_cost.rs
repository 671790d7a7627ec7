//! What a rebalance costs the coordinator, without network and log: `cargo run -p buslane-group --example rebalance_cost`.
//!
//! All members join and sync, one is lost, the others rejoin and sync. The time per member must not grow with the group.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use buslane_group::api::*;
use buslane_group::consumer::TopicTable;
use buslane_group::{Config, Shard};

struct Run {
    shard: Shard,
    topics: TopicTable,
    now: i64,
    sent: u64,
    replies: Vec<Reply>,
}

impl Run {
    fn take(&mut self, effects: Effects) {
        self.replies.extend(effects.replies.into_iter().map(|(_, reply)| reply));
        if let Some(append) = effects.append {
            let effects = self.shard.committed(self.now, append.id);
            self.take(effects);
        }
    }

    fn send(&mut self, request: Request) {
        self.sent += 1;
        let effects = self.shard.handle(self.now, RequestId(self.sent), request, &self.topics);
        self.take(effects);
    }

    fn join(&mut self, group: usize, member_id: Arc<str>) {
        let metadata = vec![0; 200].into();
        self.send(Request::JoinGroup(JoinGroup {
            version: 3,
            caller: Caller { client_id: "client".into(), client_host: "/127.0.0.1".into() },
            new_member_suffix: format!("00000000-0000-0000-0000-{:012}", self.sent).into(),
            group: format!("group-{group}").into(),
            member_id,
            instance_id: None,
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata }],
            reason: None,
        }));
    }

    /// Every member that was told its generation syncs, leaders with assignments. Returns the members' ids.
    fn sync(&mut self, group: usize) -> Vec<Arc<str>> {
        let mut ids = Vec::new();
        for reply in std::mem::take(&mut self.replies) {
            let Reply::JoinGroup(reply) = reply else { continue };
            assert!(!reply.error_code.is_err(), "{reply:?}");
            ids.push(reply.member_id.clone());
            let assignment = |member: &JoinedMember| (member.member_id.clone(), vec![0; 100].into());
            self.send(Request::SyncGroup(SyncGroup {
                version: 3,
                group: format!("group-{group}").into(),
                generation: reply.generation,
                member_id: reply.member_id,
                instance_id: None,
                protocol_type: None,
                protocol: None,
                assignments: reply.members.iter().map(assignment).collect(),
            }));
        }
        self.replies.clear();
        ids
    }
}

fn main() {
    println!("groups  members each  all join and sync  one lost, others rejoin and sync  per member");
    for (groups, members) in [(100, 10), (1, 1_000), (1, 2_000), (1, 4_000), (1, 8_000), (1, 16_000)] {
        let config =
            Config { record_max_bytes: usize::MAX, initial_rebalance_delay_ms: 0, ..Config::default() };
        let (shard, topics) = (Shard::new(config), TopicTable::new());
        let mut run = Run { shard, topics, now: 0, sent: 0, replies: Vec::new() };
        let effects = run.shard.loaded(0);
        run.take(effects);

        let started = Instant::now();
        let mut ids = Vec::new();
        for group in 0..groups {
            for _ in 0..members {
                run.join(group, "".into());
            }
            while run.replies.is_empty() {
                run.now = run.shard.next_deadline().unwrap();
                let effects = run.shard.on_time(run.now, &run.topics);
                run.take(effects);
            }
            ids.push(run.sync(group));
        }
        let joined = started.elapsed();

        let started = Instant::now();
        for (group, ids) in ids.iter().enumerate() {
            let lost = LeavingMember { member_id: ids[0].clone(), instance_id: None, reason: None };
            let group_id = format!("group-{group}").into();
            run.send(Request::LeaveGroup(LeaveGroup { group: group_id, members: vec![lost] }));
            for id in &ids[1..] {
                run.join(group, id.clone());
            }
            assert_eq!(run.sync(group).len(), members - 1);
        }
        let rejoined = started.elapsed();
        let per_member = (joined + rejoined) / (groups * members) as u32;
        println!("{groups:6}  {members:12}  {joined:17.1?}  {rejoined:32.1?}  {per_member:.1?}");
    }
}

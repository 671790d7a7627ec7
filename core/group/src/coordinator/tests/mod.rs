//! Rules, one test each, and a simulation. Here: a shard with a log that commits at once or when told.

mod admin;
mod consumer;
mod expiry;
mod join;
mod load;
mod offsets;
mod presence;
mod simulation;
mod statics;
mod sync;
mod world;

use std::sync::Arc;

use buslane_wire::ErrorCode;
use bytes::Bytes;

use self::world::World;
use crate::api::*;

const NONE: ErrorCode = ErrorCode::NONE;

/// A subscription of protocol type `consumer`, version 0.
fn subscription(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 0];
    out.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend((topic.len() as i16).to_be_bytes());
        out.extend(topic.as_bytes());
    }
    out.extend((-1i32).to_be_bytes());
    out.into()
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    names.iter().map(|name| Protocol { name: (*name).into(), metadata: subscription(&["t"]) }).collect()
}

/// A JoinGroup of version 5: session 10 s, rebalance 60 s, protocol `range` of topic `t`.
fn join(group: &str, member_id: &str) -> JoinGroup {
    JoinGroup {
        version: 5,
        caller: Caller { client_id: "c".into(), client_host: "/127.0.0.1".into() },
        new_member_suffix: "".into(), // The world draws one.
        group: group.into(),
        member_id: member_id.into(),
        instance_id: None,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: protocols(&["range"]),
        reason: None,
    }
}

fn static_join(group: &str, member_id: &str, instance_id: &str) -> JoinGroup {
    JoinGroup { instance_id: Some(instance_id.into()), ..join(group, member_id) }
}

fn sync(group: &str, generation: i32, member_id: &str, assignments: &[(&str, &str)]) -> SyncGroup {
    let given =
        assignments.iter().map(|(id, bytes)| ((*id).into(), Bytes::copy_from_slice(bytes.as_bytes())));
    SyncGroup {
        version: 3,
        group: group.into(),
        generation,
        member_id: member_id.into(),
        instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: given.collect(),
    }
}

fn heartbeat(group: &str, generation: i32, member_id: &str) -> Heartbeat {
    Heartbeat { group: group.into(), generation, member_id: member_id.into(), instance_id: None }
}

fn leave(group: &str, member_id: &str) -> LeaveGroup {
    let member = LeavingMember { member_id: member_id.into(), instance_id: None, reason: None };
    LeaveGroup { group: group.into(), members: vec![member] }
}

fn commit(group: &str, generation: i32, member_id: &str, topic: &str, offset: i64) -> OffsetCommit {
    let partition = CommitPartition { index: 0, offset, leader_epoch: 4, metadata: Some("m".into()) };
    OffsetCommit {
        version: 8,
        group: group.into(),
        generation_or_epoch: generation,
        member_id: member_id.into(),
        instance_id: None,
        retention_ms: -1,
        topics: vec![CommitTopic { name: topic.into(), id: Default::default(), partitions: vec![partition] }],
    }
}

fn fetch(group: &str, topic: &str, partition: i32) -> OffsetFetch {
    OffsetFetch {
        version: 7,
        group: group.into(),
        member_id: None,
        member_epoch: -1,
        topics: Some(vec![FetchTopic {
            name: topic.into(),
            id: Default::default(),
            partitions: vec![partition],
        }]),
        require_stable: true,
    }
}

/// The only error of a reply to a commit of one partition.
fn commit_error(reply: Reply) -> ErrorCode {
    let Reply::OffsetCommit(reply) = reply else { panic!("{reply:?}") };
    reply.topics[0].partitions[0].1
}

fn ids(ids: &[&str]) -> Vec<Arc<str>> {
    ids.iter().map(|id| (*id).into()).collect()
}

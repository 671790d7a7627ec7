//! KIP-345: members with a name of their own.

use buslane_wire::ErrorCode;

use super::*;
use crate::classic::GroupState;

/// A stable group of static members `one` (leading) and `two`: their ids.
fn stable(w: &mut World) -> [Arc<str>; 2] {
    let waiting = [w.send_join(static_join("g", "", "one")), w.send_join(static_join("g", "", "two"))];
    w.until_answered(waiting[0]);
    let replies = waiting.map(|to| w.joined(to));
    assert_eq!(replies[0].members[0].instance_id.as_deref(), Some("one"));
    let ids = replies.map(|reply| reply.member_id);
    assert_eq!(w.ask_sync(sync("g", 1, &ids[0], &[(&ids[0], "1"), (&ids[1], "2")])).assignment, "1");
    assert_eq!(w.ask_sync(sync("g", 1, &ids[1], &[])).assignment, "2");
    ids
}

#[test]
fn a_static_member_needs_no_second_request() {
    let mut w = World::new();
    let ids = stable(&mut w);
    assert_eq!(ids.map(|id| id.to_string()), ["one-1", "two-2"]);
}

#[test]
fn a_static_member_that_returns_takes_its_place_without_a_rebalance() {
    let mut w = World::new();
    let [leader, old] = stable(&mut w);
    let records = w.log.len();
    let reply = w.ask_join(static_join("g", "", "two"));
    assert_eq!((reply.error_code, reply.generation, &*reply.member_id), (NONE, 1, "two-3"));
    assert_eq!((&*reply.leader, reply.members.len()), (&*leader, 0));
    assert_eq!((w.state("g"), w.log.len()), (GroupState::Stable, records + 1));
    assert_eq!(w.ask_sync(sync("g", 1, "two-3", &[])).assignment, "2");
    // The old process is fenced wherever it names itself, and unknown where it does not.
    let named = Heartbeat { instance_id: Some("two".into()), ..heartbeat("g", 1, &old) };
    let Reply::Heartbeat(reply) = w.ask(Request::Heartbeat(named)) else { panic!() };
    assert_eq!(reply.error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(w.beat("g", 1, &old), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.ask_join(static_join("g", &old, "two")).error_code, ErrorCode::FENCED_INSTANCE_ID);
    let named = SyncGroup { instance_id: Some("two".into()), ..sync("g", 1, &old, &[]) };
    assert_eq!(w.ask_sync(named).error_code, ErrorCode::FENCED_INSTANCE_ID);
    let named = OffsetCommit { instance_id: Some("two".into()), ..commit("g", 1, &old, "t", 5) };
    assert_eq!(w.ask_commit(named), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(w.ask_commit(commit("g", 1, "two-3", "t", 5)), NONE);
}

/// An older client that leads would compute an assignment of a generation that has one: it is told that the old id leads.
/// KIP-814: from version 9 on it learns the members, and that it must not compute.
#[test]
fn a_leader_that_returns_does_not_assign_again() {
    let mut w = World::new();
    let [old, _] = stable(&mut w);
    let reply = w.ask_join(JoinGroup { version: 8, ..static_join("g", "", "one") });
    assert_eq!((reply.leader, reply.skip_assignment, reply.members.len()), (old, false, 0));
    let reply = w.ask_join(JoinGroup { version: 9, ..static_join("g", "", "one") });
    assert_eq!((&*reply.leader, &*reply.member_id), ("one-4", "one-4"));
    assert_eq!((reply.skip_assignment, reply.members.len()), (true, 2));
    let reply = w.ask_join(JoinGroup { version: 9, ..static_join("g", "", "two") });
    assert_eq!((reply.skip_assignment, reply.members.len()), (false, 0));
}

/// Whoever is told its new id can use it after a restart of the coordinator.
#[test]
fn a_returned_members_new_id_is_committed_before_it_is_told() {
    let mut w = World::new();
    stable(&mut w);
    w.commits = false;
    let returning = w.send_join(static_join("g", "", "two"));
    assert!(w.answer(returning).is_none());
    w.commit_all();
    assert_eq!(w.joined(returning).error_code, NONE);
    w.restart();
    assert_eq!(w.beat("g", 1, "two-3"), NONE);
    assert_eq!(w.ask_sync(sync("g", 1, "two-3", &[])).assignment, "2");
}

#[test]
fn a_static_member_that_changes_the_groups_protocol_rebalances() {
    let mut w = World::new();
    let waiting = [1, 2].map(|n| {
        w.send_join(JoinGroup { protocols: protocols(&["a", "b"]), ..static_join("g", "", &n.to_string()) })
    });
    w.until_answered(waiting[0]);
    let ids = waiting.map(|to| w.joined(to).member_id);
    w.ask_sync(sync("g", 1, &ids[0], &[]));
    // Among {a, b} and {a, b} the choice was `a`; one member that knows only `b` changes it.
    let returning = w.send_join(JoinGroup { protocols: protocols(&["b"]), ..static_join("g", "", "2") });
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    w.send_join(JoinGroup { protocols: protocols(&["a", "b"]), ..static_join("g", &ids[0], "1") });
    let reply = w.joined(returning);
    assert_eq!((reply.generation, reply.protocol.as_deref()), (2, Some("b")));
}

#[test]
fn two_processes_with_one_name_fence_each_other() {
    let mut w = World::new();
    let first = w.send_join(static_join("g", "", "one"));
    let second = w.send_join(static_join("g", "", "one"));
    let fenced = w.joined(first);
    assert_eq!((fenced.error_code, &*fenced.member_id), (ErrorCode::FENCED_INSTANCE_ID, "one-1"));
    w.pass(3_000);
    let reply = w.joined(second);
    assert_eq!((reply.error_code, &*reply.member_id, reply.members.len()), (NONE, "one-2", 1));
    // While the assignment is due, a third one fences the second's SyncGroup and starts over.
    let third = w.send_join(static_join("g", "", "one"));
    assert_eq!(w.joined(third).generation, 2);
    assert_eq!(w.ask_sync(sync("g", 1, "one-2", &[])).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_waiting_sync_of_a_fenced_member_is_answered() {
    let mut w = World::new();
    let waiting = [w.send_join(static_join("g", "", "one")), w.send_join(static_join("g", "", "two"))];
    w.until_answered(waiting[0]);
    let [_, follower] = waiting.map(|to| w.joined(to).member_id);
    let syncing = w.send_sync(sync("g", 1, &follower, &[]));
    w.send_join(static_join("g", "", "two"));
    assert_eq!(w.synced(syncing).error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
}

/// A static member that is away keeps its place until its session is over, even through a rebalance.
#[test]
fn an_absent_static_member_stays_in_the_generation() {
    let mut w = World::new();
    let [one, two] = stable(&mut w);
    let long = |id: &str| JoinGroup {
        rebalance_timeout_ms: 6_000,
        session_timeout_ms: 30_000,
        ..static_join("g", id, "one")
    };
    // Everyone's rebalance timeout counts: both are 60 s at first, so the other one must say less.
    let changed = JoinGroup {
        rebalance_timeout_ms: 6_000,
        session_timeout_ms: 30_000,
        ..static_join("g", &two, "two")
    };
    let first = w.send_join(long(&one));
    let second = w.send_join(changed);
    assert_eq!([w.joined(first).generation, w.joined(second).generation], [2, 2]);
    w.ask_sync(sync("g", 2, &one, &[]));
    w.ask_sync(sync("g", 2, &two, &[]));
    let leader = w.send_join(long(&one));
    w.pass(6_000);
    let reply = w.joined(leader);
    assert_eq!((reply.generation, reply.members.len()), (3, 2), "`two` has not rejoined and is there");
}

/// Only static members are left and nobody rejoins: the generation waits for one.
#[test]
fn without_anyone_that_rejoins_there_is_no_generation() {
    let mut w = World::new();
    let long = |name: &str| JoinGroup {
        session_timeout_ms: 1_000_000,
        rebalance_timeout_ms: 10_000,
        ..static_join("g", "", name)
    };
    let waiting = [w.send_join(long("one")), w.send_join(long("two"))];
    w.until_answered(waiting[0]);
    let [one, two] = waiting.map(|to| w.joined(to).member_id);
    w.pass(10_000);
    // Neither syncs: both are out after the rebalance timeout. A static member's name does not help there.
    assert_eq!(w.state("g"), GroupState::Empty);
    let waiting = [w.send_join(long("one")), w.send_join(long("two"))];
    w.until_answered(waiting[0]);
    let ids = waiting.map(|to| w.joined(to).member_id);
    assert!(!ids.contains(&one) && !ids.contains(&two));
    let generation = w.generation("g");
    w.ask_sync(sync("g", generation, &ids[0], &[]));
    w.ask_sync(sync("g", generation, &ids[1], &[]));
    // A newcomer that goes away again leaves a rebalance that nobody joins.
    let (newcomer, _) = w.enter("g");
    w.ask(Request::LeaveGroup(leave("g", &newcomer)));
    w.pass(100_000);
    assert_eq!((w.state("g"), w.generation("g")), (GroupState::PreparingRebalance, generation));
    let back = w.send_join(JoinGroup { member_id: ids[1].clone(), ..long("two") });
    w.pass(10_000);
    let reply = w.joined(back);
    assert_eq!((reply.generation, &*reply.leader, reply.members.len()), (generation + 1, &*ids[1], 2));
}

#[test]
fn an_id_that_was_given_out_belongs_to_no_static_member() {
    let mut w = World::new();
    let told = w.ask_join(join("g", ""));
    let reply = w.ask_join(static_join("g", &told.member_id, "one"));
    assert_eq!(reply.error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
}

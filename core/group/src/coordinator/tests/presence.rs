use buslane_wire::ErrorCode;

use super::*;
use crate::classic::GroupState;

#[test]
fn what_a_heartbeat_is_told() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    assert_eq!(w.beat("g", 1, &ids[0]), NONE);
    assert_eq!(w.beat("", 1, &ids[0]), ErrorCode::INVALID_GROUP_ID);
    assert_eq!(w.beat("nowhere", 1, &ids[0]), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.beat("g", 1, "nobody"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.beat("g", 0, &ids[0]), ErrorCode::ILLEGAL_GENERATION);
    let leader = w.send_join(join("g", &ids[0]));
    assert_eq!(w.beat("g", 1, &ids[1]), ErrorCode::REBALANCE_IN_PROGRESS);
    w.send_join(join("g", &ids[1]));
    assert_eq!(w.joined(leader).generation, 2);
    // While the assignment is due there is nothing to do but wait.
    assert_eq!(w.beat("g", 2, &ids[1]), NONE);
}

#[test]
fn a_silent_member_is_out_after_its_session_timeout() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    w.beat("g", 1, &ids[0]);
    w.beat("g", 1, &ids[1]);
    w.pass(9_999);
    w.beat("g", 1, &ids[0]);
    assert_eq!(w.state("g"), GroupState::Stable);
    w.pass(1);
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    assert_eq!(w.beat("g", 1, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    let (group, member_id) = ("g".into(), ids[1].clone());
    assert!(w.events.contains(&Event::MemberRemoved { group, member_id, cause: RemovalCause::Silent }));
    assert_eq!(w.ask_join(join("g", &ids[0])).generation, 2);
}

/// A member whose JoinGroup or SyncGroup we hold cannot speak: its session runs again from our answer on.
#[test]
fn who_waits_for_us_is_not_silent() {
    let mut w = World::new();
    let ids = w.stable("g", 3);
    let waiting = w.send_join(join("g", &ids[0]));
    for _ in 0..11 {
        w.pass(5_000);
        w.beat("g", 1, &ids[1]);
        w.beat("g", 1, &ids[2]);
    }
    assert!(w.answer(waiting).is_none());
    let other = w.send_join(join("g", &ids[1]));
    w.pass(5_000);
    assert_eq!((w.joined(waiting).generation, w.joined(other).generation), (2, 2));
    w.pass(9_999);
    assert_eq!(w.beat("g", 2, &ids[0]), NONE);
    assert_eq!(w.state("g"), GroupState::CompletingRebalance);
    // The same of a SyncGroup.
    let waiting = w.send_sync(sync("g", 2, &ids[0], &[]));
    if w.answer(waiting).is_none() {
        w.pass(9_000);
        assert_eq!(w.state("g"), GroupState::PreparingRebalance, "the leader was silent");
    }
}

#[test]
fn the_last_member_that_leaves_empties_the_group() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    let records = w.log.len();
    let Reply::LeaveGroup(reply) = w.ask(Request::LeaveGroup(leave("g", &ids[0]))) else { panic!() };
    assert_eq!((reply.error_code, reply.members[0].error_code), (NONE, NONE));
    assert_eq!((w.state("g"), w.generation("g"), w.log.len()), (GroupState::Empty, 2, records + 1));
}

/// Nobody is told that a member has left before a restart would know it, too.
#[test]
fn leaving_is_confirmed_when_it_is_committed() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    w.commits = false;
    let leaving = w.send(Request::LeaveGroup(leave("g", &ids[0])));
    assert!(w.answer(leaving).is_none());
    w.commit_all();
    assert!(w.answer(leaving).is_some());
}

#[test]
fn several_members_leave_at_once_by_id_or_by_name() {
    let mut w = World::new();
    let first = w.send_join(static_join("g", "", "one"));
    let second = w.send_join(static_join("g", "", "two"));
    w.until_answered(first);
    let [first, second] = [first, second].map(|to| w.joined(to).member_id);
    let member = |id: &str, name: Option<&str>| LeavingMember {
        member_id: id.into(),
        instance_id: name.map(Into::into),
        reason: Some("done".into()),
    };
    let members = vec![
        member("", Some("one")),
        member("", Some("nobody")),
        member("", None),
        member(&first, Some("two")),
        member("nobody", None),
        member(&second, Some("two")),
        member(&second, None),
    ];
    let reply = w.ask(Request::LeaveGroup(LeaveGroup { group: "g".into(), members }));
    let Reply::LeaveGroup(reply) = reply else { panic!() };
    let errors: Vec<_> = reply.members.iter().map(|member| member.error_code).collect();
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
    assert_eq!(errors, [NONE, unknown, unknown, ErrorCode::FENCED_INSTANCE_ID, unknown, NONE, unknown]);
    assert_eq!(reply.members[0].instance_id.as_deref(), Some("one"));
    assert_eq!(w.state("g"), GroupState::Empty);
}

#[test]
fn an_unknown_group_knows_no_member() {
    let mut w = World::new();
    let Reply::LeaveGroup(reply) = w.ask(Request::LeaveGroup(leave("g", "c-1"))) else { panic!() };
    assert_eq!((reply.error_code, reply.members[0].error_code), (NONE, ErrorCode::UNKNOWN_MEMBER_ID));
    // Below version 3 the only member's error is the request's.
    assert_eq!(reply.to_wire(2).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    assert!(reply.to_wire(2).members.is_empty());
    assert_eq!(reply.to_wire(3).error_code, NONE);
    assert_eq!(reply.to_wire(3).members.len(), 1);
    let Reply::LeaveGroup(reply) = w.ask(Request::LeaveGroup(leave("", "c-1"))) else { panic!() };
    assert_eq!(reply.error_code, ErrorCode::INVALID_GROUP_ID);
}

/// KIP-394: a member that was only given an id can take that back; the rebalance no longer waits for it.
#[test]
fn a_member_that_was_only_given_an_id_can_leave() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    let told = w.ask_join(join("g", ""));
    let leader = w.send_join(join("g", &ids[0]));
    assert!(w.answer(leader).is_none());
    let Reply::LeaveGroup(reply) = w.ask(Request::LeaveGroup(leave("g", &told.member_id))) else { panic!() };
    assert_eq!(reply.members[0].error_code, NONE);
    assert_eq!(w.joined(leader).generation, 2);
}

/// Kafka forgets such requests; here each is answered.
#[test]
fn requests_of_a_member_that_leaves_are_answered() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    let joining = w.send_join(join("g", &ids[0]));
    w.ask(Request::LeaveGroup(leave("g", &ids[0])));
    assert_eq!(w.joined(joining).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let (newcomer, waiting) = w.enter("g");
    let rejoined = w.send_join(join("g", &ids[1]));
    let [reply, newcomers] = [w.joined(rejoined), w.joined(waiting)];
    let follower = if reply.leader == ids[1] { newcomer } else { ids[1].clone() };
    let syncing = w.send_sync(sync("g", newcomers.generation, &follower, &[]));
    w.ask(Request::LeaveGroup(leave("g", &follower)));
    assert_eq!(w.synced(syncing).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

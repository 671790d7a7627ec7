use buslane_wire::ErrorCode;
use bytes::Bytes;

use super::*;
use crate::classic::GroupState;
use crate::config::Config;

/// Two members in CompletingRebalance of generation 1: leader, follower.
fn completing(w: &mut World) -> [Arc<str>; 2] {
    let entered = [w.enter("g"), w.enter("g")];
    w.until_answered(entered[0].1);
    let leader =
        entered.map(|(_, to)| w.joined(to)).map(|reply| (reply.leader == reply.member_id, reply.member_id));
    let [(first_leads, first), (_, second)] = leader;
    if first_leads { [first, second] } else { [second, first] }
}

#[test]
fn followers_wait_until_the_leaders_assignment_is_committed() {
    let mut w = World::new();
    let [leader, follower] = completing(&mut w);
    w.commits = false;
    let waiting = w.send_sync(sync("g", 1, &follower, &[]));
    let led = w.send_sync(sync("g", 1, &leader, &[(&follower, "f"), (&leader, "l"), ("nobody", "n")]));
    assert!(w.answers.is_empty() && w.state("g") == GroupState::CompletingRebalance);
    w.commit_all();
    assert_eq!(w.synced(waiting).assignment, "f");
    let reply = w.synced(led);
    assert_eq!((reply.assignment, reply.error_code), (Bytes::from("l"), NONE));
    assert_eq!(
        (reply.protocol_type.as_deref(), reply.protocol.as_deref()),
        (Some("consumer"), Some("range"))
    );
    assert_eq!(w.state("g"), GroupState::Stable);
    // And any time later.
    assert_eq!(w.ask_sync(sync("g", 1, &follower, &[])).assignment, "f");
}

#[test]
fn who_is_left_out_gets_an_empty_assignment() {
    let mut w = World::new();
    let [leader, follower] = completing(&mut w);
    w.ask_sync(sync("g", 1, &leader, &[(&leader, "l")]));
    let reply = w.ask_sync(sync("g", 1, &follower, &[]));
    assert_eq!((reply.error_code, reply.assignment.len()), (NONE, 0));
}

#[test]
fn what_is_wrong_with_a_sync_is_told() {
    let mut w = World::new();
    let [leader, _] = completing(&mut w);
    let named = |protocol_type: &str, protocol: &str| SyncGroup {
        version: 5,
        protocol_type: Some(protocol_type.into()),
        protocol: Some(protocol.into()),
        ..sync("g", 1, &leader, &[])
    };
    let cases = [
        (sync("", 1, &leader, &[]), ErrorCode::INVALID_GROUP_ID),
        (sync("nowhere", 1, &leader, &[]), ErrorCode::UNKNOWN_MEMBER_ID),
        (sync("g", 1, "nobody", &[]), ErrorCode::UNKNOWN_MEMBER_ID),
        (sync("g", 0, &leader, &[]), ErrorCode::ILLEGAL_GENERATION),
        (sync("g", 2, &leader, &[]), ErrorCode::ILLEGAL_GENERATION),
        (named("connect", "range"), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (named("consumer", "other"), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        // KIP-559: from version 5 on both must be there.
        (SyncGroup { protocol: None, ..named("consumer", "range") }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (
            SyncGroup { protocol_type: None, ..named("consumer", "range") },
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ),
        (
            SyncGroup { instance_id: Some("nobody".into()), ..sync("g", 1, &leader, &[]) },
            ErrorCode::UNKNOWN_MEMBER_ID,
        ),
    ];
    for (request, error) in cases {
        assert_eq!(w.ask_sync(request.clone()).error_code, error, "{request:?}");
    }
    assert_eq!(w.ask_sync(named("consumer", "range")).error_code, NONE);
    // Any group may be empty.
    w.ask(Request::LeaveGroup(leave("g", &leader)));
    assert_eq!(w.ask_sync(sync("g", 1, &leader, &[])).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_sync_while_members_rejoin_is_told_to_rejoin() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    w.enter("g");
    assert_eq!(w.ask_sync(sync("g", 1, &ids[1], &[])).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
}

/// An assignment whose record is in flight when a rebalance begins is nobody's assignment.
#[test]
fn a_rebalance_while_the_assignment_is_written_wins() {
    let mut w = World::new();
    let [leader, follower] = completing(&mut w);
    w.commits = false;
    let led = w.send_sync(sync("g", 1, &leader, &[(&follower, "f")]));
    let changed = JoinGroup { protocols: protocols(&["range", "x"]), ..join("g", &follower) };
    let rejoined = w.send_join(changed);
    assert_eq!(w.synced(led).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    w.commit_all();
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    w.send_join(join("g", &leader));
    assert_eq!(w.joined(rejoined).generation, 2);
}

/// The log's last word and what the members are told must be the same.
#[test]
fn a_leader_that_syncs_twice_gets_its_first_assignment() {
    let mut w = World::new();
    let [leader, follower] = completing(&mut w);
    w.commits = false;
    let first = w.send_sync(sync("g", 1, &leader, &[(&leader, "one")]));
    let second = w.send_sync(sync("g", 1, &leader, &[(&leader, "two")]));
    assert_eq!(w.synced(first).error_code, ErrorCode::REBALANCE_IN_PROGRESS, "its connection is gone");
    assert_eq!(w.in_flight.len(), 1);
    w.commit_all();
    assert_eq!(w.synced(second).assignment, "one");
    let _ = follower;
}

/// An append of a group that was deleted meanwhile says nothing of a group of the same name and generation.
#[test]
fn an_assignment_of_a_deleted_group_is_not_its_successors() {
    let mut w = World::with(Config { initial_rebalance_delay_ms: 0, ..Config::default() });
    w.commits = false;
    let old = w.send_join(JoinGroup { version: 3, ..join("g", "") });
    w.pass(0);
    let old = w.joined(old).member_id;
    w.send_sync(sync("g", 1, &old, &[(&old, "old")]));
    w.send(Request::LeaveGroup(leave("g", &old)));
    w.send(Request::DeleteGroups(DeleteGroups { groups: ids(&["g"]) }));
    let new = w.send_join(JoinGroup { version: 3, ..join("g", "") });
    w.pass(0);
    assert_eq!((w.joined(new).generation, w.state("g")), (1, GroupState::CompletingRebalance));
    w.commit_all();
    assert_eq!(w.state("g"), GroupState::CompletingRebalance);
}

/// Members that join but never sync are out after the rebalance timeout.
#[test]
fn who_does_not_sync_in_time_is_out() {
    let mut w = World::new();
    let [leader, follower] = completing(&mut w);
    w.ask_sync(sync("g", 1, &leader, &[]));
    assert_eq!(w.state("g"), GroupState::Stable);
    for _ in 0..11 {
        w.pass(5_000);
        assert_eq!([w.beat("g", 1, &leader), w.beat("g", 1, &follower)], [NONE, NONE]);
    }
    w.pass(5_000);
    assert_eq!(w.beat("g", 1, &follower), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.beat("g", 1, &leader), ErrorCode::REBALANCE_IN_PROGRESS);
    let (group, member_id) = ("g".into(), follower);
    assert!(w.events.contains(&Event::MemberRemoved { group, member_id, cause: RemovalCause::NotSynced }));
}

/// While the leader never syncs, followers that wait are told to rejoin when it is thrown out.
#[test]
fn a_leader_that_never_syncs_is_replaced() {
    let mut w = World::new();
    let [leader, follower] = completing(&mut w);
    let waiting = w.send_sync(sync("g", 1, &follower, &[]));
    for _ in 0..12 {
        w.beat("g", 1, &leader);
        w.pass(5_000);
    }
    assert_eq!(w.synced(waiting).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    let reply = w.ask_join(join("g", &follower));
    assert_eq!((reply.generation, &*reply.leader), (2, &*follower));
}

#[test]
fn nobody_is_thrown_out_once_all_have_synced() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    for _ in 0..30 {
        w.pass(5_000);
        assert_eq!([w.beat("g", 1, &ids[0]), w.beat("g", 1, &ids[1])], [NONE, NONE]);
    }
}

/// As Kafka answers an append that is too large: an error to all that wait, and another rebalance.
#[test]
fn an_assignment_larger_than_a_record_is_refused() {
    let mut w = World::with(Config { record_max_bytes: 1_000, ..Config::default() });
    let [leader, follower] = completing(&mut w);
    let waiting = w.send_sync(sync("g", 1, &follower, &[]));
    let huge = "x".repeat(1_000);
    assert_eq!(
        w.ask_sync(sync("g", 1, &leader, &[(&leader, &huge)])).error_code,
        ErrorCode::UNKNOWN_SERVER_ERROR
    );
    assert_eq!(w.synced(waiting).error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
}

//! What a shard is after it has read its log.

use buslane_wire::ErrorCode;

use super::*;
use crate::classic::GroupState;
use crate::config::Config;
use crate::coordinator::{Replayed, Shard};
use crate::records::{self, GroupMetadataKey, GroupMetadataValue, MemberMetadata};

#[test]
fn a_shard_that_loads_says_so() {
    let mut w = World::new();
    w.shard = Shard::new(Config::default());
    let loading = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    assert_eq!(w.ask_join(join("g", "")).error_code, loading);
    assert_eq!(w.ask_sync(sync("g", 1, "c", &[])).error_code, loading);
    assert_eq!(w.ask_commit(commit("g", -1, "", "t", 1)), loading);
    let Reply::OffsetFetch(reply) = w.ask(Request::OffsetFetch(fetch("g", "t", 0))) else { panic!() };
    assert_eq!((reply.error_code, reply.topics.len()), (loading, 0));
    let old = OffsetFetch { version: 1, ..fetch("g", "t", 0) };
    let Reply::OffsetFetch(reply) = w.ask(Request::OffsetFetch(old)) else { panic!() };
    assert_eq!(reply.topics[0].partitions[0].error_code, loading);
    let Reply::ListGroups(reply) = w.ask(Request::ListGroups(ListGroups::default())) else { panic!() };
    assert_eq!(reply.error_code, loading);
    let deleting = Request::DeleteGroups(DeleteGroups { groups: ids(&["g"]) });
    let Reply::DeleteGroups(reply) = w.ask(deleting) else { panic!() };
    assert_eq!(reply.groups[0].1, loading);
    let describing = Request::DescribeGroups(DescribeGroups { version: 6, groups: ids(&["g"]) });
    let Reply::DescribeGroups(reply) = w.ask(describing) else { panic!() };
    assert_eq!(reply.groups[0].error_code, loading);
    // The member lives, and learns of its group with its next heartbeat.
    assert_eq!(w.beat("g", 1, "c"), NONE);
}

#[test]
fn a_stable_group_goes_on_after_a_restart() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    w.ask_commit(commit("g", 1, &ids[0], "t", 9));
    w.pass(9_000);
    w.restart();
    assert_eq!((w.state("g"), w.generation("g")), (GroupState::Stable, 1));
    // A whole session timeout from now: nobody could have heard them before.
    w.pass(9_999);
    assert_eq!([w.beat("g", 1, &ids[0]), w.beat("g", 1, &ids[1])], [NONE, NONE]);
    assert_eq!(w.ask_sync(sync("g", 1, &ids[1], &[])).assignment, "a1");
    assert_eq!(w.ask_commit(commit("g", 1, &ids[1], "t", 10)), NONE);
    assert_eq!(w.offset("g", "t", 0), 10);
    w.pass(10_000);
    assert_eq!(w.state("g"), GroupState::Empty, "both were silent");
}

/// A group that was rebalancing comes back in its last stable generation: its members' requests of the next one are
/// answered ILLEGAL_GENERATION or UNKNOWN_MEMBER_ID, and they rejoin.
#[test]
fn a_generation_that_was_never_assigned_is_forgotten() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    let rejoined = w.ask_join(join("g", &ids[0]));
    assert_eq!(rejoined.generation, 2);
    w.commits = false;
    let syncing = w.send_sync(sync("g", 2, &ids[0], &[]));
    w.commits = true;
    w.restart();
    assert_eq!(w.synced(syncing).error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!((w.state("g"), w.generation("g")), (GroupState::Stable, 1));
    assert_eq!(w.beat("g", 2, &ids[0]), ErrorCode::ILLEGAL_GENERATION);
    let reply = w.ask_join(join("g", &ids[0]));
    assert_eq!((reply.error_code, reply.generation), (NONE, 2));
}

#[test]
fn everything_that_waits_is_answered_when_the_shard_goes() {
    let mut w = World::new();
    w.stable("g", 1);
    w.commits = false;
    let (_, joining) = w.enter("h");
    let committing = w.send(Request::OffsetCommit(commit("i", -1, "", "t", 5)));
    let reading = w.send(Request::OffsetFetch(fetch("i", "t", 0)));
    let deleting = w.send(Request::DeleteGroups(DeleteGroups { groups: ids(&["i"]) }));
    let gone = ErrorCode::NOT_COORDINATOR;
    w.commits = true;
    w.restart();
    assert_eq!(w.joined(joining).error_code, gone);
    assert_eq!(commit_error(w.answer(committing).unwrap()), gone);
    assert!(matches!(w.answer(reading), Some(Reply::OffsetFetch(reply)) if reply.error_code == gone));
    assert!(matches!(w.answer(deleting), Some(Reply::DeleteGroups(reply)) if reply.groups[0].1 == gone));
    assert_eq!(w.offset("i", "t", 0), -1);
}

/// A member's record of version 0 has no rebalance timeout: its session timeout stands in.
#[test]
fn the_oldest_record_of_a_group_is_read() {
    let mut shard = Shard::new(Config::default());
    let members = vec![MemberMetadata {
        member_id: "old-1",
        group_instance_id: None,
        client_id: "c",
        client_host: "/127.0.0.1",
        rebalance_timeout: -1,
        session_timeout: 10_000,
        subscription: b"",
        assignment: b"a",
    }];
    let value = GroupMetadataValue {
        protocol_type: "consumer",
        generation: 7,
        protocol: Some("range"),
        leader: Some("gone"),
        current_state_timestamp: -1,
        members,
    };
    let record = records::record(&GroupMetadataKey { group: "g" }, &value, 0).unwrap();
    assert_eq!(shard.replay(&record.key, record.value.as_deref()), Ok(Replayed::Applied));
    let mut w = World::new();
    w.shard = shard;
    let effects = w.shard.loaded(w.now);
    w.take(effects);
    assert_eq!(w.beat("g", 7, "old-1"), NONE);
    // Its leader is nobody: the first to join leads.
    let (_, waiting) = w.enter("g");
    w.pass(60_000);
    assert_eq!(w.joined(waiting).generation, 8);
}

/// Damage must not be taken for a group, and what is not known must not be taken for damage.
#[test]
fn records_that_are_not_ours_are_passed_over() {
    let mut shard = Shard::new(Config::default());
    assert_eq!(
        shard.replay(&[0, 17, 0, 1, b'g'], Some(&[0, 0])),
        Ok(Replayed::PassedOver { record_type: 17, value_version: None })
    );
    let key = records::RecordKey::to_bytes(&GroupMetadataKey { group: "g" }).unwrap();
    assert_eq!(
        shard.replay(&key, Some(&[0, 9, 1])),
        Ok(Replayed::PassedOver { record_type: 2, value_version: Some(9) })
    );
    assert!(shard.replay(&key, Some(&[0, 3, 1])).is_err());
    assert_eq!(shard.groups().count(), 0);
}

/// A record that names a member twice is nobody's: it must not stop the shard.
#[test]
fn a_record_with_a_member_twice_is_survived() {
    let member = |member_id, group_instance_id| MemberMetadata {
        member_id,
        group_instance_id,
        client_id: "c",
        client_host: "",
        rebalance_timeout: 1,
        session_timeout: 10_000,
        subscription: b"",
        assignment: b"",
    };
    let value = GroupMetadataValue {
        protocol_type: "",
        generation: i32::MAX,
        protocol: None,
        leader: None,
        current_state_timestamp: 5,
        members: vec![member("a", Some("x")), member("a", None), member("b", Some("x"))],
    };
    let record = records::record(&GroupMetadataKey { group: "g" }, &value, 3).unwrap();
    let mut w = World::new();
    w.log.push(record);
    w.restart();
    assert_eq!(w.state("g"), GroupState::Stable);
    w.pass(60_000);
    assert_eq!((w.state("g"), w.generation("g")), (GroupState::Empty, 0));
}

#[test]
fn a_loaded_group_that_is_too_large_rebalances() {
    let mut w = World::new();
    let ids = w.stable("g", 3);
    let config = Config { group_max_size: 2, ..Config::default() };
    w.shard.set_config(config);
    w.restart();
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    let first = w.send_join(join("g", &ids[0]));
    let second = w.send_join(join("g", &ids[1]));
    let late = w.ask_join(join("g", &ids[2]));
    assert_eq!(late.error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    w.until_answered(first);
    assert_eq!([w.joined(first).generation, w.joined(second).generation], [2, 2]);
}

#[test]
fn a_new_group_is_in_the_log_before_its_first_generation() {
    let mut w = World::new();
    w.ask_join(join("g", ""));
    assert_eq!(w.log.len(), 1);
    w.restart();
    assert_eq!((w.state("g"), w.generation("g")), (GroupState::Empty, 0));
}

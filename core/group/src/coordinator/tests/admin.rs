use buslane_wire::ErrorCode;

use super::*;
use crate::classic::GroupState;

fn describe(w: &mut World, version: i16, group: &str) -> DescribedGroup {
    match w.ask(Request::DescribeGroups(DescribeGroups { version, groups: ids(&[group]) })) {
        Reply::DescribeGroups(mut reply) => reply.groups.remove(0),
        other => panic!("{other:?}"),
    }
}

fn list(w: &mut World, states: &[&str], types: &[&str]) -> Vec<String> {
    match w.ask(Request::ListGroups(ListGroups { states: ids(states), types: ids(types) })) {
        Reply::ListGroups(reply) => reply.groups.iter().map(|group| group.group.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

fn delete(w: &mut World, groups: &[&str]) -> Vec<ErrorCode> {
    match w.ask(Request::DeleteGroups(DeleteGroups { groups: ids(groups) })) {
        Reply::DeleteGroups(reply) => reply.groups.iter().map(|(_, error)| *error).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stable_group_is_described_with_subscriptions_and_assignments() {
    let mut w = World::new();
    w.stable("g", 2);
    let described = describe(&mut w, 5, "g");
    assert_eq!(
        (described.state, &*described.protocol_type, &*described.protocol),
        ("Stable", "consumer", "range")
    );
    let member = &described.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("c", "/127.0.0.1"));
    assert_eq!((&member.metadata, &member.assignment[..]), (&subscription(&["t"]), &b"a0"[..]));
    let message = buslane_wire::messages::DescribeGroupsResponse {
        groups: vec![described.to_wire()],
        ..Default::default()
    };
    for version in 0..=6 {
        buslane_wire::encode(&message, version, &mut buslane_wire::Encoder::new()).unwrap();
    }
}

#[test]
fn in_other_states_the_subscriptions_are_left_out() {
    let mut w = World::new();
    let (_, waiting) = w.enter("g");
    let described = describe(&mut w, 5, "g");
    assert_eq!((described.state, &*described.protocol), ("PreparingRebalance", ""));
    assert_eq!((described.members.len(), described.members[0].metadata.len()), (1, 0));
    w.pass(3_000);
    w.joined(waiting);
    assert_eq!(describe(&mut w, 5, "g").state, "CompletingRebalance");
    w.pass(60_000);
    let described = describe(&mut w, 5, "g");
    assert_eq!((described.state, described.members.len()), ("Empty", 0));
}

/// KIP-1043.
#[test]
fn an_unknown_group_is_dead_and_from_version_6_on_an_error() {
    let mut w = World::new();
    let described = describe(&mut w, 5, "g");
    assert_eq!((described.error_code, described.state), (NONE, "Dead"));
    let described = describe(&mut w, 6, "g");
    assert_eq!((described.error_code, described.state), (ErrorCode::GROUP_ID_NOT_FOUND, "Dead"));
    assert_eq!(described.error_message.as_deref(), Some("Group g not found."));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut w = World::new();
    w.stable("stable", 1);
    w.ask_commit(commit("simple", -1, "", "t", 1));
    w.enter("preparing");
    assert_eq!(list(&mut w, &[], &[]), ["preparing", "simple", "stable"]);
    assert_eq!(list(&mut w, &["Stable"], &[]), ["stable"]);
    assert_eq!(list(&mut w, &["stable", " EMPTY "], &["classic"]), ["simple", "stable"]);
    assert_eq!(list(&mut w, &["preparingrebalance"], &["Classic", "Consumer"]), ["preparing"]);
    assert!(list(&mut w, &[], &["consumer"]).is_empty());
    assert!(list(&mut w, &["nonsense"], &[]).is_empty());
    let Reply::ListGroups(reply) = w.ask(Request::ListGroups(ListGroups::default())) else { panic!() };
    let simple = &reply.groups[1];
    assert_eq!((&*simple.protocol_type, simple.state, simple.group_type), ("", "Empty", "classic"));
    assert_eq!(&*reply.groups[2].protocol_type, "consumer");
}

#[test]
fn only_empty_groups_are_deleted_with_their_offsets() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    w.ask_commit(commit("g", 1, &ids[0], "t", 1));
    w.ask_commit(commit("simple", -1, "", "t", 1));
    assert_eq!(
        delete(&mut w, &["g", "nowhere", "", "simple", "simple"]),
        [ErrorCode::NON_EMPTY_GROUP, ErrorCode::GROUP_ID_NOT_FOUND, ErrorCode::GROUP_ID_NOT_FOUND, NONE]
    );
    assert_eq!((w.offset("g", "t", 0), w.offset("simple", "t", 0)), (1, -1));
    w.ask(Request::LeaveGroup(leave("g", &ids[0])));
    assert_eq!(delete(&mut w, &["g"]), [NONE]);
    assert_eq!((w.offset("g", "t", 0), w.state("g")), (-1, GroupState::Dead));
    w.restart();
    assert_eq!((w.shard.groups().count(), w.shard.offsets().count()), (0, 0));
}

#[test]
fn deleting_is_confirmed_when_it_is_committed() {
    let mut w = World::new();
    w.ask_commit(commit("g", -1, "", "t", 1));
    w.commits = false;
    let deleting = w.send(Request::DeleteGroups(DeleteGroups { groups: ids(&["g"]) }));
    let listing = w.send(Request::ListGroups(ListGroups::default()));
    assert!(w.answers.is_empty());
    w.commit_all();
    assert!(w.answer(deleting).is_some());
    let Some(Reply::ListGroups(reply)) = w.answer(listing) else { panic!() };
    assert!(reply.groups.is_empty());
}

/// A group that is deleted takes the ids with it that it gave out.
#[test]
fn an_id_of_a_deleted_group_is_unknown() {
    let mut w = World::new();
    let told = w.ask_join(join("g", ""));
    assert_eq!(delete(&mut w, &["g"]), [NONE]);
    assert_eq!(w.ask_join(join("g", &told.member_id)).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    w.pass(100_000);
}

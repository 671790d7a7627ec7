//! Groups of the consumer protocol (KIP-848) in the shard; what they do by themselves is tested where they are.

use buslane_wire::ErrorCode;

use super::*;
use crate::classic::GroupState;
use crate::config::Config;
use crate::consumer::{Heartbeat as ConsumerHeartbeat, HeartbeatReply as Told, Partitions};
use crate::coordinator::Group;

fn beat(member_id: &str, epoch: i32) -> ConsumerHeartbeat {
    let joins = epoch == 0;
    ConsumerHeartbeat {
        member_id: member_id.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: if joins { 30_000 } else { -1 },
        subscribed_topic_names: joins.then(|| vec!["t".to_string()]),
        owned: joins.then(Partitions::new),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        ..ConsumerHeartbeat::default()
    }
}

fn request(group: &str, heartbeat: ConsumerHeartbeat) -> Request {
    let (group, new_member_id) = (group.into(), "made-by-the-broker".into());
    Request::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat { version: 1, group, new_member_id, heartbeat })
}

fn ask(w: &mut World, group: &str, heartbeat: ConsumerHeartbeat) -> Result<Told, ErrorCode> {
    match w.ask(request(group, heartbeat)) {
        Reply::ConsumerGroupHeartbeat(reply) => reply.result.map_err(|refusal| refusal.error_code),
        other => panic!("{other:?}"),
    }
}

/// Heartbeats until the member has so many partitions; the epoch it is in.
fn settle(w: &mut World, group: &str, member_id: &str, epoch: i32, partitions: usize) -> i32 {
    let mut heartbeat = beat(member_id, epoch);
    for _ in 0..10 {
        let told = ask(w, group, heartbeat).unwrap();
        let epoch = told.member_epoch;
        heartbeat = beat(member_id, epoch);
        if let Some(assignment) = told.assignment {
            let len = assignment.len();
            heartbeat.owned = Some(assignment);
            ask(w, group, heartbeat.clone()).unwrap();
            if len == partitions {
                return epoch;
            }
        }
    }
    panic!("{member_id} never got {partitions} partitions");
}

fn listed(w: &mut World) -> Vec<(String, &'static str, &'static str)> {
    match w.ask(Request::ListGroups(ListGroups::default())) {
        Reply::ListGroups(reply) => reply
            .groups
            .iter()
            .map(|group| (group.group.to_string(), group.group_type, group.state))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_joins_commits_and_leaves() {
    let mut w = World::new();
    let told = ask(&mut w, "g", beat("m", 0)).unwrap();
    assert_eq!((told.member_epoch, told.assignment.unwrap().len()), (1, 3));
    assert_eq!(listed(&mut w), [("g".to_string(), "consumer", "Stable")]);
    let newer = |epoch, member: &str| OffsetCommit { version: 9, ..commit("g", epoch, member, "t", 7) };
    assert_eq!(w.ask_commit(newer(1, "m")), NONE);
    assert_eq!(w.ask_commit(newer(2, "m")), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(w.ask_commit(newer(1, "nobody")), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.ask_commit(newer(-1, "")), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.ask_commit(commit("g", 1, "m", "t", 8)), ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(w.offset("g", "t", 0), 7);
    let fetching =
        OffsetFetch { version: 9, member_id: Some("m".into()), member_epoch: 0, ..fetch("g", "t", 0) };
    let Reply::OffsetFetch(reply) = w.ask(Request::OffsetFetch(fetching)) else { panic!() };
    assert_eq!((reply.error_code, reply.topics.len()), (ErrorCode::STALE_MEMBER_EPOCH, 0));
    let deleting = Request::DeleteGroups(DeleteGroups { groups: ids(&["g"]) });
    let Reply::DeleteGroups(reply) = w.ask(deleting.clone()) else { panic!() };
    assert_eq!(reply.groups[0].1, ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(ask(&mut w, "g", beat("m", -1)).unwrap().member_epoch, -1);
    assert_eq!(listed(&mut w)[0].2, "Empty");
    let Reply::DeleteGroups(reply) = w.ask(deleting) else { panic!() };
    assert_eq!(reply.groups[0].1, NONE);
    w.restart();
    assert_eq!((w.shard.groups().count(), w.shard.offsets().count()), (0, 0));
}

#[test]
fn a_refused_heartbeat_leaves_no_group_behind() {
    let mut w = World::new();
    assert_eq!(ask(&mut w, "g", beat("m", 3)), Err(ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(ask(&mut w, "", beat("m", 0)), Err(ErrorCode::INVALID_REQUEST));
    let odd = ConsumerHeartbeat { subscribed_topic_regex: Some("(".into()), ..beat("m", 0) };
    assert_eq!(ask(&mut w, "g", odd), Err(ErrorCode::INVALID_REGULAR_EXPRESSION));
    assert_eq!((w.shard.groups().count(), w.log.len()), (0, 0));
}

/// Version 0 has no ids of the members' own.
#[test]
fn a_member_without_an_id_gets_one() {
    let mut w = World::new();
    let Request::ConsumerGroupHeartbeat(mut request) = request("g", beat("", 0)) else { unreachable!() };
    request.version = 0;
    let Reply::ConsumerGroupHeartbeat(reply) = w.ask(Request::ConsumerGroupHeartbeat(request)) else {
        panic!()
    };
    assert_eq!(reply.to_wire().member_id, Some("made-by-the-broker"));
}

#[test]
fn heartbeats_are_answered_when_their_records_are_committed() {
    let mut w = World::new();
    w.commits = false;
    let joining = w.send(request("g", beat("m", 0)));
    assert!(w.answer(joining).is_none());
    w.commit_all();
    assert!(w.answer(joining).is_some());
    // And told nothing when they never are.
    let leaving = w.send(request("g", beat("m", -1)));
    w.commits = true;
    w.restart();
    let Some(Reply::ConsumerGroupHeartbeat(reply)) = w.answer(leaving) else { panic!() };
    assert_eq!(reply.to_wire().error_code, ErrorCode::NOT_COORDINATOR);
    assert!(ask(&mut w, "g", beat("m", 1)).is_ok(), "it has not left");
}

#[test]
fn a_restarted_shard_knows_members_and_their_partitions() {
    let mut w = World::new();
    ask(&mut w, "g", beat("m", 0)).unwrap();
    let Some(Group::Consumer(before)) = w.shard.groups.get("g").cloned_consumer() else { panic!() };
    w.pass(40_000);
    w.restart();
    let Some(Group::Consumer(after)) = w.shard.groups.get("g").cloned_consumer() else { panic!() };
    assert!(before.same_as(&after));
    // A whole session from now.
    w.pass(44_000);
    assert!(ask(&mut w, "g", beat("m", 1)).is_ok());
    w.pass(45_000);
    assert_eq!(ask(&mut w, "g", beat("m", 1)), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    let (group, member_id) = ("g".into(), "m".into());
    assert!(w.events.contains(&Event::MemberRemoved { group, member_id, cause: RemovalCause::Silent }));
    assert_eq!(listed(&mut w)[0].2, "Empty");
}

trait ClonedConsumer {
    fn cloned_consumer(self) -> Option<Group>;
}

impl ClonedConsumer for Option<&Group> {
    fn cloned_consumer(self) -> Option<Group> {
        match self {
            Some(Group::Consumer(group)) => Some(Group::Consumer(group.clone())),
            _ => None,
        }
    }
}

#[test]
fn each_protocols_describe_knows_its_own_groups() {
    let mut w = World::new();
    ask(&mut w, "new", beat("m", 0)).unwrap();
    w.stable("old", 1);
    let groups = ids(&["new", "old", "nowhere", ""]);
    let Reply::ConsumerGroupDescribe(reply) =
        w.ask(Request::ConsumerGroupDescribe(ConsumerGroupDescribe { groups }))
    else {
        panic!()
    };
    let wire = reply.to_wire(&w.shard.config.consumer, &w.topics);
    let not_found = ErrorCode::GROUP_ID_NOT_FOUND;
    let errors: Vec<_> = wire.iter().map(|group| group.error_code).collect();
    assert_eq!(errors, [NONE, not_found, not_found, ErrorCode::INVALID_GROUP_ID]);
    assert_eq!((wire[0].group_state, wire[0].group_epoch, wire[0].members.len()), ("Stable", 1, 1));
    assert_eq!(wire[1].error_message, Some("Group old is not a consumer group."));
    let described = Request::DescribeGroups(DescribeGroups { version: 6, groups: ids(&["new"]) });
    let Reply::DescribeGroups(reply) = w.ask(described) else { panic!() };
    assert_eq!(reply.groups[0].error_message.as_deref(), Some("Group new is not a classic group."));
}

/// A group without members changes its protocol with whoever comes first; its offsets stay.
#[test]
fn an_empty_group_takes_the_protocol_of_its_next_member() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    w.ask_commit(commit("g", 1, &ids[0], "t", 5));
    w.ask(Request::LeaveGroup(leave("g", &ids[0])));
    ask(&mut w, "g", beat("m", 0)).unwrap();
    assert_eq!(listed(&mut w), [("g".to_string(), "consumer", "Stable")]);
    w.restart();
    assert_eq!((listed(&mut w)[0].1, w.offset("g", "t", 0)), ("consumer", 5));
    ask(&mut w, "g", beat("m", -1)).unwrap();
    assert_eq!(w.ask_join(join("g", "stranger")).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(listed(&mut w)[0].1, "consumer", "a request that is refused changes nothing");
    assert_eq!(w.ask_join(join("g", "")).error_code, ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(listed(&mut w), [("g".to_string(), "classic", "Empty")]);
    w.restart();
    assert_eq!((listed(&mut w)[0].1, w.offset("g", "t", 0)), ("classic", 5));
}

#[test]
fn subscribed_offsets_are_kept_and_others_expire() {
    let mut w = World::with(Config {
        offsets_retention_ms: 20_000,
        offsets_retention_check_interval_ms: 1_000,
        ..Config::default()
    });
    ask(&mut w, "g", beat("m", 0)).unwrap();
    for topic in ["t", "u"] {
        w.ask_commit(OffsetCommit { version: 9, ..commit("g", 1, "m", topic, 7) });
    }
    let delete = |topic: &str| {
        let topics = vec![DeleteTopic { name: topic.into(), partitions: vec![0] }];
        Request::OffsetDelete(OffsetDelete { group: "g".into(), topics })
    };
    let Reply::OffsetDelete(reply) = w.ask(delete("t")) else { panic!() };
    assert_eq!(reply.topics[0].partitions[0].1, ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    w.pass(22_000);
    assert_eq!((w.offset("g", "t", 0), w.offset("g", "u", 0)), (7, -1));
    ask(&mut w, "g", beat("m", -1)).unwrap();
    w.pass(2_000);
    assert_eq!(w.shard.groups().count(), 0, "with its last offset the empty group goes");
    w.restart();
    assert_eq!(w.shard.groups().count(), 0);
}

/// KIP-848, online migration: members of the classic protocol stay while the first of the other one comes.
#[test]
fn a_classic_group_goes_over_with_its_members_and_back() {
    let mut w = World::new();
    // A classic member with a subscription and an assignment that can be read.
    let waiting = w.send_join(JoinGroup { version: 3, ..join("g", "") });
    w.pass(3_000);
    let old = w.joined(waiting).member_id;
    let mut assignment = vec![0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 3];
    assignment.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff]);
    let mut request = sync("g", 1, &old, &[]);
    request.assignments = vec![(old.clone(), assignment.into())];
    assert_eq!(w.ask_sync(request).error_code, NONE);
    w.ask_commit(commit("g", 1, &old, "t", 5));

    ask(&mut w, "g", beat("new", 0)).unwrap();
    assert_eq!(listed(&mut w)[0].1, "consumer");
    w.restart();
    assert_eq!((listed(&mut w)[0].1, w.offset("g", "t", 0)), ("consumer", 5));
    // The classic member is told to rejoin, gives up its share, and is told what it has.
    assert_eq!(w.beat("g", 1, &old), ErrorCode::REBALANCE_IN_PROGRESS);
    let rejoin = |w: &mut World| {
        let rejoined = w.ask_join(JoinGroup { version: 3, ..join("g", &old) });
        assert_eq!((rejoined.error_code, &*rejoined.leader), (NONE, ""));
        rejoined.generation
    };
    let generation = rejoin(&mut w);
    assert_eq!(w.ask_sync(sync("g", generation, &old, &[])).error_code, NONE);
    let generation = rejoin(&mut w);
    let told = w.ask_sync(sync("g", generation, &old, &[]));
    assert_eq!((told.error_code, told.assignment.is_empty()), (NONE, false));
    assert_eq!(w.beat("g", generation, &old), NONE);
    assert_eq!(w.ask_commit(commit("g", generation, &old, "t", 6)), NONE);
    let epoch = match w.shard.groups.get("g") {
        Some(Group::Consumer(group)) => group.members()["new"].current.member_epoch,
        _ => panic!(),
    };
    let epoch = settle(&mut w, "g", "new", epoch.max(0), 1);

    // The last member of the new protocol goes: a classic group is left, and rebalances.
    assert!(epoch > 0);
    ask(&mut w, "g", beat("new", -1)).unwrap();
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    assert_eq!(w.beat("g", w.generation("g"), &old), ErrorCode::REBALANCE_IN_PROGRESS);
    let reply = w.ask_join(JoinGroup { version: 3, ..join("g", &old) });
    assert_eq!((reply.error_code, &*reply.leader), (NONE, &*old));
    w.restart();
    assert_eq!((w.state("g"), w.offset("g", "t", 0)), (GroupState::Stable, 6));
}

#[test]
fn requests_that_wait_in_a_group_that_goes_over_are_answered() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    let waiting = w.send_join(join("g", &ids[0]));
    assert!(w.answer(waiting).is_none());
    // `a0` is no assignment that could be read: the group cannot go over, and nothing has changed.
    assert_eq!(ask(&mut w, "g", beat("new", 0)), Err(ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);

    let first = w.send_join(JoinGroup { version: 3, ..join("h", "") });
    ask(&mut w, "h", beat("new", 0)).unwrap();
    assert_eq!(w.joined(first).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(w.state_name("h"), "consumer");
    w.pass(400_000);
}

use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;

use super::*;
use crate::classic::GroupState;
use crate::config::Config;
use crate::records::{Known, Parsed, parse};

const T: TopicId = TopicId([1; 16]);

fn ask_fetch(w: &mut World, request: OffsetFetch) -> OffsetFetchReply {
    match w.ask(Request::OffsetFetch(request)) {
        Reply::OffsetFetch(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn ask_delete(w: &mut World, group: &str, topic: &str) -> OffsetDeleteReply {
    let topics = vec![DeleteTopic { name: topic.into(), partitions: vec![0] }];
    match w.ask(Request::OffsetDelete(OffsetDelete { group: group.into(), topics })) {
        Reply::OffsetDelete(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_simple_consumer_commits_and_fetches_without_a_group() {
    let mut w = World::new();
    for group in ["simple", ""] {
        assert_eq!(w.offset(group, "t", 0), -1);
        assert_eq!(w.ask_commit(commit(group, -1, "", "t", 5)), NONE);
        let reply = ask_fetch(&mut w, fetch(group, "t", 0));
        let partition = &reply.topics[0].partitions[0];
        assert_eq!((partition.offset, partition.leader_epoch, &*partition.metadata), (5, 4, "m"));
        assert_eq!((partition.error_code, reply.error_code), (NONE, NONE));
        assert_eq!(w.state(group), GroupState::Empty);
    }
}

/// Kafka's rules, state by state. Generation -1 without a member id is a consumer without a group protocol.
#[test]
fn who_may_commit() {
    let mut w = World::new();
    // No group.
    assert_eq!(w.ask_commit(commit("g", 1, "c-1", "t", 1)), ErrorCode::ILLEGAL_GENERATION);
    let newer = OffsetCommit { version: 9, ..commit("g", 1, "c-1", "t", 1) };
    assert_eq!(w.ask_commit(newer), ErrorCode::GROUP_ID_NOT_FOUND);
    // Empty.
    assert_eq!(w.ask_commit(commit("g", -1, "", "t", 1)), NONE);
    assert_eq!(w.ask_commit(commit("g", 0, "c-1", "t", 1)), ErrorCode::UNKNOWN_MEMBER_ID);
    // Stable.
    let ids = w.stable("g", 2);
    assert_eq!(w.ask_commit(commit("g", 1, &ids[0], "t", 2)), NONE);
    assert_eq!(w.ask_commit(commit("g", 0, &ids[0], "t", 3)), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(w.ask_commit(commit("g", -1, &ids[0], "t", 3)), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(w.ask_commit(commit("g", 1, "nobody", "t", 3)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.ask_commit(commit("g", -1, "", "t", 3)), ErrorCode::UNKNOWN_MEMBER_ID);
    // Members rejoin: what they have read, they may commit.
    let waiting = w.send_join(join("g", &ids[0]));
    assert_eq!(w.ask_commit(commit("g", 1, &ids[1], "t", 4)), NONE);
    // The assignment is due.
    w.send_join(join("g", &ids[1]));
    assert_eq!(w.joined(waiting).generation, 2);
    assert_eq!(w.ask_commit(commit("g", 2, &ids[1], "t", 5)), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(w.ask_commit(commit("g", 1, &ids[1], "t", 5)), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(w.offset("g", "t", 0), 4);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    for _ in 0..5 {
        w.pass(9_999);
        assert_eq!(w.ask_commit(commit("g", 1, &ids[0], "t", 2)), NONE);
    }
}

#[test]
fn a_commit_is_confirmed_and_seen_when_it_is_committed() {
    let mut w = World::new();
    w.commits = false;
    let committing = w.send(Request::OffsetCommit(commit("g", -1, "", "t", 5)));
    let reading = w.send(Request::OffsetFetch(fetch("g", "t", 0)));
    assert!(w.answers.is_empty());
    w.commit_all();
    assert_eq!(commit_error(w.answer(committing).unwrap()), NONE);
    let Some(Reply::OffsetFetch(reply)) = w.answer(reading) else { panic!() };
    assert_eq!(reply.topics[0].partitions[0].offset, 5);
}

/// A read that follows a write waits for it alone, not for those after it.
#[test]
fn answers_come_in_the_order_of_the_log() {
    let mut w = World::new();
    w.commits = false;
    let first = w.send(Request::OffsetCommit(commit("g", -1, "", "t", 5)));
    let reading = w.send(Request::OffsetFetch(fetch("g", "t", 0)));
    let second = w.send(Request::OffsetCommit(commit("g", -1, "", "t", 6)));
    w.commit_one();
    assert!(w.answer(first).is_some() && w.answer(reading).is_some() && w.answer(second).is_none());
    w.commit_one();
    assert!(w.answer(second).is_some());
}

#[test]
fn topics_and_partitions_that_do_not_exist_are_refused_one_by_one() {
    let mut w = World::new();
    let partition = |index| CommitPartition { index, offset: 7, leader_epoch: -1, metadata: None };
    let topic = |name: &str, indexes: &[i32]| CommitTopic {
        name: name.into(),
        id: TopicId::ZERO,
        partitions: indexes.iter().map(|index| partition(*index)).collect(),
    };
    let mut request = commit("g", -1, "", "t", 5);
    request.topics = vec![topic("t", &[2, 3, -1]), topic("nowhere", &[0])];
    let Reply::OffsetCommit(reply) = w.ask(Request::OffsetCommit(request.clone())) else { panic!() };
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(reply.topics[0].partitions, [(2, NONE), (3, unknown), (-1, unknown)]);
    assert_eq!(reply.topics[1].partitions, [(0, unknown)]);
    assert_eq!(w.offset("g", "t", 2), 7);
    // What the group refuses does not hide what was wrong with the topics.
    request.generation_or_epoch = 4;
    let Reply::OffsetCommit(reply) = w.ask(Request::OffsetCommit(request.clone())) else { panic!() };
    assert_eq!(reply.topics[0].partitions[..2], [(2, ErrorCode::UNKNOWN_MEMBER_ID), (3, unknown)]);
    // Nothing that exists: the group is not asked.
    request.topics = vec![topic("nowhere", &[0])];
    let Reply::OffsetCommit(reply) = w.ask(Request::OffsetCommit(request)) else { panic!() };
    assert_eq!(reply.topics[0].partitions, [(0, unknown)]);
}

#[test]
fn text_that_is_too_long_is_refused_for_its_partition() {
    let mut w = World::new();
    let partition = |index, text: String| CommitPartition {
        index,
        offset: 7,
        leader_epoch: -1,
        metadata: Some(text.into()),
    };
    let mut request = commit("g", -1, "", "t", 5);
    request.topics[0].partitions = vec![
        partition(0, "x".repeat(4_096)),
        partition(1, "x".repeat(4_097)),
        partition(2, "ä".repeat(4_096)),
    ];
    let Reply::OffsetCommit(reply) = w.ask(Request::OffsetCommit(request)) else { panic!() };
    // Kafka counts UTF-16 units, not bytes.
    assert_eq!(reply.topics[0].partitions, [(0, NONE), (1, ErrorCode::OFFSET_METADATA_TOO_LARGE), (2, NONE)]);
    assert_eq!((w.offset("g", "t", 0), w.offset("g", "t", 1)), (7, -1));
}

#[test]
fn from_version_10_on_topics_come_by_id() {
    let mut w = World::new();
    let by_id = |id| {
        let mut request = OffsetCommit { version: 10, ..commit("g", -1, "", "", 5) };
        request.topics[0].id = id;
        request
    };
    assert_eq!(w.ask_commit(by_id(T)), NONE);
    assert_eq!(w.ask_commit(by_id(TopicId([9; 16]))), ErrorCode::UNKNOWN_TOPIC_ID);
    let ask = |id| {
        let topics = vec![FetchTopic { name: "".into(), id, partitions: vec![0] }];
        OffsetFetch { version: 10, topics: Some(topics), ..fetch("g", "", 0) }
    };
    let topics = ask_fetch(&mut w, ask(T)).topics;
    assert_eq!((topics[0].id, topics[0].partitions[0].offset), (T, 5));
    let topics = ask_fetch(&mut w, ask(TopicId([9; 16]))).topics;
    assert_eq!(topics[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(topics[0].partitions[0].offset, -1);
    let all = ask_fetch(&mut w, OffsetFetch { version: 10, topics: None, ..fetch("g", "", 0) });
    assert_eq!((all.topics.len(), all.topics[0].id), (1, T));
    // The record keeps the id.
    let record = w.log.last().unwrap();
    let Parsed::Known(Known::OffsetCommit(_, Some(value))) =
        parse(&record.key, record.value.as_deref()).unwrap()
    else {
        panic!()
    };
    assert_eq!((value.topic_id, value.offset), (T, 5));
    // Created again: what was committed for the old topic is not the new one's.
    w.topics.set("t", TopicId([7; 16]), 3);
    assert_eq!(ask_fetch(&mut w, ask(TopicId([7; 16]))).topics[0].partitions[0].offset, -1);
    let all = ask_fetch(&mut w, OffsetFetch { version: 10, topics: None, ..fetch("g", "", 0) });
    assert!(all.topics.is_empty());
    assert_eq!(w.offset("g", "t", 0), -1, "by name it is the new one that is meant, too");
}

#[test]
fn what_was_committed_by_name_is_not_a_later_topics_of_that_name() {
    let mut w = World::new();
    assert_eq!(w.ask_commit(commit("g", -1, "", "t", 5)), NONE);
    assert_eq!(w.offset("g", "t", 0), 5);
    w.topics.set("t", TopicId([7; 16]), 3);
    assert_eq!(w.offset("g", "t", 0), -1);
    let all = ask_fetch(&mut w, OffsetFetch { topics: None, ..fetch("g", "", 0) });
    assert!(all.topics.is_empty());
    assert_eq!(w.ask_commit(commit("g", -1, "", "t", 1)), NONE);
    assert_eq!(w.offset("g", "t", 0), 1);
}

#[test]
fn what_is_asked_for_again_is_told_once() {
    use buslane_wire::messages::OffsetFetchRequest;
    use buslane_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    let topic = |name, partitions: &[i32]| OffsetFetchRequestTopics {
        name,
        topic_id: TopicId::ZERO,
        partition_indexes: partitions.to_vec(),
    };
    let group = |topics| OffsetFetchRequestGroup { group_id: "g", member_id: None, member_epoch: -1, topics };
    let message = OffsetFetchRequest {
        group_id: "",
        topics: None,
        groups: vec![
            group(Some(vec![topic("t", &[1, 0, 1]), topic("u", &[1]), topic("t", &[0, 2])])),
            group(None),
        ],
        require_stable: false,
    };
    let asked = OffsetFetch::from_wire(&message, 9);
    assert_eq!(asked.len(), 1);
    let told: Vec<_> =
        asked[0].topics.iter().flatten().map(|t| (t.name.to_string(), t.partitions.clone())).collect();
    assert_eq!(told, [("t".to_owned(), vec![1, 0, 2]), ("u".to_owned(), vec![1])]);
}

#[test]
fn everything_a_group_has_is_fetched_by_name() {
    let mut w = World::new();
    w.ask_commit(commit("g", -1, "", "u", 1));
    w.ask_commit(commit("g", -1, "", "t", 2));
    w.ask_commit(commit("other", -1, "", "t", 3));
    let all = |w: &mut World, group: &str| ask_fetch(w, OffsetFetch { topics: None, ..fetch(group, "", 0) });
    let reply = all(&mut w, "g");
    let found: Vec<_> = reply.topics.iter().map(|topic| (&*topic.name, topic.partitions[0].offset)).collect();
    assert_eq!(found, [("t", 2), ("u", 1)]);
    let nothing = all(&mut w, "nowhere");
    assert_eq!((nothing.error_code, nothing.topics.len()), (NONE, 0));
    // Older versions carry one group, newer ones several.
    for version in 1..=10 {
        let replies = if version < 8 { vec![reply.clone()] } else { vec![reply.clone(), nothing.clone()] };
        let mut encoder = buslane_wire::Encoder::new();
        buslane_wire::encode(&OffsetFetchReply::to_wire(&replies, version), version, &mut encoder).unwrap();
    }
}

#[test]
fn offsets_are_deleted_unless_the_group_reads_them() {
    let mut w = World::new();
    assert_eq!(ask_delete(&mut w, "", "t").error_code, ErrorCode::INVALID_GROUP_ID);
    assert_eq!(ask_delete(&mut w, "g", "t").error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    w.ask_commit(commit("g", -1, "", "t", 1));
    w.ask_commit(commit("g", -1, "", "u", 2));
    let ids = w.stable("g", 1);
    // `t` is in the members' subscriptions, `u` is not.
    let error = |reply: OffsetDeleteReply| (reply.error_code, reply.topics[0].partitions[0].1);
    assert_eq!(error(ask_delete(&mut w, "g", "t")), (NONE, ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC));
    assert_eq!(error(ask_delete(&mut w, "g", "u")), (NONE, NONE));
    assert_eq!(error(ask_delete(&mut w, "g", "nowhere")), (NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!((w.offset("g", "t", 0), w.offset("g", "u", 0)), (1, -1));
    w.ask(Request::LeaveGroup(leave("g", &ids[0])));
    assert_eq!(error(ask_delete(&mut w, "g", "t")), (NONE, NONE));
    assert_eq!(w.offset("g", "t", 0), -1);
    // Once more is no error and no record.
    let records = w.log.len();
    assert_eq!(error(ask_delete(&mut w, "g", "t")), (NONE, NONE));
    assert_eq!(w.log.len(), records);
    w.restart();
    assert_eq!((w.offset("g", "t", 0), w.offset("g", "u", 0)), (-1, -1));
}

/// What members of other protocol types read is not known.
#[test]
fn offsets_of_a_connect_group_are_not_deleted_under_it() {
    let mut w = World::new();
    let waiting = w.send_join(JoinGroup { protocol_type: "connect".into(), version: 3, ..join("g", "") });
    w.pass(3_000);
    w.joined(waiting);
    assert_eq!(ask_delete(&mut w, "g", "t").error_code, ErrorCode::NON_EMPTY_GROUP);
}

/// A consumer whose subscription cannot be read may read anything.
#[test]
fn unreadable_subscriptions_protect_every_topic() {
    let mut w = World::new();
    w.ask_commit(commit("g", -1, "", "u", 2));
    let odd = vec![Protocol { name: "range".into(), metadata: "?".into() }];
    let waiting = w.send_join(JoinGroup { protocols: odd, version: 3, ..join("g", "") });
    w.pass(3_000);
    let id = w.joined(waiting).member_id;
    assert_eq!(w.ask_sync(sync("g", 1, &id, &[])).error_code, NONE);
    assert_eq!(ask_delete(&mut w, "g", "u").topics[0].partitions[0].1, ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
}

#[test]
fn a_deleted_topics_offsets_go() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    w.ask_commit(commit("g", 1, &ids[0], "t", 1));
    w.ask_commit(commit("g", 1, &ids[0], "u", 2));
    w.ask_commit(commit("other", -1, "", "t", 3));
    let effects = w.shard.topics_deleted(w.now, &[("t", T)]);
    w.take(effects);
    assert_eq!((w.offset("g", "t", 0), w.offset("other", "t", 0), w.offset("g", "u", 0)), (-1, -1, 2));
    w.restart();
    assert_eq!((w.offset("g", "t", 0), w.offset("other", "t", 0), w.offset("g", "u", 0)), (-1, -1, 2));
}

/// The news of a deletion may come after the first commit to the topic's successor.
#[test]
fn a_successors_offsets_stay() {
    let mut w = World::new();
    let new = TopicId([7; 16]);
    w.topics.set("t", new, 3);
    let mut request = OffsetCommit { version: 10, ..commit("g", -1, "", "", 5) };
    request.topics[0].id = new;
    assert_eq!(w.ask_commit(request), NONE);
    let effects = w.shard.topics_deleted(w.now, &[("t", T)]);
    assert!(effects.is_empty());
    assert_eq!(w.offset("g", "t", 0), 5);
}

/// Requests below version 5 could say how long an offset lives; Kafka keeps that in version 1 of the record.
#[test]
fn a_commit_may_bring_its_own_expiry() {
    let mut w = World::with(Config { offsets_retention_check_interval_ms: 1_000, ..Config::default() });
    w.ask_commit(OffsetCommit { version: 4, retention_ms: 10_000, ..commit("g", -1, "", "t", 5) });
    w.ask_commit(commit("g", -1, "", "u", 6));
    assert_eq!(w.log[0].value.as_ref().unwrap()[..2], [0, 1]);
    assert_eq!(w.log[1].value.as_ref().unwrap()[..2], [0, 4]);
    w.restart();
    w.pass(9_000);
    assert_eq!(w.offset("g", "t", 0), 5);
    w.pass(2_000);
    assert_eq!((w.offset("g", "t", 0), w.offset("g", "u", 0)), (-1, 6));
}

//! A group stepped by hand.

use super::*;

/// A group with everything a call needs, whose facts are replayed after each call and compared.
struct Bench {
    group: ConsumerGroup,
    shadow: ConsumerGroup,
    topics: TopicTable,
    config: ConsumerGroupConfig,
    now_ms: i64,
    facts: Vec<Fact>,
}

impl Bench {
    fn new(topics: &[(&str, i32)]) -> Bench {
        Bench {
            group: ConsumerGroup::new("g"),
            shadow: ConsumerGroup::new("g"),
            topics: table(topics),
            config: ConsumerGroupConfig::default(),
            now_ms: 1_000_000,
            facts: Vec::new(),
        }
    }

    fn send(&mut self, request: Heartbeat) -> Result<HeartbeatReply, GroupError> {
        request.check("g", 1, &self.config)?;
        self.facts.clear();
        let before = self.group.clone();
        let result = self.group.heartbeat(self.now_ms, &request, &self.topics, &self.config, &mut self.facts);
        if result.is_err() {
            assert!(self.facts.is_empty() && self.group.same_as(&before), "a refusal changes nothing");
        }
        self.compare();
        result
    }

    fn compare(&mut self) {
        for fact in &self.facts {
            self.shadow.replay(fact.clone());
        }
        assert!(self.group.same_as(&self.shadow), "replay of {:?}", self.facts);
    }

    fn time(&mut self, ms: i64) -> Vec<Expired> {
        self.now_ms += ms;
        self.facts.clear();
        let expired = self.group.on_timeout(self.now_ms, &self.topics, &self.config, &mut self.facts);
        self.compare();
        expired
    }

    fn reload(&mut self) {
        self.group = self.shadow.clone();
        self.group.loaded(self.now_ms, &self.config);
    }

    fn member(&self, id: &str) -> &Member {
        &self.group.members()[id]
    }
}

fn join(id: &str, topics: &[&str]) -> Heartbeat {
    Heartbeat {
        member_id: id.into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(topics.iter().map(|name| name.to_string()).collect()),
        owned: Some(Partitions::new()),
        client_id: "c".into(),
        client_host: "/h".into(),
        ..Heartbeat::default()
    }
}

fn join_regex(id: &str, regex: &str) -> Heartbeat {
    Heartbeat { subscribed_topic_names: None, subscribed_topic_regex: Some(regex.into()), ..join(id, &[]) }
}

fn beat(id: &str, epoch: i32) -> Heartbeat {
    Heartbeat {
        member_id: id.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        client_id: "c".into(),
        client_host: "/h".into(),
        ..Heartbeat::default()
    }
}

fn owning(id: &str, epoch: i32, owned: Partitions) -> Heartbeat {
    Heartbeat { owned: Some(owned), ..beat(id, epoch) }
}

fn named(name: &str, request: Heartbeat) -> Heartbeat {
    Heartbeat { instance_id: Some(name.into()), ..request }
}

#[test]
fn the_first_member_gets_everything() {
    let mut bench = Bench::new(&[("t", 3)]);
    let reply = bench.send(join("a", &["t"])).unwrap();
    assert_eq!(reply.member_id, "a");
    assert_eq!((reply.member_epoch, reply.heartbeat_interval_ms), (1, 5_000));
    assert_eq!(reply.assignment, Some(parts("t", &[0, 1, 2])));
    assert_eq!(bench.group.state(), GroupState::Stable);
    let kinds: Vec<_> = bench.facts.iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 5, "metadata, epoch, target, target epoch, assignment: {:?}", bench.facts);
    assert!(matches!(bench.facts[0], Fact::MemberMetadata { .. }));
    assert!(matches!(bench.facts[1], Fact::GroupEpoch { epoch: 1, .. }));
    assert!(matches!(bench.facts[2], Fact::Target { .. }));
    assert!(matches!(bench.facts[3], Fact::TargetEpoch { epoch: 1, computed_at_ms: 1_000_000 }));
    assert!(matches!(bench.facts[4], Fact::CurrentAssignment { .. }));
}

#[test]
fn a_heartbeat_without_news_writes_nothing() {
    let mut bench = Bench::new(&[("t", 3)]);
    bench.send(join("a", &["t"])).unwrap();
    let reply = bench.send(beat("a", 1)).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (1, None));
    assert!(bench.facts.is_empty(), "{:?}", bench.facts);
    let reply = bench.send(owning("a", 1, parts("t", &[0, 1, 2]))).unwrap();
    assert_eq!(reply.assignment, None, "an acknowledgement is not a full request");
    assert!(bench.facts.is_empty(), "{:?}", bench.facts);
    let full = Heartbeat { member_epoch: 1, owned: Some(parts("t", &[0, 1, 2])), ..join("a", &["t"]) };
    assert_eq!(bench.send(full).unwrap().assignment, Some(parts("t", &[0, 1, 2])));
    assert!(bench.facts.is_empty(), "{:?}", bench.facts);
}

#[test]
fn a_partition_moves_only_after_its_owner_gave_it_up() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(join("a", &["t"])).unwrap();
    let reply = bench.send(join("b", &["t"])).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (2, Some(Partitions::new())), "nothing is free yet");
    assert_eq!(bench.member("b").current.state, MemberState::UnreleasedPartitions);
    assert_eq!(reply.heartbeat_interval_ms, 500, "it asks again soon");

    let reply = bench.send(beat("a", 1)).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (1, Some(parts("t", &[0]))), "told to give one up");
    assert_eq!(bench.send(beat("b", 2)).unwrap().assignment, None, "not given up yet");
    let reply = bench.send(beat("a", 1)).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (1, None), "still at it");

    let reply = bench.send(owning("a", 1, parts("t", &[0]))).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (2, None), "its assignment stays as it was told");
    let reply = bench.send(beat("b", 2)).unwrap();
    assert_eq!((reply.assignment, reply.heartbeat_interval_ms), (Some(parts("t", &[1])), 5_000));
    assert_eq!(bench.group.state(), GroupState::Stable);
    bench.config.heartbeat_interval_ms = 300;
    assert_eq!(
        bench.send(join("c", &["t"])).unwrap().heartbeat_interval_ms,
        300,
        "never later than configured"
    );
}

#[test]
fn states_follow_the_members() {
    let mut bench = Bench::new(&[("t", 2)]);
    assert_eq!(bench.group.state(), GroupState::Empty);
    bench.config.assignment_interval_ms = 1_000;
    bench.send(join("a", &["t"])).unwrap();
    assert_eq!(bench.group.state(), GroupState::Stable, "the first target does not wait");
    bench.send(join("b", &["t"])).unwrap();
    assert_eq!(bench.group.state(), GroupState::Assigning);
    assert_eq!(bench.group.next_timeout(&bench.config), Some(bench.now_ms + 1_000));
    assert!(bench.time(1_000).is_empty());
    assert_eq!(bench.group.state(), GroupState::Reconciling);
}

#[test]
fn epochs_that_do_not_fit_are_fenced() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(join("a", &["t"])).unwrap();
    bench.send(join("b", &["t"])).unwrap();
    bench.send(beat("a", 1)).unwrap();
    bench.send(owning("a", 1, parts("t", &[0]))).unwrap();
    bench.send(beat("b", 2)).unwrap();

    let fenced = |received| GroupError::FencedMemberEpoch { received, known: 2 };
    assert_eq!(bench.send(beat("a", 3)), Err(fenced(3)));
    assert_eq!(bench.send(beat("a", 1)), Err(fenced(1)), "without its partitions");
    assert_eq!(bench.send(owning("a", 1, parts("t", &[0, 1]))), Err(fenced(1)), "with more than it may hold");
    let reply = bench.send(owning("a", 1, parts("t", &[0]))).unwrap();
    assert_eq!(reply.member_epoch, 2, "the answer that told of epoch 2 was lost");
    assert_eq!(
        bench.send(beat("x", 2)),
        Err(GroupError::UnknownMemberId { group_id: "g".into(), who: "Member x".into() })
    );
    let reply = bench.send(join("a", &["t"])).unwrap();
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (2, Some(parts("t", &[0]))),
        "a member may start over"
    );
}

#[test]
fn a_lost_answer_to_a_join_is_repeated() {
    let mut bench = Bench::new(&[("t", 1)]);
    let first = bench.send(join("a", &["t"])).unwrap();
    assert_eq!(bench.send(join("a", &["t"])).unwrap(), first);
    assert!(bench.facts.is_empty());
    let first = bench.send(named("i", join("s", &["t"]))).unwrap();
    assert_eq!(bench.send(named("i", join("s", &["t"]))).unwrap(), first, "of a static member, too");
}

#[test]
fn two_answers_lost_in_a_row_fence_nobody() {
    let mut bench = Bench::new(&[("t", 1)]);
    bench.send(join("a", &["t"])).unwrap();
    bench.topics.set("t", topic_id("t"), 4);
    let lost = bench.send(beat("a", 1)).unwrap();
    assert_eq!((lost.member_epoch, lost.assignment.unwrap().len()), (2, 4));
    bench.send(join("b", &["t"])).unwrap();
    let holds = parts("t", &[0]);
    let lost = bench.send(owning("a", 1, holds.clone())).unwrap();
    assert_eq!(lost.member_epoch, 3, "it holds nothing that it would have to give up");
    let mut full = Heartbeat { member_epoch: 1, owned: Some(holds), ..join("a", &["t"]) };
    assert!(
        matches!(bench.send(full.clone()), Err(GroupError::FencedMemberEpoch { .. })),
        "two epochs behind is lost"
    );

    // Where the epoch stays, the one before it stays known.
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(join("a", &["t"])).unwrap();
    bench.topics.set("t", topic_id("t"), 4);
    assert_eq!(bench.send(beat("a", 1)).unwrap().member_epoch, 2);
    bench.send(join("b", &["t"])).unwrap();
    full.owned = Some(parts("t", &[0, 1]));
    bench.topics.set("t", topic_id("t"), 2);
    bench.send(beat("b", 3)).unwrap();
    let lost = bench.send(full.clone()).unwrap();
    assert_eq!((lost.member_epoch, bench.member("a").current.state), (2, MemberState::UnrevokedPartitions));
    full.owned = Some(parts("t", &[0]));
    assert!(bench.send(full).is_ok());
}

#[test]
fn a_leaving_member_frees_its_partitions() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(join("a", &["t"])).unwrap();
    bench.send(join("b", &["t"])).unwrap();
    let reply = bench.send(beat("a", LEAVE_EPOCH)).unwrap();
    assert_eq!((reply.member_epoch, reply.heartbeat_interval_ms, reply.assignment), (-1, 0, None));
    assert_eq!(bench.send(beat("b", 2)).unwrap().assignment, Some(parts("t", &[0, 1])));
    bench.send(beat("b", LEAVE_EPOCH)).unwrap();
    assert_eq!(bench.group.state(), GroupState::Empty);
    assert_eq!(bench.group.epoch(), bench.group.target_epoch(), "an empty group needs no target");
    assert!(bench.send(beat("b", LEAVE_EPOCH)).is_err());
    bench.group.check_delete().unwrap();
    bench.facts.clear();
    bench.group.remove(&mut bench.facts);
    bench.compare();
    assert!(bench.group.same_as(&ConsumerGroup::new("g")));
}

#[test]
fn a_silent_member_is_removed() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(join("a", &["t"])).unwrap();
    assert!(bench.time(30_000).is_empty());
    bench.send(join("b", &["t"])).unwrap();
    assert!(bench.time(14_999).is_empty());
    assert_eq!(bench.time(1), [Expired { member_id: "a".into(), missed: Deadline::Session }]);
    assert_eq!(bench.send(beat("b", 2)).unwrap().assignment, Some(parts("t", &[0, 1])));
    assert_eq!(bench.send(beat("a", 1)).unwrap_err().code(), buslane_wire::ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_removed() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(Heartbeat { rebalance_timeout_ms: 7_000, ..join("a", &["t"]) }).unwrap();
    bench.send(join("b", &["t"])).unwrap();
    bench.send(beat("a", 1)).unwrap();
    assert!(bench.time(6_999).is_empty());
    bench.send(beat("a", 1)).unwrap();
    assert_eq!(bench.time(1), [Expired { member_id: "a".into(), missed: Deadline::Revocation }]);

    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(Heartbeat { rebalance_timeout_ms: 7_000, ..join("a", &["t"]) }).unwrap();
    bench.send(join("b", &["t"])).unwrap();
    bench.send(beat("a", 1)).unwrap();
    bench.send(owning("a", 1, parts("t", &[0]))).unwrap();
    assert!(bench.time(7_000).is_empty(), "it was in time");
}

#[test]
fn deadlines_start_anew_after_a_load() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(Heartbeat { rebalance_timeout_ms: 7_000, ..join("a", &["t"]) }).unwrap();
    bench.send(join("b", &["t"])).unwrap();
    bench.send(beat("a", 1)).unwrap();
    bench.now_ms += 100_000;
    bench.reload();
    assert!(bench.time(6_999).is_empty());
    assert_eq!(bench.time(1), [Expired { member_id: "a".into(), missed: Deadline::Revocation }]);
    assert_eq!(bench.time(38_000), [Expired { member_id: "b".into(), missed: Deadline::Session }]);
}

#[test]
fn a_static_member_that_is_away_keeps_its_partitions() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(named("i", join("a", &["t"]))).unwrap();
    bench.send(join("b", &["t"])).unwrap();
    bench.send(named("i", owning("a", 1, parts("t", &[0])))).unwrap();
    bench.send(beat("b", 2)).unwrap();
    let epoch = bench.group.epoch();

    let reply = bench.send(named("i", beat("a", LEAVE_STATIC_EPOCH))).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (-2, None));
    let reply = bench.send(named("i", join("a2", &["t"]))).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (2, Some(parts("t", &[0]))));
    assert_eq!(bench.group.epoch(), epoch, "no rebalance");
    assert_eq!(bench.send(beat("b", 2)).unwrap().assignment, None);
    assert_eq!(
        bench.send(named("i", beat("a", 2))),
        Err(GroupError::FencedInstanceId {
            member_id: "a".into(),
            instance_id: "i".into(),
            holder: "a2".into()
        })
    );
}

#[test]
fn a_static_member_that_stays_away_is_removed() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(named("i", join("a", &["t"]))).unwrap();
    bench.send(named("i", beat("a", LEAVE_STATIC_EPOCH))).unwrap();
    assert_eq!(bench.time(45_000).len(), 1);
    let error = bench.send(named("i", beat("a", 1))).unwrap_err();
    assert_eq!(error, GroupError::UnknownMemberId { group_id: "g".into(), who: "Instance id i".into() });
}

#[test]
fn a_name_in_use_is_not_given_away() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.send(named("i", join("a", &["t"]))).unwrap();
    let error = bench.send(named("i", join("b", &["t"]))).unwrap_err();
    assert_eq!(
        error,
        GroupError::UnreleasedInstanceId {
            member_id: "b".into(),
            instance_id: "i".into(),
            holder: "a".into()
        }
    );
    let error = bench.send(named("i", beat("b", LEAVE_EPOCH))).unwrap_err();
    assert_eq!(error.code(), buslane_wire::ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn a_full_group_takes_nobody() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.config.max_size = 1;
    bench.send(join("a", &["t"])).unwrap();
    assert_eq!(bench.send(join("b", &["t"])), Err(GroupError::GroupMaxSizeReached { max_size: 1 }));
    bench.send(beat("a", 1)).unwrap();
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let config = ConsumerGroupConfig::default();
    let code =
        |request: Heartbeat, version| request.check("g", version, &config).map_err(|error| error.code());
    let invalid = Err(buslane_wire::ErrorCode::INVALID_REQUEST);
    assert_eq!(code(join("", &["t"]), 0), Ok(()), "version 0 gets its id from the coordinator");
    assert_eq!(code(join("", &["t"]), 1), invalid);
    assert_eq!(code(beat("", 1), 0), invalid);
    assert_eq!(code(beat("", LEAVE_EPOCH), 0), invalid);
    assert_eq!(join("a", &["t"]).check(" ", 1, &config).map_err(|error| error.code()), invalid);
    assert_eq!(code(named(" ", join("a", &["t"])), 1), invalid);
    assert_eq!(code(Heartbeat { rack_id: Some(String::new()), ..join("a", &["t"]) }, 1), invalid);
    assert_eq!(code(Heartbeat { rebalance_timeout_ms: -1, ..join("a", &["t"]) }, 1), invalid);
    assert_eq!(code(Heartbeat { owned: None, ..join("a", &["t"]) }, 1), invalid);
    assert_eq!(code(Heartbeat { owned: Some(parts("t", &[0])), ..join("a", &["t"]) }, 1), invalid);
    assert_eq!(code(Heartbeat { subscribed_topic_names: None, ..join("a", &["t"]) }, 1), invalid);
    assert_eq!(code(join("a", &[]), 1), Ok(()), "a member may want nothing");
    assert_eq!(code(beat("a", -2), 1), invalid, "without a name");
    assert_eq!(code(beat("a", -3), 1), invalid);
    let asks = |name: &str| Heartbeat { server_assignor: Some(name.into()), ..join("a", &["t"]) };
    assert_eq!(code(asks("range"), 1), Ok(()));
    assert_eq!(code(asks("sticky"), 1), Err(buslane_wire::ErrorCode::UNSUPPORTED_ASSIGNOR));
    let uniform = ConsumerGroupConfig { assignors: vec![AssignorKind::Uniform], ..config.clone() };
    assert!(asks("range").check("g", 1, &uniform).is_err());
}

#[test]
fn the_majority_chooses_the_assignor() {
    let mut bench = Bench::new(&[("t", 4)]);
    bench.send(join("a", &["t"])).unwrap();
    bench.send(join("b", &["t"])).unwrap();
    let epoch = bench.group.epoch();
    assert_eq!(bench.group.describe(&bench.config).assignor, "uniform");
    bench.send(Heartbeat { server_assignor: Some("range".into()), ..beat("b", 2) }).unwrap();
    assert_eq!(bench.group.describe(&bench.config).assignor, "range");
    assert_eq!(bench.group.epoch(), epoch + 1, "another assignor, another target");
    assert_eq!(bench.group.target()["a"], parts("t", &[0, 1]));
    assert_eq!(bench.group.target()["b"], parts("t", &[2, 3]));
}

#[test]
fn topics_that_change_are_noticed_at_the_next_heartbeat() {
    let mut bench = Bench::new(&[("t", 1)]);
    bench.send(join("a", &["t", "u"])).unwrap();
    bench.topics.set("other", topic_id("other"), 5);
    assert_eq!(bench.send(beat("a", 1)).unwrap().member_epoch, 1, "nobody wants it");
    assert!(bench.facts.is_empty());
    bench.topics.set("u", topic_id("u"), 1);
    let reply = bench.send(beat("a", 1)).unwrap();
    let both: Partitions = [(topic_id("t"), 0), (topic_id("u"), 0)].into_iter().collect();
    assert_eq!((reply.member_epoch, reply.assignment), (2, Some(both)));
    bench.topics.set("t", topic_id("t"), 2);
    assert_eq!(bench.send(beat("a", 2)).unwrap().member_epoch, 3);
    bench.topics.remove("u");
    let reply = bench.send(beat("a", 3)).unwrap();
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (3, Some(parts("t", &[0, 1]))),
        "it must let go of it first"
    );
    assert_eq!(bench.send(owning("a", 3, parts("t", &[0, 1]))).unwrap().member_epoch, 4);
}

#[test]
fn another_subscription_takes_effect_at_once() {
    let mut bench = Bench::new(&[("t", 1), ("u", 1)]);
    bench.config.assignment_interval_ms = 10_000;
    bench.send(join("a", &["t"])).unwrap();
    let reply =
        bench.send(Heartbeat { subscribed_topic_names: Some(vec!["u".into()]), ..beat("a", 1) }).unwrap();
    assert_eq!(
        reply.assignment,
        Some(Partitions::new()),
        "the old topic goes, the new target is not due yet"
    );
    assert_eq!(reply.member_epoch, 1);
    bench.time(10_000);
    let reply = bench.send(owning("a", 1, Partitions::new())).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (2, Some(parts("u", &[0]))));
}

#[test]
fn patterns_follow_the_topics() {
    let mut bench = Bench::new(&[("t1", 1), ("x", 1)]);
    let reply = bench.send(join_regex("a", "t.*")).unwrap();
    assert_eq!(reply.assignment, Some(parts("t1", &[0])));
    bench.topics.set("t2", topic_id("t2"), 1);
    assert_eq!(
        bench.send(beat("a", 1)).unwrap().assignment,
        None,
        "not sooner than ten seconds after the last time"
    );
    bench.now_ms += REGEX_REFRESH_MIN_MS;
    let reply = bench.send(beat("a", 1)).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment.unwrap().len()), (2, 2));

    let reply = bench.send(join_regex("b", "x")).unwrap();
    assert_eq!(reply.assignment, Some(parts("x", &[0])), "a new pattern is resolved at once");
    assert_eq!(bench.group.regexes().len(), 2);
    bench.send(beat("b", LEAVE_EPOCH)).unwrap();
    assert_eq!(bench.group.regexes().keys().collect::<Vec<_>>(), ["t.*"], "nobody has the other any more");
    assert!(bench.group.is_subscribed_to("t1") && !bench.group.is_subscribed_to("x"));

    bench.send(Heartbeat { subscribed_topic_regex: Some(String::new()), ..beat("a", 2) }).unwrap();
    assert!(bench.group.regexes().is_empty());
    let error = bench.send(join_regex("c", "(")).unwrap_err();
    assert_eq!(error.code(), buslane_wire::ErrorCode::INVALID_REGULAR_EXPRESSION);
}

/// Topics of which a member may see some only.
struct Shown<'a>(&'a TopicTable, &'a [&'a str]);

impl TopicsView for Shown<'_> {
    fn version(&self) -> u64 {
        self.0.version()
    }

    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.0.by_name(name)
    }

    fn name_of(&self, id: TopicId) -> Option<&str> {
        self.0.name_of(id)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.1.iter().copied())
    }
}

#[test]
fn patterns_are_resolved_anew_after_their_interval_though_no_topic_changed() {
    let table = table(&[("t1", 1), ("t2", 1)]);
    let config = ConsumerGroupConfig { regex_refresh_interval_ms: 60_000, ..ConsumerGroupConfig::default() };
    let mut group = ConsumerGroup::new("g");
    let mut beat = |now_ms: i64, request: &Heartbeat, shown: &[&str]| {
        let reply = group.heartbeat(now_ms, request, &Shown(&table, shown), &config, &mut Vec::new());
        reply.unwrap().assignment.map(|assignment| assignment.len())
    };
    assert_eq!(beat(1_000, &join_regex("a", "t.*"), &["t1"]), Some(1));
    assert_eq!(beat(60_999, &super::group::beat("a", 1), &["t1", "t2"]), None);
    assert_eq!(beat(61_000, &super::group::beat("a", 1), &["t1", "t2"]), Some(2));
}

#[test]
fn a_pattern_that_matches_what_another_member_named_counts() {
    let mut bench = Bench::new(&[("t1", 2)]);
    bench.send(join("a", &["t1", "t2"])).unwrap();
    bench.send(join_regex("b", "t.*")).unwrap();
    bench.topics.set("t2", topic_id("t2"), 2);
    bench.now_ms += REGEX_REFRESH_MIN_MS;
    bench.send(beat("a", 1)).unwrap();
    assert_eq!(bench.group.target()["a"].len(), 2);
    assert_eq!(bench.group.target()["b"].len(), 2);
}

#[test]
fn names_and_pattern_add_up() {
    let mut bench = Bench::new(&[("t1", 1), ("x", 1)]);
    let both = Heartbeat { subscribed_topic_names: Some(vec!["x".into()]), ..join_regex("a", "t.*") };
    assert_eq!(bench.send(both).unwrap().assignment.unwrap().len(), 2);
}

#[test]
fn commits_need_the_members_epoch_or_a_partition_held_since() {
    let mut bench = Bench::new(&[("t", 3)]);
    let who = |member_id, member_epoch| Committer {
        member_id,
        instance_id: None,
        member_epoch,
        commit_version: Some(9),
    };
    assert!(bench.group.check_commit(who("", -1)).is_ok(), "a tool, into an empty group");
    bench.send(join("a", &["t"])).unwrap();
    assert!(bench.group.check_commit(who("", -1)).is_err());
    bench.send(join("b", &["t"])).unwrap();
    bench.send(beat("a", 1)).unwrap();
    bench.send(owning("a", 1, parts("t", &[0, 1]))).unwrap();
    bench.send(beat("b", 2)).unwrap();

    let t = topic_id("t");
    let check = bench.group.check_commit(who("a", 1)).unwrap();
    assert_eq!(check.partition(t, 0), Ok(()), "held since epoch 1");
    let stale = Err(GroupError::StaleMemberEpoch { received: 1, known: 2 });
    assert_eq!(check.partition(t, 2), stale, "given up");
    assert_eq!(bench.group.check_commit(who("b", 1)).unwrap().partition(t, 2), stale, "held since epoch 2");
    assert_eq!(
        bench.group.check_commit(who("b", 2)).unwrap().partition(t, 0),
        Ok(()),
        "the epoch is all that counts"
    );
    assert!(bench.group.check_commit(who("b", 3)).is_err());
    let old = Committer { commit_version: Some(8), ..who("b", 2) };
    assert_eq!(bench.group.check_commit(old).unwrap_err(), GroupError::UnsupportedVersion);
    let transaction = Committer { commit_version: None, ..who("", -1) };
    assert!(bench.group.check_commit(transaction).is_ok());
    assert!(bench.group.check_fetch(None, -1).is_ok());
    assert!(bench.group.check_fetch(Some("b"), 2).is_ok());
    assert_eq!(
        bench.group.check_fetch(Some("b"), 1),
        Err(GroupError::StaleMemberEpoch { received: 1, known: 2 })
    );
}

#[test]
fn a_subscription_that_reached_the_log_without_its_epoch_is_noticed() {
    let mut bench = Bench::new(&[("t", 2), ("u", 4)]);
    bench.send(join("a", &["t"])).unwrap();
    bench.send(join("b", &["t", "u"])).unwrap();
    // The coordinator goes down after the first of the facts by which `a` subscribes to `u`, too.
    let mut metadata = bench.member("a").metadata.clone();
    metadata.subscribed_topic_names.insert("u".into());
    bench.shadow.replay(Fact::MemberMetadata { member_id: "a".into(), metadata });
    bench.reload();
    let epoch = bench.group.epoch();
    bench.send(beat("b", 2)).unwrap();
    assert_eq!(bench.group.epoch(), epoch + 1);
    bench.reload();
    bench.send(beat("b", 2)).unwrap();
    assert_eq!(bench.group.epoch(), epoch + 1, "a group that is whole keeps its epoch");
}

#[test]
fn a_log_with_holes_can_be_replayed() {
    // The member's later record replaced the one by which it gave the partition up.
    let mut group = ConsumerGroup::new("g");
    let held = |id: &str, topic: &str, epoch| Fact::CurrentAssignment {
        member_id: id.into(),
        current: CurrentAssignment {
            member_epoch: epoch,
            assigned: HeldPartitions::given(&parts(topic, &[0]), epoch),
            ..CurrentAssignment::default()
        },
    };
    for fact in [held("a", "t", 1), held("b", "t", 2), held("a", "u", 3)] {
        group.replay(fact);
    }
    assert_eq!(group.owner_of(topic_id("t"), 0), Some("b"));
    assert_eq!(group.owner_of(topic_id("u"), 0), Some("a"));
    for fact in [
        Fact::MemberRemoved { member_id: "nobody".into() },
        Fact::CurrentAssignmentRemoved { member_id: "nobody".into() },
        Fact::TargetRemoved { member_id: "nobody".into() },
        Fact::RegexRemoved { regex: "none".into() },
        Fact::MemberRemoved { member_id: "b".into() },
        Fact::GroupRemoved,
    ] {
        group.replay(fact);
    }
    assert_eq!(group.owner_of(topic_id("t"), 0), None);
    assert_eq!(group.members().len(), 1);
}

/// 1,000 members join one group of 2,000 partitions one after another and settle. Bounds are generous: tests run
/// unoptimized and beside others.
#[test]
fn a_thousand_members_join_and_settle() {
    let mut topics = table(&[]);
    for topic in 0..20 {
        let name = format!("t{topic}");
        topics.set(&name, topic_id(&name), 100);
    }
    let names: Vec<String> = (0..20).map(|topic| format!("t{topic}")).collect();
    let config = ConsumerGroupConfig::default();
    let mut group = ConsumerGroup::new("g");
    let mut facts = Vec::new();
    let mut held: Vec<(String, i32, Partitions)> = Vec::new();
    let start = std::time::Instant::now();
    for member in 0..1_000 {
        let request =
            Heartbeat { subscribed_topic_names: Some(names.clone()), ..join(&format!("m{member:04}"), &[]) };
        let reply = group.heartbeat(0, &request, &topics, &config, &mut facts).unwrap();
        held.push((reply.member_id, reply.member_epoch, reply.assignment.unwrap()));
    }
    let joined = start.elapsed();
    let mut rounds = 0;
    while group.state() != GroupState::Stable {
        rounds += 1;
        assert!(rounds <= 4, "{:?} after {rounds} rounds", group.state());
        for (id, epoch, owned) in &mut held {
            let reply =
                group.heartbeat(0, &owning(id, *epoch, owned.clone()), &topics, &config, &mut facts).unwrap();
            *epoch = reply.member_epoch;
            *owned = reply.assignment.unwrap_or(std::mem::take(owned));
        }
    }
    let settled = start.elapsed() - joined;
    let start = std::time::Instant::now();
    let written = facts.len();
    for (id, epoch, _) in &held {
        group.heartbeat(1, &beat(id, *epoch), &topics, &config, &mut facts).unwrap();
    }
    println!(
        "joined in {joined:?}, settled in {rounds} rounds in {settled:?}, then a round of {:?}",
        start.elapsed()
    );
    assert_eq!(facts.len(), written);
    assert!(held.iter().all(|(_, _, owned)| owned.len() == 2));
    assert!(joined.as_secs() < 60);
}

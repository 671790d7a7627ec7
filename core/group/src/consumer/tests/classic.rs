//! Classic members of consumer groups, and groups that go from one protocol to the other.

use bytes::Bytes;

use super::super::protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, NamedPartitions,
};
use super::*;

struct Bench {
    group: ConsumerGroup,
    topics: TopicTable,
    config: ConsumerGroupConfig,
    now_ms: i64,
    facts: Vec<Fact>,
}

impl Bench {
    fn new(topics: &[(&str, i32)]) -> Bench {
        Bench {
            group: ConsumerGroup::new("g"),
            topics: table(topics),
            config: ConsumerGroupConfig::default(),
            now_ms: 1_000,
            facts: Vec::new(),
        }
    }

    fn join(&mut self, request: ClassicJoin) -> Result<ClassicJoinReply, GroupError> {
        self.group.classic_join(self.now_ms, &request, &self.topics, &self.config, &mut self.facts)
    }

    /// Joins and gives the generation.
    fn joined(&mut self, request: ClassicJoin) -> i32 {
        match self.join(request).unwrap() {
            ClassicJoinReply::Joined { generation_id, protocol_name, .. } => {
                assert_eq!(protocol_name, "range");
                generation_id
            }
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, id: &str, generation: i32) -> Result<Partitions, GroupError> {
        let sender = ClassicSender { member_id: id, instance_id: None };
        let bytes = self.group.classic_sync(
            self.now_ms,
            sender,
            generation,
            Some("consumer"),
            Some("range"),
            &self.topics,
        )?;
        let read = read_assignment(&bytes).unwrap();
        Ok(protocol::to_partitions(&read.assigned_partitions, &self.topics))
    }

    fn beat(&mut self, id: &str, generation: i32) -> Result<ClassicHeartbeatReply, GroupError> {
        let sender = ClassicSender { member_id: id, instance_id: None };
        self.group.classic_heartbeat(
            self.now_ms,
            sender,
            generation,
            &self.topics,
            &self.config,
            &mut self.facts,
        )
    }

    fn heartbeat(&mut self, request: Heartbeat) -> Result<HeartbeatReply, GroupError> {
        self.group.heartbeat(self.now_ms, &request, &self.topics, &self.config, &mut self.facts)
    }

    fn time(&mut self, ms: i64) -> Vec<Expired> {
        self.now_ms += ms;
        self.group.on_timeout(self.now_ms, &self.topics, &self.config, &mut self.facts)
    }
}

fn subscription(topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let body = ConsumerProtocolSubscription {
        topics: topics.to_vec(),
        user_data: None,
        owned_partitions: owned
            .iter()
            .map(|(topic, partitions)| NamedPartitions { topic, partitions: partitions.to_vec() })
            .collect(),
        generation_id: -1,
        rack_id: None,
    };
    protocol::write(&body, 1)
}

fn assignment(topic: &str, partitions: &[i32], user_data: Option<&[u8]>) -> Bytes {
    let assigned_partitions = vec![NamedPartitions { topic, partitions: partitions.to_vec() }];
    protocol::write(&ConsumerProtocolAssignment { assigned_partitions, user_data }, 1)
}

fn classic(id: &str, metadata: Bytes) -> ClassicJoin {
    ClassicJoin {
        member_id: id.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer".into(),
        protocols: vec![ClassicProtocol { name: "range".into(), metadata }],
        ..ClassicJoin::default()
    }
}

fn consumer(id: &str) -> Heartbeat {
    Heartbeat {
        member_id: id.into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        owned: Some(Partitions::new()),
        ..Heartbeat::default()
    }
}

fn leave(id: &str) -> Heartbeat {
    Heartbeat { member_id: id.into(), member_epoch: LEAVE_EPOCH, ..Heartbeat::default() }
}

#[test]
fn both_protocols_share_one_group() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.heartbeat(consumer("new")).unwrap();
    let generation = bench.joined(classic("old", subscription(&["t"], &[])));
    assert_eq!(generation, 2, "the generation is the member epoch");
    assert_eq!(bench.sync("old", generation), Ok(Partitions::new()), "the other still has everything");
    assert_eq!(bench.beat("old", generation), Ok(ClassicHeartbeatReply::Stay), "it waits for the other");
    assert_eq!(bench.group.describe(&bench.config).members[1].member_type, 0);

    let beat = Heartbeat { member_epoch: 1, rebalance_timeout_ms: -1, ..consumer("new") };
    bench.heartbeat(Heartbeat { subscribed_topic_names: None, owned: None, ..beat.clone() }).unwrap();
    bench.heartbeat(Heartbeat { owned: Some(parts("t", &[0])), ..beat }).unwrap();
    assert_eq!(
        bench.beat("old", generation),
        Ok(ClassicHeartbeatReply::Rejoin),
        "a partition is free for it"
    );
    let generation = bench.joined(classic("old", subscription(&["t"], &[])));
    assert_eq!(bench.sync("old", generation), Ok(parts("t", &[1])));
    assert_eq!(bench.beat("old", generation), Ok(ClassicHeartbeatReply::Stay));
    assert_eq!(bench.group.state(), GroupState::Stable);
}

#[test]
fn a_classic_member_gives_up_by_rejoining() {
    let mut bench = Bench::new(&[("t", 2)]);
    let first = bench.joined(classic("old", subscription(&["t"], &[])));
    assert_eq!(bench.sync("old", first), Ok(parts("t", &[0, 1])));
    assert_eq!(bench.heartbeat(consumer("new")).unwrap().assignment, Some(Partitions::new()));
    assert_eq!(bench.beat("old", first), Ok(ClassicHeartbeatReply::Rejoin));
    assert!(matches!(bench.sync("old", first), Err(GroupError::RebalanceInProgress { .. })));

    let again = bench.joined(classic("old", subscription(&["t"], &[("t", &[0, 1])])));
    assert_eq!(again, first, "it has to give up first");
    let kept = bench.sync("old", again).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(bench.beat("old", again), Ok(ClassicHeartbeatReply::Rejoin), "and to say so");
    let reply = bench.heartbeat(Heartbeat { member_epoch: 2, owned: None, ..consumer("new") }).unwrap();
    assert_eq!(reply.assignment, None, "not before it has");
    let last = bench.joined(classic("old", subscription(&["t"], &[("t", &[0])])));
    assert_eq!((last, bench.sync("old", last)), (2, Ok(kept)));
    let reply = bench.heartbeat(Heartbeat { member_epoch: 2, owned: None, ..consumer("new") }).unwrap();
    assert_eq!(reply.assignment.unwrap().len(), 1);
}

#[test]
fn classic_members_alone_notice_topics_that_grow() {
    let mut bench = Bench::new(&[("t", 1)]);
    let first = bench.joined(classic("old", subscription(&["t"], &[])));
    bench.sync("old", first).unwrap();
    assert_eq!(bench.beat("old", first), Ok(ClassicHeartbeatReply::Stay));
    bench.topics.set("t", topic_id("t"), 2);
    bench.facts.clear();
    assert_eq!(bench.beat("old", first), Ok(ClassicHeartbeatReply::Rejoin));
    assert!(matches!(bench.facts[..], [Fact::GroupEpoch { epoch: 2, .. }]));
    let next = bench.joined(classic("old", subscription(&["t"], &[("t", &[0])])));
    assert_eq!(bench.sync("old", next), Ok(parts("t", &[0, 1])));
}

#[test]
fn a_dynamic_classic_member_is_told_its_id_first() {
    let mut bench = Bench::new(&[("t", 1)]);
    let request = classic("made", subscription(&["t"], &[]));
    let reply = bench.join(ClassicJoin { is_new_id: true, must_know_id: true, ..request.clone() });
    assert_eq!(reply, Ok(ClassicJoinReply::MemberIdRequired { member_id: "made".into() }));
    assert!(bench.group.members().is_empty() && bench.facts.is_empty());
    bench.joined(ClassicJoin { must_know_id: true, ..request });
}

#[test]
fn protocols_that_do_not_fit_are_refused() {
    let mut bench = Bench::new(&[("t", 1)]);
    let good = subscription(&["t"], &[]);
    let refused = Err(GroupError::InconsistentGroupProtocol { member_id: "b".into() });
    bench.joined(classic("a", good.clone()));
    bench.facts.clear();
    let connect = ClassicJoin { protocol_type: "connect".into(), ..classic("b", good.clone()) };
    assert_eq!(bench.join(connect), refused);
    assert_eq!(bench.join(ClassicJoin { protocols: vec![], ..classic("b", good.clone()) }), refused);
    let other = vec![ClassicProtocol { name: "sticky".into(), metadata: good.clone() }];
    assert_eq!(bench.join(ClassicJoin { protocols: other, ..classic("b", good) }), refused);
    assert_eq!(bench.join(classic("b", Bytes::from_static(&[0, 1, 9]))), refused);
    assert!(bench.facts.is_empty());

    assert!(matches!(bench.beat("x", 1), Err(GroupError::UnknownMemberId { .. })));
    assert_eq!(bench.beat("a", 2), Err(GroupError::IllegalGeneration { received: 2, known: 1 }));
    assert_eq!(bench.sync("a", 0), Err(GroupError::IllegalGeneration { received: 0, known: 1 }));
    let sender = ClassicSender { member_id: "a", instance_id: None };
    let result =
        bench.group.classic_sync(bench.now_ms, sender, 1, Some("consumer"), Some("sticky"), &bench.topics);
    assert!(matches!(result, Err(GroupError::InconsistentGroupProtocol { .. })));
    bench.heartbeat(consumer("new")).unwrap();
    assert!(
        matches!(bench.beat("new", 2), Err(GroupError::UnknownMemberId { .. })),
        "it is no classic member"
    );
}

#[test]
fn classic_members_have_deadlines_of_their_own() {
    let mut bench = Bench::new(&[("t", 2)]);
    let first = bench.joined(classic("old", subscription(&["t"], &[])));
    for _ in 0..2 {
        assert!(bench.time(9_999).is_empty());
        bench.beat("old", first).unwrap();
    }
    assert_eq!(
        bench.time(2),
        [Expired { member_id: "old".into(), missed: Deadline::Sync }],
        "it never synced"
    );

    let first = bench.joined(classic("old", subscription(&["t"], &[])));
    bench.sync("old", first).unwrap();
    assert_eq!(bench.time(10_000), [Expired { member_id: "old".into(), missed: Deadline::Session }]);

    let first = bench.joined(classic("old", subscription(&["t"], &[])));
    bench.sync("old", first).unwrap();
    bench.heartbeat(consumer("new")).unwrap();
    bench.beat("old", first).unwrap();
    for _ in 0..2 {
        assert!(bench.time(9_999).is_empty());
        bench.beat("old", first).unwrap();
    }
    assert_eq!(
        bench.time(2),
        [Expired { member_id: "old".into(), missed: Deadline::Join }],
        "it never rejoined"
    );
}

#[test]
fn a_restarted_static_member_may_change_its_protocol() {
    let mut bench = Bench::new(&[("t", 2)]);
    let named = |id: &str, new| ClassicJoin {
        instance_id: Some("i".into()),
        is_new_id: new,
        ..classic(id, subscription(&["t"], &[]))
    };
    bench.joined(named("a", true));
    let epoch = bench.group.epoch();
    let request = Heartbeat { instance_id: Some("i".into()), ..consumer("b") };
    let reply = bench.heartbeat(request).unwrap();
    assert_eq!(reply.assignment, Some(parts("t", &[0, 1])), "the name and what it had go over at once");
    assert_eq!(bench.group.epoch(), epoch);
    assert!(!bench.group.members()["b"].is_classic());

    assert!(!bench.group.should_downgrade(&bench.config));
    bench.joined(named("c", true));
    assert!(bench.group.should_downgrade(&bench.config));
    assert_eq!(bench.group.members().len(), 1);
    assert!(matches!(bench.join(named("b", false)), Err(GroupError::FencedInstanceId { .. })));
    let other = ClassicJoin { instance_id: Some("j".into()), ..named("d", false) };
    assert!(matches!(bench.join(other), Err(GroupError::UnknownMemberId { .. })));
}

#[test]
fn members_of_both_kinds_can_be_removed() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.joined(classic("a", subscription(&["t"], &[])));
    bench.heartbeat(Heartbeat { instance_id: Some("i".into()), ..consumer("b") }).unwrap();
    let epoch = bench.group.epoch();
    let leaving = [
        ClassicSender { member_id: "a", instance_id: None },
        ClassicSender { member_id: "x", instance_id: None },
        ClassicSender { member_id: "", instance_id: Some("i") },
        ClassicSender { member_id: "", instance_id: Some("j") },
    ];
    let results =
        bench.group.classic_leave(bench.now_ms, &leaving, &bench.topics, &bench.config, &mut bench.facts);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!((bench.group.state(), bench.group.epoch()), (GroupState::Empty, epoch + 1));
}

fn classic_group() -> ClassicGroupView {
    let member = |id: &str, partitions: &[i32]| ClassicMemberView {
        member_id: id.into(),
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout_ms: 20_000,
        session_timeout_ms: 10_000,
        protocols: vec![
            ClassicProtocol { name: "other".into(), metadata: subscription(&["x"], &[]) },
            ClassicProtocol { name: "range".into(), metadata: subscription(&["t"], &[]) },
        ],
        assignment: assignment("t", partitions, None),
        ..ClassicMemberView::default()
    };
    ClassicGroupView {
        generation_id: 7,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        members: vec![
            member("a", &[0, 1]),
            member("b", &[2]),
            ClassicMemberView { assignment: Bytes::new(), ..member("c", &[]) },
        ],
    }
}

fn upgrade(
    from: &ClassicGroupView,
    config: &ConsumerGroupConfig,
) -> Result<(ConsumerGroup, Vec<Fact>), GroupError> {
    let mut facts = Vec::new();
    let group = ConsumerGroup::upgrade("g", from, 1_000, &table(&[("t", 3)]), config, &mut facts)?;
    Ok((group, facts))
}

#[test]
fn a_classic_group_goes_over_with_all_it_has() {
    let config = ConsumerGroupConfig::default();
    let (group, facts) = upgrade(&classic_group(), &config).unwrap();
    assert_eq!((group.epoch(), group.target_epoch(), group.state()), (7, 7, GroupState::Stable));
    let a = &group.members()["a"];
    assert_eq!(a.current.assigned.partitions(), parts("t", &[0, 1]));
    assert_eq!(a.metadata.subscribed_topic_names.iter().collect::<Vec<_>>(), ["t"], "of the protocol in use");
    assert!(a.is_classic());
    let mut replayed = ConsumerGroup::new("g");
    facts.into_iter().for_each(|fact| replayed.replay(fact));
    assert!(replayed.same_as(&group));
}

#[test]
fn the_heartbeat_after_the_upgrade_rebalances() {
    let mut bench = Bench::new(&[("t", 3)]);
    bench.group = upgrade(&classic_group(), &bench.config).unwrap().0;
    let reply = bench.heartbeat(consumer("new")).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (8, Some(Partitions::new())));
    for id in ["a", "b", "c"] {
        assert_eq!(bench.beat(id, 7), Ok(ClassicHeartbeatReply::Rejoin));
    }
}

#[test]
fn what_cannot_go_over_stays_classic() {
    let config = ConsumerGroupConfig::default();
    let refused = |from: &ClassicGroupView, config: &ConsumerGroupConfig| {
        let error = upgrade(from, config).unwrap_err();
        assert_eq!(error.code(), buslane_wire::ErrorCode::GROUP_ID_NOT_FOUND);
        error.to_string()
    };
    let group = classic_group();
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let text = refused(&group, &ConsumerGroupConfig { migration_policy: policy, ..config.clone() });
        assert!(text.contains("disabled"), "{text}");
    }
    let text = refused(&group, &ConsumerGroupConfig { max_size: 2, ..config.clone() });
    assert!(text.contains("maximum size"), "{text}");
    let text = refused(&ClassicGroupView { protocol_type: Some("connect".into()), ..group.clone() }, &config);
    assert!(text.contains("embedded protocol"), "{text}");
    let mut broken = group.clone();
    broken.members[1].protocols[1].metadata = Bytes::from_static(&[0]);
    assert!(refused(&broken, &config).contains("malformed"));
    let mut broken = group.clone();
    broken.members[0].assignment = Bytes::from_static(&[0, 0, 0]);
    assert!(refused(&broken, &config).contains("malformed"));
    let mut custom = group;
    custom.members[0].assignment = assignment("t", &[0], Some(b"mine"));
    assert!(refused(&custom, &config).contains("user data"));
}

#[test]
fn a_partition_that_two_classic_members_had_counts_once() {
    let mut group = classic_group();
    group.members[1].assignment = assignment("t", &[1, 2], None);
    let (group, _) = upgrade(&group, &ConsumerGroupConfig::default()).unwrap();
    assert_eq!(group.owner_of(topic_id("t"), 1), Some("a"));
    assert_eq!(group.members()["b"].current.assigned.partitions(), parts("t", &[2]));
}

#[test]
fn the_group_goes_back_when_the_last_consumer_member_leaves() {
    let mut bench = Bench::new(&[("t", 3)]);
    bench.group = upgrade(&classic_group(), &bench.config).unwrap().0;
    bench.heartbeat(consumer("new")).unwrap();
    assert!(!bench.group.should_downgrade(&bench.config));
    bench.heartbeat(leave("new")).unwrap();
    assert!(bench.group.should_downgrade(&bench.config));
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Upgrade] {
        let config = ConsumerGroupConfig { migration_policy: policy, ..bench.config.clone() };
        assert!(!bench.group.should_downgrade(&config));
    }
    assert!(
        !bench.group.should_downgrade(&ConsumerGroupConfig { classic_max_size: 2, ..bench.config.clone() })
    );

    let mut log = bench.group.clone();
    bench.facts.clear();
    let view = bench.group.clone().downgrade(&bench.topics, &mut bench.facts);
    // What the members know, so that they rejoin with what they have; not the epoch that was raised for nobody.
    assert_eq!((view.generation_id, view.protocol_name.as_deref()), (classic_group().generation_id, None));
    assert_eq!(view.members.len(), 3);
    let total: usize = view
        .members
        .iter()
        .map(|member| {
            let read = read_assignment(&member.assignment).unwrap();
            protocol::to_partitions(&read.assigned_partitions, &bench.topics).len()
        })
        .sum();
    assert_eq!(total, 3);
    assert_eq!(view.members[0].protocols, classic_group().members[0].protocols);
    assert_eq!(view.members[0].session_timeout_ms, 10_000);
    bench.facts.drain(..).for_each(|fact| log.replay(fact));
    assert!(log.same_as(&ConsumerGroup::new("g")), "nothing of it is left in the log");
}

#[test]
fn commits_of_classic_members_carry_their_generation() {
    let mut bench = Bench::new(&[("t", 1)]);
    let generation = bench.joined(classic("a", subscription(&["t"], &[])));
    let who =
        |member_epoch| Committer { member_id: "a", instance_id: None, member_epoch, commit_version: Some(2) };
    assert!(bench.group.check_commit(who(generation)).is_ok(), "any version will do");
    let error = bench.group.check_commit(who(generation + 1)).unwrap_err();
    assert_eq!(error, GroupError::IllegalGeneration { received: generation + 1, known: generation });
}

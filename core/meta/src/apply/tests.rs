//! Each command's effect, each refusal, and random sequences beside a naive model.

mod model;

use buslane_wire::ids::{LeaderEpoch, NodeId, SegmentId, TopicId, TopicPartition};

use super::*;
use crate::command::{DroppedSegment, Replacement};
use crate::fixtures::*;
use crate::partition::{COMPACTED, Loss, SegmentStatus};
use crate::quotas::{QuotaEntity, QuotaKey, QuotaRefused, QuotaValue};

fn run(image: &Image, command: &Command) -> (Image, Event) {
    let (next, event) = apply(image, command).unwrap_or_else(|e| panic!("{command:?}: {e}"));
    next.check();
    (next, event)
}

fn p0(image: &Image) -> &PartitionImage {
    image.partition(P0).unwrap()
}

fn dropped(id: u64, base_offset: i64) -> DroppedSegment {
    DroppedSegment { id: SegmentId(id), base_offset }
}

/// A topic with segment 1 [0, 100) sealed, segment 2 [100, ..) open, in epoch 0.
fn written() -> Image {
    image_of(&[
        Command::RegisterNode { node: NodeId(1), image: node_image(5) },
        create_topic(TOPIC, "orders", 1),
        open(0, 1, 0),
        seal_with(0, 1, 100, None, Some(open_segment(2, 100))),
    ])
}

#[test]
fn every_refusal_names_what_was_expected_and_what_is_there() {
    use Refused::*;
    let other = TopicId([9; 16]);
    let nowhere = TopicPartition { topic: TOPIC, partition: 1 };
    let epoch = |got, current| Epoch { got: LeaderEpoch(got), current: LeaderEpoch(current) };
    let loss = |epoch, end_offset| Some(Loss { epoch: LeaderEpoch(epoch), end_offset });
    let count = |what, expected, current| Count { what, expected, current };
    let stores = |expected: &[i32], current: &[i32]| {
        Chain(ChainMismatch::Stores { expected: nodes(expected), current: nodes(current) })
    };
    let create = |plans: Vec<Vec<NodeId>>| Command::CreateTopic {
        id: other,
        name: "more".to_owned(),
        plans,
        config: Default::default(),
    };
    let more = |topic, expected_count, plans| Command::CreatePartitions { topic, expected_count, plans };
    let alter_plan = |expected: &[i32], plan: &[i32]| Command::AlterPlan {
        partition: P0,
        expected: nodes(expected),
        plan: nodes(plan),
    };
    let alter_stores = |segment, expected: &[i32], stores: &[i32]| Command::AlterStores {
        partition: P0,
        segment: SegmentId(segment),
        expected: nodes(expected),
        stores: nodes(stores),
    };
    let mut no_store = open_segment(3, 100);
    no_store.stores.clear();
    let feature = |expected, level| Command::SetFeature { name: "f".to_owned(), expected, level };
    let state = |node, incarnation| Command::SetNodeState {
        node: NodeId(node),
        incarnation,
        state: NodeState::Draining,
    };
    let quota = |client_id: Option<&str>, value| Command::AlterQuotas {
        entity: QuotaEntity { user: None, client_id: client_id.map(|id| Some(id).into()), ip: None },
        changes: [(QuotaKey::ConsumerByteRate, QuotaValue::new(value))].into(),
    };
    let cluster = |id: &str| Command::SetClusterId { cluster_id: id.to_owned() };
    let with_next = |next| seal_with(0, 2, 150, None, Some(next));

    let image = image_of(&[cluster("one")]);
    let named = |c: Command| (image.clone(), c);
    let image = written();
    let open_two = |c: Command| (image.clone(), c);
    let sealed = run(&written(), &seal(0, 2, 150)).0;
    let all_sealed = |c: Command| (sealed.clone(), c);
    let mut full = written();
    full.next_producer_id = i64::MAX - 10;

    let table = [
        (
            open_two(Command::RegisterNode { node: NodeId(1), image: node_image(4) }),
            count(Counted::Incarnation, 4, 5),
        ),
        (open_two(create_topic(other, "orders", 1)), NameTaken(TOPIC)),
        (open_two(create_topic(TOPIC, "more", 1)), IdTaken),
        (open_two(create_topic(TopicId::ZERO, "more", 1)), IdTaken),
        (open_two(create(vec![])), NoStore),
        (open_two(create(vec![nodes(&[1]), nodes(&[])])), NoStore),
        (open_two(create(vec![nodes(&[1, 2, 1])])), NoStore),
        (open_two(Command::DeleteTopic { topic: other }), Unknown),
        (open_two(more(other, 1, vec![nodes(&[1])])), Unknown),
        (open_two(more(TOPIC, 2, vec![nodes(&[1])])), count(Counted::Partitions, 2, 1)),
        (open_two(more(TOPIC, -1, vec![nodes(&[1])])), count(Counted::Partitions, 0, 1)),
        (open_two(more(TOPIC, 1, vec![nodes(&[])])), NoStore),
        (open_two(Command::AlterTopicConfig { topic: other, changes: Default::default() }), Unknown),
        (open_two(assign(1, 1)), epoch(1, 0)),
        (
            open_two(Command::Assign {
                partition: nowhere,
                expected_epoch: LeaderEpoch(0),
                owner: NodeId(1),
            }),
            Unknown,
        ),
        (
            open_two(Command::AdvanceLogStart {
                partition: TopicPartition { topic: TOPIC, partition: -1 },
                offset: 1,
                epoch: LeaderEpoch(0),
            }),
            Unknown,
        ),
        (all_sealed(open(1, 3, 150)), epoch(1, 0)),
        (open_two(open(0, 3, 100)), Chain(ChainMismatch::IsOpen { open: SegmentId(2) })),
        (all_sealed(open(0, 3, 149)), Chain(ChainMismatch::End { got: 149, end: 150 })),
        (
            all_sealed(open(0, 2, 150)),
            Chain(ChainMismatch::SegmentId { got: SegmentId(2), last: SegmentId(2) }),
        ),
        (
            all_sealed(Command::Open {
                partition: P0,
                epoch: LeaderEpoch(0),
                open: OpenSegmentAt(150, &no_store).into(),
            }),
            NoStore,
        ),
        (open_two(seal(1, 2, 150)), epoch(1, 0)),
        (
            open_two(seal(0, 1, 150)),
            Chain(ChainMismatch::NotOpen { got: SegmentId(1), open: Some(SegmentId(2)) }),
        ),
        (all_sealed(seal(0, 2, 150)), Chain(ChainMismatch::NotOpen { got: SegmentId(2), open: None })),
        (open_two(seal(0, 2, 99)), Chain(ChainMismatch::BeforeBase { got: 99, base_offset: 100 })),
        (open_two(complete_by(seal(0, 2, 150), &[])), NoStore),
        (open_two(complete_by(seal(0, 2, 150), &[1, 1])), NoStore),
        (
            open_two(seal_with(0, 2, 150, loss(1, 150), None)),
            Chain(ChainMismatch::Loss { epoch: LeaderEpoch(1), end_offset: 150 }),
        ),
        (
            open_two(seal_with(0, 2, 150, loss(0, 149), None)),
            Chain(ChainMismatch::Loss { epoch: LeaderEpoch(0), end_offset: 149 }),
        ),
        (open_two(with_next(open_segment(3, 149))), Chain(ChainMismatch::End { got: 149, end: 150 })),
        (
            open_two(with_next(open_segment(2, 150))),
            Chain(ChainMismatch::SegmentId { got: SegmentId(2), last: SegmentId(2) }),
        ),
        (open_two(with_next(OpenSegmentAt(150, &no_store).into())), NoStore),
        (all_sealed(advance(151)), BeyondEnd { got: 151, end: 150 }),
        // A deposed owner's, and one that no segment could ever reach.
        (open_two(advance_in(-1, 101)), epoch(-1, 0)),
        (open_two(advance(i64::MAX)), BeyondEnd { got: i64::MAX, end: 100 + i64::from(u32::MAX) }),
        ((full, Command::AllocateProducerIds { count: 11 }), BeyondEnd { got: 11, end: 10 }),
        (named(cluster("two")), IdTaken),
        (open_two(cluster("")), IdTaken),
        (open_two(state(2, 5)), Unknown),
        (open_two(state(1, 4)), count(Counted::Incarnation, 4, 5)),
        (open_two(alter_plan(&[1], &[2])), stores(&[1], &[1, 2])),
        (open_two(alter_plan(&[1, 2], &[])), NoStore),
        (open_two(alter_stores(1, &[1, 2], &[2])), stores(&[1, 2], &[1])),
        (open_two(alter_stores(1, &[1], &[2, 2])), NoStore),
        (open_two(alter_stores(2, &[1, 2], &[2])), Chain(ChainMismatch::NotSealed { got: SegmentId(2) })),
        (open_two(alter_stores(9, &[1], &[2])), Chain(ChainMismatch::NotSealed { got: SegmentId(9) })),
        (open_two(feature(1, 2)), count(Counted::FeatureLevel, 1, 0)),
        (open_two(quota(None, 1.0)), Quota(QuotaRefused::Nobody)),
        (open_two(quota(Some(""), 1.0)), Quota(QuotaRefused::EmptyName)),
        (open_two(quota(Some("anna"), 1.5)), Quota(QuotaRefused::Fraction(QuotaKey::ConsumerByteRate))),
    ];
    for ((image, command), expected) in table {
        let before = image.clone();
        assert_eq!(apply(&image, &command), Err(expected.clone()), "{command:?}");
        assert!(!expected.to_string().is_empty());
        // In an entry, too, a refused command leaves no trace.
        let (after, outcomes) = apply_entry(&image, before.version + 1, std::slice::from_ref(&command));
        assert_eq!(outcomes, [Err(expected)]);
        assert_eq!(Image { version: before.version, ..after }, before, "{command:?}");
    }
}

/// A segment like another one, at another base.
struct OpenSegmentAt<'a>(i64, &'a crate::command::OpenSegment);

impl From<OpenSegmentAt<'_>> for crate::command::OpenSegment {
    fn from(at: OpenSegmentAt<'_>) -> Self {
        crate::command::OpenSegment { base_offset: at.0, ..at.1.clone() }
    }
}

fn complete_by(mut command: Command, stores: &[i32]) -> Command {
    let Command::Seal { complete, .. } = &mut command else { panic!("not a seal") };
    *complete = nodes(stores);
    command
}

#[test]
fn a_topic_comes_with_its_partitions_owned_and_goes_with_its_name() {
    let image = image_of(&[create_topic(TOPIC, "orders", 2)]);
    let topic = image.topic_named("orders").unwrap();
    assert_eq!((topic.id, topic.partitions.len()), (TOPIC, 2));
    assert_eq!((p0(&image).owner, p0(&image).epoch), (Some(NodeId(1)), LeaderEpoch(0)));
    assert!(!topic.is_internal());
    let (image, _) = run(&image, &Command::DeleteTopic { topic: TOPIC });
    assert!(image.topic(TOPIC).is_none() && image.topic_named("orders").is_none());
    run(&image, &create_topic(TopicId([8; 16]), "orders", 1));
}

#[test]
fn partitions_are_added_behind_the_ones_there() {
    let command =
        Command::CreatePartitions { topic: TOPIC, expected_count: 1, plans: vec![nodes(&[2]), nodes(&[3])] };
    let (image, _) = run(&written(), &command);
    let topic = image.topic(TOPIC).unwrap();
    let owners: Vec<_> = topic.partitions.iter().map(|p| p.owner.unwrap().0).collect();
    assert_eq!(owners, [1, 2, 3]);
    assert_eq!(p0(&image), p0(&written()), "the first one is as it was");
}

#[test]
fn settings_are_set_and_removed() {
    let (_, command) = each_command().swap_remove(4);
    let (image, _) = run(&written(), &command);
    let config = image.topic(TOPIC).unwrap().config_map();
    assert_eq!(config.into_iter().collect::<Vec<_>>(), [("cleanup.policy".into(), "delete".into())]);
}

#[test]
fn a_node_registers_each_run_and_a_later_run_makes_it_active_again() {
    let run_of = |incarnation| Command::RegisterNode { node: NodeId(1), image: node_image(incarnation) };
    let draining = Command::SetNodeState { node: NodeId(1), incarnation: 5, state: NodeState::Draining };
    let (image, _) = run(&image_of(&[run_of(5)]), &draining);
    assert_eq!(image.node_state(NodeId(1)), Some(NodeState::Draining));
    assert_eq!(image.node_state(NodeId(2)), None);
    let (image, _) = run(&image, &run_of(6));
    assert_eq!(image.node_state(NodeId(1)), Some(NodeState::Active));
    assert_eq!(image.nodes[&NodeId(1)].incarnation, 6);
    let (same, _) = run(&image, &run_of(6));
    assert_eq!(same, image, "twice is once");
}

#[test]
fn the_cluster_has_one_id_and_features_have_levels() {
    let id = Command::SetClusterId { cluster_id: "one".to_owned() };
    let (image, _) = run(&Image::default(), &id);
    assert_eq!(run(&image, &id).0, image);
    assert_eq!(image.cluster_id.as_deref(), Some("one"));
    let feature = |expected, level| Command::SetFeature { name: "f".to_owned(), expected, level };
    let (image, _) = run(&image, &feature(0, 2));
    assert_eq!(image.feature("f"), 2);
    let (image, _) = run(&image, &feature(2, 0));
    assert_eq!((image.feature("f"), image.features.len()), (0, 0));
}

#[test]
fn producer_ids_are_given_out_once() {
    let block = Command::AllocateProducerIds { count: 1_000 };
    let (image, first) = run(&Image::default(), &block);
    let (_, second) = run(&image, &block);
    assert_eq!(first, Event::ProducerIds { first: 0, count: 1_000 });
    assert_eq!(second, Event::ProducerIds { first: 1_000, count: 1_000 });
}

#[test]
fn a_roll_keeps_the_epoch() {
    let image = written();
    let chain: Vec<_> = p0(&image).chain.iter().map(|s| (s.id.0, s.base_offset, s.end_offset())).collect();
    assert_eq!(chain, [(1, 0, Some(100)), (2, 100, None)]);
    assert_eq!(p0(&image).epochs.len(), 1);
    assert_eq!(p0(&image).chain[0].stores, nodes(&[1]), "those that synced it");
    assert!(matches!(p0(&image).chain[0].status, SegmentStatus::Sealed { bytes: 1_000, .. }));
    assert_eq!(p0(&image).sealed_bytes(), 1_000);
}

#[test]
fn an_epoch_that_takes_over_an_open_segment_begins_with_the_seal_that_recovers_it() {
    let (image, event) = run(&written(), &assign(0, 2));
    assert_eq!(event, Event::Assigned(LeaderEpoch(1)));
    assert_eq!((p0(&image).owner, p0(&image).epochs.len()), (Some(NodeId(2)), 1), "not begun");
    assert_eq!(p0(&image).end_offset_for_epoch(LeaderEpoch(1), 130), Some((LeaderEpoch(1), 130)));
    // The old owner is fenced.
    let stale = apply(&image, &seal(0, 2, 140));
    assert_eq!(stale, Err(Refused::Epoch { got: LeaderEpoch(0), current: LeaderEpoch(1) }));
    let (image, _) = run(&image, &seal(1, 2, 130));
    assert_eq!(p0(&image).epochs.last(), Some((LeaderEpoch(1), 130)));
    assert_eq!(p0(&image).chain[1].epoch, LeaderEpoch(0), "the records keep the epoch they were written in");
    assert_eq!(p0(&image).end_offset_for_epoch(LeaderEpoch(0), 200), Some((LeaderEpoch(0), 130)));
}

#[test]
fn an_epoch_with_nothing_to_recover_begins_at_the_end_of_the_chain() {
    let (image, _) = run(&written(), &seal(0, 2, 150));
    let (image, _) = run(&image, &assign(0, 1));
    assert_eq!(p0(&image).epochs.last(), Some((LeaderEpoch(1), 150)));
    // It wrote nothing: no trace.
    let (image, _) = run(&image, &assign(1, 1));
    assert_eq!((p0(&image).epochs.len(), p0(&image).epochs.last()), (2, Some((LeaderEpoch(2), 150))));
}

#[test]
fn an_empty_segment_leaves_the_chain_and_its_id_is_never_used_again() {
    let (image, event) = run(&written(), &complete_by(seal(0, 2, 100), &[]));
    assert_eq!(event, Event::Dropped(vec![dropped(2, 100)]));
    assert_eq!((p0(&image).chain.len(), p0(&image).sealed_end_offset), (1, 100));
    let again = apply(&image, &open(0, 2, 100));
    let mismatch = ChainMismatch::SegmentId { got: SegmentId(2), last: SegmentId(2) };
    assert_eq!(again, Err(Refused::Chain(mismatch)));
}

#[test]
fn the_log_start_drops_what_lies_wholly_below_it_and_never_falls() {
    let (image, _) = run(&written(), &seal(0, 2, 150));
    let (image, event) = run(&image, &advance(99));
    assert_eq!(event, Event::Dropped(vec![]));
    let (image, event) = run(&image, &advance(100));
    assert_eq!(event, Event::Dropped(vec![dropped(1, 0)]));
    let (same, event) = run(&image, &advance(7));
    assert_eq!((&same, event), (&image, Event::Dropped(vec![])), "below: nothing moves");
    let (image, event) = run(&image, &advance(150));
    assert_eq!(event, Event::Dropped(vec![dropped(2, 100)]));
    assert_eq!((p0(&image).chain.len(), p0(&image).log_start_offset), (0, 150));
    assert_eq!(p0(&image).epoch_of(150), Some(LeaderEpoch(0)));
    run(&image, &open(0, 3, 150));
}

#[test]
fn inside_the_open_segment_the_log_start_moves_and_the_segment_stays() {
    let (image, event) = run(&written(), &advance(120));
    assert_eq!(event, Event::Dropped(vec![dropped(1, 0)]));
    assert_eq!(p0(&image).open_segment().unwrap().id, SegmentId(2));
    let (image, event) = run(&image, &seal(0, 2, 120));
    assert_eq!(event, Event::Dropped(vec![dropped(2, 100)]), "all of it is below the start");
    assert_eq!(p0(&image).sealed_end_offset, 120);
}

#[test]
fn a_loss_below_the_log_start_does_not_move_it_back() {
    let (image, _) = run(&written(), &advance(140));
    let (image, _) = run(&image, &assign(0, 1));
    let loss = Loss { epoch: LeaderEpoch(0), end_offset: 110 };
    // What follows must start at the log start: a new base is never below it.
    let below = apply(&image, &seal_with(1, 2, 110, Some(loss), Some(open_segment(3, 110))));
    assert_eq!(below, Err(Refused::Chain(ChainMismatch::End { got: 110, end: 140 })));
    let (image, event) = run(&image, &seal_with(1, 2, 110, Some(loss), None));
    assert_eq!(event, Event::Dropped(vec![dropped(2, 100)]));
    let p = p0(&image);
    assert_eq!((p.log_start_offset, p.sealed_end_offset), (140, 140));
    assert_eq!(p.losses, [loss]);
    assert_eq!(p.epochs.first(), Some((LeaderEpoch(1), 140)));
    // Somebody at 150 in epoch 0 learns that it ended at 140.
    assert_eq!(p.end_offset_for_epoch(LeaderEpoch(0), 140), Some((LeaderEpoch(0), 140)));
    run(&image, &open(1, 3, 140));
}

#[test]
fn a_loss_is_kept_until_the_log_start_has_passed_it() {
    let image = used_image();
    assert_eq!(p0(&image).losses.len(), 1);
    let (image, _) = run(&image, &advance(150));
    assert_eq!(p0(&image).losses.len(), 1);
    let (image, _) = run(&image, &advance_in(1, 151));
    assert_eq!(p0(&image).losses, []);
}

#[test]
fn plans_and_stores_change() {
    let plan = Command::AlterPlan { partition: P0, expected: nodes(&[1, 2]), plan: nodes(&[3, 1]) };
    let (image, _) = run(&written(), &plan);
    assert_eq!(p0(&image).plan, nodes(&[3, 1]));
    let (_, stores) = each_command().swap_remove(13);
    let (image, _) = run(&image, &stores);
    assert_eq!(p0(&image).chain[0].stores, nodes(&[1, 3]));
}

#[test]
fn an_entry_is_many_commands_each_judged_after_the_ones_before_it() {
    let commands = [open(0, 1, 0), open(0, 2, 0), create_topic(TOPIC, "orders", 1), open(0, 3, 0)];
    let (image, outcomes) = apply_entry(&Image::default(), 7, &commands);
    assert_eq!(image.version, 7);
    assert_eq!(outcomes[..2], [Err(Refused::Unknown), Err(Refused::Unknown)]);
    assert_eq!(outcomes[2..], [Ok(Event::Done), Ok(Event::Done)]);
    assert_eq!(p0(&image).open_segment().unwrap().id, SegmentId(3));
}

#[test]
fn an_image_that_was_handed_out_does_not_change() {
    let before = written();
    let copy = before.clone();
    let (after, _) = apply_entry(&before, 9, &[seal(0, 2, 150), assign(0, 2)]);
    assert_eq!(before, copy);
    assert_ne!(after, before);
    // What did not change is shared, not copied.
    assert!(Arc::ptr_eq(&before.nodes[&NodeId(1)], &after.nodes[&NodeId(1)]));
    assert!(Arc::ptr_eq(&p0(&before).chain[0], &p0(&after).chain[0]));
}

#[test]
fn the_internal_topics_are_told_by_name() {
    let image = image_of(&[create_topic(TOPIC, "__consumer_offsets", 1)]);
    assert!(image.topic(TOPIC).unwrap().is_internal());
}

/// A topic with segments 1 [0, 100), 2 [100, 150), 3 [150, 200) sealed in epochs 0, 0 and 1, and 1 << 32 | 2 open.
fn three_sealed() -> Image {
    image_of(&[
        create_topic(TOPIC, "orders", 1),
        open(0, 1, 0),
        seal_with(0, 1, 100, None, Some(open_segment(2, 100))),
        seal(0, 2, 150),
        assign(0, 2),
        open(1, 1 << 32 | 1, 150),
        seal_with(1, 1 << 32 | 1, 200, None, Some(open_segment(1 << 32 | 2, 200))),
    ])
}

fn chain(image: &Image) -> Vec<(u64, i64, Option<i64>)> {
    p0(image).chain.iter().map(|s| (s.id.0, s.base_offset, s.end_offset())).collect()
}

#[test]
fn segments_are_replaced_by_what_compaction_made_of_them() {
    let image = three_sealed();
    let third = 1 << 32 | 1;
    let both = vec![replacement(&[1, 2], 7, 0, 150), replacement(&[third], 6, 150, 200)];
    let (next, event) = run(&image, &replace(1, both.clone(), 180));
    assert_eq!(event, Event::Dropped(vec![dropped(third, 150), dropped(1, 0), dropped(2, 100)]));
    let made = [(COMPACTED | 7, 0, Some(150)), (COMPACTED | 6, 150, Some(200)), (1 << 32 | 2, 200, None)];
    assert_eq!(chain(&next), made);
    let p = p0(&next);
    assert_eq!(p.clean_end_offset, Some(180));
    assert_eq!((p.chain[0].epoch, p.chain[1].epoch), (LeaderEpoch(0), LeaderEpoch(1)));
    assert_eq!((p.chain[0].stores.as_slice(), p.sealed_bytes()), (&nodes(&[2])[..], 1_400));
    assert_eq!((&p.epochs, p.last_segment), (&p0(&image).epochs, p0(&image).last_segment));

    // Nothing to leave out: only that is noted. It never falls.
    let (noted, event) = run(&next, &replace(1, vec![], 150));
    assert_eq!((chain(&noted), event), (made.to_vec(), Event::Dropped(vec![])));
    assert_eq!(p0(&noted).clean_end_offset, Some(180));

    // What compaction made is compacted again, beside what the owner goes on to write.
    let (sealed, _) = run(&noted, &seal(1, 1 << 32 | 2, 300));
    let again = replacement(&[COMPACTED | 6, 1 << 32 | 2], 8, 150, 300);
    let (again, _) = run(&sealed, &replace(1, vec![again], 300));
    assert_eq!(chain(&again), [(COMPACTED | 7, 0, Some(150)), (COMPACTED | 8, 150, Some(300))]);
    let (opened, _) = run(&again, &open(1, 1 << 32 | 3, 300));
    assert_eq!(p0(&opened).open_segment().unwrap().id, SegmentId(1 << 32 | 3));
}

#[test]
fn a_replacement_of_something_else_is_refused_and_changes_nothing() {
    use ChainMismatch::*;
    let image = three_sealed();
    let (third, open) = (1 << 32 | 1, 1 << 32 | 2);
    let not_sealed = |id| NotSealed { got: SegmentId(id) };
    let range = |got, current| Range { got, current };
    let mut not_of_compaction = replacement(&[1], 7, 0, 100);
    not_of_compaction.new = SegmentId(7);
    let new = |id| NotNew { got: SegmentId(id) };
    let table = [
        (vec![replacement(&[5], 7, 0, 100)], not_sealed(5)),
        (vec![replacement(&[], 7, 0, 100)], not_sealed(COMPACTED | 7)),
        (vec![replacement(&[third, open], 7, 150, 300)], not_sealed(open)),
        (vec![replacement(&[1, third], 7, 0, 200)], not_sealed(third)),
        (vec![replacement(&[2, 1], 7, 0, 150)], not_sealed(1)),
        // The same one twice, or out of order.
        (vec![replacement(&[1], 7, 0, 100), replacement(&[1], 8, 0, 100)], not_sealed(1)),
        (vec![replacement(&[2], 7, 100, 150), replacement(&[1], 8, 0, 100)], not_sealed(1)),
        (vec![replacement(&[1, 2], 7, 0, 149)], range((0, 149), (0, 150))),
        (vec![replacement(&[2], 7, 99, 150)], range((99, 150), (100, 150))),
        (vec![not_of_compaction], new(7)),
        (vec![replacement(&[1], 7, 0, 100), replacement(&[2], 7, 100, 150)], new(COMPACTED | 7)),
    ];
    for (replacements, expected) in table {
        let refused = apply(&image, &replace(1, replacements.clone(), 0)).unwrap_err();
        assert_eq!(refused, Refused::Chain(expected), "{replacements:?}");
    }
    let right = replacement(&[1], 7, 0, 100);
    let stale = apply(&image, &replace(0, vec![right.clone()], 0)).unwrap_err();
    assert_eq!(stale, Refused::Epoch { got: LeaderEpoch(0), current: LeaderEpoch(1) });
    let beyond = apply(&image, &replace(1, vec![right.clone()], 201)).unwrap_err();
    assert_eq!(beyond, Refused::BeyondEnd { got: 201, end: 200 });
    let nowhere = Replacement { stores: vec![], ..right.clone() };
    assert_eq!(apply(&image, &replace(1, vec![nowhere], 0)).unwrap_err(), Refused::NoStore);
    // The id stays taken while it is in the chain.
    let (taken, _) = run(&image, &replace(1, vec![right], 100));
    let again = apply(&taken, &replace(1, vec![replacement(&[2], 7, 100, 150)], 100)).unwrap_err();
    assert_eq!(again, Refused::Chain(new(COMPACTED | 7)));
}

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn id(n: u8) -> TopicId {
    let mut bytes = [0; 16];
    bytes[15] = n;
    TopicId(bytes)
}

/// A group in plain terms: topic sizes, and per member its id, name, wanted topics and last assignment.
#[derive(Clone, Debug, Default)]
struct Plain {
    topics: Vec<i32>,
    members: BTreeMap<String, (Option<String>, Vec<usize>, Partitions)>,
}

impl Plain {
    fn new(topics: &[i32]) -> Plain {
        Plain { topics: topics.to_vec(), ..Plain::default() }
    }

    fn member(mut self, name: &str, wants: &[usize]) -> Plain {
        self.members.insert(name.to_string(), (None, wants.to_vec(), Partitions::new()));
        self
    }

    fn assign(&self, kind: AssignorKind) -> BTreeMap<String, Partitions> {
        let spec = GroupSpec {
            topics: (0..self.topics.len())
                .map(|topic| TopicSpec { id: id(topic as u8), partitions: self.topics[topic] })
                .collect(),
            members: self
                .members
                .iter()
                .map(|(member_id, (instance, wants, assigned))| MemberSpec {
                    member_id,
                    instance_id: instance.as_deref(),
                    wants: wants.clone().into(),
                    assigned,
                })
                .collect(),
        };
        self.members.keys().cloned().zip(kind.assign(&spec)).collect()
    }

    /// Assigns and remembers it as the last assignment.
    fn step(&mut self, kind: AssignorKind) -> BTreeMap<String, Partitions> {
        let result = self.assign(kind);
        for (member, partitions) in &result {
            self.members.get_mut(member).unwrap().2 = partitions.clone();
        }
        result
    }

    /// Every partition that someone wants is with exactly one member, who wants it.
    fn check_complete(&self, result: &BTreeMap<String, Partitions>) {
        let mut count: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        for (member, partitions) in result {
            for (topic, partition) in partitions.iter() {
                let place = topic.0[15] as usize;
                assert!(self.members[member].1.contains(&place), "{member} does not want {topic}");
                assert!(partition < self.topics[place], "{topic} has no partition {partition}");
                *count.entry((topic, partition)).or_default() += 1;
            }
        }
        for (place, size) in self.topics.iter().enumerate() {
            let wanted = self.members.values().any(|(_, wants, _)| wants.contains(&place));
            for partition in 0..*size {
                let times = count.get(&(id(place as u8), partition)).copied().unwrap_or(0);
                assert_eq!(times, usize::from(wanted), "topic {place} partition {partition}");
            }
        }
    }
}

fn sizes(result: &BTreeMap<String, Partitions>) -> Vec<usize> {
    result.values().map(Partitions::len).collect()
}

fn list(partitions: &Partitions) -> Vec<(u8, i32)> {
    partitions.iter().map(|(topic, partition)| (topic.0[15], partition)).collect()
}

#[test]
fn uniform_deals_one_topic_evenly() {
    let group = Plain::new(&[5]).member("a", &[0]).member("b", &[0]);
    let result = group.assign(AssignorKind::Uniform);
    assert_eq!(list(&result["a"]), [(0, 0), (0, 2), (0, 4)]);
    assert_eq!(list(&result["b"]), [(0, 1), (0, 3)]);
}

#[test]
fn uniform_spreads_each_topic_over_many_members() {
    let group = Plain::new(&[4, 4]).member("a", &[0, 1]).member("b", &[0, 1]);
    for partitions in group.assign(AssignorKind::Uniform).values() {
        assert_eq!(partitions.of_topic(id(0)).map(|set| set.len()), Some(2));
        assert_eq!(partitions.of_topic(id(1)).map(|set| set.len()), Some(2));
    }
}

#[test]
fn uniform_leaves_members_without_where_there_are_more_members_than_partitions() {
    let group = Plain::new(&[2]).member("a", &[0]).member("b", &[0]).member("c", &[0]);
    assert_eq!(sizes(&group.assign(AssignorKind::Uniform)), [1, 1, 0]);
}

#[test]
fn uniform_lets_the_richer_member_keep_its_extra_partition() {
    let mut group = Plain::new(&[5]).member("a", &[0]).member("b", &[0]);
    group.members.get_mut("a").unwrap().2 = [(id(0), 0), (id(0), 1)].into_iter().collect();
    group.members.get_mut("b").unwrap().2 = [(id(0), 2), (id(0), 3), (id(0), 4)].into_iter().collect();
    let result = group.assign(AssignorKind::Uniform);
    assert_eq!(sizes(&result), [2, 3], "nothing has to move");
}

#[test]
fn uniform_moves_only_what_a_new_member_needs() {
    let mut group = Plain::new(&[12]).member("a", &[0]).member("b", &[0]);
    let before = group.step(AssignorKind::Uniform);
    group = group.member("c", &[0]);
    let after = group.step(AssignorKind::Uniform);
    assert_eq!(sizes(&after), [4, 4, 4]);
    for member in ["a", "b"] {
        assert!(after[member].iter().all(|(topic, partition)| before[member].contains(topic, partition)));
    }
}

#[test]
fn uniform_drops_deleted_topics_and_shrunk_partitions() {
    let mut group = Plain::new(&[2]).member("a", &[0]);
    group.members.get_mut("a").unwrap().2 =
        [(id(0), 7), (id(9), 0), (id(0), -1), (id(0), 1)].into_iter().collect();
    assert_eq!(list(&group.assign(AssignorKind::Uniform)["a"]), [(0, 0), (0, 1)]);
}

#[test]
fn uniform_balances_along_chains() {
    // a and b share topic 0, b and c share topic 1: a has two, b one, c none, and no direct move helps.
    let mut group = Plain::new(&[2, 1]).member("a", &[0]).member("b", &[0, 1]).member("c", &[1]);
    group.members.get_mut("a").unwrap().2 = [(id(0), 0), (id(0), 1)].into_iter().collect();
    group.members.get_mut("b").unwrap().2 = [(id(1), 0)].into_iter().collect();
    let result = group.assign(AssignorKind::Uniform);
    group.check_complete(&result);
    assert_eq!(sizes(&result), [1, 1, 1]);
}

#[test]
fn uniform_takes_no_partition_of_a_topic_nobody_wants() {
    let group = Plain::new(&[3, 3]).member("a", &[]).member("b", &[1]);
    let result = group.assign(AssignorKind::Uniform);
    assert_eq!(sizes(&result), [0, 3]);
}

#[test]
fn range_gives_the_same_numbers_of_each_topic() {
    let group = Plain::new(&[3, 3]).member("a", &[0, 1]).member("b", &[0, 1]);
    let result = group.assign(AssignorKind::Range);
    assert_eq!(list(&result["a"]), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(list(&result["b"]), [(0, 2), (1, 2)]);
}

#[test]
fn range_counts_only_the_takers_of_each_topic() {
    let group = Plain::new(&[4, 3]).member("a", &[0]).member("b", &[0, 1]).member("c", &[1]);
    let result = group.assign(AssignorKind::Range);
    assert_eq!(list(&result["a"]), [(0, 0), (0, 1)]);
    assert_eq!(list(&result["b"]), [(0, 2), (0, 3), (1, 0), (1, 1)]);
    assert_eq!(list(&result["c"]), [(1, 2)]);
}

#[test]
fn range_keeps_static_members_in_place_whatever_their_ids() {
    let with_ids = |first: &str, second: &str, dynamic: &str| {
        let mut group = Plain::new(&[3]).member(first, &[0]).member(second, &[0]).member(dynamic, &[0]);
        group.members.get_mut(first).unwrap().0 = Some("one".into());
        group.members.get_mut(second).unwrap().0 = Some("two".into());
        let result = group.assign(AssignorKind::Range);
        (list(&result[first]), list(&result[second]), list(&result[dynamic]))
    };
    let expected = (vec![(0, 0)], vec![(0, 1)], vec![(0, 2)]);
    assert_eq!(with_ids("x", "y", "a"), expected);
    assert_eq!(with_ids("y", "x", "a"), expected);
}

/// One change of a group.
#[derive(Clone, Debug)]
enum Change {
    Join(u8, Vec<usize>),
    Leave(u8),
    Grow(usize, i32),
}

fn changes(topics: usize, same: bool) -> impl Strategy<Value = Vec<Change>> {
    let wants = if same {
        Just((0..topics).collect::<Vec<_>>()).boxed()
    } else {
        proptest::collection::btree_set(0..topics, 0..=topics)
            .prop_map(|set| set.into_iter().collect())
            .boxed()
    };
    let change = prop_oneof![
        4 => (0u8..12, wants).prop_map(|(member, wants)| Change::Join(member, wants)),
        2 => (0u8..12).prop_map(Change::Leave),
        1 => (0..topics, 1i32..4).prop_map(|(topic, by)| Change::Grow(topic, by)),
    ];
    proptest::collection::vec(change, 1..30)
}

fn apply(group: &mut Plain, change: Change) {
    match change {
        Change::Join(member, wants) => {
            group.members.entry(format!("m{member:02}")).or_default().1 = wants;
        }
        Change::Leave(member) => {
            group.members.remove(&format!("m{member:02}"));
        }
        Change::Grow(topic, by) => group.topics[topic] += by,
    }
}

/// Partitions that members present before and after lost, though they still want them.
fn moved(
    before: &BTreeMap<String, Partitions>,
    after: &BTreeMap<String, Partitions>,
    group: &Plain,
) -> usize {
    before
        .iter()
        .filter(|(member, _)| after.contains_key(*member))
        .flat_map(|(member, partitions)| partitions.iter().map(move |pair| (member, pair)))
        .filter(|(member, (topic, partition))| {
            group.members[*member].1.contains(&(topic.0[15] as usize))
                && !after[*member].contains(*topic, *partition)
        })
        .count()
}

proptest! {
    #[test]
    fn uniform_same_subscriptions(sizes_in in proptest::collection::vec(0i32..12, 1..6), steps in changes(1, true)) {
        let topics = sizes_in.len();
        let mut group = Plain::new(&sizes_in);
        let mut before = BTreeMap::new();
        for change in steps {
            let change = match change {
                Change::Join(member, _) => Change::Join(member, (0..topics).collect()),
                other => other,
            };
            apply(&mut group, change);
            let after = group.assign(AssignorKind::Uniform);
            prop_assert_eq!(&after, &group.step(AssignorKind::Uniform), "the same group, the same answer");
            group.check_complete(&after);
            let loads = sizes(&after);
            if let (Some(most), Some(least)) = (loads.iter().max(), loads.iter().min()) {
                prop_assert!(most - least <= 1, "{loads:?}");
                // The least that can move: what stood above the best quotas.
                let total: usize = loads.iter().sum();
                let (low, extra) = (total / loads.len(), total % loads.len());
                let kept: Vec<usize> = after
                    .keys()
                    .map(|member| before.get(member).map_or(0, |partitions: &Partitions| partitions.len()))
                    .collect();
                let above: usize = kept.iter().map(|held| held.saturating_sub(low)).sum();
                let rich = kept.iter().filter(|held| **held > low).count();
                prop_assert_eq!(moved(&before, &after, &group), above - rich.min(extra));
            }
            prop_assert_eq!(&group.step(AssignorKind::Uniform), &after, "nothing moves when nothing changes");
            before = after;
        }
    }

    #[test]
    fn uniform_mixed_subscriptions(sizes_in in proptest::collection::vec(0i32..12, 4), steps in changes(4, false)) {
        let mut group = Plain::new(&sizes_in);
        for change in steps {
            apply(&mut group, change);
            let after = group.step(AssignorKind::Uniform);
            group.check_complete(&after);
            for (giver, partitions) in &after {
                for (topic, _) in partitions.topics() {
                    for (taker, (_, wants, _)) in &group.members {
                        if wants.contains(&(topic.0[15] as usize)) {
                            let (from, to) = (after[giver].len(), after[taker].len());
                            prop_assert!(from <= to + 1, "{giver} has {from}, {taker} {to}, both want {topic}");
                        }
                    }
                }
            }
            prop_assert_eq!(&group.step(AssignorKind::Uniform), &after, "nothing moves when nothing changes");
        }
    }

    #[test]
    fn range_is_complete_and_contiguous(sizes_in in proptest::collection::vec(0i32..12, 4), steps in changes(4, false)) {
        let mut group = Plain::new(&sizes_in);
        for change in steps {
            apply(&mut group, change);
            let after = group.step(AssignorKind::Range);
            group.check_complete(&after);
            for partitions in after.values() {
                for (_, set) in partitions.topics() {
                    let span = set.last().unwrap() - set.first().unwrap() + 1;
                    prop_assert_eq!(span as usize, set.len(), "a range has no holes");
                }
            }
            for (topic, size) in group.topics.iter().enumerate() {
                let shares: Vec<usize> = after
                    .iter()
                    .filter(|(member, _)| group.members[*member].1.contains(&topic))
                    .map(|(_, partitions)| partitions.of_topic(id(topic as u8)).map_or(0, |set| set.len()))
                    .collect();
                if let (Some(most), Some(least)) = (shares.iter().max(), shares.iter().min()) {
                    prop_assert!(most - least <= 1, "topic of {size}: {shares:?}");
                }
            }
        }
    }
}

/// 1,000 members, 10,000 partitions of 100 topics: a full computation and one after a join. The bound is generous, since
/// tests run unoptimized and beside others; release builds take a few milliseconds.
#[test]
fn a_thousand_members_are_assigned_quickly() {
    for same in [true, false] {
        let mut group = Plain::new(&[100; 100]);
        for member in 0..1_000usize {
            let wants: Vec<usize> = (0..100).filter(|topic| same || (topic + member) % 3 != 0).collect();
            group = group.member(&format!("m{member:04}"), &wants);
        }
        let start = Instant::now();
        let first = group.step(AssignorKind::Uniform);
        let took_first = start.elapsed();
        group = group.member("n", &(0..100).collect::<Vec<_>>());
        let start = Instant::now();
        let second = group.step(AssignorKind::Uniform);
        let took_second = start.elapsed();
        println!("same subscriptions {same}: first {took_first:?}, after a join {took_second:?}");
        group.check_complete(&second);
        let loads = sizes(&second);
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
        assert!(moved(&first, &second, &group) <= 10);
        assert!(took_first.as_secs() < 10 && took_second.as_secs() < 10);
    }
}

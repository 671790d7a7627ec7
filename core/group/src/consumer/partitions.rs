//! Sets of partitions, by topic, in one order everywhere.

use std::collections::{BTreeMap, BTreeSet};

use buslane_wire::ids::TopicId;

/// A set of partitions of any number of topics. No topic stands in it without partitions, so two equal sets compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(BTreeMap<TopicId, BTreeSet<i32>>);

impl Partitions {
    /// The empty set.
    pub fn new() -> Partitions {
        Partitions::default()
    }

    /// True when it holds no partition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many partitions it holds.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// True when it holds this partition.
    pub fn contains(&self, topic: TopicId, partition: i32) -> bool {
        self.0.get(&topic).is_some_and(|set| set.contains(&partition))
    }

    /// Adds one; true when it was not there.
    pub fn insert(&mut self, topic: TopicId, partition: i32) -> bool {
        self.0.entry(topic).or_default().insert(partition)
    }

    /// Takes one out; true when it was there.
    pub fn remove(&mut self, topic: TopicId, partition: i32) -> bool {
        let Some(set) = self.0.get_mut(&topic) else { return false };
        let there = set.remove(&partition);
        if set.is_empty() {
            self.0.remove(&topic);
        }
        there
    }

    /// Every partition, by topic id, then by index.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        self.0.iter().flat_map(|(topic, set)| set.iter().map(|partition| (*topic, *partition)))
    }

    /// Every topic with its partitions, by topic id.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &BTreeSet<i32>)> + '_ {
        self.0.iter().map(|(topic, set)| (*topic, set))
    }

    /// The partitions of one topic, when it holds any.
    pub fn of_topic(&self, topic: TopicId) -> Option<&BTreeSet<i32>> {
        self.0.get(&topic)
    }
}

impl FromIterator<(TopicId, i32)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (TopicId, i32)>>(iter: I) -> Partitions {
        let mut set = Partitions::new();
        for (topic, partition) in iter {
            set.insert(topic, partition);
        }
        set
    }
}

/// Partitions that a member holds, each with the epoch in which it was given to this member (KIP-1251): a commit that
/// carries an older member epoch is good for a partition that the member has held since then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldPartitions(BTreeMap<TopicId, BTreeMap<i32, i32>>);

impl HeldPartitions {
    /// None.
    pub fn new() -> HeldPartitions {
        HeldPartitions::default()
    }

    /// All of `partitions`, given in `epoch`.
    pub fn given(partitions: &Partitions, epoch: i32) -> HeldPartitions {
        let mut held = HeldPartitions::new();
        for (topic, partition) in partitions.iter() {
            held.insert(topic, partition, epoch);
        }
        held
    }

    /// True when it holds no partition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many partitions it holds.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// True when it holds this partition.
    pub fn contains(&self, topic: TopicId, partition: i32) -> bool {
        self.epoch_of(topic, partition).is_some()
    }

    /// The epoch in which the partition was given, when it is held.
    pub fn epoch_of(&self, topic: TopicId, partition: i32) -> Option<i32> {
        self.0.get(&topic).and_then(|set| set.get(&partition)).copied()
    }

    /// Adds one, given in `epoch`, or changes the epoch of one that is there.
    pub fn insert(&mut self, topic: TopicId, partition: i32, epoch: i32) {
        self.0.entry(topic).or_default().insert(partition, epoch);
    }

    /// Every partition with its epoch, by topic id, then by index.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, i32, i32)> + '_ {
        self.0
            .iter()
            .flat_map(|(topic, set)| set.iter().map(|(partition, epoch)| (*topic, *partition, *epoch)))
    }

    /// Every topic with its partitions and their epochs, by topic id.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &BTreeMap<i32, i32>)> + '_ {
        self.0.iter().map(|(topic, set)| (*topic, set))
    }

    /// The partitions without their epochs.
    pub fn partitions(&self) -> Partitions {
        self.0
            .iter()
            .map(|(topic, set)| (*topic, set.keys().copied().collect()))
            .collect::<BTreeMap<_, _>>()
            .into()
    }

    /// True when both hold the same partitions, whatever their epochs.
    pub fn same_partitions(&self, other: &HeldPartitions) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((topic, set), (other_topic, other_set))| {
                topic == other_topic && set.len() == other_set.len() && set.keys().eq(other_set.keys())
            })
    }

    /// True when every one of `partitions` is held.
    pub fn is_superset(&self, partitions: &Partitions) -> bool {
        partitions.iter().all(|(topic, partition)| self.contains(topic, partition))
    }

    /// True when any of `partitions` is held.
    pub fn intersects(&self, partitions: &Partitions) -> bool {
        partitions.iter().any(|(topic, partition)| self.contains(topic, partition))
    }
}

impl From<BTreeMap<TopicId, BTreeSet<i32>>> for Partitions {
    /// Topics without partitions are left out.
    fn from(mut map: BTreeMap<TopicId, BTreeSet<i32>>) -> Partitions {
        map.retain(|_, set| !set.is_empty());
        Partitions(map)
    }
}

impl FromIterator<(TopicId, i32, i32)> for HeldPartitions {
    fn from_iter<I: IntoIterator<Item = (TopicId, i32, i32)>>(iter: I) -> HeldPartitions {
        let mut held = HeldPartitions::new();
        for (topic, partition, epoch) in iter {
            held.insert(topic, partition, epoch);
        }
        held
    }
}

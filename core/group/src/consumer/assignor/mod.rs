//! Server-side assignors (KIP-848): who is to read which partition.
//!
//! An assignor is a pure function of the group: the same [`GroupSpec`] gives the same assignment. Neither looks at racks:
//! Kafka 4 dropped the rack-aware paths of both.

mod mixed;
mod range;
mod same;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use buslane_wire::ids::TopicId;

use super::partitions::Partitions;

/// The assignors there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AssignorKind {
    /// As many partitions for each member as for any other, as few as possible moved.
    Uniform,
    /// Each topic cut into contiguous ranges, the same cut for topics of the same size.
    Range,
}

impl AssignorKind {
    /// Its name on the wire and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            AssignorKind::Uniform => "uniform",
            AssignorKind::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn parse(name: &str) -> Option<AssignorKind> {
        [AssignorKind::Uniform, AssignorKind::Range].into_iter().find(|kind| kind.name() == name)
    }

    /// What each member of `spec.members` is to have, in their order. Every partition of a topic that someone wants goes
    /// to exactly one member that wants it.
    pub fn assign(self, spec: &GroupSpec<'_>) -> Vec<Partitions> {
        spec.check();
        if spec.members.is_empty() {
            return Vec::new();
        }
        match self {
            AssignorKind::Range => range::assign(spec),
            AssignorKind::Uniform if spec.is_homogeneous() => same::assign(spec),
            AssignorKind::Uniform => mixed::assign(spec),
        }
    }
}

/// The group that is to be assigned.
#[derive(Clone, Debug, Default)]
pub struct GroupSpec<'a> {
    /// The topics that exist and that some member wants, by id, ascending.
    pub topics: Vec<TopicSpec>,
    /// The members, by id, ascending.
    pub members: Vec<MemberSpec<'a>>,
}

/// One topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

/// One member.
#[derive(Clone, Debug)]
pub struct MemberSpec<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// Its name, when it is static.
    pub instance_id: Option<&'a str>,
    /// What it wants: places in [`GroupSpec::topics`], ascending. Members that want the same may share one list.
    pub wants: Rc<[usize]>,
    /// What it was to have by the last assignment; topics and partitions that are gone may stand in it.
    pub assigned: &'a Partitions,
}

impl GroupSpec<'_> {
    /// True when all members want the same topics.
    fn is_homogeneous(&self) -> bool {
        self.members.windows(2).all(|pair| {
            let (one, other) = (&pair[0].wants, &pair[1].wants);
            Rc::ptr_eq(one, other) || one == other
        })
    }

    /// The place of a topic, when it is there.
    fn place_of(&self, id: TopicId) -> Option<usize> {
        self.topics.binary_search_by_key(&id, |topic| topic.id).ok()
    }

    fn check(&self) {
        assert!(self.topics.windows(2).all(|pair| pair[0].id < pair[1].id), "topics ascend by id");
        assert!(
            self.members.windows(2).all(|pair| pair[0].member_id < pair[1].member_id),
            "members ascend by id"
        );
        let topics = self.topics.len();
        for member in &self.members {
            assert!(
                member.wants.windows(2).all(|pair| pair[0] < pair[1]),
                "{} wants in order",
                member.member_id
            );
            assert!(
                member.wants.last().is_none_or(|last| *last < topics),
                "{} wants topics out of {topics}",
                member.member_id
            );
        }
    }

    /// What of each member's last assignment still stands: partitions that exist, of topics that it wants. A partition
    /// that stood with two members stays with the first.
    fn still_assigned(&self) -> Standing {
        let mut owner: Vec<Vec<Option<usize>>> =
            self.topics.iter().map(|topic| vec![None; topic.partitions.max(0) as usize]).collect();
        let mut held = Vec::with_capacity(self.members.len());
        for (index, member) in self.members.iter().enumerate() {
            let mut mine = Vec::new();
            for (id, partitions) in member.assigned.topics() {
                let Some(place) = self.place_of(id) else { continue };
                if member.wants.binary_search(&place).is_err() {
                    continue;
                }
                for &partition in partitions {
                    let slot = usize::try_from(partition).ok().and_then(|at| owner[place].get_mut(at));
                    if let Some(slot @ None) = slot {
                        *slot = Some(index);
                        mine.push((place, partition));
                    }
                }
            }
            held.push(mine);
        }
        Standing { owner, held }
    }

    fn to_partitions(&self, held: &[(usize, i32)]) -> Partitions {
        held.iter().map(|&(place, partition)| (self.topics[place].id, partition)).collect()
    }
}

/// An assignment by places.
struct Standing {
    /// By topic place and partition: the member's place.
    owner: Vec<Vec<Option<usize>>>,
    /// By member place: its partitions, by topic place, then by index.
    held: Vec<Vec<(usize, i32)>>,
}

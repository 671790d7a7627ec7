//! What goes where under which sequences: the records that are durable before anything is sent.

use super::{Place, ProducerId, Target};

/// The sequence behind `count` records; after the greatest comes 0 (KIP-98).
pub fn sequence_after(base: i32, count: i32) -> i32 {
    ((i64::from(base) + i64::from(count)) & i64::from(i32::MAX)) as i32
}

/// The events of a plan that go to one partition, as one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The partition's number.
    pub partition: i32,
    /// Events, 1 or more.
    pub count: i32,
    /// Under whose name.
    pub producer: ProducerId,
    /// Sequence of the first.
    pub base_sequence: i32,
}

impl Part {
    /// Sequence of the last.
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.count - 1)
    }

    /// Whether a partition whose last sequence of the same producer is `last` has it. Sequences wrap: of the two directions
    /// the nearer one counts.
    pub fn is_within(&self, last: i32) -> bool {
        let ahead = i64::from(last) - i64::from(self.last_sequence());
        (ahead & i64::from(i32::MAX)) < 1 << 30
    }
}

/// Events of the spool, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Plans are numbered without gaps.
    pub number: u64,
    /// Where to.
    pub target: Target,
    /// First event of the spool.
    pub from: i64,
    /// Behind the last one.
    pub to: i64,
    /// By partition; each once.
    pub parts: Vec<Part>,
}

impl Plan {
    pub(super) fn place(&self, part: &Part) -> Place {
        Place { target: self.target, partition: part.partition }
    }

    /// The part for a partition.
    pub fn part(&self, partition: i32) -> Option<&Part> {
        self.parts.iter().find(|part| part.partition == partition)
    }

    fn part_mut(&mut self, partition: i32) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.partition == partition)
    }
}

/// Parts of a partition that go on under another name, with sequences from 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// Where.
    pub place: Place,
    /// The new name.
    pub producer: ProducerId,
    /// Plans whose parts have it, each with its first sequence.
    pub plans: Vec<(u64, i32)>,
}

impl Reassignment {
    /// Renames a plan's part, if it is meant.
    pub(super) fn apply(&self, plan: &mut Plan) {
        if plan.target != self.place.target {
            return;
        }
        if let Some((_, base_sequence)) = self.plans.iter().find(|(number, _)| *number == plan.number)
            && let Some(part) = plan.part_mut(self.place.partition)
        {
            (part.producer, part.base_sequence) = (self.producer, *base_sequence);
        }
    }
}

//! From the spool into a topic: neither lost nor doubled, in order for each partition.
//!
//! A state machine without I/O, clock or randomness. It deals in numbers only: which events of the spool go to which
//! partition under which sequences, what may be sent, what is confirmed. The shell reads the spool, builds and sends the
//! batches, asks brokers, and tells what came of it.
//!
//! * A **plan** ([`Plan`]) covers the next events of the spool and says for each partition under which producer and which
//!   sequences they go there. It is durable before anything of it is sent; which events go to which partition follows from
//!   the events and the plan alone, so a batch can be built again at any time, with the same records.
//! * A part of a plan is **in doubt** once it was sent and not answered. It is sent again, as it was, where it was sent: the
//!   broker knows the last five batches of a producer in a partition by their sequences (KIP-98), and no more are ever under
//!   way. After a restart the broker is asked first what it has ([`Action::LookUp`]).
//! * A partition that lost what was before a batch (OUT_OF_ORDER_SEQUENCE_NUMBER) is asked what it has; the rest goes on
//!   under the next epoch of the producer, which keeps out whatever of the old one is still on its way, and is made durable
//!   first ([`Reassignment`]).
//! * A new **target** gets nothing before the old one has confirmed everything that was ever sent there. What was planned
//!   for the old one and never sent is planned anew.
//!
//! Invariants, asserted here: sequences of a producer in a partition are consecutive; parts of a partition are sent in the
//! order of their plans; a part under another producer than the one before it is sent only when all before it are
//! confirmed; below the trim point everything is confirmed.

mod lane;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

pub use buslane_client::ProducerId;
use lane::Lane;
pub use plan::{Part, Plan, Reassignment, sequence_after};

/// Which version of the channel's route: the shell knows topic, partitions and partitioner by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(pub u64);

/// A partition of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Of which target.
    pub target: Target,
    /// Its number.
    pub partition: i32,
}

/// Bounds, and how long to wait after a failure.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Batches that are under way to a partition, at most; brokers know the last five.
    pub in_flight_max: usize,
    /// Plans that are not wholly confirmed, at most.
    pub plans_max: usize,
    /// First and longest pause of a partition after a failure, in milliseconds.
    pub backoff_ms: (i64, i64),
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { in_flight_max: 5, plans_max: 1_000, backoff_ms: (100, 5_000) }
    }
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a part of a plan, behind whatever was sent to the same partition before; then [`Drain::answered`].
    Send {
        /// The plan's number.
        plan: u64,
        /// Where.
        place: Place,
    },
    /// Find out which sequence of a producer's is the last one in the partition; then [`Drain::looked_up`].
    LookUp {
        /// Where.
        place: Place,
        /// Whose.
        producer: ProducerId,
        /// Of the first part that is in question: nothing older matters.
        plan: u64,
    },
    /// Get a producer id that nobody else has, for all new plans; then [`Drain::producer_given`].
    NewProducer,
    /// Make this durable; then [`Drain::reassignment_is_durable`].
    Reassign(Reassignment),
}

/// What became of a part that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it, from now on or since before.
    Appended,
    /// It is certainly not there; another try may do better.
    NotAppended,
    /// No answer came: it may be there.
    InDoubt,
    /// The broker does not have what was before it.
    OutOfOrder,
    /// It will never be taken. The shell has put its events aside, durably.
    Parked,
}

/// The last sequence that a partition has of a producer; none when it has nothing of it.
pub type Found = Option<i32>;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Parts that were confirmed.
    pub confirmed: u64,
    /// Parts that were sent more than once.
    pub resent: u64,
    /// Partitions that went on under another producer id.
    pub reassigned: u64,
    /// Parts that were put aside.
    pub parked: u64,
}

/// A plan and what is known of it.
#[derive(Debug)]
struct Tracked {
    plan: Plan,
    durable: bool,
    /// Parts that are not confirmed.
    open: usize,
    /// Something of it was sent, in this life or perhaps in an earlier one.
    sent: bool,
}

/// The drain of one channel.
#[derive(Debug)]
pub struct Drain {
    limits: Limits,
    target: Target,
    /// Of new plans.
    producer: Option<ProducerId>,
    producer_asked: bool,
    /// Next sequence of each partition, by producer.
    sequences: HashMap<(Place, ProducerId), i32>,
    /// Those that are not wholly confirmed, and what stands between them; numbers are consecutive.
    plans: VecDeque<Tracked>,
    next_number: u64,
    /// First event of the spool that no plan has.
    cursor: i64,
    lanes: BTreeMap<Place, Lane>,
    counts: Counts,
}

impl Drain {
    /// Begins with an empty past: events from `cursor` on are to be drained.
    pub fn new(limits: Limits, target: Target, cursor: i64) -> Drain {
        assert!((1..=5).contains(&limits.in_flight_max), "brokers know five batches of a producer");
        Drain {
            limits,
            target,
            producer: None,
            producer_asked: false,
            sequences: HashMap::new(),
            plans: VecDeque::new(),
            next_number: 0,
            cursor,
            lanes: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Goes on after a restart, with the plans and reassignments that are durable, in the order they were made; those that
    /// end at or below `trimmed` are confirmed. Whatever was planned may have been sent. New plans get a new producer id.
    pub fn restore(
        limits: Limits,
        target: Target,
        trimmed: i64,
        plans: Vec<Plan>,
        reassignments: &[Reassignment],
    ) -> Drain {
        let mut drain = Drain::new(limits, target, trimmed);
        for mut plan in plans {
            drain.next_number = plan.number + 1;
            if plan.to <= trimmed {
                continue;
            }
            for reassignment in reassignments {
                reassignment.apply(&mut plan);
            }
            drain.cursor = plan.to;
            for part in &plan.parts {
                drain.lanes.entry(plan.place(part)).or_default().push_unknown(plan.number, *part);
            }
            let open = plan.parts.len();
            drain.plans.push_back(Tracked { plan, durable: true, open, sent: true });
        }
        drain
    }

    /// First event that no plan has: the next plan begins there.
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Everything below is confirmed: the spool may forget it.
    pub fn trim_to(&self) -> i64 {
        self.plans.front().map_or(self.cursor, |first| first.plan.from)
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A plan that is not wholly confirmed.
    pub fn plan_of(&self, number: u64) -> Option<&Plan> {
        self.tracked(number).map(|tracked| &tracked.plan)
    }

    /// True when another plan may be made.
    pub fn may_plan(&self) -> bool {
        self.producer.is_some() && self.plans.len() < self.limits.plans_max
    }

    /// From now on events go to another target. Returns the number of plans that are made anew: they were never sent, and
    /// the shell forgets them, durably, before it makes the next plan.
    pub fn retarget(&mut self, target: Target) -> usize {
        if target == self.target {
            return 0;
        }
        self.target = target;
        // It may lead to partitions that know this producer from an older target, where sequences would begin anew.
        self.producer = None;
        let mut dropped = 0;
        while let Some(last) = self.plans.back()
            && !last.sent
        {
            let Tracked { plan, .. } = self.plans.pop_back().expect("it was just seen");
            for part in &plan.parts {
                let place = plan.place(part);
                let lane = self.lanes.get_mut(&place).expect("a planned part has its lane");
                lane.take_back(plan.number);
                if lane.is_empty() {
                    self.lanes.remove(&place);
                }
                // Its sequences are free again; they were the last ones.
                self.sequences.insert((place, part.producer), part.base_sequence);
            }
            (self.cursor, self.next_number) = (plan.from, plan.number);
            dropped += 1;
        }
        dropped
    }

    /// Plans the events from the cursor up to `to`: so many for each partition, at least one. The shell makes the plan
    /// durable, then calls [`Drain::plan_is_durable`].
    ///
    /// # Panics
    /// When [`Drain::may_plan`] says no, or a partition comes twice.
    pub fn plan(&mut self, to: i64, counts: &[(i32, i32)]) -> &Plan {
        assert!(self.may_plan() && to > self.cursor && !counts.is_empty());
        let default = self.producer.expect("it was just asked");
        let number = self.next_number;
        let mut parts = Vec::with_capacity(counts.len());
        for &(partition, count) in counts {
            assert!(count > 0 && parts.iter().all(|part: &Part| part.partition != partition));
            let place = Place { target: self.target, partition };
            let lane = self.lanes.entry(place).or_default();
            let producer = lane.producer.unwrap_or(default);
            let next = self.sequences.entry((place, producer)).or_insert(0);
            let part = Part { partition, count, producer, base_sequence: *next };
            *next = sequence_after(*next, count);
            lane.push(number, part);
            parts.push(part);
        }
        let plan = Plan { number, target: self.target, from: self.cursor, to, parts };
        (self.cursor, self.next_number) = (to, number + 1);
        let open = plan.parts.len();
        self.plans.push_back(Tracked { plan, durable: false, open, sent: false });
        &self.plans.back().expect("it was just put there").plan
    }

    /// The events from the cursor up to `to` are gone: nothing is planned of them.
    pub fn skip(&mut self, to: i64) {
        self.cursor = self.cursor.max(to);
    }

    /// A plan, and all before it, survives whatever happens to this machine.
    pub fn plan_is_durable(&mut self, number: u64) {
        for tracked in self.plans.iter_mut().take_while(|tracked| tracked.plan.number <= number) {
            tracked.durable = true;
        }
    }

    /// The producer id that was asked for.
    pub fn producer_given(&mut self, producer: ProducerId) {
        (self.producer, self.producer_asked) = (Some(producer), false);
    }

    /// There was none to be had: it is asked for again.
    pub fn no_producer(&mut self) {
        self.producer_asked = false;
    }

    /// A reassignment survives whatever happens to this machine.
    pub fn reassignment_is_durable(&mut self, place: Place) {
        if let Some(lane) = self.lanes.get_mut(&place) {
            lane.reassignment_is_durable();
        }
    }

    /// A partition could not be asked what it has: it is asked again later.
    pub fn look_up_failed(&mut self, place: Place, now_ms: i64) {
        if let Some(lane) = self.lanes.get_mut(&place) {
            lane.failed(now_ms, self.limits.backoff_ms);
        }
    }

    /// What became of a part that was sent.
    pub fn answered(&mut self, number: u64, place: Place, outcome: Outcome, now_ms: i64) {
        let lane = self.lanes.get_mut(&place).expect("what was sent is in its lane");
        lane.answered(number, outcome, now_ms, self.limits.backoff_ms);
        if outcome == Outcome::Parked {
            self.counts.parked += 1;
        }
        self.settle(place);
    }

    /// What a partition has of the producer that was asked for.
    pub fn looked_up(&mut self, place: Place, found: Found) {
        if let Some(lane) = self.lanes.get_mut(&place) {
            lane.looked_up(found);
            self.settle(place);
        }
    }

    /// Takes confirmed parts out of a lane, and confirmed plans out of the queue.
    fn settle(&mut self, place: Place) {
        let Some(lane) = self.lanes.get_mut(&place) else { return };
        for number in lane.take_confirmed() {
            let index = plan_index(&self.plans, number).expect("a part is confirmed once");
            self.plans[index].open -= 1;
            self.counts.confirmed += 1;
        }
        // A lane that has another producer than the rest is remembered as long as its target is.
        if lane.is_empty() && (lane.producer.is_none() || place.target != self.target) {
            self.lanes.remove(&place);
        }
        let mut left = None;
        while self.plans.front().is_some_and(|first| first.open == 0) {
            left =
                self.plans.pop_front().map(|done| done.plan.target).filter(|target| *target != self.target);
        }
        // Targets are left once and for all.
        if left.is_some() && self.plans.front().is_none_or(|first| Some(first.plan.target) != left) {
            self.sequences.retain(|(place, _), _| Some(place.target) != left);
        }
    }

    /// What is to be done now.
    pub fn due(&mut self, now_ms: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.producer.is_none() && !self.producer_asked {
            self.producer_asked = true;
            actions.push(Action::NewProducer);
        }
        // Only the oldest target's parts are sent.
        let Some(sending) = self.plans.front().map(|first| first.plan.target) else { return actions };
        let (first, last) = (i32::MIN, i32::MAX);
        let places = Place { target: sending, partition: first }..=Place { target: sending, partition: last };
        for (place, lane) in self.lanes.range_mut(places) {
            let durable =
                |number| plan_index(&self.plans, number).is_some_and(|index| self.plans[index].durable);
            let done = lane.due(*place, now_ms, durable, self.producer, self.limits.in_flight_max);
            self.counts.resent += done.resent;
            for action in done.actions {
                match &action {
                    Action::Send { plan, .. } => {
                        let index = plan_index(&self.plans, *plan).expect("what is sent is planned");
                        self.plans[index].sent = true;
                    }
                    Action::Reassign(reassignment) => {
                        self.counts.reassigned += 1;
                        for tracked in &mut self.plans {
                            reassignment.apply(&mut tracked.plan);
                        }
                        let next = lane.next_sequence(reassignment.producer).unwrap_or(0);
                        self.sequences.insert((*place, reassignment.producer), next);
                    }
                    Action::LookUp { .. } | Action::NewProducer => {}
                }
                actions.push(action);
            }
        }
        if self.lanes.values().any(Lane::wants_producer) && !self.producer_asked {
            self.producer_asked = true;
            actions.push(Action::NewProducer);
        }
        actions
    }

    /// When [`Drain::due`] may have something that it has not now, in milliseconds.
    pub fn next_deadline(&self) -> Option<i64> {
        self.lanes.values().filter_map(Lane::deadline).min()
    }

    fn tracked(&self, number: u64) -> Option<&Tracked> {
        self.plans.get(plan_index(&self.plans, number)?)
    }
}

/// Where a plan is in the queue.
fn plan_index(plans: &VecDeque<Tracked>, number: u64) -> Option<usize> {
    let first = plans.front()?.plan.number;
    let index = usize::try_from(number.checked_sub(first)?).ok()?;
    (index < plans.len()).then_some(index)
}

//! The drain against brokers that lose answers, leadership and state, and machines that stop.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A partition as a Kafka broker keeps it: what was appended, and of each producer its epoch and last five batches.
#[derive(Default)]
struct Partition {
    log: Vec<i64>,
    /// All batches ever, as a look into the log finds them: producer, last sequence.
    batches: Vec<(ProducerId, i32)>,
    producers: BTreeMap<i64, (i16, VecDeque<(i32, i32)>)>,
}

impl Partition {
    fn append(&mut self, part: &Part, events: &[i64]) -> Outcome {
        assert_eq!(events.len(), part.count as usize);
        if events.iter().any(|event| is_poison(*event)) {
            return Outcome::Parked;
        }
        let last = part.last_sequence();
        if let Some((epoch, batches)) = self.producers.get(&part.producer.id) {
            if part.producer.epoch < *epoch {
                return Outcome::NotAppended;
            }
            if part.producer.epoch == *epoch {
                if batches.contains(&(part.base_sequence, last)) {
                    return Outcome::Appended;
                }
                let newest = batches.back().expect("a known producer has a batch").1;
                if part.base_sequence != sequence_after(newest, 1) {
                    return Outcome::OutOfOrder;
                }
            } else if part.base_sequence != 0 {
                return Outcome::OutOfOrder;
            }
        }
        let known = self.producers.entry(part.producer.id).or_default();
        if known.0 != part.producer.epoch {
            *known = (part.producer.epoch, VecDeque::new());
        }
        known.1.push_back((part.base_sequence, last));
        if known.1.len() > 5 {
            known.1.pop_front();
        }
        self.batches.push((part.producer, last));
        self.log.extend(events);
        Outcome::Appended
    }

    fn last_sequence(&self, producer: ProducerId) -> Found {
        self.batches.iter().rev().find(|(who, _)| *who == producer).map(|(_, last)| *last)
    }
}

/// What survives the machine, and what survives the process.
#[derive(Clone, Default)]
struct Disk {
    plans: Vec<Plan>,
    reassignments: Vec<Reassignment>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// An answer is lost, before or after the broker did it.
    Lost,
    /// Another node leads now.
    Moved,
    /// The broker has lost what it knew of the producer.
    Forgets,
}

/// An agent with one channel, and the brokers.
struct World {
    random: Random,
    limits: Limits,
    target: Target,
    partitions: BTreeMap<Place, Partition>,
    drain: Drain,
    /// Events that are in the spool, by their offset: all.
    end: i64,
    now_ms: i64,
    disk: Disk,
    /// Written and not yet durable.
    unsynced: Vec<Record>,
    trimmed: i64,
    /// Events that were put aside.
    parked: std::collections::BTreeSet<i64>,
    next_producer: i64,
    /// In the order they were sent, for each place.
    wire: BTreeMap<Place, VecDeque<(u64, Part, Vec<i64>)>>,
    faults: u64,
    restarts: u64,
    retargets: u64,
}

#[derive(Clone)]
enum Record {
    Plan(Plan),
    Reassigned(Reassignment),
}

/// An event's partition: by its offset.
fn partition_of(event: i64, partitions: i64) -> i32 {
    ((event.wrapping_mul(7) + event / 5) % partitions) as i32
}

const PARTITIONS: i64 = 3;

/// No broker ever takes it.
fn is_poison(event: i64) -> bool {
    event % 61 == 60
}

fn events_of(plan: &Plan, partition: i32) -> Vec<i64> {
    (plan.from..plan.to).filter(|event| partition_of(*event, PARTITIONS) == partition).collect()
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let limits =
            Limits { in_flight_max: 1 + random.below(5) as usize, plans_max: 8, backoff_ms: (100, 1_000) };
        let target = Target(0);
        World {
            drain: Drain::new(limits, target, 0),
            random,
            limits,
            target,
            partitions: BTreeMap::new(),
            end: 0,
            now_ms: 0,
            disk: Disk::default(),
            unsynced: Vec::new(),
            trimmed: 0,
            parked: Default::default(),
            next_producer: 1,
            wire: BTreeMap::new(),
            faults: 0,
            restarts: 0,
            retargets: 0,
        }
    }

    fn sync(&mut self) {
        for record in std::mem::take(&mut self.unsynced) {
            match record {
                Record::Plan(plan) => {
                    // A plan that is made anew stands for the one of the same number.
                    self.disk.plans.retain(|known| known.number < plan.number);
                    self.drain.plan_is_durable(plan.number);
                    self.disk.plans.push(plan);
                }
                Record::Reassigned(reassignment) => {
                    self.drain.reassignment_is_durable(reassignment.place);
                    self.disk.reassignments.push(reassignment);
                }
            }
        }
    }

    fn plan(&mut self) {
        let from = self.drain.cursor();
        if !self.drain.may_plan() || from >= self.end {
            return;
        }
        let to = (from + 1 + self.random.below(12) as i64).min(self.end);
        let mut counts: BTreeMap<i32, i32> = BTreeMap::new();
        for event in from..to {
            *counts.entry(partition_of(event, PARTITIONS)).or_default() += 1;
        }
        let counts: Vec<(i32, i32)> = counts.into_iter().collect();
        let plan = self.drain.plan(to, &counts).clone();
        self.unsynced.push(Record::Plan(plan));
    }

    fn act(&mut self) {
        for action in self.drain.due(self.now_ms) {
            match action {
                Action::NewProducer => {
                    if self.random.one_in(8) {
                        self.drain.no_producer();
                    } else {
                        let epoch = if self.random.one_in(3) { i16::MAX - 1 } else { 0 };
                        self.drain.producer_given(ProducerId { id: self.next_producer, epoch });
                        self.next_producer += 1;
                    }
                }
                Action::Send { plan, place } => {
                    let plan = self.drain.plan_of(plan).unwrap();
                    assert!(
                        self.disk.plans.contains(&self.as_planned(plan)),
                        "it is durable before it is sent"
                    );
                    let part = *plan.part(place.partition).unwrap();
                    let events = events_of(plan, place.partition);
                    self.wire.entry(place).or_default().push_back((plan.number, part, events));
                    assert!(self.wire[&place].len() <= self.limits.in_flight_max);
                }
                Action::LookUp { place, producer, plan } => {
                    assert!(self.drain.plan_of(plan).is_some());
                    if self.random.one_in(6) {
                        self.drain.look_up_failed(place, self.now_ms);
                    } else {
                        let found = self.partitions.entry(place).or_default().last_sequence(producer);
                        self.drain.looked_up(place, found);
                    }
                }
                Action::Reassign(reassignment) => self.unsynced.push(Record::Reassigned(reassignment)),
            }
        }
    }

    /// A plan as it was written, before what was reassigned since.
    fn as_planned(&self, plan: &Plan) -> Plan {
        self.disk
            .plans
            .iter()
            .find(|known| known.number == plan.number)
            .cloned()
            .unwrap_or_else(|| plan.clone())
    }

    /// The oldest request of a place comes to its end.
    fn answer(&mut self) {
        let places: Vec<Place> =
            self.wire.iter().filter(|(_, wire)| !wire.is_empty()).map(|(place, _)| *place).collect();
        if places.is_empty() {
            return;
        }
        let place = places[self.random.below(places.len() as u64) as usize];
        let fault = match self.random.below(40) {
            0..=3 => Some(Fault::Lost),
            4..=5 => Some(Fault::Moved),
            6 => Some(Fault::Forgets),
            _ => None,
        };
        self.faults += u64::from(fault.is_some());
        let (number, part, events) = self.wire.get_mut(&place).unwrap().pop_front().unwrap();
        let partition = self.partitions.entry(place).or_default();
        match fault {
            None => {
                let outcome = partition.append(&part, &events);
                self.told(number, place, outcome, &events);
            }
            Some(Fault::Moved) => self.drain.answered(number, place, Outcome::NotAppended, self.now_ms),
            Some(Fault::Lost) => {
                // The connection ends: what is behind it is lost as well, each perhaps after it was done.
                let rest = std::mem::take(self.wire.get_mut(&place).unwrap());
                let mut arrives = self.random.below(2 + rest.len() as u64);
                for (number, part, events) in std::iter::once((number, part, events)).chain(rest) {
                    if arrives > 0 {
                        arrives -= 1;
                        let _ = self.partitions.get_mut(&place).unwrap().append(&part, &events);
                    }
                    self.drain.answered(number, place, Outcome::InDoubt, self.now_ms);
                }
            }
            Some(Fault::Forgets) => {
                // Its state is gone but for an epoch: it takes nothing that does not begin anew.
                if let Some((_, batches)) = partition.producers.get_mut(&part.producer.id) {
                    batches.clear();
                    batches.push_back((i32::MAX / 2, i32::MAX / 2));
                }
                let outcome = partition.append(&part, &events);
                self.told(number, place, outcome, &events);
            }
        }
    }

    fn told(&mut self, number: u64, place: Place, outcome: Outcome, events: &[i64]) {
        if outcome == Outcome::Parked {
            self.parked.extend(events);
        }
        self.drain.answered(number, place, outcome, self.now_ms);
    }

    /// The process ends, and with it (or not) the machine; what was on the wire arrives or does not.
    fn restart(&mut self) {
        self.restarts += 1;
        for (place, wire) in std::mem::take(&mut self.wire) {
            let arrives = self.random.below(1 + wire.len() as u64) as usize;
            for (_, part, events) in wire.into_iter().take(arrives) {
                let _ = self.partitions.entry(place).or_default().append(&part, &events);
            }
        }
        if self.random.one_in(2) {
            // What was written and not synced survives the process.
            self.sync();
        } else {
            self.unsynced.clear();
        }
        let Disk { plans, reassignments } = self.disk.clone();
        self.drain = Drain::restore(self.limits, self.target, self.trimmed, plans, &reassignments);
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=14 => self.end += self.random.below(10) as i64,
            15..=34 => self.plan(),
            35..=49 => self.sync(),
            50..=69 => self.act(),
            70..=91 => self.answer(),
            92..=96 => self.now_ms += self.random.below(300) as i64,
            97 => self.trim(),
            98 => {
                if self.random.one_in(4) {
                    self.restart();
                }
            }
            _ => {
                if self.random.one_in(5) {
                    self.retarget();
                }
            }
        }
        self.check();
    }

    fn trim(&mut self) {
        let to = self.drain.trim_to();
        assert!(to >= self.trimmed);
        self.trimmed = to;
    }

    fn retarget(&mut self) {
        self.sync();
        self.target = Target(self.target.0 + 1);
        self.retargets += 1;
        let kept = self.disk.plans.len() - self.drain.retarget(self.target);
        self.disk.plans.truncate(kept);
    }

    /// Nothing twice, nothing out of order, nothing skipped below what was trimmed but what was put aside.
    fn check(&self) {
        let mut per_partition: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for (place, partition) in &self.partitions {
            // Targets are in the order in which they were used.
            per_partition.entry(place.partition).or_default().extend(&partition.log);
        }
        for (partition, log) in &per_partition {
            assert!(log.windows(2).all(|pair| pair[0] < pair[1]), "partition {partition}: {log:?}");
        }
        for partition in 0..PARTITIONS as i32 {
            let expected: Vec<i64> = (0..self.trimmed)
                .filter(|event| partition_of(*event, PARTITIONS) == partition && !self.parked.contains(event))
                .collect();
            let log = per_partition.get(&partition).map_or(&[][..], Vec::as_slice);
            assert_eq!(&log[..expected.len().min(log.len())], expected, "partition {partition}");
        }
    }

    /// Everything comes to its end once nothing fails any more.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            self.now_ms += 1_000;
            self.plan();
            self.sync();
            self.act();
            for place in self.wire.keys().copied().collect::<Vec<_>>() {
                while let Some((number, part, events)) = self.wire.get_mut(&place).unwrap().pop_front() {
                    let outcome = self.partitions.entry(place).or_default().append(&part, &events);
                    self.told(number, place, outcome, &events);
                }
            }
            self.trim();
            self.check();
            if self.trimmed == self.end {
                return;
            }
        }
        panic!("{} of {} events are drained: {:?}", self.trimmed, self.end, self.drain);
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_over_seeded_lives() {
    let seeds: u64 = std::env::var("BUSLANE_SIM_SEEDS").map_or(2_000, |n| n.parse().unwrap());
    let mut all = (Counts::default(), 0, 0, 0);
    for seed in 0..seeds {
        let lives = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..1_500 {
                world.step();
            }
            world.settle();
            world
        });
        let world = lives.unwrap_or_else(|_| panic!("seed {seed}"));
        let counts = world.drain.counts();
        all.0.confirmed += counts.confirmed;
        all.0.resent += counts.resent;
        all.0.reassigned += counts.reassigned;
        all.0.parked += counts.parked;
        all.1 += world.faults;
        all.2 += world.restarts;
        all.3 += world.retargets;
    }
    println!("{all:?}");
    let (counts, faults, restarts, retargets) = all;
    assert!(
        [counts.confirmed, counts.resent, counts.reassigned, counts.parked, faults, restarts, retargets]
            .iter()
            .all(|n| *n > seeds / 10)
    );
}

const ONE: ProducerId = ProducerId { id: 1, epoch: 0 };
const PLACE: Place = Place { target: Target(0), partition: 0 };

/// A drain with plans of one event each for partition 0, all durable.
fn planned(count: i64) -> Drain {
    let mut drain = Drain::new(Limits::default(), Target(0), 0);
    assert_eq!(drain.due(0), [Action::NewProducer]);
    drain.producer_given(ONE);
    for to in 1..=count {
        let number = drain.plan(to, &[(0, 1)]).number;
        drain.plan_is_durable(number);
    }
    drain
}

fn sends(plans: std::ops::RangeInclusive<u64>) -> Vec<Action> {
    plans.map(|plan| Action::Send { plan, place: PLACE }).collect()
}

#[test]
fn nothing_is_sent_before_its_plan_is_durable() {
    let mut drain = planned(0);
    let number = drain.plan(3, &[(0, 2), (1, 1)]).number;
    assert_eq!(drain.due(0), []);
    drain.plan_is_durable(number);
    assert_eq!(drain.due(0).len(), 2);
    assert_eq!((drain.cursor(), drain.trim_to()), (3, 0));
}

#[test]
fn the_first_goes_alone_and_then_five_are_under_way() {
    let mut drain = planned(9);
    assert_eq!(drain.due(0), sends(0..=0));
    assert_eq!(drain.due(0), []);
    drain.answered(0, PLACE, Outcome::Appended, 0);
    assert_eq!(drain.trim_to(), 1);
    assert_eq!(drain.due(0), sends(1..=5));
    drain.answered(2, PLACE, Outcome::Appended, 0);
    assert_eq!((drain.due(0), drain.trim_to()), (sends(6..=6), 1), "what is before it is not confirmed");
    drain.answered(1, PLACE, Outcome::Appended, 0);
    assert_eq!(drain.trim_to(), 3);
}

#[test]
fn after_a_failure_all_are_awaited_and_sent_again_in_order_after_a_pause() {
    let mut drain = planned(4);
    drain.due(0);
    drain.answered(0, PLACE, Outcome::Appended, 0);
    assert_eq!(drain.due(0), sends(1..=3));
    drain.answered(1, PLACE, Outcome::InDoubt, 1_000);
    assert_eq!(drain.due(9_000), [], "two are under way");
    drain.answered(2, PLACE, Outcome::OutOfOrder, 1_000);
    drain.answered(3, PLACE, Outcome::NotAppended, 1_000);
    assert_eq!((drain.due(1_399), drain.next_deadline()), (Vec::new(), Some(1_400)));
    assert_eq!(drain.due(1_400), sends(1..=1));
    drain.answered(1, PLACE, Outcome::Appended, 1_400);
    assert_eq!(drain.due(1_400), sends(2..=3));
    assert_eq!(drain.counts().resent, 3);
}

#[test]
fn a_partition_that_lost_what_was_before_goes_on_under_the_next_epoch() {
    let mut drain = planned(3);
    drain.due(0);
    drain.answered(0, PLACE, Outcome::Appended, 0);
    assert_eq!(drain.due(0), sends(1..=2));
    drain.answered(1, PLACE, Outcome::OutOfOrder, 0);
    drain.answered(2, PLACE, Outcome::OutOfOrder, 0);
    assert_eq!(drain.due(10_000), [Action::LookUp { place: PLACE, producer: ONE, plan: 1 }]);
    drain.looked_up(PLACE, Some(0));
    let next = ProducerId { id: 1, epoch: 1 };
    let reassignment = Reassignment { place: PLACE, producer: next, plans: vec![(1, 0), (2, 1)] };
    assert_eq!(drain.due(10_000), [Action::Reassign(reassignment)]);
    assert_eq!(drain.due(10_000), [], "it is not durable");
    drain.reassignment_is_durable(PLACE);
    assert_eq!(drain.due(10_000), sends(1..=1));
    assert_eq!(
        drain.plan(4, &[(0, 1)]).parts[0],
        Part { partition: 0, count: 1, producer: next, base_sequence: 2 }
    );
    let part = *drain.plan_of(1).unwrap().part(0).unwrap();
    assert_eq!((part.producer, part.base_sequence), (next, 0));
}

#[test]
fn a_new_target_waits_and_what_was_never_sent_is_planned_anew() {
    let mut drain = planned(3);
    assert_eq!(drain.due(0), sends(0..=0));
    assert_eq!(drain.retarget(Target(1)), 2);
    assert_eq!(drain.cursor(), 1);
    // The new target may be the same partition, which knows the old producer's sequences.
    assert!(!drain.may_plan());
    assert_eq!(drain.due(0), [Action::NewProducer]);
    let other = ProducerId { id: ONE.id + 1, epoch: 0 };
    drain.producer_given(other);
    let number = drain.plan(3, &[(0, 2)]).number;
    drain.plan_is_durable(number);
    assert_eq!((number, drain.due(0)), (1, Vec::new()), "the old target has not confirmed everything");
    drain.answered(0, PLACE, Outcome::Appended, 0);
    let place = Place { target: Target(1), partition: 0 };
    assert_eq!(drain.due(0), [Action::Send { plan: 1, place }]);
    let part = drain.plan_of(1).unwrap().parts[0];
    assert_eq!((part.producer, part.base_sequence), (other, 0));
}

#[test]
fn sequences_wrap() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 2, 5), 2);
    let part = |base_sequence, count| Part { partition: 0, count, producer: ONE, base_sequence };
    assert_eq!(part(i32::MAX - 1, 4).last_sequence(), 1);
    assert!(part(5, 3).is_within(7) && part(5, 3).is_within(100) && !part(5, 3).is_within(6));
    assert!(part(i32::MAX - 1, 2).is_within(3) && !part(2, 1).is_within(i32::MAX));
}

//! One partition: the parts that are not confirmed, in their order, and what may be sent of them.

use std::collections::VecDeque;

use super::plan::{Part, Reassignment, sequence_after};
use super::{Action, Found, Outcome, Place, ProducerId};

/// A part that is not confirmed, or stands before one that is not.
#[derive(Debug)]
struct Open {
    plan: u64,
    part: Part,
    state: State,
    /// It may have been sent before.
    sent: bool,
    /// What became of it is to be looked up before anything else.
    unknown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    UnderWay,
    Confirmed,
}

/// The parts for one partition.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Under whose name the next parts go, where it is another than that of all others.
    pub producer: Option<ProducerId>,
    parts: VecDeque<Open>,
    /// Something failed: nothing is sent before all that is under way has its answer.
    rewinding: bool,
    /// The partition does not have what was before the first part.
    suspect: bool,
    /// Whose last sequence is being looked up.
    looking_for: Option<ProducerId>,
    /// A reassignment is being made durable.
    reassigning: bool,
    /// It waits for a producer id: there is no higher epoch.
    wants_producer: bool,
    /// Who has something confirmed here since the last failure. A broker that knows nothing of a producer takes any sequence,
    /// so until then one part at a time is sent: none may be taken before the one in front of it.
    known: Option<ProducerId>,
    /// Failures in a row.
    failures: u32,
    not_before_ms: i64,
}

impl Lane {
    pub fn push(&mut self, plan: u64, part: Part) {
        self.parts.push_back(Open { plan, part, state: State::Waiting, sent: false, unknown: false });
    }

    /// After a restart: it may have been sent.
    pub fn push_unknown(&mut self, plan: u64, part: Part) {
        self.parts.push_back(Open { plan, part, state: State::Waiting, sent: true, unknown: true });
    }

    /// Takes the last part back, which was never sent.
    pub fn take_back(&mut self, plan: u64) {
        let last = self.parts.pop_back().expect("a planned part is in its lane");
        assert!(last.plan == plan && !last.sent && last.state == State::Waiting);
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn deadline(&self) -> Option<i64> {
        (!self.is_empty() && self.not_before_ms > 0).then_some(self.not_before_ms)
    }

    fn under_way(&self) -> usize {
        self.parts.iter().filter(|open| open.state == State::UnderWay).count()
    }

    fn pause(&mut self, now_ms: i64, (first, longest): (i64, i64)) {
        let pause = first.saturating_mul(1 << self.failures.min(20)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.not_before_ms = now_ms.saturating_add(pause);
    }

    /// What was asked for could not be found out.
    pub fn failed(&mut self, now_ms: i64, backoff_ms: (i64, i64)) {
        self.looking_for = None;
        self.pause(now_ms, backoff_ms);
    }

    pub fn answered(&mut self, plan: u64, outcome: Outcome, now_ms: i64, backoff_ms: (i64, i64)) {
        let index =
            self.parts.iter().position(|open| open.plan == plan).expect("what was sent is in its lane");
        let first_open = self.parts.iter().position(|open| open.state != State::Confirmed) == Some(index);
        let open = &mut self.parts[index];
        assert_eq!(open.state, State::UnderWay, "an answer to what is under way");
        match outcome {
            Outcome::Appended => {
                open.state = State::Confirmed;
                self.known = Some(open.part.producer);
                (self.failures, self.not_before_ms) = (0, 0);
            }
            Outcome::Parked => {
                open.state = State::Confirmed;
                self.rewinding = true;
            }
            Outcome::NotAppended | Outcome::InDoubt => {
                open.state = State::Waiting;
                self.rewinding = true;
                self.pause(now_ms, backoff_ms);
            }
            Outcome::OutOfOrder => {
                open.state = State::Waiting;
                self.rewinding = true;
                // Behind one that failed it says nothing new.
                self.suspect |= first_open;
                if !first_open {
                    self.pause(now_ms, backoff_ms);
                }
            }
        }
    }

    pub fn looked_up(&mut self, found: Found) {
        let producer = self.looking_for.take().expect("it was asked for");
        (self.failures, self.not_before_ms) = (0, 0);
        for open in &mut self.parts {
            if open.part.producer == producer && open.unknown {
                open.unknown = false;
                if found.is_some_and(|last| open.part.is_within(last)) {
                    open.state = State::Confirmed;
                }
            }
        }
    }

    /// Takes out what is confirmed, with everything before it confirmed, too.
    pub fn take_confirmed(&mut self) -> Vec<u64> {
        let mut confirmed = Vec::new();
        while self.parts.front().is_some_and(|open| open.state == State::Confirmed) {
            confirmed.extend(self.parts.pop_front().map(|open| open.plan));
        }
        if self.parts.is_empty() {
            (self.rewinding, self.suspect) = (false, false);
        }
        confirmed
    }

    pub fn reassignment_is_durable(&mut self) {
        self.reassigning = false;
    }

    pub fn wants_producer(&self) -> bool {
        self.wants_producer
    }

    /// What is to be done now. `is_durable`: of a plan. `fresh`: the producer id that new plans have.
    pub fn due(
        &mut self,
        place: Place,
        now_ms: i64,
        is_durable: impl Fn(u64) -> bool,
        fresh: Option<ProducerId>,
        in_flight_max: usize,
    ) -> Due {
        let mut due = Due::default();
        if self.looking_for.is_some() || self.reassigning || now_ms < self.not_before_ms {
            return due;
        }
        let under_way = self.under_way();
        if self.rewinding {
            if under_way > 0 {
                return due;
            }
            self.rewinding = false;
            self.known = None;
            if self.suspect {
                let sent = |open: &&mut Open| open.state == State::Waiting && open.sent;
                self.parts.iter_mut().filter(sent).for_each(|open| open.unknown = true);
            }
        }
        if let Some(open) = self.parts.iter().find(|open| open.unknown) {
            self.looking_for = Some(open.part.producer);
            due.actions.push(Action::LookUp { place, producer: open.part.producer, plan: open.plan });
            return due;
        }
        if self.suspect {
            // The broker may have found out in between that it has everything.
            let Some(reassignment) = self.reassign(place, fresh) else { return due };
            self.suspect = false;
            self.reassigning = true;
            due.actions.push(Action::Reassign(reassignment));
            return due;
        }
        let next =
            self.parts.iter().find(|open| open.state != State::Confirmed).map(|open| open.part.producer);
        let most = if self.known.is_some() && self.known == next { in_flight_max } else { 1 };
        let mut room = most.saturating_sub(under_way);
        let mut before: Option<ProducerId> = None;
        for open in &mut self.parts {
            if room == 0 || !is_durable(open.plan) {
                break;
            }
            if open.state != State::Confirmed {
                // Under another name nothing keeps it behind those before it.
                if before.is_some_and(|before| before != open.part.producer) {
                    break;
                }
                before = Some(open.part.producer);
            }
            if open.state == State::Waiting {
                due.resent += u64::from(open.sent);
                (open.state, open.sent) = (State::UnderWay, true);
                room -= 1;
                due.actions.push(Action::Send { plan: open.plan, place });
            }
        }
        due
    }

    /// All parts under a new epoch, which keeps out whatever of the old one is still on its way; under another id when there
    /// is no higher epoch.
    fn reassign(&mut self, place: Place, fresh: Option<ProducerId>) -> Option<Reassignment> {
        let open = self.parts.iter().filter(|open| open.state != State::Confirmed);
        let old = open.map(|open| open.part.producer).max_by_key(|producer| producer.epoch)?;
        let producer = match old.epoch.checked_add(1) {
            Some(epoch) => Some(ProducerId { id: old.id, epoch }),
            None => fresh.filter(|fresh| fresh.id != old.id),
        };
        self.wants_producer = producer.is_none();
        let producer = producer?;
        let mut next = 0;
        let mut plans = Vec::new();
        for open in self.parts.iter_mut().filter(|open| open.state != State::Confirmed) {
            (open.part.producer, open.part.base_sequence) = (producer, next);
            next = sequence_after(next, open.part.count);
            plans.push((open.plan, open.part.base_sequence));
        }
        self.producer = Some(producer);
        Some(Reassignment { place, producer, plans })
    }

    /// The sequence behind all that is planned under a name.
    pub fn next_sequence(&self, producer: ProducerId) -> Option<i32> {
        let last = self.parts.iter().rev().find(|open| open.part.producer == producer)?;
        Some(sequence_after(last.part.base_sequence, last.part.count))
    }
}

/// What a lane has to be done.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub actions: Vec<Action>,
    /// Parts among them that were sent before.
    pub resent: u64,
}

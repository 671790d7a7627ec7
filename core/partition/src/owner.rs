//! The owner of one partition: recover, open, append, seal, step down.
//!
//! ```text
//! Recovering -> Sealing(Recovered) -> Idle -> Creating -> Appending -> Sealing -> Appending | Idle
//!       \____________________________/  (nothing was open)      \-> Stopped (fenced, stepped down, restart)
//! ```
//! This file has the states, appends and time; [`recover`], [`seal`] and [`propose`] have the ways between the states.
//! Source: design/core.md, "The partition's life". R = 1 is the case of one store, itself.

mod propose;
mod recover;
mod seal;
mod terms;

use std::collections::BTreeSet;
use std::sync::Arc;

use buslane_wire::batch::BatchHeader;
use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId};

pub use terms::{Admission, Phase, Place, ProposalOutcome, Refusal, SealedCopy, Settings, StoreFault};

use crate::Millis;
use crate::action::{Action, Loss, OpenSegment, Proposal, SealReason};
use crate::producers::{ProducerTable, SequenceCheck};
use crate::recovery::{Report, Verdict, judge};
use crate::view::{ChainView, OpenView};
use crate::writer::SegmentWriter;

/// Offsets in one segment are kept relative to its base in 31 bits by the index.
const SEGMENT_OFFSETS_MAX: i64 = i32::MAX as i64;

/// How long recovery waits for the stores that have not answered, once those that did would suffice.
const RECOVERY_GRACE_MS: Millis = 500;

/// How long an owner that could not make a copy anywhere refuses appends before it tries again.
const CREATE_RETRY_MS: Millis = 1_000;

/// A partition written to this recently gets its next segment together with the seal of the one recovered.
const RECENT_MS: Millis = 60_000;

#[derive(Debug)]
struct Recovering {
    open: OpenView,
    reports: Vec<(NodeId, Report)>,
    /// Stores that are down: they will not answer for now.
    grace_until: Option<Millis>,
    accept_loss: bool,
    /// Set once the reports sufficed.
    sealing: Option<RecoveredEnd>,
}

#[derive(Debug)]
struct RecoveredEnd {
    end_offset: i64,
    loss: bool,
    copying: Vec<NodeId>,
    holders: Vec<NodeId>,
    producers_loaded: bool,
    last_append_ms: Millis,
}

#[derive(Debug)]
struct NextSegment {
    segment: SegmentId,
    durability: Durability,
    waiting: Vec<NodeId>,
    made: Vec<NodeId>,
}

#[derive(Debug)]
struct Sealing {
    segment: SegmentId,
    end_offset: i64,
    reason: SealReason,
    waiting: Vec<NodeId>,
    complete: Vec<NodeId>,
    copy: SealedCopy,
    loss: Option<Loss>,
    next: Option<NextSegment>,
    /// Kept so that acks=1 goes on while the seal is in flight.
    writer: Option<SegmentWriter>,
}

#[derive(Debug)]
enum State {
    Recovering(Recovering),
    Idle,
    Creating { next: NextSegment },
    Appending(SegmentWriter),
    Sealing(Sealing),
    Stopped,
}

/// The owner. See the module's head for its states; [`Owner::start`] makes one, `on_*` feed it, and every call appends
/// what is to be done to `out`.
#[derive(Debug)]
pub struct Owner {
    me: NodeId,
    epoch: LeaderEpoch,
    plan: Vec<NodeId>,
    alive: BTreeSet<NodeId>,
    settings: Settings,
    /// Segments opened by this run; the low half of the next segment's id.
    opened: u32,
    producers: ProducerTable,
    /// End of the sealed chain.
    sealed_end_offset: i64,
    /// As of the start of this run.
    log_start_offset: i64,
    committed_offset: i64,
    /// The proposal in flight, repeated verbatim when its answer is lost.
    proposal: Option<Proposal>,
    refuse_until: Millis,
    stepping_down: bool,
    state: State,
}

impl Owner {
    /// A new run of ownership under `chain.epoch`, which metadata assigned to `me`. `plan`: the stores of new segments,
    /// in order of preference; `alive`: those that answer now.
    pub fn start(
        me: NodeId,
        chain: ChainView,
        plan: Vec<NodeId>,
        alive: BTreeSet<NodeId>,
        settings: Settings,
        out: &mut Vec<Action>,
    ) -> Owner {
        let end_offset = chain.sealed_end_offset;
        let state = match chain.open {
            None => {
                out.push(Action::LoadProducers { from: None, end_offset });
                State::Recovering(Recovering {
                    open: OpenView {
                        segment: SegmentId(0),
                        base_offset: end_offset,
                        epoch: chain.epoch,
                        stores: Vec::new(),
                        durability: settings.durability,
                    },
                    reports: Vec::new(),
                    grace_until: None,
                    accept_loss: false,
                    sealing: Some(RecoveredEnd {
                        end_offset,
                        loss: false,
                        copying: Vec::new(),
                        holders: Vec::new(),
                        producers_loaded: false,
                        last_append_ms: Millis::MIN,
                    }),
                })
            }
            Some(open) => {
                assert!(
                    open.epoch < chain.epoch,
                    "segment {} is open in epoch {}, not below the new epoch {}",
                    open.segment,
                    open.epoch,
                    chain.epoch
                );
                for node in &open.stores {
                    out.push(Action::Recover { node: *node, segment: open.segment });
                }
                State::Recovering(Recovering {
                    open,
                    reports: Vec::new(),
                    grace_until: None,
                    accept_loss: false,
                    sealing: None,
                })
            }
        };
        Owner {
            me,
            epoch: chain.epoch,
            plan,
            alive,
            settings,
            opened: 0,
            producers: ProducerTable::default(),
            sealed_end_offset: end_offset,
            log_start_offset: chain.log_start_offset,
            committed_offset: end_offset,
            proposal: None,
            refuse_until: Millis::MIN,
            stepping_down: false,
            state,
        }
    }

    /// The epoch of this run.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The state's name.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Recovering(_) => Phase::Recovering,
            State::Idle => Phase::Idle,
            State::Creating { .. } => Phase::Creating,
            State::Appending(_) => Phase::Appending,
            // Until its seal is committed, nobody knows how far a former owner got.
            State::Sealing(s) if s.reason == SealReason::Recovered => Phase::Recovering,
            State::Sealing(_) => Phase::Sealing,
            State::Stopped => Phase::Stopped,
        }
    }

    /// The high watermark: nobody reads at or above it (CommittedOnly). `None` while recovering, when it is not known
    /// how far a former owner got.
    pub fn committed_offset(&self) -> Option<i64> {
        (self.phase() != Phase::Recovering).then_some(self.committed_offset)
    }

    /// Everything below is on at least one store: what acks=1 waits for.
    pub fn first_confirmed_offset(&self) -> i64 {
        let writer = match &self.state {
            State::Appending(w) => Some(w),
            State::Sealing(s) => s.writer.as_ref(),
            _ => None,
        };
        writer.map_or(self.committed_offset, |w| w.first_confirmed_offset().max(self.committed_offset))
    }

    /// The open segment, while there is one to append to or to seal.
    pub fn writer(&self) -> Option<&SegmentWriter> {
        match &self.state {
            State::Appending(w) => Some(w),
            State::Sealing(s) => s.writer.as_ref(),
            _ => None,
        }
    }

    /// Log end offset: the next record's offset.
    pub fn log_end_offset(&self) -> i64 {
        self.writer().map_or(self.committed_offset, SegmentWriter::appended_offset)
    }

    /// What is remembered of the producers.
    pub fn producers(&self) -> &ProducerTable {
        &self.producers
    }

    /// Stores of the open segment that are not lost, or, when none is open, those of the plan that are alive: Kafka's
    /// ISR.
    pub fn in_sync(&self) -> Vec<NodeId> {
        match self.writer() {
            Some(w) => w.surviving().collect(),
            None => self.plan.iter().copied().filter(|n| self.alive.contains(n)).collect(),
        }
    }

    /// New settings. A changed durability rolls the segment at the next append; sizes and ages count from now on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Offers a batch. Call for one partition's batches in their order, and for those told to wait before any later one.
    pub fn admit(
        &mut self,
        now_ms: Millis,
        header: &BatchHeader,
        acks_all: bool,
        out: &mut Vec<Action>,
    ) -> Result<Admission, Refusal> {
        match &self.state {
            State::Stopped => return Err(Refusal::NotOwner),
            _ if self.stepping_down => return Err(Refusal::NotOwner),
            State::Recovering(_) | State::Creating { .. } | State::Sealing(_) => return Ok(Admission::Wait),
            State::Idle => {
                if now_ms < self.refuse_until {
                    return Err(Refusal::NoStore);
                }
                self.create(out)?;
                return Ok(Admission::Wait);
            }
            State::Appending(_) => {}
        }
        let State::Appending(writer) = &self.state else { unreachable!("the other states returned") };
        let have = writer.surviving().count();
        // Never more than there can be, as in Kafka: with one replica a setting of 2 refuses nothing.
        let need = self.settings.min_insync.min(self.plan.len());
        if acks_all && have < need && !writer.is_degraded() {
            return Err(Refusal::NotEnoughReplicas { have, need });
        }
        if let SequenceCheck::Duplicate { base_offset, last_offset } =
            self.producers.check(now_ms, self.settings.producer_expiry_ms, header)?
        {
            return Ok(Admission::Duplicate { base_offset, last_offset });
        }
        if let Some(reason) = self.must_roll(writer, header) {
            self.seal(now_ms, reason, out);
            // With no store left to seal on, the state is Stopped by now and the batch is answered as such.
            return if matches!(self.state, State::Stopped) {
                Err(Refusal::NotOwner)
            } else {
                Ok(Admission::Wait)
            };
        }
        Ok(Admission::Append(Place {
            segment: writer.segment(),
            base_offset: writer.appended_offset(),
            epoch: self.epoch,
        }))
    }

    fn must_roll(&self, writer: &SegmentWriter, header: &BatchHeader) -> Option<SealReason> {
        if writer.is_degraded() {
            return Some(SealReason::Failover);
        }
        if writer.durability() != self.settings.durability {
            return Some(SealReason::Durability);
        }
        let bytes = writer.appended_bytes() + header.total_len() as u64;
        let offsets = writer.appended_offset() - writer.base_offset() + i64::from(header.last_offset_delta);
        let full = bytes > self.settings.segment_bytes || offsets >= SEGMENT_OFFSETS_MAX;
        (full && writer.appended_bytes() > 0).then_some(SealReason::Size)
    }

    /// The batch placed last was written to the own store and handed to the others. `header` carries its final offsets.
    pub fn on_appended(&mut self, now_ms: Millis, header: &BatchHeader, out: &mut Vec<Action>) {
        let State::Appending(writer) = &mut self.state else {
            panic!("batch {} appended in state {:?}", header.base_offset, self.phase());
        };
        assert_eq!(header.base_offset, writer.appended_offset(), "appended where it was not placed");
        let before = writer.appended_bytes();
        writer.on_appended(now_ms, header.next_offset(), header.total_len() as u64);
        self.producers.record(now_ms, header);
        let presync_at = self.settings.segment_bytes / 10 * 9;
        if before < presync_at && writer.appended_bytes() >= presync_at {
            out.push(Action::Presync { segment: writer.segment() });
        }
        if writer.checkpoint_due(self.settings.checkpoint_bytes) {
            self.producers.expire(now_ms, self.settings.producer_expiry_ms);
            out.push(Action::Checkpoint {
                segment: writer.segment(),
                end_offset: writer.appended_offset(),
                producers: self.producers.encode().into(),
            });
        }
    }

    /// A store of the open segment confirms every record below `end_offset`, as its durability demands.
    pub fn on_confirmed(&mut self, node: NodeId, segment: SegmentId, end_offset: i64, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Appending(writer) if writer.segment() == segment => {
                if let Some(committed) = writer.on_confirmed(node, end_offset) {
                    self.committed_offset = committed;
                    out.push(Action::Committed(committed));
                }
            }
            State::Sealing(Sealing { writer: Some(writer), segment: sealing, .. }) if *sealing == segment => {
                // What the full set confirms is committed with or without the seal; more is not (NoAckInFlight).
                if let Some(committed) = writer.on_confirmed(node, end_offset) {
                    self.committed_offset = committed;
                    out.push(Action::Committed(committed));
                }
            }
            // A late answer for a segment that is sealed: the seal said it all.
            _ => {}
        }
    }

    /// A store is lost to the open segment for good. It may be alive again for the next one: see
    /// [`set_alive`](Self::set_alive).
    pub fn on_store_lost(&mut self, now_ms: Millis, node: NodeId, segment: SegmentId, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Appending(writer) if writer.segment() == segment => {
                if !writer.on_lost(node) {
                    return;
                }
                let waiting = writer.committed_offset() < writer.appended_offset();
                if waiting || writer.surviving().next().is_none() {
                    self.seal(now_ms, SealReason::Failover, out);
                }
            }
            State::Sealing(sealing) if sealing.segment == segment => {
                if let Some(writer) = &mut sealing.writer {
                    writer.on_lost(node);
                }
                if sealing.waiting.contains(&node) {
                    self.on_sealed_copy(node, segment, Err(StoreFault::Lost), out);
                }
            }
            _ => {}
        }
    }

    /// Which stores can take new copies.
    pub fn set_alive(&mut self, alive: BTreeSet<NodeId>) {
        self.alive = alive;
    }

    /// Time passes: rolls by age and idleness, and ends recovery's grace.
    pub fn on_tick(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        match &self.state {
            State::Appending(writer) if !writer.is_degraded() => {
                let (opened, appended) = writer.ages();
                if now_ms - appended >= self.settings.idle_ms {
                    self.seal(now_ms, SealReason::Idle, out);
                } else if writer.appended_bytes() > 0 && now_ms - opened >= self.settings.segment_ms {
                    self.seal(now_ms, SealReason::Age, out);
                }
            }
            State::Recovering(_) => self.weigh(now_ms, out),
            _ => {}
        }
    }

    /// Ends this run in good order: seals what is open, then [`Action::SteppedDown`].
    pub fn step_down(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        self.stepping_down = true;
        match &self.state {
            State::Appending(_) => self.seal(now_ms, SealReason::StepDown, out),
            State::Idle | State::Stopped => {
                self.state = State::Stopped;
                out.push(Action::SteppedDown);
            }
            // These end in Idle or Appending, where `settle` goes on.
            State::Recovering(_) | State::Creating { .. } | State::Sealing(_) => {}
        }
    }

    /// Metadata shows another owner or a higher epoch: nothing more is accepted, acknowledged or proposed.
    pub fn fence(&mut self) {
        self.state = State::Stopped;
        self.proposal = None;
    }

    fn opened_writer(&self, now_ms: Millis, open: &OpenSegment) -> SegmentWriter {
        SegmentWriter::new(now_ms, open.segment, open.base_offset, open.durability, &open.stores)
    }

    /// After a state was reached in which appends are possible: go on stepping down, or let the waiting ones come.
    fn settle(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        if self.stepping_down {
            self.step_down(now_ms, out);
        } else {
            out.push(Action::Ready);
        }
    }

    fn restart(&mut self, reason: &'static str, out: &mut Vec<Action>) {
        self.state = State::Stopped;
        self.proposal = None;
        out.push(Action::Restart { reason });
    }

    /// Why the segment in flight is sealed, for the shell's log.
    pub fn seal_reason(&self) -> Option<SealReason> {
        match &self.state {
            State::Sealing(s) => Some(s.reason),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

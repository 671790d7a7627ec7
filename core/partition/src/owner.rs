//! The owner of one partition: recover, open, append, seal, step down.
//!
//! ```text
//! Recovering -> Sealing(Recovered) -> Idle -> Creating -> Appending -> Sealing -> Appending | Idle
//!       \____________________________/  (nothing was open)      \-> Stopped (fenced, stepped down, restart)
//! ```
//! Source: design/core.md, "The partition's life". R = 1 is the case of one store, itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use buslane_wire::batch::BatchHeader;
use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId};

use crate::Millis;
use crate::action::{Action, Loss, OpenSegment, Proposal, SealReason};
use crate::producers::{ProducerTable, SequenceCheck, SequenceError};
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

/// What the topic and the broker say about this partition's log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Copies of a new segment (R).
    pub replicas: usize,
    /// Fewest copies with which acks=all is accepted (`min.insync.replicas`).
    pub min_insync: usize,
    /// Durability of the next segment.
    pub durability: Durability,
    /// A segment is sealed before an append would make it larger (bytes).
    pub segment_bytes: u64,
    /// A segment older than this is sealed.
    pub segment_ms: Millis,
    /// A segment that nothing was written to for this long is sealed.
    pub idle_ms: Millis,
    /// A producer that wrote nothing for this long is forgotten.
    pub producer_expiry_ms: Millis,
    /// Bytes between producer checkpoints.
    pub checkpoint_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            replicas: 1,
            min_insync: 1,
            durability: Durability::Replicated,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            idle_ms: 600_000,
            producer_expiry_ms: 24 * 3_600_000,
            checkpoint_bytes: 16 << 20,
        }
    }
}

/// Where a batch goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The open segment.
    pub segment: SegmentId,
    /// Offset for the batch's first record.
    pub base_offset: i64,
    /// Leader epoch for the batch.
    pub epoch: LeaderEpoch,
}

/// What becomes of a batch that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Write it there, then call [`Owner::on_appended`].
    Append(Place),
    /// It is stored already: answer with these offsets under the request's acks rule.
    Duplicate {
        /// Offset of the stored batch's first record.
        base_offset: i64,
        /// Offset of its last record.
        last_offset: i64,
    },
    /// Not now: keep it in order and offer it again after [`Action::Ready`].
    Wait,
}

/// Why a batch is refused. All but the sequence errors are retriable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// This run does not own the partition (any more): NOT_LEADER_OR_FOLLOWER.
    #[error("not the owner")]
    NotOwner,
    /// acks=all with too few copies: NOT_ENOUGH_REPLICAS.
    #[error("{have} of at least {need} copies")]
    NotEnoughReplicas {
        /// Copies an append would reach now.
        have: usize,
        /// `min.insync.replicas`.
        need: usize,
    },
    /// No store could make a copy: KAFKA_STORAGE_ERROR.
    #[error("no store could make a copy of a new segment")]
    NoStore,
    /// Producer id, epoch or sequence.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
}

/// How a store failed an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreFault {
    /// It promised a higher epoch: another owner is at work.
    Fenced,
    /// It is lost to the segment: an error, a restart, a timeout.
    Lost,
}

/// How a proposal ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProposalOutcome {
    /// Committed and applied.
    Committed,
    /// The answer was lost; this is the image now. Settled by looking, never by proposing something else.
    Unknown(ChainView),
    /// Refused; this is the image now.
    Refused(ChainView),
}

/// What a sealed copy is made of, as its store reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedCopy {
    /// Bytes of the log file up to the end.
    pub bytes: u64,
    /// Greatest record timestamp, -1 when empty.
    pub max_timestamp: i64,
}

/// The state's name, for metrics, logs and readiness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Finding out where the log ends. Nothing can be served beyond what is sealed.
    Recovering,
    /// Nothing is open; the next append opens a segment.
    Idle,
    /// Copies of a new segment are being made.
    Creating,
    /// Appending.
    Appending,
    /// The open segment is being sealed.
    Sealing,
    /// Fenced, stepped down, or to be started over.
    Stopped,
}

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
        if acks_all && have < self.settings.min_insync && !writer.is_degraded() {
            return Err(Refusal::NotEnoughReplicas { have, need: self.settings.min_insync });
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

    /// The operator's word that the silent stores of the segment being recovered will not come back.
    pub fn accept_loss(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        if let State::Recovering(r) = &mut self.state {
            r.accept_loss = true;
            self.weigh(now_ms, out);
        }
    }

    /// The stores that recovery waits for; empty when it waits for none.
    pub fn waiting_for(&self) -> Vec<NodeId> {
        match &self.state {
            State::Recovering(r) if r.sealing.is_none() => {
                match judge(&r.open.stores, r.open.base_offset, &r.reports, r.accept_loss) {
                    Verdict::Wait(nodes) => nodes,
                    Verdict::Enough { .. } => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// Answer to [`Action::Recover`]. A store that is only down now is not reported: it is asked again when it is back.
    pub fn on_report(
        &mut self,
        now_ms: Millis,
        node: NodeId,
        segment: SegmentId,
        report: Result<Report, StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Recovering(r) = &mut self.state else { return };
        if r.sealing.is_some() || r.open.segment != segment {
            return;
        }
        match report {
            Err(StoreFault::Fenced) => self.restart("a store promised a higher epoch", out),
            // An error is no answer: the store's copy may hold what nobody else has.
            Err(StoreFault::Lost) => {}
            Ok(report) => {
                r.reports.retain(|(n, _)| *n != node);
                r.reports.push((node, report));
                self.weigh(now_ms, out);
            }
        }
    }

    /// Looks whether the reports suffice, and starts to complete the copies when they do.
    fn weigh(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        let State::Recovering(r) = &mut self.state else { return };
        if r.sealing.is_some() {
            return;
        }
        let Verdict::Enough { source, end_offset, loss } =
            judge(&r.open.stores, r.open.base_offset, &r.reports, r.accept_loss)
        else {
            return;
        };
        let all_in = r.open.stores.iter().all(|s| r.reports.iter().any(|(n, _)| n == s));
        if !all_in && !r.accept_loss {
            // The more copies are completed now, the fewer have to be repaired later.
            let until = *r.grace_until.get_or_insert(now_ms + RECOVERY_GRACE_MS);
            if now_ms < until {
                return;
            }
        }
        let segment = r.open.segment;
        let mut copying = Vec::new();
        let mut holders = Vec::new();
        for (node, report) in &r.reports {
            let from_offset = match report {
                Report::Copy { end_offset: end, .. } if *end == end_offset => {
                    holders.push(*node);
                    continue;
                }
                Report::Copy { end_offset: end, .. } => Some(*end),
                Report::Missing => None,
            };
            if let Some(source) = source {
                copying.push(*node);
                out.push(Action::CopyTail { segment, source, target: *node, from_offset, end_offset });
            }
        }
        out.push(Action::LoadProducers { from: source.map(|s| (segment, s)), end_offset });
        r.sealing = Some(RecoveredEnd {
            end_offset,
            loss,
            copying,
            holders,
            producers_loaded: false,
            last_append_ms: Millis::MIN,
        });
    }

    /// Answer to [`Action::CopyTail`].
    pub fn on_copied(
        &mut self,
        now_ms: Millis,
        target: NodeId,
        segment: SegmentId,
        result: Result<(), StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Recovering(Recovering { open, sealing: Some(end), .. }) = &mut self.state else { return };
        if open.segment != segment || !end.copying.contains(&target) {
            return;
        }
        end.copying.retain(|n| *n != target);
        match result {
            Ok(()) => end.holders.push(target),
            Err(StoreFault::Fenced) => return self.restart("a store promised a higher epoch", out),
            Err(StoreFault::Lost) => {}
        }
        self.seal_recovered(now_ms, out);
    }

    /// Answer to [`Action::LoadProducers`]: the table, and the newest batch's time (`Millis::MIN` when unknown).
    pub fn on_producers(
        &mut self,
        now_ms: Millis,
        loaded: Result<(ProducerTable, Millis), StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Recovering(Recovering { sealing: Some(end), .. }) = &mut self.state else { return };
        match loaded {
            Ok((table, last_append_ms)) => {
                self.producers = table;
                self.producers.expire(now_ms, self.settings.producer_expiry_ms);
                end.producers_loaded = true;
                end.last_append_ms = last_append_ms;
                self.seal_recovered(now_ms, out);
            }
            Err(_) => self.restart("the producers' state could not be read", out),
        }
    }

    /// Recovery's last step: every copy that can be completed is, the producers are known.
    fn seal_recovered(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        let State::Recovering(Recovering { open, sealing: Some(end), .. }) = &mut self.state else { return };
        if !end.producers_loaded || !end.copying.is_empty() {
            return;
        }
        if open.stores.is_empty() {
            // Nothing was open.
            self.state = State::Idle;
            out.push(Action::Committed(self.committed_offset));
            return self.settle(now_ms, out);
        }
        let (segment, end_offset) = (open.segment, end.end_offset);
        let empty = end.holders.is_empty();
        let loss = end.loss.then_some(Loss { epoch: open.epoch, end_offset });
        if empty {
            assert_eq!(
                end_offset, open.base_offset,
                "no store holds segment {segment}, so it ends at its base"
            );
        }
        let recent = now_ms.saturating_sub(end.last_append_ms) < RECENT_MS && !self.stepping_down;
        let waiting = std::mem::take(&mut end.holders);
        let sealing = Sealing {
            segment,
            end_offset,
            reason: SealReason::Recovered,
            waiting,
            complete: Vec::new(),
            copy: SealedCopy { bytes: 0, max_timestamp: -1 },
            loss,
            next: None,
            writer: None,
        };
        self.start_sealing(sealing, recent, out);
    }

    /// Freezes the open segment and has its surviving stores sync it.
    fn seal(&mut self, now_ms: Millis, reason: SealReason, out: &mut Vec<Action>) {
        let State::Appending(writer) = std::mem::replace(&mut self.state, State::Stopped) else {
            panic!("seal without an open segment");
        };
        let waiting: Vec<NodeId> = writer.surviving().collect();
        if waiting.is_empty() {
            return self.restart("every store of the open segment is lost", out);
        }
        let (_, appended) = writer.ages();
        let active = match reason {
            SealReason::Size | SealReason::Failover | SealReason::Durability => true,
            SealReason::Age => now_ms - appended < RECENT_MS,
            SealReason::Idle | SealReason::StepDown | SealReason::Recovered => false,
        };
        self.producers.expire(now_ms, self.settings.producer_expiry_ms);
        let sealing = Sealing {
            segment: writer.segment(),
            end_offset: writer.appended_offset(),
            reason,
            waiting,
            complete: Vec::new(),
            copy: SealedCopy { bytes: writer.appended_bytes(), max_timestamp: -1 },
            loss: None,
            next: None,
            writer: Some(writer),
        };
        self.start_sealing(sealing, active, out);
    }

    fn start_sealing(&mut self, mut sealing: Sealing, with_next: bool, out: &mut Vec<Action>) {
        let producers: Arc<[u8]> = self.producers.encode().into();
        for node in &sealing.waiting {
            out.push(Action::SealCopy {
                node: *node,
                segment: sealing.segment,
                end_offset: sealing.end_offset,
                producers: producers.clone(),
            });
        }
        if with_next {
            sealing.next = self.next_segment(sealing.end_offset, producers, out);
        }
        self.state = State::Sealing(sealing);
        self.propose_seal(out);
    }

    /// Draws the stores of a new segment and asks them for a copy; `None` when no store of the plan is alive.
    fn next_segment(
        &mut self,
        base_offset: i64,
        producers: Arc<[u8]>,
        out: &mut Vec<Action>,
    ) -> Option<NextSegment> {
        let mut stores: Vec<NodeId> = self.plan.iter().copied().filter(|n| self.alive.contains(n)).collect();
        // The owner's own first: its copy serves the reads without a network hop.
        stores.sort_by_key(|n| *n != self.me);
        stores.truncate(self.settings.replicas.max(1));
        if stores.is_empty() {
            return None;
        }
        self.opened += 1;
        let epoch = u64::try_from(self.epoch.0).expect("an epoch is not negative");
        let segment = SegmentId(epoch << 32 | u64::from(self.opened));
        let durability = self.settings.durability;
        for node in &stores {
            let producers = producers.clone();
            out.push(Action::Create { node: *node, segment, base_offset, durability, producers });
        }
        Some(NextSegment { segment, durability, waiting: stores, made: Vec::new() })
    }

    fn create(&mut self, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let producers: Arc<[u8]> = self.producers.encode().into();
        let next = self.next_segment(self.sealed_end_offset, producers, out).ok_or(Refusal::NoStore)?;
        self.state = State::Creating { next };
        Ok(())
    }

    /// Answer to [`Action::Create`].
    pub fn on_created(
        &mut self,
        now_ms: Millis,
        node: NodeId,
        segment: SegmentId,
        result: Result<(), StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let next = match &mut self.state {
            State::Creating { next } => next,
            State::Sealing(Sealing { next: Some(next), .. }) => next,
            _ => return,
        };
        if next.segment != segment || !next.waiting.contains(&node) {
            return;
        }
        next.waiting.retain(|n| *n != node);
        match result {
            Ok(()) => next.made.push(node),
            Err(StoreFault::Fenced) => return self.restart("a store promised a higher epoch", out),
            Err(StoreFault::Lost) => {}
        }
        if !next.waiting.is_empty() {
            return;
        }
        let made = !next.made.is_empty();
        match &mut self.state {
            State::Creating { next } if made => {
                let proposal = Proposal::Open(OpenSegment {
                    segment: next.segment,
                    base_offset: self.sealed_end_offset,
                    stores: next.made.clone(),
                    durability: next.durability,
                });
                self.propose(proposal, out);
            }
            State::Creating { .. } => {
                self.state = State::Idle;
                self.refuse_until = now_ms + CREATE_RETRY_MS;
                out.push(Action::Ready);
                self.settle(now_ms, out);
            }
            State::Sealing(sealing) => {
                if !made {
                    sealing.next = None;
                    self.refuse_until = now_ms + CREATE_RETRY_MS;
                }
                self.propose_seal(out);
            }
            _ => unreachable!("matched above"),
        }
    }

    /// Answer to [`Action::SealCopy`].
    pub fn on_sealed_copy(
        &mut self,
        node: NodeId,
        segment: SegmentId,
        result: Result<SealedCopy, StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Sealing(sealing) = &mut self.state else { return };
        if sealing.segment != segment || !sealing.waiting.contains(&node) {
            return;
        }
        sealing.waiting.retain(|n| *n != node);
        match result {
            Ok(copy) => {
                sealing.complete.push(node);
                sealing.copy = copy;
            }
            Err(StoreFault::Fenced) => return self.restart("a store promised a higher epoch", out),
            Err(StoreFault::Lost) => {
                if sealing.complete.is_empty() && sealing.waiting.is_empty() {
                    return self.restart("no store could sync the segment to be sealed", out);
                }
            }
        }
        self.propose_seal(out);
    }

    /// Proposes the seal once every copy that can be is synced and the next segment's copies are made.
    fn propose_seal(&mut self, out: &mut Vec<Action>) {
        let State::Sealing(sealing) = &self.state else { return };
        let next_pending = sealing.next.as_ref().is_some_and(|n| !n.waiting.is_empty());
        if !sealing.waiting.is_empty() || next_pending || self.proposal.is_some() {
            return;
        }
        let proposal = Proposal::Seal {
            segment: sealing.segment,
            end_offset: sealing.end_offset,
            bytes: sealing.copy.bytes,
            max_timestamp: sealing.copy.max_timestamp,
            complete: sealing.complete.clone(),
            loss: sealing.loss,
            next: sealing.next.as_ref().map(|n| OpenSegment {
                segment: n.segment,
                base_offset: sealing.end_offset,
                stores: n.made.clone(),
                durability: n.durability,
            }),
        };
        self.propose(proposal, out);
    }

    fn propose(&mut self, proposal: Proposal, out: &mut Vec<Action>) {
        assert!(self.proposal.is_none(), "one proposal at a time");
        self.proposal = Some(proposal.clone());
        out.push(Action::Propose(proposal));
    }

    /// Answer to [`Action::Propose`].
    pub fn on_proposed(&mut self, now_ms: Millis, outcome: ProposalOutcome, out: &mut Vec<Action>) {
        let Some(proposal) = self.proposal.take() else { return };
        let (view, refused) = match outcome {
            ProposalOutcome::Committed => return self.on_committed(now_ms, &proposal, out),
            ProposalOutcome::Unknown(view) => (view, false),
            ProposalOutcome::Refused(view) => (view, true),
        };
        if view.epoch != self.epoch {
            assert!(view.epoch > self.epoch, "epoch {} fell to {}", self.epoch, view.epoch);
            return self.fence();
        }
        if happened(&proposal, &view) {
            return self.on_committed(now_ms, &proposal, out);
        }
        if refused {
            return self.restart("metadata refused the change of the chain", out);
        }
        self.propose(proposal, out);
    }

    fn on_committed(&mut self, now_ms: Millis, proposal: &Proposal, out: &mut Vec<Action>) {
        match (std::mem::replace(&mut self.state, State::Idle), proposal) {
            (State::Creating { .. }, Proposal::Open(open)) => {
                self.state = State::Appending(self.opened_writer(now_ms, open));
            }
            (State::Sealing(_), Proposal::Seal { end_offset, next, .. }) => {
                // Only a seal with a recorded loss, by a new owner, may end below what an earlier owner committed.
                assert!(
                    *end_offset >= self.committed_offset,
                    "sealed at {end_offset}, below the committed {}",
                    self.committed_offset
                );
                self.sealed_end_offset = *end_offset;
                self.committed_offset = *end_offset;
                out.push(Action::Committed(*end_offset));
                if let Some(open) = next {
                    self.state = State::Appending(self.opened_writer(now_ms, open));
                }
            }
            (state, proposal) => panic!("{proposal:?} committed in state {state:?}"),
        }
        self.settle(now_ms, out);
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

/// Whether the image shows a proposal's effect.
fn happened(proposal: &Proposal, view: &ChainView) -> bool {
    let open = view.open.as_ref().map(|o| o.segment);
    match proposal {
        Proposal::Open(o) => open == Some(o.segment),
        Proposal::Seal { segment, end_offset, next, .. } => {
            view.sealed_end_offset == *end_offset
                && open != Some(*segment)
                && open == next.as_ref().map(|n| n.segment)
        }
    }
}

#[cfg(test)]
mod tests;

//! Carrying out what an owner asks for: on a pool of its own where it touches the disk, as a task where it proposes.

use std::sync::Arc;
use std::time::Duration;

use buslane_log::{CreateError, RecoverError, Segment, SegmentSpec};
use buslane_meta::{Command, Event, OpenSegment as MetaOpen, ProposeError};
use buslane_partition::{
    Action, Loss, Millis, ProducerHistory, ProducerTable, Proposal, ProposalOutcome, Report, SealedCopy,
    StoreFault, load_producers,
};
use buslane_wire::batch::BatchHeader;
use buslane_wire::ids::{LeaderEpoch, SegmentId};

use super::partition::{Copy, Inner, Partition};
use super::{Context, chain_view};

/// First pause before an owner that could not go on asks for a new epoch; doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The same where its copy could not be read: each try is an epoch.
const OFFLINE_PAUSE_MAX: Duration = Duration::from_secs(60);

impl Partition {
    /// Starts one action. Its answer comes back through [`Partition::step`].
    pub(super) fn carry_out(self: &Arc<Self>, inner: &mut Inner, action: Action) {
        let epoch = inner.owner.as_ref().expect("actions come from an owner").epoch();
        let this = self.clone();
        match action {
            Action::Recover { node, segment } => self.blocking(move || {
                let report = this.recover_copy(segment, epoch);
                this.step(epoch, |o, now, out| o.on_report(now, node, segment, report, out));
            }),
            Action::LoadProducers { from, end_offset } => self.blocking(move || {
                let loaded = this.load_producers(epoch, from.map(|(segment, _)| segment), end_offset);
                this.step(epoch, |o, now, out| o.on_producers(now, loaded, out));
            }),
            Action::Create { node, segment, base_offset, durability, producers } => {
                self.blocking(move || {
                    let spec =
                        SegmentSpec { segment: this.segment_ref(segment), base_offset, epoch, durability };
                    let result = this.create_copy(spec, &producers);
                    this.step(epoch, |o, now, out| o.on_created(now, node, segment, result, out));
                })
            }
            Action::Checkpoint { segment, end_offset, producers } => {
                if let Some(copy) = inner.open.clone().filter(|c| c.id == segment) {
                    self.blocking(move || {
                        // Derived data: without it recovery only reads more.
                        if let Err(error) = copy.segment.checkpoint_producers(end_offset, &producers) {
                            tracing::warn!(partition = ?this, %error, "producer checkpoint not written");
                        }
                    });
                }
            }
            Action::Presync { segment } => {
                if let Some(copy) = inner.open.clone().filter(|c| c.id == segment) {
                    // Its outcome shows at the seal.
                    self.context.store.presync(&copy.segment);
                }
            }
            Action::SealCopy { node, segment, end_offset, producers } => {
                let open = inner.open.clone().filter(|c| c.id == segment).map(|c| c.segment);
                self.blocking(move || {
                    let result = this.seal_copy(open, segment, end_offset, &producers);
                    this.step(epoch, |o, _, out| o.on_sealed_copy(node, segment, result, out));
                });
            }
            Action::CopyTail { target, segment, .. } => {
                // Copies on other nodes come with replication; with one store there is no shorter copy to complete.
                self.step_later(epoch, move |o, now, out| {
                    o.on_copied(now, target, segment, Err(StoreFault::Lost), out);
                });
            }
            Action::Propose(proposal) => {
                self.context.runtime.spawn(async move {
                    let outcome = this.propose(&proposal, epoch).await;
                    this.step(epoch, |o, now, out| o.on_proposed(now, outcome, out));
                });
            }
            Action::Committed(_) | Action::Ready | Action::SteppedDown | Action::Restart { .. } => {
                unreachable!("{action:?} is carried out under the lock")
            }
        }
    }

    fn blocking(&self, work: impl FnOnce() + Send + 'static) {
        // The answer comes back as a step.
        self.context.owners.run(work);
    }

    fn step_later(
        self: &Arc<Self>,
        epoch: LeaderEpoch,
        input: impl FnOnce(&mut buslane_partition::Owner, Millis, &mut Vec<Action>) + Send + 'static,
    ) {
        let this = self.clone();
        self.blocking(move || this.step(epoch, input));
    }

    /// Promises the epoch, then finds out how far the copy goes (FenceBeforeRead).
    fn recover_copy(self: &Arc<Self>, segment: SegmentId, epoch: LeaderEpoch) -> Result<Report, StoreFault> {
        let store = &self.context.store;
        match store.promise(&[(self.id, epoch)]) {
            Ok(results) if results.iter().all(Result::is_ok) => {}
            Ok(_) => return Err(StoreFault::Fenced),
            Err(error) => {
                self.take_offline(format!("a promise cannot be written: {error}"));
                return Err(StoreFault::Lost);
            }
        }
        let image = self.context.consensus.image();
        let Some(open) = image.partition(self.id).and_then(|p| p.open_segment().cloned()) else {
            return Err(StoreFault::Lost);
        };
        let reference = self.segment_ref(segment);
        match store.recover(reference, open.base_offset, open.epoch, open.durability, epoch) {
            Ok((_, recovery)) => {
                if let Some(cut) = &recovery.cut {
                    tracing::warn!(partition = ?self, file = %cut.file, position = cut.position, bytes = cut.bytes, reason = %cut.reason, "a torn end was cut off");
                }
                let report = recovery.report;
                Ok(Report::Copy { end_offset: report.end_offset, whole: report.whole })
            }
            Err(RecoverError::Missing { file, .. }) => {
                tracing::error!(partition = ?self, file, "the copy of the open segment is gone");
                Ok(Report::Missing)
            }
            Err(RecoverError::NotPromised { .. }) => Err(StoreFault::Fenced),
            Err(RecoverError::Io { file, source }) => {
                self.take_offline_for_now(epoch, format!("{file}: {source}"));
                Err(StoreFault::Lost)
            }
            Err(error) => {
                self.take_offline(error.to_string());
                Err(StoreFault::Lost)
            }
        }
    }

    /// The producers as of `end_offset`: of the segment given, else of the chain's sealed ones.
    fn load_producers(
        self: &Arc<Self>,
        epoch: LeaderEpoch,
        segment: Option<SegmentId>,
        end_offset: i64,
    ) -> Result<(ProducerTable, Millis), StoreFault> {
        let image = self.context.consensus.image();
        let chain = image.partition(self.id).map(|p| p.chain.clone()).unwrap_or_default();
        let mut sealed = chain.iter().rev().filter_map(|s| Some((s, s.end_offset()?)));
        let mut open = segment;
        let older = || -> Result<_, String> {
            if let Some(id) = open.take() {
                let copy = self.context.store.get(&self.segment_ref(id));
                let copy = copy.ok_or_else(|| format!("segment {id} was recovered and is gone"))?;
                return Ok(Some((History { copy, context: self.context.clone() }, end_offset)));
            }
            let Some((segment, end)) = sealed.find(|(_, end)| *end <= end_offset) else { return Ok(None) };
            let copy = self.load_sealed(segment).map_err(|e| e.to_string())?;
            Ok(Some((History { copy, context: self.context.clone() }, end)))
        };
        match load_producers(self.context.clock.now_ms(), older) {
            Ok(loaded) => {
                if loaded.unreadable > 0 {
                    tracing::warn!(partition = ?self, checkpoints = loaded.unreadable, "producer checkpoints are not readable; older ones and the batches say the same");
                }
                Ok((loaded.table, loaded.newest_ms.unwrap_or(Millis::MIN)))
            }
            Err(error) => {
                self.take_offline_for_now(epoch, error);
                Err(StoreFault::Lost)
            }
        }
    }

    fn create_copy(self: &Arc<Self>, spec: SegmentSpec, producers: &[u8]) -> Result<(), StoreFault> {
        let (id, base_offset) = (spec.segment.segment, spec.base_offset);
        match self.context.store.create(spec) {
            Ok(segment) => {
                if let Err(error) = segment.checkpoint_producers(base_offset, producers) {
                    tracing::error!(partition = ?self, %error, "a new segment's first checkpoint was not written");
                    // The next try makes another one.
                    if let Err(error) = self.context.store.delete(&segment.reference(), base_offset) {
                        tracing::warn!(partition = ?self, %error, "what was made of it stays until the next start");
                    }
                    return Err(StoreFault::Lost);
                }
                self.lock().made.push(Copy { id, segment });
                Ok(())
            }
            Err(CreateError::Fenced { .. }) => Err(StoreFault::Fenced),
            Err(error) => {
                tracing::error!(partition = ?self, %error, "segment not created");
                Err(StoreFault::Lost)
            }
        }
    }

    fn seal_copy(
        self: &Arc<Self>,
        open: Option<Arc<Segment>>,
        segment: SegmentId,
        end_offset: i64,
        producers: &[u8],
    ) -> Result<SealedCopy, StoreFault> {
        let copy = match open.or_else(|| self.context.store.get(&self.segment_ref(segment))) {
            Some(copy) => copy,
            None => {
                tracing::error!(partition = ?self, %segment, "the segment to be sealed is not loaded");
                return Err(StoreFault::Lost);
            }
        };
        let sealed = copy.checkpoint_producers(end_offset, producers).and_then(|()| copy.seal(end_offset));
        match sealed {
            Ok(sealed) => Ok(SealedCopy { bytes: sealed.bytes, max_timestamp: sealed.max_timestamp }),
            Err(error) => {
                tracing::error!(partition = ?self, %error, "segment not sealed");
                Err(StoreFault::Lost)
            }
        }
    }

    async fn propose(self: &Arc<Self>, proposal: &Proposal, epoch: LeaderEpoch) -> ProposalOutcome {
        let command = self.command(proposal, epoch);
        let loss = match proposal {
            Proposal::Seal { loss, .. } => loss.filter(|loss| !self.has_recorded(loss)),
            Proposal::Open(_) => None,
        };
        let result = self.context.consensus.propose(vec![command]).await;
        let view = || {
            let image = self.context.consensus.image();
            image.partition(self.id).map(|p| chain_view(p))
        };
        match result {
            Ok(results) => match results.into_iter().next() {
                Some(Ok(event)) => {
                    if let Some(loss) = loss {
                        self.tell_loss(&loss);
                    }
                    if let Proposal::Seal { segment, .. } = proposal {
                        self.context.settle(self.segment_ref(*segment));
                    }
                    if let Event::Dropped(dropped) = event {
                        self.context.remove_dropped(self.id, dropped);
                    }
                    ProposalOutcome::Committed
                }
                refused => {
                    let refused = refused.and_then(Result::err);
                    tracing::warn!(partition = ?self, ?refused, "metadata refused a change of the chain");
                    match view() {
                        Some(view) => ProposalOutcome::Refused(view),
                        // The topic was deleted: the owner will be fenced.
                        None => ProposalOutcome::Refused(super::gone(epoch)),
                    }
                }
            },
            Err(error) => {
                if !matches!(error, ProposeError::Stopped) {
                    tracing::warn!(partition = ?self, %error, "no answer to a change of the chain");
                }
                // Not at once again: whatever took the answer may take the next one.
                tokio::time::sleep(RESTART_PAUSE).await;
                // It may have happened all the same.
                if let Some(loss) = loss.filter(|loss| self.has_recorded(loss)) {
                    self.tell_loss(&loss);
                }
                view().map_or_else(|| ProposalOutcome::Refused(super::gone(epoch)), ProposalOutcome::Unknown)
            }
        }
    }

    fn has_recorded(&self, loss: &Loss) -> bool {
        let image = self.context.consensus.image();
        let recorded = |l: &buslane_meta::Loss| l.epoch == loss.epoch && l.end_offset == loss.end_offset;
        image.partition(self.id).is_some_and(|p| p.losses.iter().any(recorded))
    }

    /// Tells and counts a loss that was just recorded.
    fn tell_loss(&self, loss: &Loss) {
        self.context.losses.inc();
        tracing::error!(
            partition = ?self,
            leader_epoch = loss.epoch.0,
            end_offset = loss.end_offset,
            "records may be lost: what was acknowledged in this leader epoch from end_offset on is gone, if anything was. \
             Produce it again where its source still has it. Consumers that were beyond end_offset reset as their \
             auto.offset.reset says. A topic with buslane.durability=synced survives a power cut; a file that is gone is \
             named above"
        );
    }

    fn command(&self, proposal: &Proposal, epoch: LeaderEpoch) -> Command {
        let open = |o: &buslane_partition::OpenSegment| MetaOpen {
            segment: o.segment,
            base_offset: o.base_offset,
            stores: o.stores.clone(),
            durability: o.durability,
        };
        match proposal {
            Proposal::Open(o) => Command::Open { partition: self.id, epoch, open: open(o) },
            Proposal::Seal { segment, end_offset, bytes, max_timestamp, complete, loss, next } => {
                Command::Seal {
                    partition: self.id,
                    epoch,
                    segment: *segment,
                    end_offset: *end_offset,
                    bytes: *bytes,
                    max_timestamp: *max_timestamp,
                    complete: complete.clone(),
                    loss: loss.map(|l| buslane_meta::Loss { epoch: l.epoch, end_offset: l.end_offset }),
                    next: next.as_ref().map(open),
                }
            }
        }
    }

    /// Asks for a new epoch after a pause, and starts over with it.
    pub(super) fn restart(self: &Arc<Self>, inner: &mut Inner, reason: &'static str) {
        let Some(epoch) = inner.owner.as_ref().map(buslane_partition::Owner::epoch) else { return };
        let pause = RESTART_PAUSE.saturating_mul(1 << inner.restarts.min(10)).min(RESTART_PAUSE_MAX);
        inner.restarts += 1;
        tracing::warn!(partition = ?self, reason, ?pause, "the owner starts over");
        self.start_over(epoch, pause);
    }

    /// Takes the partition offline, and looks again after a while: a disk that could not be read, or no file that could be
    /// opened, need not stay so.
    fn take_offline_for_now(self: &Arc<Self>, epoch: LeaderEpoch, reason: String) {
        self.take_offline(reason);
        let pause = {
            let mut inner = self.lock();
            inner.restarts += 1;
            RESTART_PAUSE.saturating_mul(1 << inner.restarts.min(10)).min(OFFLINE_PAUSE_MAX)
        };
        tracing::warn!(partition = ?self, ?pause, "it is tried again");
        self.start_over(epoch, pause);
    }

    /// Asks for an epoch above `epoch` after a pause, and starts with it.
    fn start_over(self: &Arc<Self>, epoch: LeaderEpoch, pause: Duration) {
        let this = self.clone();
        self.context.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            loop {
                let image = this.context.consensus.image();
                let Some(partition) = image.partition(this.id) else { return };
                let done = {
                    let inner = this.lock();
                    inner.leaving || inner.owner.as_ref().is_some_and(|owner| owner.epoch() > epoch)
                };
                if done || partition.owner != Some(this.context.me) {
                    return;
                }
                // An epoch above the old one may be ours, by a proposal whose answer was lost: no run has it, nor will.
                let assign = Command::Assign {
                    partition: this.id,
                    expected_epoch: partition.epoch,
                    owner: this.context.me,
                };
                let assigned = this.context.consensus.propose(vec![assign]).await;
                if matches!(assigned, Err(ProposeError::Stopped)) {
                    return;
                }
                if assigned.is_ok_and(|results| results.first().is_some_and(Result::is_ok)) {
                    let image = this.context.consensus.image();
                    let Some(partition) = image.partition(this.id) else { return };
                    this.start(chain_view(partition), partition.plan.clone(), partition.log_start_offset);
                    return;
                }
                tokio::time::sleep(RESTART_PAUSE_MAX).await;
            }
        });
    }
}

/// A copy's checkpoints and headers.
struct History {
    copy: Arc<Segment>,
    context: Arc<Context>,
}

impl ProducerHistory for History {
    type Error = String;

    fn base_offset(&self) -> i64 {
        self.copy.base_offset()
    }

    fn checkpoint(&self, end_offset: i64) -> Result<Option<(i64, Vec<u8>)>, String> {
        self.copy.producers_at(end_offset).map_err(|error| error.to_string())
    }

    fn written_ms(&self) -> Option<Millis> {
        self.copy.written_ms().ok()?
    }

    /// Passes over what is known to be damaged: it takes its own offsets out of service, not the partition. A producer
    /// whose newest batch stood there finds a gap, and goes on in a new epoch (KIP-360).
    fn headers(&self, from: i64, below: i64, each: &mut dyn FnMut(&BatchHeader)) -> Result<(), String> {
        for part in self.context.damage.sound(&self.copy.reference(), from..below) {
            self.copy.for_each_header(part.start, part.end, &mut *each).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

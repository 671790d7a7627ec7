//! Carrying out what owners ask for, in order for each node and otherwise in any order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use buslane_log::{
    AppendError, CreateError, RecoverError, Segment, SegmentSpec, SegmentState, Store, SyncError, Synced,
};
use buslane_meta::{Command, Event, OpenSegment as MetaOpen, SegmentStatus};
use buslane_partition::{
    Action, Admission, Owner, Phase, ProducerHistory, ProducerTable, Proposal, ProposalOutcome, Refusal,
    Report, SealedCopy, StoreFault, load_producers,
};
use buslane_wire::batch::{BatchHeader, StampedBatch};
use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, SegmentRef, TopicPartition};
use parking_lot::Mutex;

use super::ledger::Acknowledged;
use super::producer::Sent;
use super::{Mistake, PARTITIONS, RunId, TOPIC, World};
use crate::violation::{Violation, ensure, names};

/// A copy's checkpoints and headers.
struct History {
    node: NodeId,
    copy: Arc<Segment>,
}

/// Why producers are not known.
enum HistoryEnd {
    /// Nobody who is up has the copy.
    Gone,
    Unreadable(NodeId, String),
    Violation(Violation),
}

impl ProducerHistory for History {
    type Error = HistoryEnd;

    fn base_offset(&self) -> i64 {
        self.copy.base_offset()
    }

    fn checkpoint(&self, end_offset: i64) -> Result<Option<(i64, Vec<u8>)>, HistoryEnd> {
        self.copy.producers_at(end_offset).map_err(|e| HistoryEnd::Unreadable(self.node, e.to_string()))
    }

    fn headers(&self, from: i64, below: i64, each: &mut dyn FnMut(&BatchHeader)) -> Result<(), HistoryEnd> {
        let read = self.copy.for_each_header(from, below, each);
        read.map_err(|e| HistoryEnd::Unreadable(self.node, e.to_string()))
    }
}

/// A batch as it is read: its base offset, then the sequence of its first record and the number of its records.
type StoredBatch = (i64, (i64, i32));

/// Who carries a task out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Target {
    /// The store of the node with this id.
    Node(NodeId),
    Meta,
    /// The owner's own process.
    Run,
}

#[derive(Clone, Debug)]
pub(super) enum Task {
    Act(Action),
    /// A batch, stamped.
    Append {
        segment: SegmentId,
        base_offset: i64,
        bytes: Arc<[u8]>,
    },
    /// A proposal got no answer: look at the image.
    Look,
    /// A store started again: it is lost to what it held open.
    StoreCameBack(NodeId),
}

/// A sync that a store was asked for: for which run, on which node and which of its processes, of which segment.
type SyncAnswer = (RunId, usize, u64, SegmentId, Result<Synced, SyncError>);

#[derive(Default)]
pub(super) struct Queues {
    tasks: BTreeMap<(RunId, Target), VecDeque<Task>>,
    answers: Arc<Mutex<Vec<SyncAnswer>>>,
}

impl Queues {
    pub(super) fn push(&mut self, run: RunId, target: Target, task: Task) {
        self.tasks.entry((run, target)).or_default().push_back(task);
    }

    pub(super) fn push_actions(&mut self, run: RunId, actions: Vec<Action>) {
        for action in actions {
            let target = match &action {
                Action::Recover { node, .. }
                | Action::Create { node, .. }
                | Action::SealCopy { node, .. }
                | Action::CopyTail { target: node, .. } => Target::Node(*node),
                Action::Propose(_) => Target::Meta,
                _ => Target::Run,
            };
            self.push(run, target, Task::Act(action));
        }
    }

    pub(super) fn forget(&mut self, run: RunId) {
        self.tasks.retain(|(of, _), _| *of != run);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.values().all(VecDeque::is_empty)
    }
}

impl World {
    fn number_of(&self, node: NodeId) -> usize {
        self.nodes.iter().position(|n| n.id == node).expect("there is no other node")
    }

    /// Feeds an owner and takes what it asks for.
    fn feed(
        &mut self,
        id: RunId,
        input: impl FnOnce(&mut Owner, i64, &mut Vec<Action>),
    ) -> Result<(), Violation> {
        let Some(run) = self.runs.get_mut(&id) else { return Ok(()) };
        let mut out = Vec::new();
        input(&mut run.owner, self.now_ms, &mut out);
        let (partition, newest) = (run.partition, self.nodes[0].epoch(run.partition));
        let newest = run.owner.epoch() == newest;
        let mut ends = run.owner.phase() == Phase::Stopped;
        let mut rest = Vec::new();
        for action in out {
            match action {
                Action::Committed(offset) if newest => self.ledger.committed(partition, offset)?,
                Action::Committed(_) | Action::Ready => {}
                Action::Restart { reason } => {
                    self.step(|| format!("run {id} starts over: {reason}"));
                    ends = true;
                }
                Action::SteppedDown => ends = true,
                other => rest.push(other),
            }
        }
        if ends {
            self.step(|| format!("run {id} ends"));
            self.forget_run(id);
            return Ok(());
        }
        for action in &rest {
            if let Action::Create { node, segment, base_offset, durability, .. } = action {
                let segment = SegmentRef { partition, segment: *segment };
                self.ledger.opens(segment, *base_offset, *node, *durability);
            }
        }
        self.queues.push_actions(id, rest);
        Ok(())
    }

    pub(super) fn carry_out_one(&mut self) -> Result<(), Violation> {
        let ready: Vec<(RunId, Target)> = self
            .queues
            .tasks
            .iter()
            .filter(|((_, target), tasks)| match (target, tasks.front()) {
                (_, None) => false,
                (Target::Meta, _) => self.nodes[0].is_up(),
                // Asked again when it is back.
                (Target::Node(node), Some(Task::Act(Action::Recover { .. }))) => {
                    self.nodes[self.number_of(*node)].is_up()
                }
                _ => true,
            })
            .map(|(key, _)| *key)
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        let (run, target) = *self.rng.pick(&ready);
        let tasks = self.queues.tasks.get_mut(&(run, target)).expect("it was just listed");
        let task = tasks.pop_front().expect("it was not empty");
        match task {
            Task::Act(action) => self.carry_out(run, action),
            Task::Append { segment, base_offset, bytes } => {
                let Target::Node(node) = target else { unreachable!("appends go to nodes") };
                self.carry_out_append(run, node, segment, base_offset, &bytes)
            }
            Task::Look => {
                let Some(partition) = self.runs.get(&run).map(|r| r.partition) else { return Ok(()) };
                let view = self.nodes[0].chain_view(partition);
                self.step(|| format!("run {run} looks what became of its proposal: {view:?}"));
                self.feed(run, |o, now, out| o.on_proposed(now, ProposalOutcome::Unknown(view), out))
            }
            Task::StoreCameBack(node) => self.store_came_back(run, node),
        }
    }

    fn store_came_back(&mut self, run: RunId, node: NodeId) -> Result<(), Violation> {
        let alive = self.alive();
        let Some(state) = self.runs.get_mut(&run) else { return Ok(()) };
        state.owner.set_alive(alive);
        if state.owner.waiting_for().contains(&node) {
            let open = self.nodes[0].chain_view(state.partition).open;
            if let Some(open) = open {
                self.queues.push_actions(run, vec![Action::Recover { node, segment: open.segment }]);
            }
            return Ok(());
        }
        let Some(segment) = state.owner.writer().map(|w| w.segment()) else { return Ok(()) };
        self.feed(run, |o, now, out| o.on_store_lost(now, node, segment, out))
    }

    fn carry_out(&mut self, run: RunId, action: Action) -> Result<(), Violation> {
        let Some(state) = self.runs.get(&run) else { return Ok(()) };
        let (partition, epoch) = (state.partition, state.owner.epoch());
        let reference = |segment: SegmentId| SegmentRef { partition, segment };
        self.step(|| format!("run {run}: {}", name_of(&action)));
        match action {
            Action::Recover { node, segment } => {
                let report = self.recover(node, reference(segment), epoch)?;
                self.step(|| format!("  -> {report:?}"));
                self.feed(run, |o, now, out| o.on_report(now, node, segment, report, out))
            }
            Action::LoadProducers { from, end_offset } => {
                let loaded = self.load_producers(partition, from, end_offset)?;
                self.feed(run, |o, now, out| o.on_producers(now, loaded, out))
            }
            Action::Create { node, segment, base_offset, durability, producers } => {
                let spec = SegmentSpec { segment: reference(segment), base_offset, epoch, durability };
                let made = self.create(node, spec, &producers)?;
                self.feed(run, |o, now, out| o.on_created(now, node, segment, made, out))
            }
            Action::Checkpoint { segment, end_offset, producers } => {
                self.for_each_copy(reference(segment), |_, copy| {
                    // Derived data: without it recovery only reads more.
                    let _ = copy.checkpoint_producers(end_offset, &producers);
                });
                Ok(())
            }
            Action::Presync { segment } => {
                self.for_each_copy(reference(segment), |store, copy| store.presync(copy));
                Ok(())
            }
            Action::SealCopy { node, segment, end_offset, producers } => {
                let sealed = self.seal_copy(node, reference(segment), end_offset, &producers, epoch)?;
                self.step(|| format!("  -> {sealed:?}"));
                self.feed(run, |o, _, out| o.on_sealed_copy(node, segment, sealed, out))
            }
            Action::CopyTail { segment, source, target, from_offset, end_offset } => {
                let range = (from_offset, end_offset);
                let copied = self.copy_tail(reference(segment), source, target, range, epoch)?;
                self.step(|| format!("  -> {copied:?}"));
                self.feed(run, |o, now, out| o.on_copied(now, target, segment, copied, out))
            }
            Action::Propose(proposal) => self.propose(run, partition, epoch, &proposal),
            Action::Committed(_) | Action::Ready | Action::Restart { .. } | Action::SteppedDown => {
                unreachable!("taken when it came out")
            }
        }
    }

    /// The store's answer counts as lost: fine when its process was stopped or is down, else our fault.
    fn lost<T>(
        &self,
        node: NodeId,
        what: &str,
        error: impl std::fmt::Display,
    ) -> Result<Result<T, StoreFault>, Violation> {
        let node = &self.nodes[self.number_of(node)];
        let stopped = node.fs.is_stopped() || !node.is_up();
        ensure!(stopped, names::WORKS_WITHOUT_FAULT, "{what} on node {}: {error}", node.id);
        Ok(Err(StoreFault::Lost))
    }

    fn store(&self, node: NodeId) -> Option<&Store> {
        self.nodes[self.number_of(node)].store()
    }

    fn for_each_copy(&self, segment: SegmentRef, each: impl Fn(&Store, &Arc<Segment>)) {
        for store in self.nodes.iter().filter_map(|node| node.store()) {
            if let Some(copy) = store.get(&segment) {
                each(store, &copy);
            }
        }
    }

    /// FenceBeforeRead: the promise first, then the length.
    fn recover(
        &mut self,
        node: NodeId,
        segment: SegmentRef,
        epoch: LeaderEpoch,
    ) -> Result<Result<Report, StoreFault>, Violation> {
        let Some(store) = self.store(node) else { return Ok(Err(StoreFault::Lost)) };
        if self.options.mistake == Some(Mistake::ReadsBeforeTheFence)
            && let Some(copy) = store.get(&segment).filter(|copy| copy.epoch() < epoch)
        {
            return Ok(Ok(Report::Copy { end_offset: copy.end_offset(), whole: true }));
        }
        match store.promise(&[(segment.partition, epoch)]) {
            Err(error) => return self.lost(node, "a promise", error),
            Ok(answers) if answers.iter().any(Result::is_err) => return Ok(Err(StoreFault::Fenced)),
            Ok(_) => {}
        }
        let Some(open) =
            self.nodes[0].chain_view(segment.partition).open.filter(|o| o.segment == segment.segment)
        else {
            return Ok(Err(StoreFault::Lost));
        };
        match store.recover(segment, open.base_offset, open.epoch, open.durability, epoch) {
            Ok((_, recovery)) => {
                let report = recovery.report;
                let whole = report.whole || self.options.mistake == Some(Mistake::EveryReportIsWhole);
                Ok(Ok(Report::Copy { end_offset: report.end_offset, whole }))
            }
            Err(RecoverError::Missing { .. }) => Ok(Ok(Report::Missing)),
            Err(RecoverError::NotPromised { .. }) => Ok(Err(StoreFault::Fenced)),
            Err(error) => self.lost(node, "a recovery", error),
        }
    }

    fn create(
        &mut self,
        node: NodeId,
        spec: SegmentSpec,
        producers: &[u8],
    ) -> Result<Result<(), StoreFault>, Violation> {
        let Some(store) = self.store(node) else { return Ok(Err(StoreFault::Lost)) };
        let made = match store.create(spec) {
            Ok(made) => made,
            Err(CreateError::Fenced { .. }) => return Ok(Err(StoreFault::Fenced)),
            Err(error) => return self.lost(node, "creating a copy", error),
        };
        match made.checkpoint_producers(spec.base_offset, producers) {
            Ok(()) => Ok(Ok(())),
            Err(error) => self.lost(node, "a first checkpoint", error),
        }
    }

    fn seal_copy(
        &mut self,
        node: NodeId,
        segment: SegmentRef,
        end_offset: i64,
        producers: &[u8],
        epoch: LeaderEpoch,
    ) -> Result<Result<SealedCopy, StoreFault>, Violation> {
        let Some(store) = self.store(node) else { return Ok(Err(StoreFault::Lost)) };
        // SingleWriter for seals: one of an owner that was replaced may cut off what its successor completed.
        let replaced = store.promised(segment.partition) > Some(epoch);
        if replaced && self.options.mistake != Some(Mistake::SealsForTheReplaced) {
            return Ok(Err(StoreFault::Fenced));
        }
        let Some(copy) = store.get(&segment) else { return Ok(Err(StoreFault::Lost)) };
        match copy.checkpoint_producers(end_offset, producers).and_then(|()| copy.seal(end_offset)) {
            Ok(sealed) => Ok(Ok(SealedCopy { bytes: sealed.bytes, max_timestamp: sealed.max_timestamp })),
            // A restarted store has the copy, but knows nothing of it before it recovers it; one that missed an append
            // is short.
            Err(_) => Ok(Err(StoreFault::Lost)),
        }
    }

    fn copy_tail(
        &mut self,
        segment: SegmentRef,
        source: NodeId,
        target: NodeId,
        (from_offset, end_offset): (Option<i64>, i64),
        epoch: LeaderEpoch,
    ) -> Result<Result<(), StoreFault>, Violation> {
        let Some(open) = self.nodes[0].chain_view(segment.partition).open else {
            return Ok(Err(StoreFault::Lost));
        };
        let from = from_offset.unwrap_or(open.base_offset);
        let Some(long) = self.store(source).and_then(|store| store.get(&segment)) else {
            return Ok(Err(StoreFault::Lost));
        };
        let read = long.read(from, u64::MAX, end_offset, true).map_err(|e| e.to_string());
        let Ok(bytes) = read.and_then(|slice| slice.to_vec().map_err(|e| e.to_string())) else {
            return Ok(Err(StoreFault::Lost));
        };
        let Some(store) = self.store(target) else { return Ok(Err(StoreFault::Lost)) };
        let copy = match from_offset {
            Some(_) => store.get(&segment),
            None => {
                let (base_offset, durability) = (open.base_offset, open.durability);
                let spec = SegmentSpec { segment, base_offset, epoch: open.epoch, durability };
                match store.create_for_recovery(spec, epoch) {
                    Ok(made) => Some(made),
                    Err(CreateError::Fenced { .. }) => return Ok(Err(StoreFault::Fenced)),
                    Err(error) => return self.lost(target, "making a copy for a recovery", error),
                }
            }
        };
        let Some(copy) = copy else { return Ok(Err(StoreFault::Lost)) };
        let copied = copy.append_recovered(epoch, &bytes);
        match copied {
            Ok(_) => {
                self.summary.copied += 1;
                Ok(Ok(()))
            }
            Err(AppendError::WrongEpoch { .. }) => Ok(Err(StoreFault::Fenced)),
            Err(AppendError::NotWritable { .. } | AppendError::OutOfOrder { .. }) => {
                Ok(Err(StoreFault::Lost))
            }
            Err(error) => self.lost(target, "copying a tail", error),
        }
    }

    fn load_producers(
        &mut self,
        partition: TopicPartition,
        from: Option<(SegmentId, NodeId)>,
        end_offset: i64,
    ) -> Result<Result<(ProducerTable, i64), StoreFault>, Violation> {
        let image = self.nodes[0].image();
        let chain = &image.partition(partition).expect("the topic is never deleted").chain;
        let mut sealed = chain.iter().rev().filter_map(|s| Some((s, s.end_offset()?)));
        let (mut open, mut first) = (from, true);
        let older = || -> Result<Option<(History, i64)>, HistoryEnd> {
            if !std::mem::take(&mut first) && self.options.mistake == Some(Mistake::ForgetsThePredecessors) {
                return Ok(None);
            }
            if let Some((segment, node)) = open.take() {
                let reference = SegmentRef { partition, segment };
                let copy = self.store(node).and_then(|store| store.get(&reference));
                return Ok(Some((History { node, copy: copy.ok_or(HistoryEnd::Gone)? }, end_offset)));
            }
            let Some((before, end)) = sealed.next() else { return Ok(None) };
            let up = before.stores.iter().copied().find(|node| self.store(*node).is_some());
            let node = up.ok_or(HistoryEnd::Gone)?;
            let reference = SegmentRef { partition, segment: before.id };
            let copy = self
                .load_sealed(node, reference, before.base_offset, &before.status)
                .map_err(HistoryEnd::Violation)?;
            Ok(Some((History { node, copy: copy.ok_or(HistoryEnd::Gone)? }, end)))
        };
        match load_producers(self.now_ms, older) {
            Ok(loaded) => {
                assert_eq!(loaded.unreadable, 0, "checkpoints were encoded by an owner");
                Ok(Ok((loaded.table, loaded.newest_ms.map_or(i64::MIN, |_| self.now_ms))))
            }
            Err(HistoryEnd::Gone) => Ok(Err(StoreFault::Lost)),
            Err(HistoryEnd::Violation(violation)) => Err(violation),
            Err(HistoryEnd::Unreadable(node, error)) => self.lost(node, "reading producers", error),
        }
    }

    pub(super) fn load_sealed(
        &self,
        node: NodeId,
        segment: SegmentRef,
        base_offset: i64,
        status: &SegmentStatus,
    ) -> Result<Option<Arc<Segment>>, Violation> {
        let SegmentStatus::Sealed { end_offset, bytes, max_timestamp } = *status else {
            panic!("{segment} is not sealed");
        };
        let Some(store) = self.store(node) else { return Ok(None) };
        let state = SegmentState::Sealed { end_offset, bytes, max_timestamp };
        match store.load(segment, base_offset, state) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(error) => Ok(self.lost::<()>(node, "loading a sealed copy", error)?.err().and(None)),
        }
    }

    fn propose(
        &mut self,
        run: RunId,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        proposal: &Proposal,
    ) -> Result<(), Violation> {
        let command = command(partition, epoch, proposal);
        let Some(answer) = self.nodes[0].commit(&command) else {
            self.step(|| "  -> no answer".to_owned());
            self.queues.push(run, Target::Meta, Task::Look);
            return Ok(());
        };
        let outcome = match answer {
            Ok(event) => {
                let image = self.nodes[0].image();
                self.ledger.follow(&image)?;
                if let Proposal::Seal { segment, complete, .. } = proposal {
                    self.summary.sealed += 1;
                    let segment = SegmentRef { partition, segment: *segment };
                    for store in complete.iter().filter_map(|node| self.store(*node)) {
                        // Only a note: without it the next load does the same.
                        let _ = store.settle(&segment);
                    }
                }
                if let Event::Dropped(dropped) = event {
                    for store in self.nodes.iter().filter_map(|node| node.store()) {
                        for gone in &dropped {
                            let segment = SegmentRef { partition, segment: gone.id };
                            // A copy that stays is found by a later sweep.
                            let _ = store.delete(&segment, gone.base_offset);
                        }
                    }
                }
                ProposalOutcome::Committed
            }
            Err(refused) => {
                self.step(|| format!("  -> {refused}"));
                ProposalOutcome::Refused(self.nodes[0].chain_view(partition))
            }
        };
        self.feed(run, |o, now, out| o.on_proposed(now, outcome, out))
    }

    /// A producer offers its next batch to an owner, now and then to one that was replaced.
    pub(super) fn offer(&mut self) -> Result<(), Violation> {
        let partition = TopicPartition { topic: TOPIC, partition: self.rng.below(PARTITIONS as u64) as i32 };
        let mut runs: Vec<RunId> =
            self.runs.iter().filter(|(_, run)| run.partition == partition).map(|(id, _)| *id).collect();
        let Some(newest) = runs.pop() else { return Ok(()) };
        let id = if !runs.is_empty() && !self.calm && self.rng.chance(1, 4) {
            *self.rng.pick(&runs)
        } else {
            newest
        };
        let now_ms = self.now_ms;
        let producing = self.producers.get_mut(&partition).expect("each partition has one");
        producing.turn_to(id);
        let Some(pending) = producing.pending.iter_mut().find(|p| p.sent == Sent::No) else { return Ok(()) };
        let header = BatchHeader::parse(&pending.bytes).expect("it was built here");
        let run = self.runs.get_mut(&id).expect("it was just listed");
        let mut out = Vec::new();
        let admission = run.owner.admit(now_ms, &header, true, &mut out);
        let mut appended = None;
        let epoch = run.owner.epoch();
        match admission {
            Ok(Admission::Append(place)) => {
                let stamped = StampedBatch::new(&pending.bytes, place.base_offset, place.epoch)
                    .expect("it was built here");
                let header = stamped.header;
                let bytes: Arc<[u8]> = [&stamped.head[..], stamped.records].concat().into();
                pending.sent = Sent::At { base_offset: place.base_offset, end_offset: header.next_offset() };
                appended = Some((place, header, bytes));
            }
            Ok(Admission::Duplicate { base_offset, last_offset }) => {
                self.summary.duplicates += 1;
                pending.sent = Sent::At { base_offset, end_offset: last_offset + 1 };
            }
            Ok(Admission::Wait)
            | Err(Refusal::NotOwner | Refusal::NoStore | Refusal::NotEnoughReplicas { .. }) => {}
            Err(Refusal::Sequence(error)) => {
                // One that was replaced does not know what its successor took.
                if epoch == self.nodes[0].epoch(partition) {
                    let lossy = self.ledger.is_lossy(partition);
                    ensure!(lossy, names::STORED_ONCE, "{partition}: {error}, though nothing was lost");
                    producing.start_over();
                } else {
                    producing.run_ended(id);
                }
            }
        }
        self.feed(id, |_, _, queue| queue.append(&mut out))?;
        let Some((place, header, bytes)) = appended else { return Ok(()) };
        self.step(|| {
            format!("run {id} places {} to {} in {}", place.base_offset, header.next_offset(), place.segment)
        });
        let segment = SegmentRef { partition, segment: place.segment };
        self.ledger.place(segment, place.base_offset, bytes.to_vec());
        let writer = self.runs[&id].owner.writer().expect("it takes appends");
        for node in writer.surviving().collect::<Vec<_>>() {
            let (segment, base_offset) = (place.segment, place.base_offset);
            let task = Task::Append { segment, base_offset, bytes: bytes.clone() };
            self.queues.push(id, Target::Node(node), task);
        }
        self.feed(id, |o, now, out| o.on_appended(now, &header, out))
    }

    fn carry_out_append(
        &mut self,
        run: RunId,
        node: NodeId,
        segment: SegmentId,
        base_offset: i64,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        let Some(state) = self.runs.get(&run) else { return Ok(()) };
        let (partition, epoch) = (state.partition, state.owner.epoch());
        let reference = SegmentRef { partition, segment };
        let number = self.number_of(node);
        let copy = self.store(node).and_then(|store| store.get(&reference));
        let stamped = StampedBatch::new(bytes, base_offset, epoch).expect("it was built here");
        let appended = copy.as_ref().map(|copy| (copy, copy.append(epoch, &[stamped])));
        self.step(|| {
            format!(
                "run {run} appends {base_offset} on node {number}: {:?}",
                appended.as_ref().map(|a| a.1.is_ok())
            )
        });
        match appended {
            Some((copy, Ok(appended))) => match copy.durability() {
                durability
                    if durability == Durability::Replicated
                        || self.options.mistake == Some(Mistake::ConfirmsBeforeTheSync) =>
                {
                    let end = appended.end_offset;
                    self.ledger.confirms(reference, node, end);
                    self.feed(run, |o, _, out| o.on_confirmed(node, segment, end, out))
                }
                _ => {
                    let (answers, process) = (self.queues.answers.clone(), self.nodes[number].run);
                    let answer = move |result| answers.lock().push((run, number, process, segment, result));
                    let store = self.store(node).expect("it has the copy");
                    store.request_sync(copy, Box::new(answer));
                    Ok(())
                }
            },
            // Fenced, restarted or broken: lost to the segment in any case.
            _ => self.feed(run, |o, now, out| o.on_store_lost(now, node, segment, out)),
        }
    }

    pub(super) fn serve_syncs(&mut self) -> Result<(), Violation> {
        let number = self.rng.below(self.nodes.len() as u64) as usize;
        let Some(store) = self.nodes[number].store() else { return Ok(()) };
        store.run_sync_queue();
        let answers = std::mem::take(&mut *self.queues.answers.lock());
        for (run, number, process, segment, result) in answers {
            let node = self.nodes[number].id;
            // An answer of a process that is dead got nowhere.
            let (Some(state), true) = (self.runs.get(&run), self.nodes[number].run == process) else {
                continue;
            };
            let reference = SegmentRef { partition: state.partition, segment };
            match result {
                Ok(synced) => {
                    self.ledger.confirms(reference, node, synced.end_offset);
                    self.feed(run, |o, _, out| o.on_confirmed(node, segment, synced.end_offset, out))?;
                }
                Err(_) => self.feed(run, |o, now, out| o.on_store_lost(now, node, segment, out))?,
            }
        }
        Ok(())
    }

    pub(super) fn background_sync(&mut self) {
        let number = self.rng.below(self.nodes.len() as u64) as usize;
        if let Some(store) = self.nodes[number].store() {
            // It fails when the process was stopped; who is concerned hears of it elsewhere.
            let _ = store.sync_round();
        }
    }

    pub(super) fn produce(&mut self) {
        let partition = TopicPartition { topic: TOPIC, partition: self.rng.below(PARTITIONS as u64) as i32 };
        if !self.calm {
            self.producers.get_mut(&partition).expect("each partition has one").produce();
        }
    }

    pub(super) fn tick(&mut self) -> Result<(), Violation> {
        self.now_ms += 600;
        for run in self.runs.keys().copied().collect::<Vec<_>>() {
            let alive = self.alive();
            self.feed(run, |o, now, out| {
                o.set_alive(alive);
                o.on_tick(now, out);
            })?;
        }
        Ok(())
    }

    pub(super) fn step_down(&mut self) -> Result<(), Violation> {
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        if runs.is_empty() {
            return Ok(());
        }
        let run = *self.rng.pick(&runs);
        self.step(|| format!("run {run} steps down"));
        self.feed(run, |o, now, out| o.step_down(now, out))
    }

    /// Acknowledges what the owners have committed.
    pub(super) fn acknowledge(&mut self) -> Result<(), Violation> {
        for partition in World::partitions() {
            let producing = self.producers.get_mut(&partition).expect("each partition has one");
            let Some(run) = producing.run.and_then(|id| self.runs.get(&id)) else { continue };
            let Some(committed) =
                run.owner.committed_offset().filter(|_| run.owner.phase() != Phase::Stopped)
            else {
                continue;
            };
            let view = self.nodes[0].chain_view(partition);
            while let Some(pending) = producing.pending.front()
                && let Sent::At { base_offset, end_offset } = pending.sent
                && end_offset <= committed
            {
                let batch = Acknowledged { base_offset, end_offset, producer: pending.producer };
                let open = view.open.as_ref().map(|open| open.segment);
                self.ledger.acknowledge(partition, batch, view.sealed_end_offset, open)?;
                self.summary.acknowledged += 1;
                producing.pending.pop_front();
            }
        }
        Ok(())
    }

    /// All owners step down, so that nothing is open.
    pub(super) fn seal_everything(&mut self) -> Result<(), Violation> {
        for _ in 0..20_000 {
            let open = World::partitions().any(|p| self.nodes[0].chain_view(p).open.is_some());
            if self.runs.is_empty() {
                if !open {
                    return Ok(());
                }
                for partition in World::partitions() {
                    if self.nodes[0].chain_view(partition).open.is_some() {
                        let (epoch, owner) = (self.nodes[0].epoch(partition), self.nodes[0].id);
                        let command = Command::Assign { partition, expected_epoch: epoch, owner };
                        let assigned = self.nodes[0].commit(&command);
                        assert!(matches!(assigned, Some(Ok(_))), "no fault is planned: {assigned:?}");
                        self.start_run(partition, 0);
                    }
                }
            }
            for run in self.runs.keys().copied().collect::<Vec<_>>() {
                self.feed(run, |o, now, out| o.step_down(now, out))?;
            }
            self.now_ms += 100;
            self.carry_out_one()?;
            self.serve_syncs()?;
            self.tick()?;
        }
        Err(Violation { invariant: names::WORKS_WITHOUT_FAULT, detail: "owners do not step down".to_owned() })
    }

    /// Every store that counts as complete has every byte, and everything acknowledged is there, once.
    pub(super) fn check_the_log(&mut self) -> Result<(), Violation> {
        let image = self.nodes[0].image();
        for (partition, state) in image.partitions() {
            state.check();
            let mut stored = BTreeMap::new();
            for segment in &state.chain {
                let reference = SegmentRef { partition, segment: segment.id };
                for (n, node) in segment.stores.iter().enumerate() {
                    let copy = self.load_sealed(*node, reference, segment.base_offset, &segment.status)?;
                    let copy = copy.expect("every node is up");
                    for (base, producer) in self.check_copy(&copy, reference, segment.end_offset())? {
                        let sequence = (producer.0, producer.1);
                        let before = if n == 0 { stored.insert(sequence, base) } else { None };
                        ensure!(
                            before.is_none(),
                            names::STORED_ONCE,
                            "{partition}: producer and sequence {sequence:?} at {base} and at {before:?}"
                        );
                    }
                }
            }
            for batch in self.ledger.all_acknowledged(partition) {
                let found = stored.get(&(batch.producer.id, batch.producer.base_sequence));
                ensure!(
                    found == Some(&batch.base_offset),
                    names::PROMISED,
                    "{partition}: {batch:?} was acknowledged, found at {found:?}"
                );
            }
        }
        Ok(())
    }

    /// Base offset, producer and sequence of each batch of a sealed copy, which is what was placed.
    fn check_copy(
        &self,
        copy: &Segment,
        segment: SegmentRef,
        end_offset: Option<i64>,
    ) -> Result<Vec<StoredBatch>, Violation> {
        let end = end_offset.expect("it is sealed");
        let wrong = |detail: String| Violation { invariant: names::SEALED_IS_SYNCED, detail };
        let read = copy.read(copy.base_offset(), u64::MAX, end, true);
        let slice = read.map_err(|e| wrong(format!("{segment}: {e}")))?;
        let bytes = slice.to_vec().map_err(|e| wrong(format!("{segment}: {e}")))?;
        let (mut rest, mut at) = (&bytes[..], copy.base_offset());
        let mut found = Vec::new();
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).map_err(|e| wrong(format!("{segment} at {at}: {e}")))?;
            let (batch, after) = rest.split_at(header.total_len().min(rest.len()));
            let placed = self.ledger.placed(segment, at).map(Vec::as_slice);
            ensure!(
                header.base_offset == at && placed == Some(batch),
                names::PREFIX,
                "{segment}: the batch at {at} is not what its owner placed there"
            );
            found.push((at, (header.producer_id, header.base_sequence)));
            (rest, at) = (after, header.next_offset());
        }
        ensure!(at == end, names::SEALED_IS_SYNCED, "{segment} ends at {at}, sealed at {end}");
        Ok(found)
    }
}

fn command(partition: TopicPartition, epoch: LeaderEpoch, proposal: &Proposal) -> Command {
    let open = |o: &buslane_partition::OpenSegment| MetaOpen {
        segment: o.segment,
        base_offset: o.base_offset,
        stores: o.stores.clone(),
        durability: o.durability,
    };
    match proposal {
        Proposal::Open(o) => Command::Open { partition, epoch, open: open(o) },
        Proposal::Seal { segment, end_offset, bytes, max_timestamp, complete, loss, next } => Command::Seal {
            partition,
            epoch,
            segment: *segment,
            end_offset: *end_offset,
            bytes: *bytes,
            max_timestamp: *max_timestamp,
            complete: complete.clone(),
            loss: loss.map(|l| buslane_meta::Loss { epoch: l.epoch, end_offset: l.end_offset }),
            next: next.as_ref().map(open),
        },
    }
}

/// An action without its payload.
fn name_of(action: &Action) -> String {
    match action {
        Action::Create { node, segment, base_offset, .. } => {
            format!("create {segment} at {base_offset} on {node}")
        }
        Action::Checkpoint { segment, end_offset, .. } => format!("checkpoint {segment} at {end_offset}"),
        Action::SealCopy { node, segment, end_offset, .. } => {
            format!("seal the copy of {segment} on {node} at {end_offset}")
        }
        other => format!("{other:?}"),
    }
}

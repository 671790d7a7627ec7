//! One partition on this node: its owner, its open copy, and whoever waits for either.
//!
//! The lock is held for decisions and for the write of a batch into the page cache; every other disk access and every
//! proposal runs outside of it and comes back through [`Partition::step`]. Nothing is half-changed across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use buslane_log::Segment;
use buslane_partition::{
    Action, Admission, ChainView, Millis, Owner, Phase, ProducerView, Refusal, Settings,
};
use buslane_wire::batch::{BatchHeader, StampedBatch, TimestampType};
use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, SegmentRef, TopicPartition};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

use super::Context;
use super::waiting::{Acks, Appended, FetchWait, Held, PendingAcks, WAITING_BYTES_MAX};
use crate::topic_config::TopicConfig;

/// How long a clean stop waits for a partition that cannot be sealed.
const STEP_DOWN_MAX: Duration = Duration::from_secs(20);

/// Waiting fetches that are not worth a sweep.
const FETCHES_KEPT: usize = 16;

/// Of [`WAITING_BYTES_MAX`], what one partition may have: one that is stuck leaves room for the others.
const PARTITION_WAITING_MAX: usize = WAITING_BYTES_MAX / 2;

/// Why a batch was not appended, as far as the partition knows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendRefused {
    /// The owner said no.
    #[error(transparent)]
    Owner(#[from] Refusal),
    /// The partition left this node, or started over, while the batch waited.
    #[error("the partition is no longer here")]
    Gone,
    /// This store cannot write: full, failed, damaged. The text is for the log and the client.
    #[error("{0}")]
    Storage(Arc<str>),
    /// Too much waits already, here or on the node.
    #[error("too many bytes wait for segments already; send them again")]
    Busy,
}

/// A batch that was checked and can be appended.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its header as received.
    pub header: BatchHeader,
    /// The true greatest timestamp, where the header does not have it.
    pub max_timestamp: Option<i64>,
    /// The whole batch, header included: a slice of the request's buffer.
    pub bytes: Bytes,
}

/// Where an append stands when [`Partition::append`] returns.
#[derive(Debug)]
pub enum Ticket {
    /// Acknowledged or refused.
    Done(Result<Appended, AppendRefused>),
    /// Appended; the confirmation comes. A closed channel means that the partition is gone.
    Confirming(oneshot::Receiver<Appended>),
    /// Waits for a segment; what became of it comes.
    Waiting(oneshot::Receiver<Ticket>),
}

/// The offsets that every answer about a partition is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offsets {
    /// First offset that can be read.
    pub log_start_offset: i64,
    /// The high watermark (committed offset), exclusive. There are no transactions, so it is the last stable offset.
    pub high_watermark: i64,
    /// The leader epoch.
    pub leader_epoch: LeaderEpoch,
}

/// Why a partition cannot be read now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReadable {
    /// Not owned here, or its end is not known yet: NOT_LEADER_OR_FOLLOWER.
    #[error("the partition is not served here now")]
    NotOwner,
    /// Damaged or failed: KAFKA_STORAGE_ERROR.
    #[error("{0}")]
    Storage(Arc<str>),
}

struct WaitingBatch {
    batch: Batch,
    acks: Acks,
    reply: oneshot::Sender<Ticket>,
    held: Held,
}

/// A copy in which the owner writes.
#[derive(Clone)]
pub(super) struct Copy {
    pub(super) id: SegmentId,
    pub(super) segment: Arc<Segment>,
}

pub(super) struct Inner {
    pub(super) owner: Option<Owner>,
    /// The open segment's copy.
    pub(super) open: Option<Copy>,
    /// Copies made for segments that are not opened yet.
    pub(super) made: Vec<Copy>,
    waiting: VecDeque<WaitingBatch>,
    waiting_bytes: usize,
    /// A batch was refused because too much waited: so are all after it, lest they overtake it, until batches are taken
    /// again.
    waiting_full: bool,
    acks: PendingAcks,
    /// Fetches that wait for bytes; those that have ended are dead.
    fetches: Vec<Weak<FetchWait>>,
    /// How many may be there before the dead ones are swept out.
    fetches_swept_at: usize,
    /// Appended and not committed: end offset and bytes of each batch.
    uncommitted: VecDeque<(i64, u64)>,
    pub(super) config: Arc<TopicConfig>,
    log_start_offset: i64,
    /// Set while this store cannot serve the partition; says why and what to do.
    pub(super) offline: Option<Arc<str>>,
    /// How often the owner started over since anything was last committed, for the back-off.
    pub(super) restarts: u32,
    /// It was told to end: no run follows.
    pub(super) leaving: bool,
    scratch: Vec<Action>,
}

/// See the module's head.
pub struct Partition {
    /// Which one.
    pub id: TopicPartition,
    /// Its topic's name.
    pub topic: Arc<str>,
    pub(super) context: Arc<Context>,
    inner: Mutex<Inner>,
    stepped_down: Notify,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.id.partition)
    }
}

impl Partition {
    /// A partition that nobody owns here yet.
    pub fn new(
        id: TopicPartition,
        topic: Arc<str>,
        context: Arc<Context>,
        config: Arc<TopicConfig>,
    ) -> Arc<Partition> {
        Arc::new(Partition {
            id,
            topic,
            context,
            inner: Mutex::new(Inner {
                owner: None,
                open: None,
                made: Vec::new(),
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                waiting_full: false,
                acks: PendingAcks::default(),
                fetches: Vec::new(),
                fetches_swept_at: 0,
                uncommitted: VecDeque::new(),
                config,
                log_start_offset: 0,
                offline: None,
                restarts: 0,
                leaving: false,
                scratch: Vec::new(),
            }),
            stepped_down: Notify::new(),
        })
    }

    /// The owner's settings that follow from a topic's.
    fn settings(config: &TopicConfig, context: &Context) -> Settings {
        Settings {
            // Replication comes with the cluster; a plan of several stores cannot be made before.
            replicas: 1,
            min_insync: config.min_insync_replicas,
            durability: config.durability,
            segment_bytes: config.segment_bytes,
            // What may not stay uncompacted for longer has to be sealed first (KIP-354).
            segment_ms: if config.compact {
                config.segment_ms.min(config.max_compaction_lag_ms)
            } else {
                config.segment_ms
            },
            idle_ms: context.segment_idle_ms,
            producer_expiry_ms: context.producer_expiry_ms,
            ..Settings::default()
        }
    }

    /// Starts a run of ownership under the epoch in `chain`, unless it was told to step down. Whatever an earlier run left
    /// waiting is given up.
    pub fn start(self: &Arc<Self>, chain: ChainView, plan: Vec<NodeId>, log_start_offset: i64) {
        let mut inner = self.inner.lock();
        if inner.leaving {
            return;
        }
        self.abandon(&mut inner);
        inner.offline = None;
        inner.log_start_offset = log_start_offset;
        let me = self.context.me;
        let settings = Self::settings(&inner.config, &self.context);
        let mut out = std::mem::take(&mut inner.scratch);
        inner.owner = Some(Owner::start(me, chain, plan, [me].into(), settings, &mut out));
        self.act(&mut inner, out);
    }

    /// The partition is no longer this node's, or its topic is gone.
    pub fn fence(&self) {
        let mut inner = self.inner.lock();
        if let Some(owner) = &mut inner.owner {
            owner.fence();
        }
        inner.owner = None;
        self.abandon(&mut inner);
        self.stepped_down.notify_one();
    }

    fn abandon(&self, inner: &mut Inner) {
        inner.open = None;
        inner.made.clear();
        inner.waiting.clear();
        inner.waiting_bytes = 0;
        inner.waiting_full = false;
        inner.acks.clear();
        inner.uncommitted.clear();
        inner.wake_fetches();
    }

    /// Wakes every fetch that waits here: it looks again.
    pub fn wake_fetches(&self) {
        self.inner.lock().wake_fetches();
    }

    /// New settings of the topic.
    pub fn reconfigure(&self, config: Arc<TopicConfig>) {
        let mut inner = self.inner.lock();
        let settings = Self::settings(&config, &self.context);
        inner.config = config;
        if let Some(owner) = &mut inner.owner {
            owner.set_settings(settings);
        }
    }

    /// The log start offset moved in metadata.
    pub fn set_log_start_offset(&self, log_start_offset: i64) {
        let mut inner = self.inner.lock();
        inner.log_start_offset = inner.log_start_offset.max(log_start_offset);
        inner.wake_fetches();
    }

    /// Appends a checked batch. The order of calls is the order in the log. Does not block but for the page cache.
    pub fn append(self: &Arc<Self>, batch: Batch, acks: Acks) -> Ticket {
        let mut inner = self.inner.lock();
        if let Some(reason) = &inner.offline {
            return Ticket::Done(Err(AppendRefused::Storage(reason.clone())));
        }
        if inner.owner.is_none() {
            return Ticket::Done(Err(AppendRefused::Gone));
        }
        if !inner.waiting.is_empty() {
            return self.enqueue(&mut inner, &batch, acks);
        }
        let mut out = std::mem::take(&mut inner.scratch);
        let ticket = match self.offer(&mut inner, &batch, acks, &mut out) {
            Some(ticket) => ticket,
            None => self.enqueue(&mut inner, &batch, acks),
        };
        self.act(&mut inner, out);
        ticket
    }

    /// Lets a batch wait for its segment, in a copy: a slice would keep all of the request in memory that it came in.
    fn enqueue(&self, inner: &mut Inner, batch: &Batch, acks: Acks) -> Ticket {
        let bytes = batch.bytes.len();
        let fits = inner.waiting.is_empty() || inner.waiting_bytes + bytes <= PARTITION_WAITING_MAX;
        let held = if fits && !inner.waiting_full { self.context.waiting.hold(bytes) } else { None };
        let Some(held) = held else {
            inner.waiting_full = true;
            return Ticket::Done(Err(AppendRefused::Busy));
        };
        let (reply, receiver) = oneshot::channel();
        inner.waiting_bytes += bytes;
        let batch = Batch { bytes: Bytes::copy_from_slice(&batch.bytes), ..*batch };
        inner.waiting.push_back(WaitingBatch { batch, acks, reply, held });
        Ticket::Waiting(receiver)
    }

    /// Offers one batch to the owner and writes it where it was placed; `None`: it has to wait.
    fn offer(
        self: &Arc<Self>,
        inner: &mut Inner,
        batch: &Batch,
        acks: Acks,
        out: &mut Vec<Action>,
    ) -> Option<Ticket> {
        let now_ms = self.context.clock.now_ms();
        let owner = inner.owner.as_mut()?;
        let place = match owner.admit(now_ms, &batch.header, acks == Acks::All, out) {
            Err(refusal) => return Some(Ticket::Done(Err(refusal.into()))),
            Ok(Admission::Wait) => return None,
            Ok(Admission::Duplicate { base_offset, last_offset }) => {
                let appended = Appended {
                    base_offset,
                    log_append_time_ms: -1,
                    log_start_offset: inner.log_start_offset,
                };
                return Some(self.confirm(inner, last_offset + 1, acks, appended));
            }
            Ok(Admission::Append(place)) => place,
        };
        let copy = inner.open.as_ref().expect("an owner that appends has an open copy");
        assert_eq!(copy.id, place.segment, "{self:?}: the open copy is another segment's");
        let mut stamped = StampedBatch::new(&batch.bytes, place.base_offset, place.epoch)
            .expect("a batch is checked before it is offered");
        let mut log_append_time_ms = -1;
        if inner.config.timestamp_type == TimestampType::LogAppendTime {
            log_append_time_ms = self.context.clock.wall_ms();
            stamped.stamp_log_append_time(log_append_time_ms);
        } else if let Some(max_timestamp) = batch.max_timestamp {
            stamped.stamp_max_timestamp(max_timestamp);
        }
        let header = stamped.header;
        let segment = copy.segment.clone();
        if let Err(error) = segment.append(place.epoch, &[stamped]) {
            let text: Arc<str> = error.to_string().into();
            tracing::error!(partition = ?self, %error, "append failed; the segment is given up");
            owner.on_store_lost(now_ms, self.context.me, place.segment, out);
            return Some(Ticket::Done(Err(AppendRefused::Storage(text))));
        }
        owner.on_appended(now_ms, &header, out);
        inner.uncommitted.push_back((header.next_offset(), header.total_len() as u64));
        match segment.durability() {
            Durability::Replicated => {
                owner.on_confirmed(self.context.me, place.segment, header.next_offset(), out);
                self.committed(inner, out);
            }
            Durability::Synced => self.request_sync(&segment, place.segment, place.epoch),
        }
        let appended = Appended {
            base_offset: header.base_offset,
            log_append_time_ms,
            log_start_offset: inner.log_start_offset,
        };
        Some(self.confirm(inner, header.next_offset(), acks, appended))
    }

    /// The answer of an append that ends at `end_offset`, now or when its confirmation is there.
    fn confirm(&self, inner: &mut Inner, end_offset: i64, acks: Acks, appended: Appended) -> Ticket {
        let owner = inner.owner.as_ref().expect("an append was just admitted");
        let confirmed = match acks {
            Acks::None => true,
            Acks::One => end_offset <= owner.first_confirmed_offset(),
            Acks::All => owner.committed_offset().is_some_and(|c| end_offset <= c),
        };
        if confirmed {
            Ticket::Done(Ok(appended))
        } else {
            Ticket::Confirming(inner.acks.push(end_offset, acks, appended))
        }
    }

    /// Takes the `Committed` actions out of `out` at once: the hot path has no other.
    fn committed(&self, inner: &mut Inner, out: &mut Vec<Action>) {
        out.retain(|action| match action {
            Action::Committed(offset) => {
                on_committed(inner, *offset);
                false
            }
            _ => true,
        });
    }

    fn request_sync(self: &Arc<Self>, segment: &Arc<Segment>, id: SegmentId, epoch: LeaderEpoch) {
        let this = self.clone();
        let me = self.context.me;
        self.context.store.request_sync(
            segment,
            Box::new(move |result| {
                this.step(epoch, |owner, now_ms, out| match &result {
                    Ok(synced) => owner.on_confirmed(me, id, synced.end_offset, out),
                    Err(error) => {
                        tracing::error!(partition = ?this, %error, "sync failed; the segment is given up");
                        owner.on_store_lost(now_ms, me, id, out);
                    }
                });
            }),
        );
    }

    /// Feeds the owner of the run `epoch` and carries out what it asks for; an answer for an earlier run is dropped.
    pub(super) fn step(
        self: &Arc<Self>,
        epoch: LeaderEpoch,
        input: impl FnOnce(&mut Owner, Millis, &mut Vec<Action>),
    ) {
        let mut inner = self.inner.lock();
        let now_ms = self.context.clock.now_ms();
        let mut out = std::mem::take(&mut inner.scratch);
        if let Some(owner) = inner.owner.as_mut().filter(|o| o.epoch() == epoch) {
            input(owner, now_ms, &mut out);
        }
        self.act(&mut inner, out);
    }

    /// Time passes.
    pub fn tick(self: &Arc<Self>) {
        let Some(epoch) = self.inner.lock().owner.as_ref().map(Owner::epoch) else { return };
        self.step(epoch, |owner, now_ms, out| owner.on_tick(now_ms, out));
    }

    /// Seals what is open and waits until nothing is, or until that failed, or for [`STEP_DOWN_MAX`]: then the next start
    /// recovers it. Nothing is started here any more.
    pub async fn step_down(self: &Arc<Self>) {
        let done = self.stepped_down.notified();
        let epoch = {
            let mut inner = self.inner.lock();
            inner.leaving = true;
            inner.owner.as_ref().map(Owner::epoch)
        };
        let Some(epoch) = epoch else { return };
        self.step(epoch, |owner, now_ms, out| owner.step_down(now_ms, out));
        if self.phase() != Phase::Stopped && tokio::time::timeout(STEP_DOWN_MAX, done).await.is_err() {
            tracing::warn!(partition = ?self, phase = ?self.phase(), "not sealed; the next start recovers it");
        }
    }

    /// The owner's state; `Stopped` when there is none.
    pub fn phase(&self) -> Phase {
        self.inner.lock().owner.as_ref().map_or(Phase::Stopped, Owner::phase)
    }

    /// Carries out what the owner asks for, and what follows from that, until nothing is left.
    fn act(self: &Arc<Self>, inner: &mut MutexGuard<'_, Inner>, mut actions: Vec<Action>) {
        let mut next = Vec::new();
        while !actions.is_empty() {
            // A segment that was opened is the open copy before anything is offered to it.
            self.refresh_open(inner);
            for action in actions.drain(..) {
                match action {
                    Action::Committed(offset) => on_committed(inner, offset),
                    Action::Ready => self.drain_waiting(inner, &mut next),
                    Action::SteppedDown => self.stepped_down.notify_one(),
                    Action::Restart { reason } => {
                        self.abandon(inner);
                        if inner.leaving {
                            tracing::warn!(partition = ?self, reason, "not sealed; the next start recovers it");
                            self.stepped_down.notify_one();
                        } else {
                            self.restart(inner, reason);
                        }
                    }
                    other => self.carry_out(inner, other),
                }
            }
            std::mem::swap(&mut actions, &mut next);
        }
        self.refresh_open(inner);
        inner.scratch = actions;
    }

    fn refresh_open(&self, inner: &mut Inner) {
        let writing = inner.owner.as_ref().and_then(|o| o.writer()).map(|w| w.segment());
        if writing == inner.open.as_ref().map(|c| c.id) {
            return;
        }
        inner.open = writing.and_then(|id| inner.made.iter().find(|c| c.id == id).cloned());
        inner.made.retain(|c| Some(c.id) != writing);
        if let Some(writer) = inner.owner.as_ref().and_then(|o| o.writer()) {
            assert!(
                inner.open.is_some(),
                "{self:?}: segment {} is open without a copy here",
                writer.segment()
            );
        }
    }

    /// Offers what waits, oldest first, until something has to wait again.
    fn drain_waiting(self: &Arc<Self>, inner: &mut MutexGuard<'_, Inner>, out: &mut Vec<Action>) {
        self.refresh_open(inner);
        while let Some(front) = inner.waiting.pop_front() {
            // Whether or not somebody still waits for the answer: a batch that was dropped here could be missing between
            // others of its producer.
            match self.offer(inner, &front.batch, front.acks, out) {
                Some(ticket) => {
                    inner.waiting_bytes -= front.batch.bytes.len();
                    drop(front.held);
                    let _ = front.reply.send(ticket);
                }
                None => {
                    inner.waiting.push_front(front);
                    return;
                }
            }
        }
        inner.waiting_full = false;
    }

    /// The offsets that answers are made of.
    pub fn offsets(&self) -> Result<Offsets, NotReadable> {
        let inner = self.inner.lock();
        offsets_of(&inner)
    }

    /// The producers that wrote of late, at most so many of them; nothing when there are more.
    pub fn producers(&self, at_most: usize) -> Result<Option<Vec<ProducerView>>, NotReadable> {
        let inner = self.inner.lock();
        offsets_of(&inner)?;
        let owner = inner.owner.as_ref().ok_or(NotReadable::NotOwner)?;
        let (now_ms, expiry_ms) = (self.context.clock.now_ms(), self.context.producer_expiry_ms);
        if owner.producers().len() > at_most {
            return Ok(None);
        }
        Ok(Some(owner.producers().active(now_ms, expiry_ms).collect()))
    }

    /// Offsets, and the open copy with its base offset.
    pub(super) fn readable(&self) -> Result<(Offsets, Option<Arc<Segment>>), NotReadable> {
        let inner = self.inner.lock();
        let offsets = offsets_of(&inner)?;
        Ok((offsets, inner.open.as_ref().map(|c| c.segment.clone())))
    }

    /// Registers a fetch to be told of commits from now on. The caller looks once more afterwards.
    pub fn wait_for_bytes(&self, wait: &Arc<FetchWait>) {
        let mut inner = self.inner.lock();
        // Now and then the ended ones are swept out, so that an idle partition with busy consumers stays small.
        if inner.fetches.len() >= inner.fetches_swept_at {
            inner.fetches.retain(|wait| wait.strong_count() > 0);
            inner.fetches_swept_at = 2 * inner.fetches.len() + FETCHES_KEPT;
        }
        inner.fetches.push(Arc::downgrade(wait));
    }

    /// Takes the partition offline on this store until it is started again: every request for it is answered with
    /// KAFKA_STORAGE_ERROR.
    pub(super) fn take_offline(&self, reason: String) {
        tracing::error!(partition = ?self, reason, "partition is offline");
        self.inner.lock().offline = Some(reason.into());
        self.fence();
    }

    /// Why it is offline, when it is.
    pub fn offline(&self) -> Option<Arc<str>> {
        self.inner.lock().offline.clone()
    }

    /// The reference of one of its segments.
    pub fn segment_ref(&self, segment: SegmentId) -> SegmentRef {
        SegmentRef { partition: self.id, segment }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Bytes of the open segment.
    pub fn open_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        inner.owner.as_ref().and_then(|o| o.writer()).map_or(0, |w| w.appended_bytes())
    }

    /// Kafka's ISR.
    pub fn in_sync(&self) -> Vec<NodeId> {
        self.inner.lock().owner.as_ref().map_or_else(Vec::new, Owner::in_sync)
    }
}

fn offsets_of(inner: &Inner) -> Result<Offsets, NotReadable> {
    if let Some(reason) = &inner.offline {
        return Err(NotReadable::Storage(reason.clone()));
    }
    let owner = inner.owner.as_ref().ok_or(NotReadable::NotOwner)?;
    if owner.phase() == Phase::Stopped {
        return Err(NotReadable::NotOwner);
    }
    let high_watermark = owner.committed_offset().ok_or(NotReadable::NotOwner)?;
    // A loss can end the log below a start that DeleteRecords had moved.
    let log_start_offset = inner.log_start_offset.min(high_watermark);
    Ok(Offsets { log_start_offset, high_watermark, leader_epoch: owner.epoch() })
}

impl Inner {
    fn wake_fetches(&mut self) {
        for fetch in self.fetches.drain(..).filter_map(|fetch| fetch.upgrade()) {
            fetch.wake();
        }
    }
}

fn on_committed(inner: &mut Inner, committed_offset: i64) {
    let mut bytes = 0;
    while let Some((end, len)) = inner.uncommitted.front() {
        if *end > committed_offset {
            break;
        }
        bytes += *len as i64;
        inner.uncommitted.pop_front();
    }
    let first_confirmed = inner.owner.as_ref().map_or(committed_offset, Owner::first_confirmed_offset);
    inner.acks.confirm(first_confirmed, committed_offset);
    if bytes > 0 {
        inner.restarts = 0;
        inner.fetches.retain(|wait| wait.upgrade().is_some_and(|wait| !wait.add(bytes)));
    }
}

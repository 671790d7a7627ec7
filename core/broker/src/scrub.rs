//! The background scrub: every sealed segment of this store is read again and checked, so that what a disk has spoiled is
//! found before somebody consumes it.
//!
//! One task walks the segments, the one that waits longest first, in steps on the blocking pool, at a bounded rate.
//! Fetches of what was found damaged are answered with KAFKA_STORAGE_ERROR, everything else goes on
//! (docs/decisions/0007-scrubbing.md). What is known is in memory: the next round, or the next start, looks anew.

mod damage;
mod pace;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use buslane_log::{DamagedRange, SealedSegment};
use buslane_meta::{Image, SegmentStatus};
use buslane_wire::ids::{NodeId, SegmentRef};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use damage::DamageTable;

use crate::metrics::ScrubMetrics;
use crate::partitions::Context;
use pace::Pace;
use schedule::Schedule;

/// How often the chains are looked at for segments that were sealed or dropped, at least; each interval, if that is less.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// A segment that is damaged, or could not be looked at, is looked at again after this time or the interval, if that is
/// less: perhaps a disk failed to read once, or somebody has brought the file back.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);

/// Rounds over empty segments do not become a busy loop.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// How often and how fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubSettings {
    /// Each sealed segment is scrubbed once in this time; zero: never.
    pub interval: Duration,
    /// Bytes a second, at most. Not 0.
    pub rate: u64,
}

/// The running task.
#[derive(Debug)]
pub struct Scrubber {
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Scrubber {
    /// Starts the task; none when scrubbing is off.
    pub fn start(context: &Arc<Context>, settings: ScrubSettings, metrics: ScrubMetrics) -> Option<Scrubber> {
        if settings.interval.is_zero() {
            return None;
        }
        let (stopping, stopped) = watch::channel(false);
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let round = Round {
            context: context.clone(),
            again: settings.interval.min(AGAIN_MAX),
            interval: settings.interval,
            look: settings.interval.clamp(PAUSE_MIN, LOOK_MAX),
            schedule: Schedule::new(settings.interval.as_millis() as i64, seed),
            pace: Pace::new(settings.rate),
            metrics,
            stopped,
        };
        Some(Scrubber { stopping, task: context.runtime.spawn(round.run()) })
    }

    /// Ends the task: after the step under way, if there is one.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the scrub failed");
        }
    }
}

/// The server stops.
struct Stopped;

struct Round {
    context: Arc<Context>,
    interval: Duration,
    again: Duration,
    look: Duration,
    schedule: Schedule,
    pace: Pace,
    metrics: ScrubMetrics,
    stopped: watch::Receiver<bool>,
}

impl Round {
    async fn run(mut self) {
        while self.round().await.is_ok() {}
    }

    /// Scrubs what is due, then waits for what comes next.
    async fn round(&mut self) -> Result<(), Stopped> {
        self.follow();
        for segment in self.schedule.due(self.context.clock.now_ms()) {
            let wait = if self.scrub(segment).await? { self.interval } else { self.again };
            self.schedule.again(segment, self.context.clock.now_ms(), wait.as_millis() as i64);
        }
        let now_ms = self.context.clock.now_ms();
        let next = self.schedule.next_due().map_or(self.look, |due| {
            Duration::from_millis(u64::try_from(due.saturating_sub(now_ms)).unwrap_or(0))
        });
        self.wait_until(tokio::time::Instant::now() + next.clamp(PAUSE_MIN, self.look)).await
    }

    /// Enters what was sealed and forgets what was dropped.
    fn follow(&mut self) {
        let image = self.context.consensus.image();
        let sealed: Vec<SegmentRef> = sealed_here(&image, self.context.me).collect();
        let now_ms = self.context.clock.now_ms();
        self.schedule.follow(now_ms, sealed);
        // Of these, recovery believed what lies below their recovery points.
        for segment in self.context.store.take_unread(|segment| self.schedule.knows(segment)) {
            self.schedule.at_once(segment, now_ms);
        }
        self.context.damage.retain(|segment| self.schedule.knows(segment));
        self.metrics.damaged_segments.set(self.context.damage.segments() as i64);
    }

    /// Scrubs one segment, unless it is no longer there. False when it should soon be looked at again.
    async fn scrub(&mut self, segment: SegmentRef) -> Result<bool, Stopped> {
        let find = |context: &Context| sealed(&context.consensus.image(), &segment, context.me);
        let Some(of) = find(&self.context) else { return Ok(true) };
        let mut scrub = self.context.store.scrub(of);
        loop {
            let started = tokio::time::Instant::now();
            let bytes = self.pace.step_bytes();
            let step = self.context.runtime.spawn_blocking(move || {
                let step = scrub.step(bytes);
                (scrub, step)
            });
            let step = match step.await {
                Ok((returned, step)) => {
                    scrub = returned;
                    step
                }
                // The runtime ends, or a bug of ours that was reported as a panic: nobody is worse off without the rest.
                Err(_) => return self.wait_until(started).await.map(|()| false),
            };
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    tracing::warn!(%segment, %error, "a sealed segment could not be scrubbed; it is tried again");
                    return Ok(false);
                }
            };
            self.metrics.bytes.inc_by(step.bytes);
            if step.done {
                break;
            }
            let next = self.pace.after(started, step.bytes);
            self.wait_until(next).await?;
            if find(&self.context).is_none() {
                return Ok(true);
            }
        }
        // A file that is gone is no damage when its segment left the chain, which comes first (DurableBeforeDelete).
        if find(&self.context).is_none() {
            return Ok(true);
        }
        self.metrics.segments.inc();
        let found = scrub.into_damage();
        let sound = found.is_empty();
        self.tell(&of, found);
        Ok(sound)
    }

    /// Keeps what was found, and says what is new.
    fn tell(&self, of: &SealedSegment, found: Vec<DamagedRange>) {
        let image = self.context.consensus.image();
        let id = of.segment.partition;
        let topic = image.topic(id.topic).map_or_else(|| id.topic.to_string(), |t| t.name.clone());
        let partition = format!("{topic}-{}", id.partition);
        let data = self.context.store.dir().display();
        let before = self.context.damage.replace(of.segment, found.clone());
        for damage in found.iter().filter(|d| !before.contains(d)) {
            tracing::error!(
                partition,
                file = %damage.file.display(),
                position = damage.position,
                base_offset = damage.base_offset,
                end_offset = damage.end_offset,
                reason = damage.what,
                "a sealed segment is damaged: fetches from base_offset up to end_offset (exclusive) are refused with \
                 KAFKA_STORAGE_ERROR, all others and produce go on. See what else there is with `buslane log verify \
                 --data {data} --read-only`; then stop the server and bring the file back from another copy or a backup"
            );
        }
        if found.is_empty() && !before.is_empty() {
            tracing::info!(partition, segment = %of.segment, "a segment that was damaged is whole again");
        }
        self.metrics.damaged_segments.set(self.context.damage.segments() as i64);
    }

    async fn wait_until(&mut self, at: tokio::time::Instant) -> Result<(), Stopped> {
        tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => Err(Stopped),
            () = tokio::time::sleep_until(at) => Ok(()),
        }
    }
}

/// The sealed segments of which a store has copies.
fn sealed_here(image: &Image, me: NodeId) -> impl Iterator<Item = SegmentRef> {
    image.partitions().flat_map(move |(partition, p)| {
        let here = p.chain.iter().filter(move |s| s.end_offset().is_some() && s.stores.contains(&me));
        here.map(move |s| SegmentRef { partition, segment: s.id }).collect::<Vec<_>>()
    })
}

/// What the chain says of a sealed segment, if this store should have it.
fn sealed(image: &Image, segment: &SegmentRef, me: NodeId) -> Option<SealedSegment> {
    let partition = image.partition(segment.partition)?;
    let found = partition.chain.iter().find(|s| s.id == segment.segment && s.stores.contains(&me))?;
    let SegmentStatus::Sealed { end_offset, bytes, .. } = found.status else { return None };
    Some(SealedSegment {
        segment: *segment,
        base_offset: found.base_offset,
        end_offset,
        bytes,
        first_epoch: partition.first_epoch_of(found),
        epoch: found.epoch,
    })
}

#[cfg(test)]
mod tests;

//! When what is synced: a queue for those who wait, a round for everything else, and the threads that run them.
//!
//! The queue and the round are plain functions that the simulation runs inline ([`crate::Store::run_sync_queue`],
//! [`crate::Store::sync_round`]); [`Syncer`] runs the same on threads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::journal::JournalFailed;
use crate::journal::record::Record;
use crate::segment::{Segment, SyncError, Synced};
use crate::store::{Shared, Store};
use crate::sync_site::SyncSite;

/// Called once, from the thread that synced, with what is durable by then.
pub type SyncCallback = Box<dyn FnOnce(Result<Synced, SyncError>) + Send>;

/// Who waits for a segment's next sync.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: Vec<SyncCallback>,
    queued: bool,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("waiting", &self.waiting.len())
            .field("queued", &self.queued)
            .finish()
    }
}

/// Segments that somebody waits for, each at most once. Everybody who asks before a sync starts is served by it.
#[derive(Debug, Default)]
pub(crate) struct SyncQueue {
    state: Mutex<QueueState>,
    /// Something was queued, or the queue was stopped.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    segments: VecDeque<Arc<Segment>>,
    stopped: bool,
}

impl SyncQueue {
    /// Asks for a sync of what was appended so far; `None`: nobody waits for it, but it shall start soon.
    pub(crate) fn push(&self, segment: &Arc<Segment>, callback: Option<SyncCallback>) {
        let mut requests = segment.requests.lock();
        requests.waiting.extend(callback);
        if !requests.queued {
            requests.queued = true;
            drop(requests);
            self.state.lock().segments.push_back(segment.clone());
            self.changed.notify_one();
        }
    }

    /// Syncs one queued segment and answers those who waited for it. False when nothing was queued.
    fn run_one(&self) -> bool {
        let Some(segment) = self.state.lock().segments.pop_front() else { return false };
        self.serve(segment);
        true
    }

    fn serve(&self, segment: Arc<Segment>) {
        let waiting = std::mem::take(&mut segment.requests.lock().waiting);
        let result = segment.sync();
        for callback in waiting {
            callback(result.clone());
        }
        let mut requests = segment.requests.lock();
        if requests.waiting.is_empty() {
            requests.queued = false;
        } else {
            // They came while it was syncing. At the end of the queue: others wait, too.
            drop(requests);
            self.state.lock().segments.push_back(segment);
            self.changed.notify_one();
        }
    }

    /// Serves until stopped; what was queued before is still served.
    fn run(&self) {
        loop {
            let segment = {
                let mut state = self.state.lock();
                loop {
                    if let Some(segment) = state.segments.pop_front() {
                        break segment;
                    }
                    if state.stopped {
                        return;
                    }
                    self.changed.wait(&mut state);
                }
            };
            self.serve(segment);
        }
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn clear(&self) {
        self.state.lock().segments.clear();
    }
}

/// What a round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoundReport {
    /// Segments made durable.
    pub synced: usize,
    /// Segments given up because their sync failed.
    pub failed: usize,
    /// By one sync of everything.
    pub everything: bool,
}

impl Shared {
    /// Syncs all segments with unsynced bytes and notes their recovery points. `each` runs the given syncs, in
    /// parallel or not, and returns when all are done.
    fn sync_round(
        &self,
        each: &dyn Fn(Vec<Arc<Segment>>) -> Vec<Result<Synced, SyncError>>,
    ) -> Result<RoundReport, JournalFailed> {
        let noting = self.noting.lock();
        let segments = std::mem::take(&mut *self.dirty.lock());
        let mut targets = Vec::new();
        let mut unindexed = Vec::new();
        for segment in segments {
            {
                let mut tail = segment.tail.lock();
                // Whatever is appended from now on lists it again.
                tail.listed = false;
                if tail.sparse.is_behind() {
                    unindexed.push(segment.clone());
                }
            }
            if let Ok(target) = segment.sync_target() {
                targets.push((segment, target));
            }
        }
        let mut report = RoundReport::default();
        let unsynced = targets.iter().filter(|(_, target)| !target.done).count();
        let mut records = Vec::with_capacity(targets.len());
        if unsynced >= self.options.sync_everything_from {
            report.everything = true;
            // Survives the power cut: all but the last second.
            let result = self.syncs.everything(SyncSite::BackgroundEverything);
            for (segment, target) in &targets {
                match &result {
                    Ok(()) => {
                        report.synced += usize::from(!target.done);
                        records.extend(segment.recovery_point(segment.synced_to(target)));
                    }
                    Err(_) => report.failed += usize::from(!target.done),
                }
            }
            if let Err(e) = &result {
                self.doubt_everything(e);
            }
        } else {
            let (done, rest): (Vec<_>, Vec<_>) = targets.into_iter().partition(|(_, target)| target.done);
            records.extend(done.iter().filter_map(|(s, target)| s.recovery_point(target.target)));
            let rest: Vec<Arc<Segment>> = rest.into_iter().map(|(segment, _)| segment).collect();
            for (segment, result) in rest.iter().zip(each(rest.clone())) {
                match result {
                    Ok(synced) => {
                        report.synced += 1;
                        records.extend(segment.recovery_point(synced));
                    }
                    Err(_) => report.failed += 1,
                }
            }
        }
        // Not synced: an older recovery point costs a longer check, nothing else.
        let noted = if records.is_empty() { Ok(()) } else { self.journal.write(&records) };
        drop(noting);
        // After the syncs, and one long walk at most: the next round is due in a second.
        let mut may_scan = true;
        for segment in unindexed {
            may_scan &= !segment.retry_index(may_scan);
        }
        noted.map(|()| report)
    }
}

impl Segment {
    /// The record of a sync, unless the journal has it. A copy sealed in the chain needs none.
    pub(crate) fn recovery_point(&self, synced: Synced) -> Option<Record> {
        if self.is_distrusted() {
            return None;
        }
        let mut tail = self.tail.lock();
        // A cut since then took some of it back.
        if synced.position <= tail.noted_position || synced.position > tail.synced_position {
            return None;
        }
        tail.noted_position = synced.position;
        Some(Record::RecoveryPoint {
            segment: self.reference(),
            end_offset: synced.end_offset,
            position: synced.position,
        })
    }
}

impl Store {
    /// Calls back when everything appended to the segment so far is durable. Many who wait share one sync. Needs a
    /// running [`Syncer`], or somebody who calls [`Store::run_sync_queue`].
    pub fn request_sync(&self, segment: &Arc<Segment>, callback: SyncCallback) {
        self.shared.queue.push(segment, Some(callback));
    }

    /// Starts to make durable what the segment has, so that the sync at its seal is short. Nobody waits for it.
    pub fn presync(&self, segment: &Arc<Segment>) {
        self.shared.queue.push(segment, None);
    }

    /// Serves requested syncs in this thread until none is left; returns how many syncs that took.
    pub fn run_sync_queue(&self) -> usize {
        std::iter::from_fn(|| self.shared.queue.run_one().then_some(())).count()
    }

    /// One round of the background sync, in this thread: every segment with unsynced bytes, then their recovery points.
    pub fn sync_round(&self) -> Result<RoundReport, JournalFailed> {
        self.shared
            .sync_round(&|segments| segments.iter().map(|s| s.sync_at(SyncSite::BackgroundData)).collect())
    }
}

/// Settings of the background threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncerOptions {
    /// From one round to the next: how much a machine crash may cost a `replicated` segment, about.
    pub interval: Duration,
    /// Threads for those who wait, and for a round's single syncs.
    pub threads: usize,
}

impl Default for SyncerOptions {
    fn default() -> Self {
        SyncerOptions { interval: Duration::from_secs(1), threads: 8 }
    }
}

/// Syncs are short system calls; these threads need no deep stack.
const STACK_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// The threads that sync in the background. Stop it before [`Store::close`].
pub struct Syncer {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncer").field("threads", &self.threads.len()).finish()
    }
}

impl Syncer {
    /// Starts the threads. `on_round` hears of each round that did something, for logs and metrics.
    pub fn start(
        store: &Store,
        options: SyncerOptions,
        on_round: impl Fn(Result<RoundReport, JournalFailed>) + Send + 'static,
    ) -> std::io::Result<Syncer> {
        let shared = store.shared.clone();
        let stop = Arc::<Stop>::default();
        let mut syncer = Syncer { shared: shared.clone(), stop: stop.clone(), threads: Vec::new() };
        let thread = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(body)
        };
        for _ in 0..options.threads.max(1) {
            let shared = shared.clone();
            syncer.threads.push(thread("sync", Box::new(move || shared.queue.run()))?);
        }
        let rounds = move || {
            loop {
                {
                    let mut stopped = stop.stopped.lock();
                    if !*stopped {
                        stop.changed.wait_for(&mut stopped, options.interval);
                    }
                    if *stopped {
                        return;
                    }
                }
                let result = shared.sync_round(&|segments| sync_each(&shared, segments));
                if !matches!(&result, Ok(report) if *report == RoundReport::default()) {
                    on_round(result);
                }
            }
        };
        syncer.threads.push(thread("sync-rounds", Box::new(rounds))?);
        Ok(syncer)
    }

    /// Serves what is queued, ends the round under way and joins the threads.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        *self.stop.stopped.lock() = true;
        self.stop.changed.notify_all();
        // The round first: the threads of the queue do its work.
        if let Some(rounds) = self.threads.pop() {
            let _ = rounds.join();
        }
        self.shared.queue.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.join();
    }
}

/// Syncs segments through the queue's threads and waits for all of them.
fn sync_each(shared: &Shared, segments: Vec<Arc<Segment>>) -> Vec<Result<Synced, SyncError>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let count = segments.len();
    for (i, segment) in segments.iter().enumerate() {
        let sender = sender.clone();
        let answer: SyncCallback = Box::new(move |result| {
            // The round waits for every answer, so the receiver is there.
            let _ = sender.send((i, result));
        });
        shared.queue.push(segment, Some(answer));
    }
    drop(sender);
    let mut results: Vec<_> = receiver.iter().take(count).collect();
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests;

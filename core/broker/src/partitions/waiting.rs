//! Who waits for a partition: produce requests for their acknowledgement, fetches for bytes.
//!
//! Plain lists under the partition's lock; nothing here knows the owner or the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use tokio::sync::{Notify, oneshot};

/// Bytes of batches that may wait for segments to be opened or sealed, over all partitions of a node. Beyond it a batch
/// is refused with a retriable error.
pub const WAITING_BYTES_MAX: usize = 64 << 20;

/// What the waits at a node's partitions have in common.
#[derive(Debug, Default)]
pub struct Waiting {
    bytes: Arc<AtomicUsize>,
    fetches_ended: AtomicBool,
}

impl Waiting {
    /// Counts a batch that has to wait; `None` when too much waits already. One batch alone always may.
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        let fits = |held: usize| (held == 0 || held + bytes <= WAITING_BYTES_MAX).then_some(held + bytes);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Held { all: self.bytes.clone(), bytes })
    }

    /// From now on no fetch waits. Those that wait are woken by their partitions.
    pub fn end_fetches(&self) {
        self.fetches_ended.store(true, Ordering::Release);
    }

    /// See [`Waiting::end_fetches`].
    pub fn fetches_have_ended(&self) -> bool {
        self.fetches_ended.load(Ordering::Acquire)
    }

    /// Bytes that wait now.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

/// Bytes counted until this is dropped.
#[derive(Debug)]
pub struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What an acknowledged append is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub base_offset: i64,
    /// The broker's time in the batch, -1 with the producer's times.
    pub log_append_time_ms: i64,
    /// The partition's log start offset.
    pub log_start_offset: i64,
}

/// Which confirmation a produce request asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// None: it is not answered at all.
    None,
    /// The first store's.
    One,
    /// Every store's.
    All,
}

#[derive(Debug)]
struct Pending {
    end_offset: i64,
    acks: Acks,
    appended: Appended,
    reply: oneshot::Sender<Appended>,
}

/// Appends that wait for their confirmation. When the partition is lost the senders are dropped, which the requests
/// read as NOT_LEADER_OR_FOLLOWER.
#[derive(Debug, Default)]
pub struct PendingAcks {
    /// In offset order, but for duplicates, which may ask for an earlier offset.
    pending: VecDeque<Pending>,
}

impl PendingAcks {
    /// Waits until everything below `end_offset` is confirmed as `acks` says.
    pub fn push(&mut self, end_offset: i64, acks: Acks, appended: Appended) -> oneshot::Receiver<Appended> {
        let (reply, receiver) = oneshot::channel();
        self.pending.push_back(Pending { end_offset, acks, appended, reply });
        receiver
    }

    /// Answers what is confirmed now.
    pub fn confirm(&mut self, first_confirmed_offset: i64, committed_offset: i64) {
        while let Some(front) = self.pending.front() {
            let confirmed = match front.acks {
                Acks::None => true,
                Acks::One => front.end_offset <= first_confirmed_offset,
                Acks::All => front.end_offset <= committed_offset,
            };
            if !confirmed {
                break;
            }
            let pending = self.pending.pop_front().expect("the front is there");
            // The request may have timed out and gone.
            let _ = pending.reply.send(pending.appended);
        }
    }

    /// Gives up: every waiting request learns that the partition is no longer here.
    pub fn clear(&mut self) {
        self.pending.clear();
    }

    /// How many wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.pending.len()
    }
}

/// A fetch that waits for bytes in any of its partitions (KIP-74's min bytes), woken by commits.
#[derive(Debug)]
pub struct FetchWait {
    missing_bytes: AtomicI64,
    notify: Notify,
}

impl FetchWait {
    /// Waits for at least `missing_bytes` more.
    pub fn new(missing_bytes: i64) -> Arc<FetchWait> {
        Arc::new(FetchWait { missing_bytes: AtomicI64::new(missing_bytes), notify: Notify::new() })
    }

    /// `bytes` more are committed in one of its partitions. True when it has enough and can be forgotten.
    pub fn add(&self, bytes: i64) -> bool {
        let enough = self.missing_bytes.fetch_sub(bytes, Ordering::AcqRel) <= bytes;
        if enough {
            self.notify.notify_one();
        }
        enough
    }

    /// Something else changed that the fetch must see at once: the partition is gone, its log start moved.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Until there is enough. Cancel-safe.
    pub async fn enough(&self) {
        self.notify.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPENDED: Appended = Appended { base_offset: 5, log_append_time_ms: -1, log_start_offset: 0 };

    #[test]
    fn appends_are_answered_in_order_when_their_confirmation_is_there() {
        let mut acks = PendingAcks::default();
        let mut one = acks.push(10, Acks::One, APPENDED);
        let mut all = acks.push(10, Acks::All, APPENDED);
        acks.confirm(10, 9);
        assert_eq!(one.try_recv(), Ok(APPENDED));
        assert!(all.try_recv().is_err());
        acks.confirm(10, 10);
        assert_eq!(all.try_recv(), Ok(APPENDED));
    }

    #[test]
    fn giving_up_closes_every_reply() {
        let mut acks = PendingAcks::default();
        let mut all = acks.push(10, Acks::All, APPENDED);
        acks.clear();
        assert_eq!(all.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(acks.len(), 0);
    }

    #[test]
    fn bytes_wait_up_to_the_nodes_limit_and_one_batch_always() {
        let waiting = Waiting::default();
        let large = waiting.hold(WAITING_BYTES_MAX + 1).unwrap();
        assert!(waiting.hold(1).is_none());
        drop(large);
        let half = waiting.hold(WAITING_BYTES_MAX / 2).unwrap();
        assert!(waiting.hold(WAITING_BYTES_MAX / 2 + 1).is_none());
        let other = waiting.hold(WAITING_BYTES_MAX / 2).unwrap();
        assert!(waiting.hold(1).is_none());
        drop((half, other));
        assert_eq!(waiting.bytes(), 0);
    }

    #[tokio::test]
    async fn a_fetch_is_woken_once_its_bytes_are_there() {
        let wait = FetchWait::new(100);
        assert!(!wait.add(60));
        assert!(wait.add(40));
        wait.enough().await;
    }
}

//! The one budget for all request and response bytes that wait in memory.
//!
//! # What is charged
//! A request's buffer by its capacity, while it grows and until the last slice of it is dropped; the *working memory* of
//! a request of many entries while it is served, estimated from their number before it is begun; what a fetch of many
//! partitions holds while it waits for records (*parked*); a response's bytes until they are written. Parts that come
//! from a file are not: `sendfile(2)` holds no memory of ours.
//!
//! # Three shares
//! ```text
//! 0                         ordinary                     total - frame reserve     total
//! |--- large frames and their work -----------|- small reserve -|--- frame reserve ---|
//! |--------------------- small frames and their work ---------- |  one large frame    |
//! ```
//! * **Small frames** (at most [`SMALL_FRAME_MAX`] bytes) may use a slice that large ones may not: metadata and
//!   heartbeats pass while bulk traffic fills the rest.
//! * **One large frame at a time** holds the *ticket*: it may grow into the frame reserve, which is as large as the
//!   largest frame. The ticket is free again when that frame's bytes are dropped.
//!
//! * **Work** stands in lines of its own, small frames' and large ones', so that bulk frames neither wait for it nor hold
//!   it up. The first in line goes on when its bytes fit, *or when nobody else of its line works*: then even beyond the
//!   total, by at most what one request may need.
//!
//! # Why it cannot deadlock
//! Who waits here: a connection in the middle of a frame, one that has a whole frame whose work is not begun, and whoever
//! asked for a [`Budget::reserve`] (with a deadline of its own). What they wait for is held by
//! 1. requests being served: they have their working memory from the start and never wait for more, and a response never
//!    waits ([`Budget::charge`] is granted at once, beyond the total if need be; it blocks only those who come later), so
//!    these end by themselves;
//! 2. responses being written: they end when written or at the write timeout;
//! 3. parked fetches: a part of the total that is never exceeded, and they end at their own deadlines;
//! 4. other frames half read: of those the ticket holder always goes on; it completes, or ends at its half-request
//!    timeout, and the ticket passes to the next in line;
//! 5. whole frames that wait for work: the first in line goes on as soon as none of its line works, unless responses alone
//!    fill the share, which end as in 2.
//!
//! So every wait ends, and bulk requests go on one by one even when half-read frames hold all the ordinary share.
//! Waiting is in order of arrival within a line and exactly those are woken whose bytes were granted. A listener whose
//! handlers wait for *another process* that may wait for us needs a budget of its own.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Frames up to this many bytes count as small.
pub const SMALL_FRAME_MAX: usize = 64 * 1024;

/// The small frames' own slice, at most.
const SMALL_RESERVE_MAX: usize = 16 * 1024 * 1024;

/// Parked requests take at most the total divided by this; those that keep much leave half of it to the others.
const PARKED_PART: usize = 8;

/// From here on, in bytes, a parked request keeps much.
const PARKED_MUCH: usize = 16 << 10;

/// Which share a charge comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// A request of at most [`SMALL_FRAME_MAX`] bytes.
    SmallFrame,
    /// A longer request, at most [`Budget::largest_frame`] bytes.
    LargeFrame,
    /// Bytes of a response, or those that a handler asks for before it reads them.
    Response,
    /// Working memory of a request of at most [`SMALL_FRAME_MAX`] bytes.
    SmallWork,
    /// Working memory of a longer request.
    LargeWork,
    /// What is kept while a request waits for what it asks for. Never waits: see [`Budget::park`].
    Parked,
}

impl Share {
    /// The working memory's share for a frame of so many bytes.
    pub fn of_work(frame_len: usize) -> Share {
        if frame_len <= SMALL_FRAME_MAX { Share::SmallWork } else { Share::LargeWork }
    }
}

/// The limits, in bytes. `ordinary + small_reserve + frame_reserve = total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits {
    total: usize,
    small_reserve: usize,
    frame_reserve: usize,
}

impl Limits {
    fn ordinary(&self) -> usize {
        self.total - self.small_reserve - self.frame_reserve
    }

    fn limit(&self, share: Share) -> usize {
        match share {
            Share::SmallFrame | Share::SmallWork => self.total - self.frame_reserve,
            Share::LargeFrame | Share::Response | Share::LargeWork => self.ordinary(),
            Share::Parked => self.total / PARKED_PART,
        }
    }
}

/// A budget; clones share it.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// All bytes charged.
    used: usize,
    /// The most that `used` has been since [`Budget::has_fallen`] was last true, and since it was last asked.
    peak: usize,
    recent: usize,
    /// Of those, the ticket holder's in the frame reserve.
    beyond: usize,
    ticket_held: bool,
    /// Of those used, the responses'.
    responses: usize,
    /// Of those used, the parked requests'.
    parked: usize,
    /// Requests that have working memory.
    small_working: usize,
    large_working: usize,
    small: VecDeque<Arc<Waiter>>,
    ordinary: VecDeque<Arc<Waiter>>,
    small_work: VecDeque<Arc<Waiter>>,
    large_work: VecDeque<Arc<Waiter>>,
}

struct Waiter {
    want: usize,
    share: Share,
    wait: Mutex<Wait>,
}

enum Wait {
    Waiting(Waker),
    Granted { ticket: bool },
}

/// What a budget holds at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Bytes that may be used.
    pub total: usize,
    /// Bytes charged; above `total` only by responses that had to be charged.
    pub used: usize,
    /// Connections and handlers that wait for bytes.
    pub waiting: usize,
}

impl Budget {
    /// A budget of `total` bytes, under which frames of `frame_max` bytes are served, or of half of it if that is less.
    pub fn new(total: usize, frame_max: usize) -> Budget {
        let frame_reserve = frame_max.saturating_add(FRAME_SLACK).min(total / 2);
        let small_reserve = SMALL_RESERVE_MAX.min(total / 8);
        let limits = Limits { total, small_reserve, frame_reserve };
        Budget { shared: Arc::new(Shared { limits, state: Mutex::default() }) }
    }

    /// The longest frame that surely can be read.
    pub fn largest_frame(&self) -> usize {
        self.shared.limits.frame_reserve.saturating_sub(FRAME_SLACK)
    }

    /// What is held now.
    pub fn usage(&self) -> Usage {
        let state = self.shared.state.lock();
        Usage { total: self.shared.limits.total, used: state.used, waiting: state.waiting() }
    }

    /// True when since the last time this was asked at least `by` bytes fewer were charged, all the time, than at some time
    /// before. From then on it begins anew. Load that comes and goes between two looks is no fall.
    pub fn has_fallen(&self, by: usize) -> bool {
        let mut state = self.shared.state.lock();
        let used = state.used;
        let recent = std::mem::replace(&mut state.recent, used);
        let fallen = state.peak - recent >= by;
        if fallen {
            state.peak = recent;
        }
        fallen
    }

    /// True while anyone waits for bytes.
    pub fn is_contended(&self) -> bool {
        self.shared.state.lock().waiting() > 0
    }

    /// True when more is charged than a share may have: responses and work can go beyond it.
    pub fn is_exceeded(&self, share: Share) -> bool {
        let state = self.shared.state.lock();
        !state.fits(&self.shared.limits, share, 0)
    }

    /// A charge of nothing, to be grown.
    pub fn empty(&self, share: Share) -> Charge {
        self.charged(share, 0)
    }

    /// For bytes that were just added to `used`.
    fn charged(&self, share: Share, bytes: usize) -> Charge {
        Charge {
            shared: self.shared.clone(),
            share,
            bytes,
            beyond: 0,
            ticket: false,
            works: false,
            waiter: None,
        }
    }

    /// Charges response bytes that exist already. Never waits; see the module's argument.
    pub fn charge(&self, bytes: usize) -> Charge {
        self.shared.state.lock().add(Share::Response, bytes);
        self.charged(Share::Response, bytes)
    }

    /// Charges what a request keeps while it waits for what it asks for; `None` when too many do.
    pub fn park(&self, bytes: usize) -> Option<Charge> {
        let mut state = self.shared.state.lock();
        let limit = self.shared.limits.limit(Share::Parked);
        let room = state.parked + bytes <= if bytes < PARKED_MUCH { limit } else { limit / 2 };
        room.then(|| {
            state.add(Share::Parked, bytes);
            self.charged(Share::Parked, bytes)
        })
    }

    /// Charges response bytes if there is room and nobody waits for it; at most the ordinary share is asked for.
    pub fn try_reserve(&self, bytes: usize) -> Option<Charge> {
        let want = bytes.min(self.shared.limits.ordinary());
        let mut state = self.shared.state.lock();
        let free = state.ordinary.is_empty() && state.fits(&self.shared.limits, Share::Response, want);
        free.then(|| {
            state.add(Share::Response, want);
            self.charged(Share::Response, want)
        })
    }

    /// Charges response bytes, waiting in line for room; at most the ordinary share is asked for. The caller sets a
    /// deadline (a timeout around it; dropping the future leaves the line).
    pub async fn reserve(&self, bytes: usize) -> Charge {
        let want = bytes.min(self.shared.limits.ordinary());
        let mut charge = self.empty(Share::Response);
        poll_fn(|cx| charge.poll_grow(cx, want)).await;
        charge
    }
}

/// Bytes that a frame's buffer may have beyond the frame (the next frame's size is read along with it).
pub const FRAME_SLACK: usize = 4;

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

impl State {
    fn fits(&self, limits: &Limits, share: Share, want: usize) -> bool {
        self.used - self.beyond + want <= limits.limit(share)
    }

    /// Whether the first in line for working memory may go on.
    fn may_work(&self, limits: &Limits, share: Share) -> bool {
        let working = match share {
            Share::SmallWork => self.small_working,
            Share::LargeWork => self.large_working,
            _ => return false,
        };
        working == 0 && self.responses <= limits.limit(share)
    }

    fn waiting(&self) -> usize {
        self.small.len() + self.ordinary.len() + self.small_work.len() + self.large_work.len()
    }

    fn add(&mut self, share: Share, bytes: usize) {
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        self.recent = self.recent.max(self.used);
        match share {
            Share::Response => self.responses += bytes,
            Share::Parked => self.parked += bytes,
            Share::SmallFrame | Share::LargeFrame | Share::SmallWork | Share::LargeWork => {}
        }
    }

    fn sub(&mut self, share: Share, bytes: usize) {
        self.used -= bytes;
        match share {
            Share::Response => self.responses -= bytes,
            Share::Parked => self.parked -= bytes,
            Share::SmallFrame | Share::LargeFrame | Share::SmallWork | Share::LargeWork => {}
        }
    }

    /// Counts those who work; nothing for other shares.
    fn working(&mut self, share: Share) -> Option<&mut usize> {
        match share {
            Share::SmallWork => Some(&mut self.small_working),
            Share::LargeWork => Some(&mut self.large_working),
            _ => None,
        }
    }

    fn queue(&mut self, share: Share) -> &mut VecDeque<Arc<Waiter>> {
        match share {
            Share::SmallFrame => &mut self.small,
            Share::LargeFrame | Share::Response => &mut self.ordinary,
            Share::SmallWork => &mut self.small_work,
            Share::LargeWork => &mut self.large_work,
            Share::Parked => unreachable!("what is parked never waits"),
        }
    }

    /// Serves one waiter if one can be served; returns whom to wake.
    fn grant_next(&mut self, limits: &Limits) -> Option<Waker> {
        for share in [Share::SmallWork, Share::LargeWork, Share::SmallFrame, Share::LargeFrame] {
            let Some(head) = self.queue(share).front() else { continue };
            let (head_share, want) = (head.share, head.want);
            if self.fits(limits, head_share, want) || self.may_work(limits, head_share) {
                self.add(head_share, want);
                if let Some(working) = self.working(head_share) {
                    *working += 1;
                }
                let waiter = self.queue(share).pop_front().expect("the front was just seen");
                return Some(waiter.grant(false));
            }
        }
        if self.ticket_held {
            return None;
        }
        let next = self.ordinary.iter().position(|waiter| waiter.share == Share::LargeFrame)?;
        let waiter = self.ordinary.remove(next).expect("the position was just found");
        self.ticket_held = true;
        self.add(Share::LargeFrame, waiter.want);
        self.beyond += waiter.want;
        Some(waiter.grant(true))
    }
}

impl Waiter {
    fn grant(&self, ticket: bool) -> Waker {
        match std::mem::replace(&mut *self.wait.lock(), Wait::Granted { ticket }) {
            Wait::Waiting(waker) => waker,
            Wait::Granted { .. } => unreachable!("a waiter leaves the line when it is granted"),
        }
    }
}

impl Shared {
    /// Serves all who can be served, each woken outside the lock.
    fn grant(&self) {
        loop {
            let Some(waker) = self.state.lock().grant_next(&self.limits) else { return };
            waker.wake();
        }
    }
}

/// Bytes charged to a budget; given back when dropped.
pub struct Charge {
    shared: Arc<Shared>,
    share: Share,
    bytes: usize,
    /// Of `bytes`, those in the frame reserve.
    beyond: usize,
    ticket: bool,
    /// Counts among those who work.
    works: bool,
    waiter: Option<Arc<Waiter>>,
}

impl Charge {
    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges `by` bytes more, or waits in line for them. Must be polled again with the same `by` until it is ready;
    /// dropping the charge leaves the line. Working memory is asked for once.
    pub fn poll_grow(&mut self, cx: &mut Context<'_>, by: usize) -> Poll<()> {
        if let Some(waiter) = &self.waiter {
            assert_eq!(waiter.want, by, "a wait for bytes goes on with the same number");
            let ticket = match &mut *waiter.wait.lock() {
                Wait::Waiting(waker) => {
                    waker.clone_from(cx.waker());
                    return Poll::Pending;
                }
                Wait::Granted { ticket } => *ticket,
            };
            self.waiter = None;
            self.works = matches!(self.share, Share::SmallWork | Share::LargeWork);
            self.bytes += by;
            self.ticket |= ticket;
            self.beyond += if ticket { by } else { 0 };
            return Poll::Ready(());
        }
        let limits = &self.shared.limits;
        let mut state = self.shared.state.lock();
        let reserve_is_free = !state.ticket_held && self.share == Share::LargeFrame;
        if self.ticket {
            state.beyond += by;
            self.beyond += by;
        } else if state.queue(self.share).is_empty()
            && (state.fits(limits, self.share, by) || state.may_work(limits, self.share))
        {
            if let Some(working) = state.working(self.share) {
                *working += 1;
                self.works = true;
            }
        } else if reserve_is_free {
            // Whoever waits before us waits for a response: no frame waits while the ticket is free.
            state.ticket_held = true;
            state.beyond += by;
            self.ticket = true;
            self.beyond += by;
        } else {
            let wait = Mutex::new(Wait::Waiting(cx.waker().clone()));
            let waiter = Arc::new(Waiter { want: by, share: self.share, wait });
            state.queue(self.share).push_back(waiter.clone());
            self.waiter = Some(waiter);
            return Poll::Pending;
        }
        state.add(self.share, by);
        self.bytes += by;
        Poll::Ready(())
    }

    /// From now on this is a response's charge: the work is done.
    pub fn into_response(mut self) -> Charge {
        {
            let mut state = self.shared.state.lock();
            state.sub(self.share, self.bytes);
            if std::mem::take(&mut self.works)
                && let Some(working) = state.working(self.share)
            {
                *working -= 1;
            }
            self.share = Share::Response;
            state.add(self.share, self.bytes);
        }
        self.shared.grant();
        self
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            return;
        }
        let given_back = self.bytes - bytes;
        let given_back_beyond = given_back.min(self.beyond);
        self.bytes = bytes;
        self.beyond -= given_back_beyond;
        {
            let mut state = self.shared.state.lock();
            state.sub(self.share, given_back);
            state.beyond -= given_back_beyond;
        }
        self.shared.grant();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            if let Some(waiter) = self.waiter.take() {
                let queue = state.queue(self.share);
                match queue.iter().position(|other| Arc::ptr_eq(other, &waiter)) {
                    Some(at) => drop(queue.remove(at)),
                    // Granted, but nobody came to see it.
                    None => {
                        let ticket = matches!(*waiter.wait.lock(), Wait::Granted { ticket: true });
                        self.bytes += waiter.want;
                        self.works = matches!(self.share, Share::SmallWork | Share::LargeWork);
                        self.ticket |= ticket;
                        self.beyond += if ticket { waiter.want } else { 0 };
                    }
                }
            }
            if self.works
                && let Some(working) = state.working(self.share)
            {
                *working -= 1;
            }
            if self.ticket {
                state.ticket_held = false;
            }
            state.sub(self.share, self.bytes);
            state.beyond -= self.beyond;
        }
        self.shared.grant();
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("bytes", &self.bytes)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

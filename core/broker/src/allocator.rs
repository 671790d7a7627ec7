//! What the C library's allocator keeps of what was freed.
//!
//! glibc has up to eight heaps for each processor, threads are spread over them, and each keeps what is freed below
//! anything that is still in use. Requests of many entries free tens of MiB on whatever thread has served them: kept in
//! every heap, that would be far more than the budget. So there are fewer heaps, and what was freed is given back when
//! the budget has fallen.
//!
//! Its thresholds follow the largest buffer that was ever freed: after one request of 30 MiB, each heap keeps up to 60 MiB
//! at its end for good (`malloc_trim(3)` gives back what lies between, not the end of any heap but the first). So they are
//! fixed here.

use std::convert::Infallible;
use std::time::Duration;

use crate::net::Budget;

/// How often the budget is looked at.
const LOOK_EACH: Duration = Duration::from_secs(3);

/// When so many bytes fewer are charged than were, free pages are given back. Traffic that goes on at one level touches
/// them again, which costs a page fault for each 4 KiB: at most once each time the budget is looked at.
const WORTH_GIVING_BACK: usize = 16 << 20;

/// Gives free pages back after the budget has fallen; for as long as the server runs.
pub async fn give_back_after(budget: Budget) -> Infallible {
    let mut tick = tokio::time::interval(LOOK_EACH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if budget.has_fallen(WORTH_GIVING_BACK) {
            // Each heap is locked meanwhile, for up to some milliseconds: not on a thread that serves.
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Buffers from this size on, in bytes, have a mapping of their own, which is given back when they are freed. Those of
    /// usual requests (a producer's `max.request.size` is 1 MiB) are below it: a page fault for each 4 KiB costs more than
    /// receiving them.
    const OWN_MAPPING: libc::c_int = 4 << 20;

    /// What a heap may keep at its end, in bytes.
    const KEPT_AT_END: libc::c_int = 2 << 20;

    /// Fewer heaps, two for each processor, and fixed thresholds. Before threads are started: each takes a heap of its own.
    pub fn set_up() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let heaps = libc::c_int::try_from(2 * processors).unwrap_or(libc::c_int::MAX);
        // SAFETY: mallopt(3) may be called at any time with any values; it takes no pointers.
        let taken = unsafe {
            libc::mallopt(libc::M_ARENA_MAX, heaps) != 0
                && libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING) != 0
                && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_AT_END) != 0
        };
        debug_assert!(taken, "the C library refuses a setting of its heaps");
    }

    /// Gives free pages back to the system, those between others, too.
    pub fn give_back() {
        // SAFETY: malloc_trim(3) is thread-safe and takes no pointers.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Other C libraries decide for themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod glibc {
    pub fn set_up() {}

    pub fn give_back() {}
}

pub use glibc::{give_back, set_up};

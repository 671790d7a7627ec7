//! What the C library's allocator keeps of what was freed.
//!
//! It has up to eight heaps for each processor, threads are spread over them, and each keeps what is freed below anything
//! that is still in use. Requests of many entries free tens of MiB on whatever thread has served them: kept in every heap,
//! that would be far more than the budget.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Fewer heaps: two for each processor.
    pub fn limit_heaps() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let heaps = libc::c_int::try_from(2 * processors).unwrap_or(libc::c_int::MAX);
        // SAFETY: mallopt(3) may be called at any time with any values; it takes no pointers.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
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
    pub fn limit_heaps() {}

    pub fn give_back() {}
}

pub use glibc::{give_back, limit_heaps};

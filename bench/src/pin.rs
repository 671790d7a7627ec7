//! Pinning and the CPU time of one thread.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Pins the calling thread to a core.
pub fn to_core(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| {
        format!("cannot pin to core {core}: choose another with --serve-core and --load-core")
    })
}

/// CPU seconds (user and system) that the calling thread has used.
pub fn thread_cpu_seconds() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// The result line of a mode that moves bytes.
pub fn moved(mode: &str, bytes: u64, wall_seconds: f64, cpu_seconds: f64) -> serde_json::Value {
    let megabytes = bytes as f64 / 1e6;
    serde_json::json!({
        "mode": mode, "bytes": bytes, "wall_s": wall_seconds, "cpu_s": cpu_seconds,
        "mb_per_s": megabytes / wall_seconds, "cpu_ms_per_mb": cpu_seconds * 1e3 / megabytes,
    })
}

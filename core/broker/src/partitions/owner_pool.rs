//! Threads for what owners do on the disk: recovery, segments made, sealed and checkpointed.
//!
//! Apart from those of the reads: however many fetches wait for a slow disk, a seal starts at once.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Threads at most; they end when nothing was to be done for some seconds.
const THREADS_MAX: usize = 64;

/// The pool. What is queued when it is dropped is dropped too; what runs goes on.
pub struct OwnerPool {
    /// Only its blocking threads are used. There until the pool is dropped.
    runtime: Option<Runtime>,
}

impl OwnerPool {
    /// No thread runs before there is work.
    pub fn new() -> io::Result<OwnerPool> {
        let runtime =
            Builder::new_current_thread().max_blocking_threads(THREADS_MAX).thread_name("owner").build()?;
        Ok(OwnerPool { runtime: Some(runtime) })
    }

    /// Runs it as soon as a thread is free. Its result, if anybody wants it, is for itself to hand on.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        let runtime = self.runtime.as_ref().expect("it is there until the drop");
        drop(runtime.spawn_blocking(work));
    }
}

impl Drop for OwnerPool {
    fn drop(&mut self) {
        // The last holder may be a task: waiting is not allowed there.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn work_runs_while_every_thread_of_the_reads_waits() {
        let reads = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(3).build().unwrap();
        let pool = OwnerPool::new().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Arc::new(parking_lot::Mutex::new(held));
        for _ in 0..10 {
            let held = held.clone();
            drop(reads.spawn_blocking(move || held.lock().recv()));
        }
        let (done, finished) = mpsc::channel();
        reads.block_on(async { pool.run(move || done.send(()).unwrap()) });
        finished.recv().unwrap();
        // It may be dropped by a task.
        reads.block_on(async { drop(pool) });
        drop(release);
    }
}

//! The thread that writes the log: openraft's tasks never wait for a disk.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use openraft::storage::LogFlushed;
use tokio::sync::oneshot;

use super::types::Types;
use crate::meta_log::{LogPosition, MetaLog, MetaLogError, Record};

/// Why nothing more is written: the first failure, for those whom openraft only tells that there was one.
pub(super) type Failure = Arc<OnceLock<String>>;

/// Who wants to know that records are durable.
pub(super) enum Done {
    /// openraft, of entries.
    Flushed(LogFlushed<Types>),
    /// A caller that waits.
    Written(oneshot::Sender<io::Result<()>>),
}

impl Done {
    fn tell(self, result: io::Result<()>) {
        match self {
            Done::Flushed(callback) => callback.log_io_completed(result),
            // Whoever waited may have gone.
            Done::Written(reply) => drop(reply.send(result)),
        }
    }
}

/// What the thread is asked to do, strictly one after another.
pub(super) enum Write {
    /// Append records; several of these in a row share one frame and one sync.
    Append(Vec<Record>, Done),
    /// Forget the entries up to a position, and keep these records.
    Purge(LogPosition, Vec<Record>, Done),
}

/// The way to the thread. The thread ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub(super) struct LogThread {
    writes: mpsc::Sender<Write>,
}

impl LogThread {
    /// Starts the thread; `log_bytes` always holds the size of the log.
    pub(super) fn start(
        log: MetaLog,
        log_bytes: Arc<AtomicU64>,
        failure: Failure,
    ) -> io::Result<(LogThread, JoinHandle<()>)> {
        let (writes, waiting) = mpsc::channel();
        log_bytes.store(log.log_bytes(), Ordering::Relaxed);
        let thread = std::thread::Builder::new()
            .name("metadata-log".to_owned())
            .spawn(move || run(log, &waiting, &log_bytes, &failure))?;
        Ok((LogThread { writes }, thread))
    }

    /// Queues a write.
    pub(super) fn send(&self, write: Write) {
        if let Err(mpsc::SendError(Write::Append(_, done) | Write::Purge(_, _, done))) =
            self.writes.send(write)
        {
            done.tell(Err(io::Error::other("the metadata log's thread has ended")));
        }
    }

    /// Queues a write and waits until it is durable.
    pub(super) async fn write(&self, write: impl FnOnce(Done) -> Write) -> io::Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(write(Done::Written(reply)));
        answer.await.unwrap_or_else(|_| Err(io::Error::other("the metadata log's thread has ended")))
    }
}

fn run(mut log: MetaLog, waiting: &mpsc::Receiver<Write>, log_bytes: &AtomicU64, failure: &OnceLock<String>) {
    let mut next = None;
    while let Some(write) = next.take().or_else(|| waiting.recv().ok()) {
        match write {
            Write::Append(mut records, done) => {
                let mut all_done = vec![done];
                loop {
                    match waiting.try_recv() {
                        Ok(Write::Append(mut more, done)) => {
                            records.append(&mut more);
                            all_done.push(done);
                        }
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                let result = log.append(&records);
                log_bytes.store(log.log_bytes(), Ordering::Relaxed);
                for done in all_done {
                    done.tell(report(&result, failure));
                }
            }
            Write::Purge(upto, kept, done) => {
                let result = log.purge(upto, &kept);
                log_bytes.store(log.log_bytes(), Ordering::Relaxed);
                done.tell(report(&result, failure));
            }
        }
    }
}

/// The error for one of several who wait.
fn report(result: &Result<(), MetaLogError>, failure: &OnceLock<String>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            failure.get_or_init(|| text.clone());
            Err(io::Error::other(text))
        }
    }
}

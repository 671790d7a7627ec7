//! The thread that writes to the log: no task of the runtime waits for a disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use openraft::storage::LogFlushed;
use tokio::sync::oneshot;

use super::Health;
use super::types::TypeConfig;
use crate::meta_log::{LogPosition, MetaLog, MetaLogError, Record};

/// What the log is asked for, in order.
enum Job {
    /// Entries; the library hears when they are durable.
    Entries { records: Vec<Record>, durable: LogFlushed<TypeConfig> },
    /// Anything else; whoever asks waits.
    Records { records: Vec<Record>, durable: oneshot::Sender<io::Result<()>> },
    /// What a snapshot made superfluous goes.
    Purge { upto: LogPosition, kept: Vec<Record>, done: oneshot::Sender<io::Result<()>> },
}

/// The way to the thread. It ends when the last one of these is gone.
#[derive(Clone)]
pub(crate) struct LogThread(mpsc::Sender<Job>);

impl LogThread {
    /// Starts it.
    pub(crate) fn start(
        mut log: MetaLog,
        folder: &Path,
        health: Arc<Health>,
    ) -> Result<(LogThread, JoinHandle<()>), MetaLogError> {
        let (sender, jobs) = mpsc::channel();
        health.set_log_bytes(log.log_bytes());
        let thread = std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || {
                for job in jobs {
                    run(&mut log, job, &health);
                }
            })
            .map_err(|source| MetaLogError::Io { file: folder.to_owned(), source })?;
        Ok((LogThread(sender), thread))
    }

    /// Appends entries; does not wait.
    pub(crate) fn entries(&self, records: Vec<Record>, durable: LogFlushed<TypeConfig>) {
        if let Err(mpsc::SendError(Job::Entries { durable, .. })) =
            self.0.send(Job::Entries { records, durable })
        {
            durable.log_io_completed(Err(gone()));
        }
    }

    /// Appends other records; returns when they are durable.
    pub(crate) async fn records(&self, records: Vec<Record>) -> io::Result<()> {
        let (durable, answer) = oneshot::channel();
        self.0.send(Job::Records { records, durable }).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Forgets entries; see [`MetaLog::purge`].
    pub(crate) async fn purge(&self, upto: LogPosition, kept: Vec<Record>) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.0.send(Job::Purge { upto, kept, done }).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn run(log: &mut MetaLog, job: Job, health: &Health) {
    let outcome = match &job {
        Job::Entries { records, .. } | Job::Records { records, .. } => log.append(records),
        Job::Purge { upto, kept, .. } => log.purge(*upto, kept),
    };
    health.set_log_bytes(log.log_bytes());
    let outcome = outcome.map_err(|error| {
        let text = error.to_string();
        health.fail(error);
        io::Error::other(text)
    });
    match job {
        Job::Entries { durable, .. } => durable.log_io_completed(outcome),
        // Whoever asked may have been stopped meanwhile.
        Job::Records { durable: done, .. } | Job::Purge { done, .. } => drop(done.send(outcome)),
    }
}

/// The thread ends only after every sender is gone, or when it panicked.
fn gone() -> io::Error {
    io::Error::other("the thread that writes the metadata log has ended")
}

//! Compaction of partitions whose `cleanup.policy` says so: which are due, and one pass after another.
//!
//! A pass is the owner's: [`buslane_log::cleaner`] writes what is left of the sealed segments to new copies, which are
//! synced, then one command puts them into the chain. Until that is committed the old ones are in force; afterwards their
//! files go, and readers that hold them go on reading. One partition at a time, on a thread that serves nobody else, at a
//! bounded rate. docs/decisions/0010-compaction.md.

mod due;
mod pass;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use buslane_wire::ids::TopicPartition;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics::CompactionMetrics;
use crate::node::Node;
use crate::retention;
use due::Due;

/// How often, how fast, and with how much memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactionSettings {
    /// Pause after a look at all partitions that found nothing to do (`log.cleaner.backoff.ms`).
    pub check: Duration,
    /// Bytes of the table of keys, at most (`log.cleaner.dedupe.buffer.size`).
    pub table_bytes: usize,
    /// Bytes read a second, at most (`log.cleaner.io.max.bytes.per.second`). Not 0.
    pub rate: u64,
}

/// After a pass that failed the partition is left alone for so long: what is damaged does not mend itself.
const AGAIN_MS: i64 = 3_600_000;

/// The running task.
pub struct Compactor {
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Compactor {
    /// Starts the task.
    pub fn start(node: &Arc<Node>, settings: CompactionSettings, metrics: CompactionMetrics) -> Compactor {
        let (stopping, stopped) = watch::channel(false);
        let rounds = Rounds { node: node.clone(), settings, metrics, failed: HashMap::new() };
        Compactor { stopping, task: node.runtime.spawn(rounds.run(stopped)) }
    }

    /// Ends the task. A pass under way is given up, and what it wrote is removed. The node has to be stopping already.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "compaction failed");
        }
    }
}

struct Rounds {
    node: Arc<Node>,
    settings: CompactionSettings,
    metrics: CompactionMetrics,
    /// Partitions whose last pass failed, and when they are tried again, by the node's clock.
    failed: HashMap<TopicPartition, i64>,
}

impl Rounds {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.settings().check) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            // The dirtiest first, and each once, so that none is starved by one that is written to all the time.
            for due in self.look().await {
                if self.node.is_stopping() {
                    return;
                }
                // New copies come before the old ones go: a disk that is nearly full is none to compact on.
                if self.node.accepts_writes() {
                    self.pass(due).await;
                }
            }
        }
    }

    /// As they are now.
    fn settings(&self) -> CompactionSettings {
        self.node.server_values.load().compaction(self.settings)
    }

    /// The partitions that are due, the dirtiest first.
    async fn look(&mut self) -> Vec<Due> {
        let image = self.node.consensus.image();
        self.failed.retain(|id, _| image.partition(*id).is_some());
        self.metrics.failed_partitions.set(self.failed.len() as i64);
        let now_ms = self.node.context.clock.now_ms();
        let waiting: Vec<TopicPartition> =
            self.failed.iter().filter(|(_, until)| **until > now_ms).map(|(id, _)| *id).collect();
        let looking = self.node.clone();
        // Off the runtime's threads: when the oldest record was written stands in a file.
        let found = self.node.runtime.spawn_blocking(move || due::find(&looking, &waiting)).await;
        found.unwrap_or_else(|ended| {
            tracing::error!(%ended, "compaction found nothing out");
            Vec::new()
        })
    }

    async fn pass(&mut self, due: Due) {
        let partition = due.partition.clone();
        let node = self.node.clone();
        let _compacting = node.compacting(partition.id).await;
        let outcome = pass::run(&node, due, &self.settings()).await;
        // It had to wait; in passes that follow on each other it would do so for ever.
        retention::pass_over(&node, &partition).await;
        match outcome {
            Ok(Some(pass::Done { clean_end_offset, cleaned })) => {
                self.failed.remove(&partition.id);
                self.metrics.passes.inc();
                self.metrics.bytes_before.inc_by(cleaned.bytes_before);
                self.metrics.bytes_after.inc_by(cleaned.bytes_after);
                tracing::info!(
                    ?partition,
                    clean_end_offset,
                    records_before = cleaned.records_before,
                    records_after = cleaned.records_after,
                    bytes_before = cleaned.bytes_before,
                    bytes_after = cleaned.bytes_after,
                    "compacted"
                );
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(?partition, %error, "not compacted; it is tried again in an hour");
                self.metrics.failures.inc();
                self.failed.insert(partition.id, self.node.context.clock.now_ms() + AGAIN_MS);
            }
        }
        self.metrics.failed_partitions.set(self.failed.len() as i64);
    }
}

//! The consensus library's log: the entries in memory, their durability on the log's thread.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use buslane_wire::ids::NodeId;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{Entry, LogId, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;

use super::log_thread::LogThread;
use super::types::{StorageError, TypeConfig, log_id, position, raft_entry, raft_vote, stored_entry, vote_of};
use crate::meta_log::{LogEntry, LogPosition, Record, Replay, Vote};

/// Vote and entries, as appended; the newest ones may not be durable yet.
#[derive(Debug, Default)]
struct Memory {
    vote: Option<Vote>,
    purged: Option<LogPosition>,
    /// Without gaps, from the one after `purged` on.
    entries: VecDeque<LogEntry>,
}

impl Memory {
    /// Those of the entries with an index in the range that are there.
    fn range(&self, range: &impl RangeBounds<u64>) -> Vec<Entry<TypeConfig>> {
        let Some(first) = self.entries.front().map(|e| e.at.index) else { return Vec::new() };
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let at = |index: u64| usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX);
        let end = at(end).min(self.entries.len());
        let start = at(start).min(end);
        self.entries.range(start..end).map(raft_entry).collect()
    }

    /// Drops the entries up to one, inclusive.
    fn purge(&mut self, upto: LogPosition) {
        while self.entries.front().is_some_and(|e| e.at.index <= upto.index) {
            self.entries.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
    }
}

/// Reads entries; for whoever replicates.
#[derive(Clone, Debug)]
pub(crate) struct LogReader(Arc<Mutex<Memory>>);

/// See the module's head.
pub(crate) struct LogStore {
    memory: Arc<Mutex<Memory>>,
    thread: LogThread,
}

impl LogStore {
    /// Of what was found at the opening.
    pub(crate) fn new(replay: &mut Replay, thread: LogThread) -> LogStore {
        let memory = Memory {
            vote: replay.vote,
            purged: replay.purged,
            entries: std::mem::take(&mut replay.entries).into(),
        };
        LogStore { memory: Arc::new(Mutex::new(memory)), thread }
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError> {
        Ok(self.0.lock().range(&range))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError> {
        Ok(self.memory.lock().range(&range))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let memory = self.memory.lock();
        let last = memory.entries.back().map(|e| e.at).or(memory.purged);
        Ok(LogState { last_purged_log_id: memory.purged.map(log_id), last_log_id: last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader(self.memory.clone())
    }

    async fn save_vote(&mut self, vote: &openraft::Vote<NodeId>) -> Result<(), StorageError> {
        let vote = vote_of(vote);
        // Memory first, so that a purge which follows keeps it; nobody reads it there before this returns.
        self.memory.lock().vote = Some(vote);
        self.thread.records(vec![Record::Vote(vote)]).await.map_err(|e| StorageIOError::write_vote(&e))?;
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<openraft::Vote<NodeId>>, StorageError> {
        Ok(self.memory.lock().vote.map(raft_vote))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().map(stored_entry).collect();
        self.memory.lock().entries.extend(entries.iter().cloned());
        self.thread.entries(entries.into_iter().map(Record::Entry).collect(), callback);
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<NodeId>) -> Result<(), StorageError> {
        self.memory.lock().entries.retain(|e| e.at.index < from.index);
        let records = vec![Record::Truncate(from.index)];
        self.thread.records(records).await.map_err(|e| StorageIOError::write_logs(&e))?;
        Ok(())
    }

    async fn purge(&mut self, upto: LogId<NodeId>) -> Result<(), StorageError> {
        let upto = position(&upto);
        // What is in memory was given to the thread before this purge, so the new file holds nothing that is not
        // durable elsewhere, and misses nothing.
        let kept = {
            let mut memory = self.memory.lock();
            memory.purge(upto);
            let entries = memory.entries.iter().cloned().map(Record::Entry);
            memory.vote.map(Record::Vote).into_iter().chain(entries).collect()
        };
        self.thread.purge(upto, kept).await.map_err(|e| StorageIOError::write_logs(&e))?;
        Ok(())
    }
}

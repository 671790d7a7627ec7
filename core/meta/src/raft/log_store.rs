//! openraft's log on our [`MetaLog`](crate::MetaLog): entries in memory to read, the log's thread to write.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use buslane_wire::ids::NodeId;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogId, LogState, OptionalSend, RaftLogReader, StorageIOError, Vote};
use parking_lot::Mutex;

use super::log_thread::{Done, LogThread, Write};
use super::types::{
    Entry, StorageError, Types, Voter, loaded, loaded_vote, log_id, position, stored, stored_vote,
};
use crate::meta_log::{MetaLogError, Record, Replay};

#[derive(Debug, Default)]
struct Entries {
    by_index: BTreeMap<u64, Entry>,
    purged: Option<LogId<Voter>>,
}

/// Reads entries. They are all in memory: a snapshot bounds how many there are.
#[derive(Clone, Debug)]
pub(super) struct LogReader {
    entries: Arc<Mutex<Entries>>,
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.entries.lock().by_index.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

/// The log.
#[derive(Debug)]
pub(super) struct LogStore {
    reader: LogReader,
    vote: Option<Vote<Voter>>,
    thread: LogThread,
}

impl LogStore {
    /// The log as it was found.
    pub(super) fn new(
        replay: Replay,
        me: NodeId,
        folder: &Path,
        thread: LogThread,
    ) -> Result<LogStore, MetaLogError> {
        let mut entries = Entries { purged: replay.purged.map(log_id), ..Entries::default() };
        for entry in replay.entries {
            entries.by_index.insert(entry.at.index, loaded(entry, folder)?);
        }
        let vote = replay.vote.map(|mut vote| {
            // openraft would go on as the leader of the term that this node led before. But an entry of that term may
            // have reached a follower and, torn here, not this disk; another one would take its place under the same
            // term and index. A vote that no quorum gave makes it stand for election, in a new term.
            vote.committed &= vote.node != me;
            loaded_vote(vote)
        });
        Ok(LogStore { reader: LogReader { entries: Arc::new(Mutex::new(entries)) }, vote, thread })
    }

    /// The vote that openraft starts from.
    #[cfg(test)]
    pub(super) fn vote(&self) -> Option<Vote<Voter>> {
        self.vote
    }

    /// True for a log that never held anything.
    pub(super) fn is_pristine(&self) -> bool {
        let entries = self.reader.entries.lock();
        entries.by_index.is_empty() && entries.purged.is_none() && self.vote.is_none()
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reader.try_get_log_entries(range).await
    }
}

fn write_failed(error: io::Error) -> StorageError {
    StorageIOError::write_logs(&error).into()
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let entries = self.reader.entries.lock();
        let last = entries.by_index.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: entries.purged, last_log_id: last.or(entries.purged) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<Voter>) -> Result<(), StorageError> {
        let record = Record::Vote(stored_vote(vote));
        let written = self.thread.write(|done| Write::Append(vec![record], done)).await;
        written.map_err(|e| StorageIOError::write_vote(&e))?;
        self.vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<Voter>>, StorageError> {
        Ok(self.vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut held = self.reader.entries.lock();
            for entry in entries {
                records.push(Record::Entry(stored(&entry)));
                held.by_index.insert(entry.log_id.index, entry);
            }
        }
        self.thread.send(Write::Append(records, Done::Flushed(callback)));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<Voter>) -> Result<(), StorageError> {
        self.reader.entries.lock().by_index.split_off(&from.index);
        let record = Record::Truncate(from.index);
        self.thread.write(|done| Write::Append(vec![record], done)).await.map_err(write_failed)
    }

    async fn purge(&mut self, upto: LogId<Voter>) -> Result<(), StorageError> {
        let mut kept: Vec<Record> = self.vote.iter().map(|v| Record::Vote(stored_vote(v))).collect();
        {
            let mut held = self.reader.entries.lock();
            held.by_index = held.by_index.split_off(&(upto.index + 1));
            held.purged = Some(upto);
            kept.extend(held.by_index.values().map(|entry| Record::Entry(stored(entry))));
        }
        self.thread.write(|done| Write::Purge(position(&upto), kept, done)).await.map_err(write_failed)
    }
}

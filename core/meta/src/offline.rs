//! The metadata of a data folder, read without a server and without a change to it: for offline verify and dump.

use std::path::Path;
use std::sync::Arc;

use buslane_log::fs::Fs;

use crate::command::Command;
use crate::encoding::decode_entry;
use crate::image::Image;
use crate::meta_log::{MetaLog, MetaLogError, Payload, Replay, Snapshot};
use crate::replay::{encoding, replay_entry, restore};

/// What the folder says.
#[derive(Debug, Default)]
pub struct OfflineMeta {
    /// As of the newest entry that could be read. Not to be relied on when there is damage.
    pub image: Arc<Image>,
    /// As of the snapshot, where there is one.
    pub snapshot: Option<Arc<Image>>,
    /// The log's entries in order; the first ones may be in the snapshot, too.
    pub entries: Vec<OfflineEntry>,
    /// Bytes at the log's end that are no whole frame: a crash leaves them, or a server is writing.
    pub torn_bytes: u64,
    /// Why there is no more.
    pub damage: Option<MetaLogError>,
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfflineEntry {
    /// Counts entries without gaps.
    pub index: u64,
    /// Of the leader that proposed it.
    pub term: u64,
    /// What it carries; no command when it is the consensus group's own.
    pub commands: Vec<Command>,
}

impl OfflineMeta {
    /// Reads the folder. A server may be writing to it meanwhile. Never fails: what is wrong is in
    /// [`damage`](Self::damage), and what could be read is there all the same.
    pub fn read(fs: &Arc<dyn Fs>, data: &Path) -> OfflineMeta {
        let (replay, damage) = MetaLog::read(fs, data);
        let mut meta = OfflineMeta { torn_bytes: replay.cut, damage, ..OfflineMeta::default() };
        if let Err(error) = meta.take(&replay, &data.join("meta")) {
            meta.damage.get_or_insert(error);
        }
        meta
    }

    fn take(&mut self, replay: &Replay, folder: &Path) -> Result<(), MetaLogError> {
        if replay.snapshot.is_some() {
            self.image = Arc::new(restore(replay.snapshot.as_ref(), folder)?);
            self.snapshot = Some(self.image.clone());
        }
        let mut held = replay.snapshot.as_ref().and_then(Snapshot::index).unwrap_or(0);
        for entry in &replay.entries {
            let index = entry.at.index;
            let commands = match &entry.payload {
                Payload::Commands(bytes) => decode_entry(bytes).map_err(|e| encoding(folder, index, e))?,
                Payload::Blank | Payload::Membership(_) => Vec::new(),
            };
            self.entries.push(OfflineEntry { index, term: entry.at.term, commands });
            // Only what follows without a gap can be applied: of a damaged snapshot nothing is known.
            if index == held + 1 {
                self.image = Arc::new(replay_entry(&self.image, entry, folder)?);
                held = index;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use buslane_log::disk::Disk;
    use buslane_wire::ids::TopicId;

    use super::*;
    use crate::fixtures::*;
    use crate::local::LocalState;

    /// The files of a folder with their bytes.
    fn files(data: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(data.join("meta"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_folder_is_read_as_the_server_would_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        assert!(OfflineMeta::read(&fs, dir.path()).damage.is_none(), "nothing there is no damage");
        assert!(!dir.path().join("meta").exists(), "and nothing is made");
        let mut state = LocalState::open(fs.clone(), dir.path()).unwrap();
        state.commit(&[create_topic(TopicId([1; 16]), "one", 2)]).unwrap();
        let log = dir.path().join("meta/log");
        let first = std::fs::metadata(&log).unwrap().len();
        state.commit(&[create_topic(TopicId([2; 16]), "two", 1)]).unwrap();
        // A torn end, which an opening would cut.
        let file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        std::io::Write::write_all(&mut &file, &[1; 30]).unwrap();
        let before = files(dir.path());
        let meta = OfflineMeta::read(&fs, dir.path());
        assert!(meta.damage.is_none(), "{:?}", meta.damage);
        assert_eq!((&meta.image, meta.torn_bytes), (state.image(), 30));
        assert_eq!(meta.entries.iter().map(|e| e.index).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(meta.entries[1].commands, [create_topic(TopicId([2; 16]), "two", 1)]);
        assert_eq!(files(dir.path()), before);

        // Damage in the first frame, which the second one behind it gives away.
        let mut bytes = std::fs::read(&log).unwrap();
        bytes[first as usize - 1] ^= 1;
        std::fs::write(&log, bytes).unwrap();
        let meta = OfflineMeta::read(&fs, dir.path());
        assert!(matches!(meta.damage, Some(MetaLogError::Corrupt { .. })), "{:?}", meta.damage);
        assert!(meta.entries.is_empty());
    }

    #[test]
    fn a_snapshot_and_the_entries_after_it_make_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let mut state = LocalState::open(fs.clone(), dir.path()).unwrap();
        state.snapshot_after(1);
        state.commit(&[create_topic(TopicId([1; 16]), "one", 2)]).unwrap();
        state.snapshot_after(u64::MAX);
        state.commit(&[create_topic(TopicId([2; 16]), "two", 1)]).unwrap();
        let meta = OfflineMeta::read(&fs, dir.path());
        assert!(meta.damage.is_none(), "{:?}", meta.damage);
        assert_eq!(meta.image, *state.image());
        assert_eq!(meta.snapshot.unwrap().topics.len(), 1);
        let snapshot = dir.path().join("meta/snapshot");
        let mut bytes = std::fs::read(&snapshot).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&snapshot, bytes).unwrap();
        let meta = OfflineMeta::read(&fs, dir.path());
        assert!(meta.damage.unwrap().to_string().contains("snapshot is damaged"));
        assert_eq!(meta.entries.len(), 1, "what can be read is read");
        assert!(meta.image.topics.is_empty(), "and nothing is made of half of it");
    }
}

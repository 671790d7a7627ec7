//! Open files of segments that are not written to: bounded, the least recently used go first.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use buslane_wire::ids::SegmentRef;
use parking_lot::Mutex;

use crate::fs::FsFile;
use crate::layout::Part;

/// Which file.
pub(crate) type HandleKey = (SegmentRef, PartKey);

/// The part of a copy, ordered for use as a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum PartKey {
    Log,
    Index,
}

impl From<PartKey> for Part {
    fn from(key: PartKey) -> Part {
        match key {
            PartKey::Log => Part::Log,
            PartKey::Index => Part::Index,
        }
    }
}

/// The open files.
#[derive(Debug)]
pub(crate) struct Handles {
    bound: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<HandleKey, (Arc<dyn FsFile>, u64)>,
    /// By last use.
    order: BTreeMap<u64, HandleKey>,
    used: u64,
}

impl Handles {
    /// At most `bound` files stay open here. A reader that holds one keeps it open beyond that.
    pub(crate) fn new(bound: usize) -> Handles {
        Handles { bound: bound.max(2), open: Mutex::default() }
    }

    /// The file, opened by `open` when it is not there. Two threads may open the same file at once; one handle stays.
    pub(crate) fn get(
        &self,
        key: HandleKey,
        open: impl FnOnce() -> io::Result<Arc<dyn FsFile>>,
    ) -> io::Result<Arc<dyn FsFile>> {
        if let Some(file) = self.open.lock().touch(&key) {
            return Ok(file);
        }
        let file = open()?;
        let mut state = self.open.lock();
        if let Some(file) = state.touch(&key) {
            return Ok(file);
        }
        state.used += 1;
        let used = state.used;
        state.files.insert(key, (file.clone(), used));
        state.order.insert(used, key);
        while state.files.len() > self.bound {
            let (_, oldest) = state.order.pop_first().expect("each open file has its place in the order");
            state.files.remove(&oldest);
        }
        Ok(file)
    }

    /// Closes a segment's files.
    pub(crate) fn forget(&self, segment: &SegmentRef) {
        let mut state = self.open.lock();
        for part in [PartKey::Log, PartKey::Index] {
            if let Some((_, used)) = state.files.remove(&(*segment, part)) {
                state.order.remove(&used);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.open.lock().files.len()
    }
}

impl Open {
    fn touch(&mut self, key: &HandleKey) -> Option<Arc<dyn FsFile>> {
        self.used += 1;
        let (file, used) = self.files.get_mut(key)?;
        self.order.remove(used);
        *used = self.used;
        self.order.insert(self.used, *key);
        Some(file.clone())
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::ids::{SegmentId, TopicPartition};

    use super::*;
    use crate::disk::Disk;
    use crate::fs::{Fs, OpenMode};

    #[test]
    fn the_least_recently_used_is_closed_first() {
        let dir = tempfile::tempdir().unwrap();
        let handles = Handles::new(2);
        let key =
            |n| (SegmentRef { partition: TopicPartition::default(), segment: SegmentId(n) }, PartKey::Log);
        let opened = std::cell::Cell::new(0);
        let get = |n: u64| {
            handles
                .get(key(n), || {
                    opened.set(opened.get() + 1);
                    Disk.open(&dir.path().join(n.to_string()), OpenMode::OpenOrCreate)
                })
                .unwrap()
        };
        get(1);
        get(2);
        get(1);
        get(3);
        assert_eq!((opened.get(), handles.len()), (3, 2));
        get(1);
        assert_eq!(opened.get(), 3, "1 was used after 2");
        get(2);
        assert_eq!(opened.get(), 4, "2 was closed");
        handles.forget(&key(2).0);
        assert_eq!(handles.len(), 1);
    }
}

//! Copies that the chain does not know: moved aside, kept a while, removed.
//!
//! `orphans/<when, ms, 15 digits>-<topic>-<partition>-<base, 20 digits>-<segment>.{log,index,producers}`. Nothing here is
//! synced: a move or removal that a power cut undoes is found and done again.

use std::io;

use buslane_wire::ids::SegmentRef;

use crate::layout::{self, Part};
use crate::store::{FoundCopy, Store, list};

impl Store {
    /// Moves every copy on the disk that `known` does not know to `orphans/`, and forgets what the journal says of copies
    /// that `known` does not know. Returns what was moved. To be called once the chain is known, before segments are
    /// created. `now_ms` is when they became orphans.
    pub fn orphan_unknown(
        &self,
        known: impl Fn(&SegmentRef) -> bool,
        now_ms: i64,
    ) -> io::Result<Vec<FoundCopy>> {
        let shared = &self.shared;
        let root = &shared.syncs.root;
        let mut moved = Vec::new();
        for copy in list(&*shared.syncs.fs, root)? {
            if known(&copy.segment) {
                continue;
            }
            let loaded = shared.segments.lock().remove(&copy.segment);
            if let Some(segment) = loaded {
                segment.give_away();
            }
            shared.syncs.fs.create_dir_all(&root.join(layout::ORPHANS))?;
            let partition = copy.segment.partition;
            let stem = format!(
                "{:015}-{}-{}-{}",
                now_ms.max(0),
                partition.topic,
                partition.partition,
                layout::stem(copy.base_offset, copy.segment.segment)
            );
            for part in Part::ALL {
                let from = layout::part(root, &copy.segment, copy.base_offset, part);
                let to = root.join(layout::ORPHANS).join(format!("{stem}.{}", part.extension()));
                match shared.syncs.fs.rename(&from, &to) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            moved.push(copy);
        }
        let forgotten: Vec<SegmentRef> =
            shared.journal.with(|s| s.copies.keys().filter(|s| !known(s)).copied().collect());
        for segment in forgotten {
            shared.forget_copy(&segment).map_err(io::Error::other)?;
        }
        Ok(moved)
    }

    /// Removes orphans that were moved before `before_ms`; returns how many files. Names that are not ours stay.
    pub fn remove_orphans(&self, before_ms: i64) -> io::Result<usize> {
        let fs = &self.shared.syncs.fs;
        let folder = self.shared.syncs.root.join(layout::ORPHANS);
        let entries = match fs.read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            result => result?,
        };
        let mut removed = 0;
        for entry in entries.into_iter().filter(|e| !e.is_dir) {
            let when = entry.name.split_once('-').and_then(|(when, _)| when.parse::<i64>().ok());
            if when.is_some_and(|when| when < before_ms) {
                fs.remove_file(&folder.join(&entry.name))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

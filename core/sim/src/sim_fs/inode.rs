//! Files and folders as two states: what processes see, and what the disk is sure to have.

use std::collections::BTreeMap;

/// Number of an inode; never used twice in a disk's life.
pub(super) type InodeId = u64;

/// A change of a file that a power cut may still undo, wholly or partly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Dirty {
    /// These bytes at this position.
    Write { position: u64, bytes: Vec<u8> },
    /// Cut or extended to this length.
    SetLen(u64),
}

impl Dirty {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Dirty::Write { position, bytes } => put(content, *position as usize, bytes),
            Dirty::SetLen(len) => content.resize(*len as usize, 0),
        }
    }
}

/// Writes `bytes` at `position`; a hole becomes zeros.
pub(super) fn put(content: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if content.len() < end {
        content.resize(end, 0);
    }
    content[position..end].copy_from_slice(bytes);
}

/// A regular file.
#[derive(Clone, Default, Debug)]
pub(super) struct FileNode {
    /// What reads return: the page cache.
    pub(super) visible: Vec<u8>,
    /// What survives every power cut.
    pub(super) durable: Vec<u8>,
    /// What was done since, in order.
    pub(super) dirty: Vec<Dirty>,
    /// Entries that processes see.
    pub(super) links: u32,
    /// Open handles of the running process.
    pub(super) handles: u32,
    /// Write-back failed, and no sync of this file has reported it yet.
    pub(super) write_back_failed: bool,
}

impl FileNode {
    pub(super) fn change(&mut self, change: Dirty) {
        change.apply(&mut self.visible);
        self.dirty.push(change);
    }

    pub(super) fn make_durable(&mut self) {
        for change in self.dirty.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Occupies space: somebody can still read it.
    pub(super) fn in_use(&self) -> bool {
        self.links > 0 || self.handles > 0
    }
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    File(InodeId),
    Dir(InodeId),
}

/// A folder. Its pending changes stand in the disk's list, since a rename may touch two folders.
#[derive(Clone, Default, Debug)]
pub(super) struct DirNode {
    pub(super) visible: BTreeMap<String, Node>,
    pub(super) durable: BTreeMap<String, Node>,
}

/// A change of entries that a power cut may still undo, as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum EntryChange {
    Create { dir: InodeId, name: String, node: Node },
    Remove { dir: InodeId, name: String, node: Node },
    Rename { from: (InodeId, String), to: (InodeId, String), node: Node },
}

impl EntryChange {
    /// A sync of this folder makes the change durable.
    pub(super) fn touches(&self, folder: InodeId) -> bool {
        match self {
            EntryChange::Create { dir, .. } | EntryChange::Remove { dir, .. } => *dir == folder,
            EntryChange::Rename { from, to, .. } => from.0 == folder || to.0 == folder,
        }
    }

    /// Changes the durable entries. Changes before this one may have been undone: only its own entry is taken away.
    pub(super) fn apply_durably(&self, dirs: &mut BTreeMap<InodeId, DirNode>) {
        let remove = |dirs: &mut BTreeMap<InodeId, DirNode>, dir: &InodeId, name: &str, node: Node| {
            if let Some(dir) = dirs.get_mut(dir)
                && dir.durable.get(name) == Some(&node)
            {
                dir.durable.remove(name);
            }
        };
        let insert = |dirs: &mut BTreeMap<InodeId, DirNode>, dir: &InodeId, name: &str, node: Node| {
            if let Some(dir) = dirs.get_mut(dir) {
                dir.durable.insert(name.to_owned(), node);
            }
        };
        match self {
            EntryChange::Create { dir, name, node } => insert(dirs, dir, name, *node),
            EntryChange::Remove { dir, name, node } => remove(dirs, dir, name, *node),
            EntryChange::Rename { from, to, node } => {
                remove(dirs, &from.0, &from.1, *node);
                insert(dirs, &to.0, &to.1, *node);
            }
        }
    }
}

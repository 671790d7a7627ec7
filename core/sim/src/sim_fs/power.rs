//! What a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Disk, ROOT};
use super::inode::{DirNode, Dirty, FileNode, InodeId, Node, put};
use crate::rng::Rng;

/// Bytes that a real page cache writes back together.
const PAGE: u64 = 4096;

/// How much of what was not synced survives a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Survival {
    /// Nothing: the strictest.
    Nothing,
    /// Everything, as if the kernel had just written back all it had.
    Everything,
    /// What the seed draws: each write whole, in part or not at all, each length and each entry or not.
    Seeded(u64),
}

/// How readily things survive, drawn once per power cut, so that seeds reach the corners of both kinds.
#[derive(Clone, Copy)]
struct Odds {
    /// Of 8: a folder change survives.
    entries: u64,
    /// Of 8: a file gets the all-or-some treatment below, rather than losing all.
    files: u64,
    /// Of 8: a change of a file survives whole.
    changes: u64,
}

impl Odds {
    fn draw(rng: &mut Rng) -> Odds {
        let readiness = [0, 2, 4, 6, 8];
        Odds { entries: *rng.pick(&readiness), files: *rng.pick(&[4, 8, 8]), changes: *rng.pick(&readiness) }
    }
}

impl Disk {
    /// Leaves what survives, and ends the process.
    pub(super) fn cut_power(&mut self, survival: Survival) {
        match survival {
            Survival::Nothing => {
                self.files.values_mut().for_each(|file| file.dirty.clear());
                self.entry_changes.clear();
            }
            Survival::Everything => {
                self.files.values_mut().for_each(FileNode::make_durable);
                for change in std::mem::take(&mut self.entry_changes) {
                    change.apply_durably(&mut self.dirs);
                }
            }
            Survival::Seeded(seed) => self.survive(&mut Rng::new(seed)),
        }
        self.forget_unreachable();
        for file in self.files.values_mut() {
            file.visible.clone_from(&file.durable);
            file.links = 0;
        }
        let mut named = Vec::new();
        for dir in self.dirs.values_mut() {
            dir.visible.clone_from(&dir.durable);
            named.extend(dir.durable.values().copied());
        }
        for node in named {
            if let Node::File(inode) = node {
                self.file(inode).links += 1;
            }
        }
        self.end_process();
        self.boot += 1;
    }

    fn survive(&mut self, rng: &mut Rng) {
        let odds = Odds::draw(rng);
        for change in std::mem::take(&mut self.entry_changes) {
            if rng.chance(odds.entries, 8) {
                change.apply_durably(&mut self.dirs);
            }
        }
        for file in self.files.values_mut().filter(|file| !file.dirty.is_empty()) {
            let mut rng = rng.fork();
            if rng.chance(odds.files, 8) {
                write_back(file, odds, &mut rng);
            } else {
                file.dirty.clear();
            }
        }
    }

    /// A file or folder that no durable entry leads to is gone, with all it had.
    fn forget_unreachable(&mut self) {
        let (mut files, mut dirs): (BTreeSet<InodeId>, BTreeSet<InodeId>) = Default::default();
        let mut todo = vec![ROOT];
        while let Some(dir) = todo.pop() {
            if !dirs.insert(dir) {
                continue;
            }
            for node in self.dirs[&dir].durable.values() {
                match node {
                    Node::File(inode) => _ = files.insert(*inode),
                    Node::Dir(inode) => todo.push(*inode),
                }
            }
        }
        self.files.retain(|inode, _| files.contains(inode));
        self.dirs.retain(|inode, _: &mut DirNode| dirs.contains(inode));
    }
}

/// Makes a part of a file's unsynced changes durable.
fn write_back(file: &mut FileNode, odds: Odds, rng: &mut Rng) {
    let mut lengths = BTreeSet::from([file.durable.len(), file.visible.len()]);
    let was_cut = file.dirty.iter().any(|change| matches!(change, Dirty::SetLen(_)));
    let by_page = rng.chance(1, 2);
    let visible = file.visible.clone();
    let dirty = std::mem::take(&mut file.dirty);
    if by_page {
        write_back_pages(file, &visible, &dirty, odds, rng);
    } else {
        for change in &dirty {
            write_back_change(&mut file.durable, change, odds, rng);
            lengths.insert(file.durable.len());
        }
    }
    // The length is written by itself: without its data (zeros), or the data without it (cut off). A cut of the file
    // frees its pages together with its length: what it took comes back as it was or not at all.
    if !was_cut && rng.chance(1, 2) {
        let lengths: Vec<usize> = lengths.into_iter().collect();
        file.durable.resize(*rng.pick(&lengths), 0);
    }
}

/// Each range by itself: whole, up to some byte, some pages of it, or not at all.
fn write_back_change(durable: &mut Vec<u8>, change: &Dirty, odds: Odds, rng: &mut Rng) {
    if rng.chance(odds.changes, 8) {
        return change.apply(durable);
    }
    let Dirty::Write { position, bytes } = change else { return };
    match rng.below(4) {
        0 => put(durable, *position as usize, &bytes[..rng.below(bytes.len() as u64 + 1) as usize]),
        1 => {
            for (from, to) in pages(*position, position + bytes.len() as u64) {
                if rng.chance(1, 2) {
                    put(durable, from as usize, &bytes[(from - position) as usize..(to - position) as usize]);
                }
            }
        }
        _ => {}
    }
}

/// Each page as the page cache had it at the end, or as the disk had it.
fn write_back_pages(file: &mut FileNode, visible: &[u8], dirty: &[Dirty], odds: Odds, rng: &mut Rng) {
    let mut touched = BTreeMap::new();
    for change in dirty {
        if let Dirty::Write { position, bytes } = change {
            for (from, _) in pages(*position, position + bytes.len() as u64) {
                touched.insert(from / PAGE, ());
            }
        }
    }
    if dirty.iter().any(|change| matches!(change, Dirty::SetLen(_))) && rng.chance(odds.changes, 8) {
        file.durable.resize(visible.len(), 0);
    }
    for page in touched.into_keys() {
        let from = (page * PAGE) as usize;
        let to = (from + PAGE as usize).min(visible.len());
        if from < to && rng.chance(odds.changes, 8) {
            put(&mut file.durable, from, &visible[from..to]);
        }
    }
}

/// The parts of a range that lie in different pages.
fn pages(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    (from / PAGE..to.div_ceil(PAGE)).map(move |page| (from.max(page * PAGE), to.min((page + 1) * PAGE)))
}

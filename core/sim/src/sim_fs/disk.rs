//! The state of a simulated disk and of the page cache above it, as plain single-threaded operations.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use super::faults::{self, ENOSPC, Faults, LostPages};
use super::inode::{DirNode, Dirty, EntryChange, FileNode, InodeId, Node};
use super::trace::{Op, Trace};
use crate::rng::Rng;

/// The folder at the top.
pub(super) const ROOT: InodeId = 0;

/// What a process asks of the file at a path.
pub(super) struct Found {
    pub(super) dir: InodeId,
    pub(super) name: String,
    pub(super) node: Option<Node>,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<InodeId, FileNode>,
    pub(super) dirs: BTreeMap<InodeId, DirNode>,
    /// Entries not yet durable, in the order they were changed.
    pub(super) entry_changes: Vec<EntryChange>,
    pub(super) locked: BTreeMap<InodeId, u64>,
    pub(super) next_inode: InodeId,
    pub(super) next_lock: u64,
    /// The process that may work with it; handles of an earlier one are dead.
    pub(super) process: u64,
    /// Boots of the machine so far.
    pub(super) boot: u64,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
}

impl Disk {
    pub(super) fn new() -> Disk {
        Disk {
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(ROOT, DirNode::default())]),
            entry_changes: Vec::new(),
            locked: BTreeMap::new(),
            next_inode: ROOT + 1,
            next_lock: 0,
            process: 0,
            boot: 1,
            faults: Faults::default(),
            trace: Trace::default(),
        }
    }

    /// Refuses the dead.
    pub(super) fn alive(&self, process: u64) -> io::Result<()> {
        if process != self.process {
            return Err(faults::dead());
        }
        if self.faults.stopped { Err(faults::stopped()) } else { Ok(()) }
    }

    fn names(path: &Path) -> io::Result<Vec<&str>> {
        path.components()
            .filter(|c| !matches!(c, Component::RootDir | Component::CurDir))
            .map(|c| match c {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .map(|name| name.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "not a plain path")))
            .collect()
    }

    pub(super) fn dir(&self, path: &Path) -> io::Result<InodeId> {
        let mut at = ROOT;
        for name in Disk::names(path)? {
            at = match self.dirs[&at].visible.get(name) {
                Some(Node::Dir(dir)) => *dir,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => return Err(ErrorKind::NotFound.into()),
            };
        }
        Ok(at)
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Found> {
        let invalid = || io::Error::new(ErrorKind::InvalidInput, "the path names no entry");
        let name = path.file_name().and_then(OsStr::to_str).ok_or_else(invalid)?.to_owned();
        let dir = self.dir(path.parent().ok_or_else(invalid)?)?;
        let node = self.dirs[&dir].visible.get(&name).copied();
        Ok(Found { dir, name, node })
    }

    fn visible(&mut self, dir: InodeId) -> &mut BTreeMap<String, Node> {
        &mut self.dirs.get_mut(&dir).expect("folders live as long as the disk").visible
    }

    pub(super) fn file(&mut self, inode: InodeId) -> &mut FileNode {
        self.files.get_mut(&inode).expect("files live until the power is cut")
    }

    fn link(&mut self, dir: InodeId, name: &str, node: Node) {
        if let Node::File(inode) = node {
            self.file(inode).links += 1;
        }
        if let Some(Node::File(replaced)) = self.visible(dir).insert(name.to_owned(), node) {
            self.file(replaced).links -= 1;
        }
    }

    fn unlink(&mut self, dir: InodeId, name: &str) {
        if let Some(Node::File(inode)) = self.visible(dir).remove(name) {
            self.file(inode).links -= 1;
        }
    }

    /// Creates an empty file; the operation is counted.
    pub(super) fn create_file(&mut self, path: &Path, at: &Found) -> io::Result<InodeId> {
        let step = self.step(Op::Create, path, 0, 0)?;
        if self.available() == 0 {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, FileNode::default());
        self.add_entry(at.dir, &at.name, Node::File(inode));
        step.done()?;
        Ok(inode)
    }

    fn add_entry(&mut self, dir: InodeId, name: &str, node: Node) {
        self.link(dir, name, node);
        self.entry_changes.push(EntryChange::Create { dir, name: name.to_owned(), node });
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in Disk::names(path)? {
            at = match self.dirs[&at].visible.get(name) {
                Some(Node::Dir(dir)) => *dir,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => {
                    let step = self.step(Op::CreateDir, path, 0, 0)?;
                    let inode = self.next_inode;
                    self.next_inode += 1;
                    self.dirs.insert(inode, DirNode::default());
                    self.add_entry(at, name, Node::Dir(inode));
                    step.done()?;
                    inode
                }
            };
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.find(from)?;
        let target = self.find(to)?;
        let node = source.node.ok_or(ErrorKind::NotFound)?;
        if matches!(node, Node::Dir(_)) || matches!(target.node, Some(Node::Dir(_))) {
            return Err(io::Error::new(ErrorKind::Unsupported, "the simulation renames files only"));
        }
        let step = self.step(Op::Rename, to, 0, 0)?;
        if source.node == target.node {
            return step.done();
        }
        self.link(target.dir, &target.name, node);
        self.unlink(source.dir, &source.name);
        self.entry_changes.push(EntryChange::Rename {
            from: (source.dir, source.name),
            to: (target.dir, target.name),
            node,
        });
        step.done()
    }

    pub(super) fn remove(&mut self, path: &Path, directory: bool) -> io::Result<()> {
        let found = self.find(path)?;
        let node = found.node.ok_or(ErrorKind::NotFound)?;
        match node {
            Node::File(_) if directory => return Err(ErrorKind::NotADirectory.into()),
            Node::Dir(_) if !directory => return Err(ErrorKind::IsADirectory.into()),
            Node::Dir(dir) if !self.dirs[&dir].visible.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        let step = self.step(Op::Remove, path, 0, 0)?;
        self.unlink(found.dir, &found.name);
        self.entry_changes.push(EntryChange::Remove { dir: found.dir, name: found.name, node });
        step.done()
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        let step = self.step(Op::SyncDir, path, 0, 0)?;
        if self.faults.sync().is_some() {
            // The entries stay as they are in the running system, and in doubt on the disk.
            return Err(faults::eio());
        }
        step.done()?;
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entry_changes).into_iter().partition(|change| change.touches(dir));
        self.entry_changes = later;
        now.iter().for_each(|change| change.apply_durably(&mut self.dirs));
        Ok(())
    }

    pub(super) fn sync_everything(&mut self, path: &Path) -> io::Result<()> {
        self.dir(path)?;
        let step = self.step(Op::SyncEverything, path, 0, 0)?;
        if let Some(lost) = self.faults.sync() {
            // Some of the files could not be written. The file system reports it here, and each file once to its own.
            // Reads still show the bytes: a file that turns back under a process which writes on behind the gap is
            // damage that no journal explains away.
            let lost = if lost == LostPages::Kept { lost } else { LostPages::Clean };
            let mut rng = Rng::new(self.faults.operations);
            for file in self.files.values_mut().filter(|file| !file.dirty.is_empty()) {
                if rng.chance(1, 2) {
                    lost.hit(file);
                    file.write_back_failed = true;
                }
            }
            return Err(faults::eio());
        }
        step.done()?;
        self.files.values_mut().for_each(FileNode::make_durable);
        for change in std::mem::take(&mut self.entry_changes) {
            change.apply_durably(&mut self.dirs);
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        inode: InodeId,
        path: &Path,
        buf: &mut [u8],
        position: u64,
    ) -> io::Result<usize> {
        if self.faults.read() {
            self.trace.note(Op::Read, path, position, buf.len() as u64, false);
            return Err(faults::eio());
        }
        let content = &self.files[&inode].visible;
        let start = usize::try_from(position).map_or(content.len(), |p| p.min(content.len()));
        let mut len = buf.len().min(content.len() - start);
        if let Some(rng) = &mut self.faults.short_reads
            && len > 1
        {
            len = rng.between(1, len as u64) as usize;
        }
        buf[..len].copy_from_slice(&content[start..start + len]);
        Ok(len)
    }

    pub(super) fn write(
        &mut self,
        inode: InodeId,
        path: &Path,
        mut bytes: Vec<u8>,
        position: u64,
    ) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let step = self.step(Op::Write, path, position, bytes.len() as u64)?;
        let mut error = None;
        if let Some(fault) = self.faults.write() {
            bytes.truncate(fault.written);
            error = Some(io::Error::from_raw_os_error(fault.errno));
        }
        let len = self.files[&inode].visible.len() as u64;
        // Holes take no space, as on the real ones; what is counted here is the length, which is stricter.
        let room = len + self.available();
        if position.saturating_add(bytes.len() as u64) > room {
            bytes.truncate(room.saturating_sub(position) as usize);
            error = error.or_else(|| Some(io::Error::from_raw_os_error(ENOSPC)));
        }
        bytes.truncate(step.prefix(bytes.len()));
        if !bytes.is_empty() {
            self.file(inode).change(Dirty::Write { position, bytes });
        }
        step.done()?;
        error.map_or(Ok(()), Err)
    }

    pub(super) fn set_len(&mut self, inode: InodeId, path: &Path, len: u64) -> io::Result<()> {
        let step = self.step(Op::SetLen, path, len, 0)?;
        let now = self.files[&inode].visible.len() as u64;
        if len > now + self.available() {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        self.file(inode).change(Dirty::SetLen(len));
        step.done()
    }

    pub(super) fn sync_file(&mut self, inode: InodeId, path: &Path) -> io::Result<()> {
        let step = self.step(Op::Sync, path, 0, 0)?;
        if let Some(lost) = self.faults.sync() {
            lost.hit(self.file(inode));
            return Err(faults::eio());
        }
        step.done()?;
        let file = self.file(inode);
        if std::mem::take(&mut file.write_back_failed) {
            return Err(faults::eio());
        }
        file.make_durable();
        Ok(())
    }

    /// Bytes that may still be written.
    pub(super) fn available(&self) -> u64 {
        let used: u64 = self.files.values().filter(|f| f.in_use()).map(|f| f.visible.len() as u64).sum();
        self.faults.capacity_bytes.saturating_sub(used)
    }

    pub(super) fn unlock(&mut self, inode: InodeId, lock: u64) {
        if self.locked.get(&inode) == Some(&lock) {
            self.locked.remove(&inode);
        }
    }

    /// Takes the running process away: what it wrote stays, its handles and locks go.
    pub(super) fn end_process(&mut self) {
        self.process += 1;
        self.locked.clear();
        self.faults.end_process();
        for file in self.files.values_mut() {
            file.handles = 0;
            // A new handle hears of what no old one was told (Linux 4.14); the process that would hear it starts over.
            file.write_back_failed = false;
        }
    }

    /// Counts an operation that changes something; the plan may stop the process before it or within it.
    fn step(&mut self, op: Op, path: &Path, position: u64, len: u64) -> io::Result<Step> {
        let number = self.faults.operations;
        self.faults.operations += 1;
        let within = match self.faults.stop {
            Some(stop) if stop.operation == number => {
                self.faults.stopped = true;
                stop.within.map(|seed| Rng::new(seed ^ number))
            }
            _ => None,
        };
        self.trace.note(op, path, position, len, !self.faults.stopped);
        match within {
            Some(rng) => Ok(Step { within: Some(rng) }),
            None if self.faults.stopped => Err(faults::stopped()),
            None => Ok(Step { within: None }),
        }
    }
}

/// An operation under way.
struct Step {
    /// The process ends within it: how far it came.
    within: Option<Rng>,
}

impl Step {
    /// How much of a write is done.
    fn prefix(&self, len: usize) -> usize {
        match &self.within {
            None => len,
            Some(rng) => rng.clone().below(len as u64 + 1) as usize,
        }
    }

    /// The answer, which nobody gets when the process ended.
    fn done(self) -> io::Result<()> {
        if self.within.is_some() { Err(faults::stopped()) } else { Ok(()) }
    }
}

//! The disk for tests, with a gate in front of every file sync: open, closed (a sync waits), or broken (it fails).

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use buslane_log::disk::Disk;
use buslane_log::fs::{DirEntry, Fs, FsFile, FsLock, OpenMode, Space};
use parking_lot::{Condvar, Mutex};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    Open,
    Closed,
    Broken,
}

#[derive(Debug)]
struct State {
    gate: Gate,
    waiting: usize,
    passed: usize,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub(crate) struct GateFs(Arc<(Mutex<State>, Condvar)>);

impl GateFs {
    pub(crate) fn new() -> GateFs {
        let state = State { gate: Gate::Open, waiting: 0, passed: 0 };
        GateFs(Arc::new((Mutex::new(state), Condvar::new())))
    }

    fn set(&self, gate: Gate) {
        self.0.0.lock().gate = gate;
        self.0.1.notify_all();
    }

    /// From now on every sync waits.
    pub(crate) fn close(&self) {
        self.set(Gate::Closed);
    }

    /// From now on every sync goes through, those that wait, too.
    pub(crate) fn open(&self) {
        self.set(Gate::Open);
    }

    /// From now on every sync fails, those that wait, too.
    pub(crate) fn break_down(&self) {
        self.set(Gate::Broken);
    }

    /// File syncs that went through.
    pub(crate) fn syncs(&self) -> usize {
        self.0.0.lock().passed
    }

    /// Returns when a sync waits at the closed gate. Blocks.
    pub(crate) fn await_waiting(&self) {
        let mut state = self.0.0.lock();
        while state.waiting == 0 {
            self.0.1.wait(&mut state);
        }
    }

    fn pass(&self) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.waiting += 1;
        self.0.1.notify_all();
        while state.gate == Gate::Closed {
            self.0.1.wait(&mut state);
        }
        state.waiting -= 1;
        if state.gate == Gate::Broken {
            return Err(io::Error::other("the disk of this test is broken"));
        }
        state.passed += 1;
        Ok(())
    }
}

#[derive(Debug)]
struct GateFile {
    file: Arc<dyn FsFile>,
    fs: GateFs,
}

impl FsFile for GateFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn write_all_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        self.file.write_all_at(slices, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.pass()?;
        self.file.sync_data()
    }
}

impl Fs for GateFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(GateFile { file: Disk.open(path, mode)?, fs: self.clone() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        Disk.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Disk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Disk.sync_dir(path)
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        Disk.sync_everything(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        Disk.space(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FsLock>>> {
        Disk.try_lock(path)
    }
}

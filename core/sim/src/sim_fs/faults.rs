//! What goes wrong, and when.

use std::io;

use super::inode::FileNode;
use crate::rng::Rng;

pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;

/// The nth write from now on fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteFault {
    /// Writes that still succeed before it.
    pub after: u64,
    /// Bytes of it that are written all the same.
    pub written: usize,
    /// The disk is full, rather than broken.
    pub full: bool,
}

/// What a failed sync leaves of the file's unsynced changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LostPages {
    /// All still there: a later sync would write them.
    Kept,
    /// Reads still show them, yet they are marked clean: no later sync writes them (ext4, XFS).
    Clean,
    /// Reads show the old content (Btrfs).
    Reverted,
}

impl LostPages {
    pub(super) fn hit(self, file: &mut FileNode) {
        match self {
            LostPages::Kept => {}
            LostPages::Clean => file.dirty.clear(),
            LostPages::Reverted => {
                file.dirty.clear();
                file.visible.clone_from(&file.durable);
            }
        }
    }
}

/// A write as it fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedWrite {
    pub(super) written: usize,
    pub(super) errno: i32,
}

/// Where the process stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stop {
    /// Number of the operation.
    pub(super) operation: u64,
    /// Within the operation, which is done in part; else before it. How much of it is drawn from the seed.
    pub(super) within: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Faults {
    /// Operations so far that change the disk or sync it.
    pub(super) operations: u64,
    pub(super) stop: Option<Stop>,
    pub(super) stopped: bool,
    pub(super) read_fails_after: Option<u64>,
    pub(super) write_fails: Option<WriteFault>,
    pub(super) sync_fails_after: Option<(u64, LostPages)>,
    pub(super) short_reads: Option<Rng>,
    /// Faults that came about in this process.
    pub(super) hits: u64,
    pub(super) capacity_bytes: u64,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            operations: 0,
            stop: None,
            stopped: false,
            read_fails_after: None,
            write_fails: None,
            sync_fails_after: None,
            short_reads: None,
            hits: 0,
            capacity_bytes: 1 << 40,
        }
    }
}

/// Counts down; true once, when it was at 0.
fn due(after: &mut Option<u64>) -> bool {
    match after {
        Some(0) => {
            *after = None;
            true
        }
        Some(n) => {
            *n -= 1;
            false
        }
        None => false,
    }
}

impl Faults {
    pub(super) fn read(&mut self) -> bool {
        let fails = due(&mut self.read_fails_after);
        self.hits += u64::from(fails);
        fails
    }

    pub(super) fn write(&mut self) -> Option<FailedWrite> {
        let fault = self.write_fails?;
        let mut after = Some(fault.after);
        let fails = due(&mut after);
        self.write_fails = after.map(|after| WriteFault { after, ..fault });
        let errno = if fault.full { ENOSPC } else { EIO };
        self.hits += u64::from(fails);
        fails.then_some(FailedWrite { written: fault.written, errno })
    }

    pub(super) fn sync(&mut self) -> Option<LostPages> {
        let (after, lost) = self.sync_fails_after?;
        let mut after = Some(after);
        let fails = due(&mut after);
        self.sync_fails_after = after.map(|after| (after, lost));
        self.hits += u64::from(fails);
        fails.then_some(lost)
    }

    /// The next process starts without faults; space and counters stay.
    pub(super) fn end_process(&mut self) {
        *self = Faults {
            operations: self.operations,
            capacity_bytes: self.capacity_bytes,
            short_reads: self.short_reads.take(),
            ..Faults::default()
        };
    }
}

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

pub(super) fn dead() -> io::Error {
    io::Error::other("the simulated process that opened this is dead")
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("the simulated process was stopped here")
}

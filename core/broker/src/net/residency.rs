//! Whether a stretch of a file is in the page cache, so that `sendfile(2)` does not stall a runtime thread on a disk.
//!
//! Two one-byte `preadv2(RWF_NOWAIT)` a chunk, on its first and last page: about a microsecond per MiB. Pages between
//! them may be missing when the kernel evicted those alone; that costs a short stall and nothing else.

use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use buslane_log::fs::FsFile;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// Bytes probed, loaded and sent at a time.
pub const CHUNK: u64 = 512 * 1024;

/// Probes files. Once the kernel has said that it cannot tell, everything counts as resident.
#[derive(Debug, Default)]
pub struct Residency {
    unknowable: AtomicBool,
}

impl Residency {
    /// True when the first and the last page of a stretch can be read without waiting, or that cannot be known.
    pub fn is_resident(&self, file: &std::fs::File, position: u64, len: u64) -> bool {
        if self.unknowable.load(Ordering::Relaxed) || len == 0 {
            return true;
        }
        self.probe(file, position) && self.probe(file, position + len - 1)
    }

    fn probe(&self, file: &std::fs::File, position: u64) -> bool {
        let mut byte = [0];
        match preadv2(file, &mut [IoSliceMut::new(&mut byte)], position, ReadWriteFlags::NOWAIT) {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.unknowable.store(true, Ordering::Relaxed);
                true
            }
            // sendfile will meet the same error and report it.
            Err(_) => true,
        }
    }
}

/// Reads a stretch into the page cache and asks for the one after it. Blocks.
pub fn load(file: &Arc<dyn FsFile>, position: u64, len: u64) -> io::Result<()> {
    if let Some(os_file) = file.os_file() {
        // A hint; without it the reads below do the work alone.
        let _ = rustix::fs::fadvise(os_file, position, NonZeroU64::new(2 * len), Advice::WillNeed);
    }
    let mut scratch = [0; 16 * 1024];
    let mut done = 0;
    while done < len {
        let want = scratch.len().min((len - done) as usize);
        match file.read_at(&mut scratch[..want], position + done) {
            Ok(0) => break,
            Ok(n) => done += n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

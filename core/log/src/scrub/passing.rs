//! Reading a file through once, in large pieces, as a guest in the page cache.
//!
//! The pages read are marked as not to be reused (`POSIX_FADV_NOREUSE`, honoured since Linux 6.3): they are the first to
//! go when memory is wanted, and pages that somebody else uses keep their age. Refused: dropping what was not cached
//! before, since asking for that (`RWF_NOWAIT`) makes the kernel read megabytes ahead.

use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::FsFile;

/// Bytes read at once.
const WINDOW: usize = 128 * 1024;

/// The bytes of one header and a little: fewer than this at the end of a window are read again with the next one, so that
/// a header never alternates between two windows.
const LEAST: usize = 64;

/// The reader. Reading backwards by more than a window costs another read, nothing else.
#[derive(Debug)]
pub(super) struct Passing {
    file: Arc<dyn FsFile>,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    position: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// What it has from `position` on, if that is enough to go on with.
    fn serve(&self, position: u64, want: usize) -> Option<&[u8]> {
        let skip = usize::try_from(position.checked_sub(self.position)?).ok()?;
        let have = self.bytes.get(skip..)?;
        // A short window is one at the end of the file.
        (have.len() >= want.min(LEAST) || (!have.is_empty() && self.bytes.len() < WINDOW)).then_some(have)
    }
}

impl Passing {
    pub(super) fn new(file: Arc<dyn FsFile>) -> Passing {
        if let Some(os_file) = file.os_file() {
            // A hint.
            let _ = rustix::fs::fadvise(os_file, 0, None, rustix::fs::Advice::NoReuse);
        }
        Passing { file, window: Mutex::default() }
    }

    /// Reads the window that starts at `position`.
    fn load(&self, window: &mut Window, position: u64) -> io::Result<()> {
        window.position = position;
        window.bytes.resize(WINDOW, 0);
        let mut have = 0;
        while have < WINDOW {
            match self.file.read_at(&mut window.bytes[have..], position + have as u64) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        window.bytes.truncate(have);
        Ok(())
    }
}

impl FsFile for Passing {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut window = self.window.lock();
        if window.serve(position, buf.len()).is_none() && self.load(&mut window, position).is_err() {
            window.bytes.clear();
            // Whether just these bytes can be read: the place that is told should be the true one.
            return self.file.read_at(buf, position);
        }
        let have = window.serve(position, buf.len()).unwrap_or(&[]);
        let n = have.len().min(buf.len());
        buf[..n].copy_from_slice(&have[..n]);
        Ok(n)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_all_at(&self, _: &mut [IoSlice<'_>], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::faulty::FaultyFs;
    use crate::fs::{Fs, OpenMode, read_exact_at};

    #[test]
    fn everything_is_read_as_it_is_in_pieces_of_any_size_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..1_000_003u32).map(|i| (i ^ (i >> 9)) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let fs = FaultyFs::new(Arc::new(Disk));
        for step in [61, 4096, 65_536, 300_000] {
            let reader = Passing::new(fs.open(&path, OpenMode::Read).unwrap());
            let reads = fs.counts().reads;
            let mut at = 0;
            while at < bytes.len() {
                let mut buf = vec![0; step.min(bytes.len() - at)];
                read_exact_at(&reader, &mut buf, at as u64).unwrap();
                assert_eq!(buf, bytes[at..at + buf.len()], "{step} bytes at {at}");
                at += step;
            }
            assert_eq!(reader.read_at(&mut [0; 9], bytes.len() as u64).unwrap(), 0);
            // Eight windows, the end of the file seen once or twice.
            assert!(fs.counts().reads - reads <= 11, "{} reads", fs.counts().reads - reads);
        }
    }

    #[test]
    fn bytes_that_cannot_be_read_spoil_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [7; 1000]).unwrap();
        let fs = FaultyFs::new(Arc::new(Disk));
        let reader = Passing::new(fs.open(&path, OpenMode::Read).unwrap());
        fs.fail_reads();
        assert!(reader.read_at(&mut [0; 10], 500).is_err());
        fs.heal();
        assert_eq!(reader.read_at(&mut [0; 10], 500).unwrap(), 10);
    }
}

//! Walking the batches of a segment file by their headers.

use std::io;

use buslane_wire::batch::{BatchError, BatchHeader, HEADER_LEN};

use crate::fs::{FsFile, read_exact_at};

/// Bytes read at once while walking headers: small batches share a read, large ones waste little.
const HEADER_READ: usize = 4096;

/// Bytes read at once while checking checksums.
const BODY_READ: usize = 64 * 1024;

/// Bytes looked through at once for batches after a doubtful end.
const SEARCH_READ: usize = 256 * 1024;

/// Where the part of a batch starts that its CRC covers: the attributes.
pub(crate) const CRC_START: usize = 21;

/// Why the walk cannot go on at a position.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// The file or the walked range ends inside a batch.
    Incomplete(String),
    /// The bytes are not a batch that can stand there.
    Bad(String),
    /// The file cannot be read.
    Io(io::Error),
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            WalkError::Incomplete("the file ends inside a batch".into())
        } else {
            WalkError::Io(error)
        }
    }
}

/// Reads headers at given positions below a limit, a few kilobytes at a time.
pub(crate) struct Walk<'a> {
    file: &'a dyn FsFile,
    /// End of the range that may be looked at, exclusive.
    limit: u64,
    buf: Vec<u8>,
    buf_position: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(file: &'a dyn FsFile, limit: u64) -> Walk<'a> {
        Walk { file, limit, buf: Vec::new(), buf_position: 0 }
    }

    /// The batch that starts at `position` and ends at or below the limit.
    pub(crate) fn header_at(&mut self, position: u64) -> Result<BatchHeader, WalkError> {
        if self.limit.saturating_sub(position) < HEADER_LEN as u64 {
            return Err(WalkError::Incomplete("the file ends inside a header".into()));
        }
        let buffered = position
            .checked_sub(self.buf_position)
            .filter(|skip| skip + HEADER_LEN as u64 <= self.buf.len() as u64);
        let start = match buffered {
            Some(skip) => skip as usize,
            None => {
                let want = (self.limit - position).min(HEADER_READ as u64) as usize;
                self.buf.resize(want, 0);
                self.buf_position = position;
                // What is there, at least a header: the file may be shorter than the limit after a power cut.
                let mut have = 0;
                while have < HEADER_LEN {
                    match self.file.read_at(&mut self.buf[have..], position + have as u64) {
                        Ok(0) => {
                            self.buf.clear();
                            return Err(WalkError::Incomplete("the file ends inside a header".into()));
                        }
                        Ok(n) => have += n,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => {
                            self.buf.clear();
                            return Err(WalkError::Io(e));
                        }
                    }
                }
                self.buf.truncate(have);
                0
            }
        };
        let header = BatchHeader::parse(&self.buf[start..]).map_err(|e| WalkError::Bad(e.to_string()))?;
        if header.total_len() as u64 > self.limit - position {
            return Err(WalkError::Incomplete("the file ends inside a batch".into()));
        }
        Ok(header)
    }
}

/// Checks the CRC of a batch in a file. `scratch` is reused between batches and stays small.
pub(crate) fn check_crc(
    file: &dyn FsFile,
    position: u64,
    header: &BatchHeader,
    scratch: &mut Vec<u8>,
) -> Result<(), WalkError> {
    let end = position + header.total_len() as u64;
    compare_crc(header, crc_of_range(file, position + CRC_START as u64, end, scratch)?)
}

/// Compares the CRC computed over a batch with the one in its header.
pub(crate) fn compare_crc(header: &BatchHeader, computed: u32) -> Result<(), WalkError> {
    if computed == header.crc {
        Ok(())
    } else {
        Err(WalkError::Bad(BatchError::Crc { stored: header.crc, computed }.to_string()))
    }
}

/// CRC-32C of a range of a file, read in pieces.
pub(crate) fn crc_of_range(file: &dyn FsFile, from: u64, to: u64, scratch: &mut Vec<u8>) -> io::Result<u32> {
    let (mut at, mut crc) = (from, 0);
    while at < to {
        crc_append(file, &mut at, to, &mut crc, scratch)?;
    }
    Ok(crc)
}

/// Takes the next piece of a range, at most [`BODY_READ`] bytes, into its CRC, and moves `at` behind it.
pub(crate) fn crc_append(
    file: &dyn FsFile,
    at: &mut u64,
    to: u64,
    crc: &mut u32,
    scratch: &mut Vec<u8>,
) -> io::Result<()> {
    scratch.resize((to - *at).min(BODY_READ as u64) as usize, 0);
    read_exact_at(file, scratch, *at)?;
    *crc = crc32c::crc32c_append(*crc, scratch);
    *at += scratch.len() as u64;
    Ok(())
}

/// True when what looks like a batch cut short at `position` is not one: all of it is there and only its length is wrong, or
/// the batch that follows it stands below `len`: a whole one, of the same leader epoch, that starts at the offset where this
/// one says it ends. Records may hold batches, too; those say something else.
pub(crate) fn more_follows(log: &dyn FsFile, position: u64, len: u64) -> io::Result<bool> {
    let mut head = [0; HEADER_LEN];
    if len - position < HEADER_LEN as u64 {
        return Ok(false);
    }
    read_exact_at(log, &mut head, position)?;
    let crc = u32::from_be_bytes([head[17], head[18], head[19], head[20]]);
    let mut bytes = Vec::new();
    if crc_of_range(log, position + CRC_START as u64, len, &mut bytes)? == crc {
        return Ok(true);
    }
    let cut = |at: usize| -> [u8; 8] { head[at..at + 8].try_into().expect("eight bytes of a header") };
    let next_offset = (i64::from_be_bytes(cut(0)))
        .saturating_add(i64::from(i32::from_be_bytes([head[23], head[24], head[25], head[26]])) + 1);
    let epoch = i32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    let mut at = position + 1;
    while len - at > HEADER_LEN as u64 {
        bytes.resize((len - at).min(SEARCH_READ as u64) as usize, 0);
        read_exact_at(log, &mut bytes, at)?;
        for start in 0..bytes.len() - HEADER_LEN {
            let found = at + start as u64;
            // Format, length and offset say no for almost every byte, before anything dearer is looked at.
            if bytes[start + 16] != 2 {
                continue;
            }
            let Ok(header) = BatchHeader::parse(&bytes[start..]) else { continue };
            if header.base_offset == next_offset
                && header.partition_leader_epoch == epoch
                && header.total_len() as u64 <= len - found
                && check_crc(log, found, &header, &mut Vec::new()).is_ok()
            {
                return Ok(true);
            }
        }
        // A header may lie across two chunks.
        at += (bytes.len() - HEADER_LEN) as u64;
    }
    Ok(false)
}

/// The first batch of `bytes`, all of it there, with a matching CRC.
pub(crate) fn whole_batch(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    buslane_wire::batch::verify_crc(bytes)?;
    Ok(header)
}

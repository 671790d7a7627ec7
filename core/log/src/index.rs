//! The sparse index of a segment: where batches start, and the greatest timestamp before them.
//!
//! One entry for the first batch that starts 4 KiB or more after the last entered one; the batch at position 0 has
//! none. 20 bytes, big-endian: relative offset u32, position u32, running maximum of the timestamps *before* the batch
//! i64, checksum u32 over these, the entry's number and the segment's id. Derived from the log and never synced: an
//! entry that checks out is a true statement about the log, whatever became of its neighbours; any other makes the
//! index doubtful, and it is rebuilt by a scan. Decision: docs/decisions/0002-one-index-per-segment.md.

use std::io;

use buslane_wire::ids::SegmentId;

use crate::fs::{FsFile, read_exact_at};

/// Bytes of log from one entered batch to the next, at least.
pub(crate) const INTERVAL: u64 = 4096;

/// Bytes of an entry.
pub(crate) const ENTRY_LEN: u64 = 20;

/// Entries read at once where the answer is near: 8 KiB, more than a fetch of a megabyte spans.
const BLOCK: u64 = 409;

/// No batch before: below every timestamp.
pub(crate) const NO_TIMESTAMP: i64 = i64::MIN;

/// A place in a segment where a batch starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Base offset of the batch.
    pub(crate) offset: i64,
    /// Where it starts.
    pub(crate) position: u64,
    /// Greatest timestamp of all batches before it, [`NO_TIMESTAMP`] when there is none.
    pub(crate) max_before: i64,
}

/// Whose index it is: enters the checksum, so that bytes of another file are not taken for ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexOf {
    pub(crate) segment: SegmentId,
    pub(crate) base_offset: i64,
}

/// Why an index cannot answer.
#[derive(Debug)]
pub(crate) enum IndexError {
    /// An entry does not check out: rebuild.
    Doubtful,
    /// The file cannot be read: go without.
    Io,
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { IndexError::Doubtful } else { IndexError::Io }
    }
}

impl IndexOf {
    fn checksum(&self, number: u64, fields: &[u8]) -> u32 {
        let salted =
            crc32c::crc32c_append(crc32c::crc32c(&self.segment.0.to_be_bytes()), &number.to_be_bytes());
        crc32c::crc32c_append(salted, fields)
    }

    /// Appends the entry with this number. Offset and position are within their 32 bits: the segment checks at append.
    pub(crate) fn encode(&self, number: u64, entry: &Entry, out: &mut Vec<u8>) {
        let relative =
            u32::try_from(entry.offset - self.base_offset).expect("a segment spans less than 2^32 offsets");
        let position = u32::try_from(entry.position).expect("a segment is smaller than 4 GiB");
        let start = out.len();
        out.extend_from_slice(&relative.to_be_bytes());
        out.extend_from_slice(&position.to_be_bytes());
        out.extend_from_slice(&entry.max_before.to_be_bytes());
        let crc = self.checksum(number, &out[start..]);
        out.extend_from_slice(&crc.to_be_bytes());
    }

    /// Reads the entry with this number.
    pub(crate) fn decode(&self, number: u64, bytes: &[u8; ENTRY_LEN as usize]) -> Option<Entry> {
        let (fields, crc) = bytes.split_at(16);
        if self.checksum(number, fields).to_be_bytes() != *crc {
            return None;
        }
        let u32_at = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Entry {
            offset: self.base_offset + i64::from(u32_at(0)),
            position: u64::from(u32_at(4)),
            max_before: i64::from_be_bytes(*fields[8..].first_chunk().expect("eight bytes are left")),
        })
    }

    /// Reads one entry from a file.
    pub(crate) fn read(&self, file: &dyn FsFile, number: u64) -> Result<Entry, IndexError> {
        let mut bytes = [0; ENTRY_LEN as usize];
        read_exact_at(file, &mut bytes, number * ENTRY_LEN)?;
        self.decode(number, &bytes).ok_or(IndexError::Doubtful)
    }

    /// The last of the first `count` entries for which `wanted` holds, and its number; it must hold for a prefix of them.
    ///
    /// `hint` is the number of an entry near which the answer may lie: then one read of [`BLOCK`] entries suffices. Else
    /// single entries are read until the rest fits into one such read.
    pub(crate) fn last_where(
        &self,
        file: &dyn FsFile,
        count: u64,
        hint: u64,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Option<(u64, Entry)>, IndexError> {
        // Below `low` all are wanted, from `high` on none.
        let (mut low, mut high, mut best) = (0, count, None);
        let mut block_at = Some(hint.min(count.saturating_sub(1)));
        while low < high {
            let block_at = match block_at.take() {
                None if high - low > BLOCK => {
                    let middle = low + (high - low) / 2;
                    let entry = self.read(file, middle)?;
                    if wanted(&entry) {
                        best = Some((middle, entry));
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                    continue;
                }
                None => low,
                Some(near) => near,
            };
            let mut bytes = [0; (BLOCK * ENTRY_LEN) as usize];
            let block_end = (block_at + BLOCK).min(high);
            let block = &mut bytes[..((block_end - block_at) * ENTRY_LEN) as usize];
            read_exact_at(file, block, block_at * ENTRY_LEN)?;
            let entries = block.as_chunks::<{ ENTRY_LEN as usize }>().0;
            let (mut first, mut end) = (block_at, block_end);
            while first < end {
                let middle = first + (end - first) / 2;
                let bytes = &entries[(middle - block_at) as usize];
                let entry = self.decode(middle, bytes).ok_or(IndexError::Doubtful)?;
                if wanted(&entry) {
                    best = Some((middle, entry));
                    first = middle + 1;
                } else {
                    end = middle;
                }
            }
            if first > block_at {
                low = first;
            }
            if first < block_end {
                high = first;
            }
        }
        Ok(best)
    }

    /// Checks all of the first `count` entries: checksums, and that they rise.
    pub(crate) fn check_all(&self, file: &dyn FsFile, count: u64) -> Result<(), IndexError> {
        let mut buf = vec![0; (256 * ENTRY_LEN) as usize];
        let mut last: Option<Entry> = None;
        let mut number = 0;
        while number < count {
            let now = (count - number).min(256);
            let chunk = &mut buf[..(now * ENTRY_LEN) as usize];
            read_exact_at(file, chunk, number * ENTRY_LEN)?;
            for bytes in chunk.as_chunks::<{ ENTRY_LEN as usize }>().0 {
                let entry = self.decode(number, bytes).ok_or(IndexError::Doubtful)?;
                let rises = last.is_none_or(|l| {
                    l.offset < entry.offset
                        && l.position + INTERVAL <= entry.position
                        && l.max_before <= entry.max_before
                });
                if !rises {
                    return Err(IndexError::Doubtful);
                }
                last = Some(entry);
                number += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::disk::Disk;
    use crate::faulty::FaultyFs;
    use crate::fs::{Fs, OpenMode};

    const OF: IndexOf = IndexOf { segment: SegmentId(9), base_offset: 1000 };

    fn entry(n: u64) -> Entry {
        Entry { offset: 1000 + 10 * n as i64, position: n * INTERVAL, max_before: 500 + (n / 3) as i64 }
    }

    #[test]
    fn the_last_entry_wanted_is_found_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk.open(&dir.path().join("i"), OpenMode::CreateNew).unwrap();
        let mut bytes = Vec::new();
        (0..100).for_each(|n| OF.encode(n, &entry(n), &mut bytes));
        file.write_all_at(&mut [IoSlice::new(&bytes)], 0).unwrap();
        OF.check_all(&*file, 100).unwrap();
        for (offset, hint) in (990..2020).flat_map(|o| [0, 3, 50, 99, 1000].map(|h| (o, h))) {
            let found = OF.last_where(&*file, 100, hint, |e| e.offset <= offset).unwrap();
            let expected = (0..100).rev().map(|n| (n, entry(n))).find(|(_, e)| e.offset <= offset);
            assert_eq!(found, expected, "{offset} from {hint}");
        }
        assert!(matches!(OF.check_all(&*file, 101), Err(IndexError::Doubtful)), "it is shorter");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let n = bit as u64 / 8 / ENTRY_LEN;
            let start = (n * ENTRY_LEN) as usize;
            assert_eq!(OF.decode(n, flipped[start..].first_chunk().unwrap()), None, "bit {bit}");
        }
        let other = IndexOf { segment: SegmentId(8), ..OF };
        assert_eq!(other.decode(0, bytes.first_chunk().unwrap()), None, "an entry of another segment");
        assert_eq!(OF.decode(1, bytes.first_chunk().unwrap()), None, "an entry in another's place");
    }

    #[test]
    fn a_large_index_is_searched_in_few_reads_and_near_the_hint_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let fs = FaultyFs::new(std::sync::Arc::new(Disk));
        let file = fs.open(&dir.path().join("i"), OpenMode::CreateNew).unwrap();
        let count = 100_000;
        let mut bytes = Vec::new();
        (0..count).for_each(|n| OF.encode(n, &entry(n), &mut bytes));
        file.write_all_at(&mut [IoSlice::new(&bytes)], 0).unwrap();
        let search = |number: u64, hint| {
            let before = fs.counts().reads;
            let offset = entry(number).offset + 5;
            let found = OF.last_where(&*file, count, hint, |e| e.offset <= offset).unwrap();
            assert_eq!(found, Some((number, entry(number))), "from {hint}");
            fs.counts().reads - before
        };
        for number in (0..count).step_by(997).chain([count - 1]) {
            assert!(search(number, 0) <= 10);
            assert!(search(number, count / 2) <= 10);
            assert!(search(number, number + 1) <= 10, "just before the hint");
            for ahead in [0, 1, 300] {
                assert_eq!(search(number, number.saturating_sub(ahead)), 1);
            }
        }
    }
}

//! Producer checkpoints beside a segment: frames that the owner hands over and gets back, opaque to the store.
//!
//! A frame is `magic u32, payload length u32, end offset i64, checksum u32` over the fields before and the payload, then
//! the payload. Frames are appended; a frame that does not check out ends the file.

use std::io::{self, IoSlice};

use crate::fs::{FsFile, read_exact_at};

const MAGIC: u32 = 0x4255_5043;
const HEAD_LEN: u64 = 20;

/// Greatest payload accepted, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 256 * 1024 * 1024;

/// Where a frame lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameAt {
    /// As of which offset, exclusive.
    pub(crate) end_offset: i64,
    /// Where it starts, in bytes.
    pub(crate) position: u64,
    payload_len: u64,
}

fn head(end_offset: i64, payload: &[u8]) -> [u8; HEAD_LEN as usize] {
    let mut head = [0; HEAD_LEN as usize];
    head[..4].copy_from_slice(&MAGIC.to_be_bytes());
    head[4..8].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    head[8..16].copy_from_slice(&end_offset.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..16]), payload);
    head[16..].copy_from_slice(&crc.to_be_bytes());
    head
}

/// Appends a frame at `position`; returns where the next one goes.
pub(crate) fn append(file: &dyn FsFile, position: u64, end_offset: i64, payload: &[u8]) -> io::Result<u64> {
    let head = head(end_offset, payload);
    file.write_all_at(&mut [IoSlice::new(&head), IoSlice::new(payload)], position)?;
    Ok(position + HEAD_LEN + payload.len() as u64)
}

/// The good frames in order, by their heads, and where they end. Payloads are checked when they are read; a head that
/// does not lead to another one or to the end of the file ends the list.
pub(crate) fn frames(file: &dyn FsFile) -> io::Result<(Vec<FrameAt>, u64)> {
    let len = file.len()?;
    let (mut frames, mut position) = (Vec::new(), 0);
    while position + HEAD_LEN <= len {
        let mut head = [0; HEAD_LEN as usize];
        read_exact_at(file, &mut head, position)?;
        let u32_at = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let payload_len = u64::from(u32_at(4));
        if u32_at(0) != MAGIC || payload_len > len - position - HEAD_LEN {
            break;
        }
        let end_offset = i64::from_be_bytes(*head[8..].first_chunk().expect("twelve bytes are left"));
        frames.push(FrameAt { end_offset, position, payload_len });
        position += HEAD_LEN + payload_len;
    }
    Ok((frames, position))
}

/// A frame's payload, `None` when it does not check out. Allocates no more than the file holds.
pub(crate) fn payload(file: &dyn FsFile, frame: &FrameAt) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; (HEAD_LEN + frame.payload_len) as usize];
    read_exact_at(file, &mut bytes, frame.position)?;
    let payload = bytes.split_off(HEAD_LEN as usize);
    Ok((head(frame.end_offset, &payload) == bytes[..]).then_some(payload))
}

/// The newest good checkpoint at or below `end_offset`.
pub(crate) fn newest_at(file: &dyn FsFile, end_offset: i64) -> io::Result<Option<(i64, Vec<u8>)>> {
    let (frames, _) = frames(file)?;
    for frame in frames.iter().rev().filter(|f| f.end_offset <= end_offset) {
        if let Some(payload) = payload(file, frame)? {
            return Ok(Some((frame.end_offset, payload)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::fs::{Fs, OpenMode};

    #[test]
    fn the_newest_good_frame_below_an_offset_is_found_whatever_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let file = Disk.open(&path, OpenMode::CreateNew).unwrap();
        let first = append(&*file, 0, 100, b"one").unwrap();
        let second = append(&*file, first, 200, b"").unwrap();
        append(&*file, second, 300, b"three").unwrap();
        let at = |offset| newest_at(&*file, offset).unwrap();
        assert_eq!(at(99), None);
        assert_eq!(at(100), Some((100, b"one".to_vec())));
        assert_eq!(at(299), Some((200, vec![])));
        assert_eq!(at(i64::MAX), Some((300, b"three".to_vec())));
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let hit = bit as u64 / 8;
            let found = at(i64::MAX);
            let expected: &[Option<i64>] = match hit {
                h if h < first => &[None, Some(300)],
                h if h < second => &[Some(100), Some(300)],
                _ => &[Some(200)],
            };
            assert!(expected.contains(&found.as_ref().map(|f| f.0)), "bit {bit}: {found:?}");
        }
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let expected =
                [(first, 100), (second, 200)].into_iter().rev().find(|(end, _)| *end <= len as u64);
            assert_eq!(at(i64::MAX).map(|f| f.0), expected.map(|e| e.1), "cut at {len}");
        }
    }
}

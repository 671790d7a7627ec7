//! Frames and file heads: what tells a whole piece of a file from a torn or damaged one.
//!
//! ```text
//! head:  magic 8 bytes | version u32 | crc32c u32 (of the 12 bytes before)
//! frame: magic u32 | length u32 | crc32c u32 (of the frame's position in the file, its length, its payload) | payload
//! ```
//! All numbers are big-endian. Since the checksum covers the position, no copy of a frame elsewhere (in a payload, or by
//! a misplaced write) counts as one.

/// Bytes of a file's head.
pub(super) const HEAD: usize = 8 + 4 + 4;
/// Bytes before a frame's payload.
pub(super) const FRAME_HEAD: usize = 4 + 4 + 4;
/// Bytes of a payload at most.
pub(super) const PAYLOAD_MAX: usize = 1 << 30;

const FRAME_MAGIC: [u8; 4] = *b"bmf\n";

pub(super) fn file_head(magic: &[u8; 8], version: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(magic);
    head[8..12].copy_from_slice(&version.to_be_bytes());
    let crc = crc32c::crc32c(&head[..12]);
    head[12..].copy_from_slice(&crc.to_be_bytes());
    head
}

/// The version in a file's head; `None` when it is no head of that kind.
pub(super) fn version_of(bytes: &[u8], magic: &[u8; 8]) -> Option<u32> {
    let head = bytes.get(..HEAD)?;
    let version = number(head, 8)?;
    (head == file_head(magic, version)).then_some(version)
}

/// # Panics
/// When the payload is longer than [`PAYLOAD_MAX`].
pub(super) fn frame_head(position: u64, payload: &[u8]) -> [u8; FRAME_HEAD] {
    assert!(payload.len() <= PAYLOAD_MAX, "a frame of {} bytes, at most {PAYLOAD_MAX}", payload.len());
    let mut head = [0; FRAME_HEAD];
    head[..4].copy_from_slice(&FRAME_MAGIC);
    head[4..8].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    head[8..].copy_from_slice(&checksum(position, payload).to_be_bytes());
    head
}

fn checksum(position: u64, payload: &[u8]) -> u32 {
    let mut seed = [0; 12];
    seed[..8].copy_from_slice(&position.to_be_bytes());
    seed[8..].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&seed), payload)
}

/// The payload of the whole frame at `at`, and where the frame ends.
pub(super) fn frame_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = bytes.get(at..at.checked_add(FRAME_HEAD)?)?;
    if head[..4] != FRAME_MAGIC {
        return None;
    }
    let start = at + FRAME_HEAD;
    let end = start.checked_add(usize::try_from(number(head, 4)?).ok()?)?;
    let payload = bytes.get(start..end)?;
    (number(head, 8)? == checksum(at as u64, payload)).then_some((payload, end))
}

/// Whether a whole frame starts anywhere after `at`.
pub(super) fn frame_follows(bytes: &[u8], at: usize) -> bool {
    (at + 1..bytes.len()).any(|i| frame_at(bytes, i).is_some())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

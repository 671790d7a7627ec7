//! gzip (RFC 1952): the frame by hand, so that the inflate state can be used again.

use flate2::{Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::{DecompressError, take, take_slice};
use crate::batch::Compression;

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HEADER_CRC_FLAG: u8 = 1 << 1;
const EXTRA_FLAG: u8 = 1 << 2;
const NAME_FLAG: u8 = 1 << 3;
const COMMENT_FLAG: u8 = 1 << 4;
const RESERVED_FLAGS: u8 = 0b1110_0000;

/// Least room that is given to the output at once.
const ROOM_MIN: usize = 4 << 10;

/// A deflate state and the level that it was made for.
pub(super) type Deflate = (u32, flate2::Compress);

fn malformed(reason: &'static str) -> DecompressError {
    DecompressError::Malformed { codec: Compression::Gzip, reason }
}

/// One member or several, as Java's GZIPInputStream reads them.
pub(super) fn decompress(
    state: &mut Option<Decompress>,
    bytes: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let state = state.get_or_insert_with(|| Decompress::new(false));
    let too_large = DecompressError::TooLarge { limit, compressed: bytes.len() };
    let mut rest = bytes;
    loop {
        skip_header(&mut rest)?;
        state.reset(false);
        let start = out.len();
        loop {
            let (before_in, before_out) = (state.total_in(), state.total_out());
            if out.len() == out.capacity() {
                // One byte more than allowed tells a bomb from what just fits.
                let room = out.len().max(bytes.len()).max(ROOM_MIN).min(limit.saturating_add(1) - out.len());
                out.reserve_exact(room);
            }
            let status = state
                .decompress_vec(rest, out, FlushDecompress::None)
                .map_err(|_| malformed("the deflate stream is damaged"))?;
            let read = (state.total_in() - before_in) as usize;
            rest = &rest[read..];
            if out.len() > limit {
                return Err(too_large);
            }
            if status == Status::StreamEnd {
                break;
            }
            if read == 0 && state.total_out() == before_out && out.len() < out.capacity() {
                return Err(malformed("the deflate stream is cut off"));
            }
        }
        let mut crc = Crc::new();
        crc.update(&out[start..]);
        let stored = take(&mut rest).map(u32::from_le_bytes).ok_or(malformed("the trailer is cut off"))?;
        let len = take(&mut rest).map(u32::from_le_bytes).ok_or(malformed("the trailer is cut off"))?;
        if stored != crc.sum() {
            return Err(malformed("the checksum does not match"));
        }
        if len != (out.len() - start) as u32 {
            return Err(malformed("the stated size does not match"));
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

fn skip_header(rest: &mut &[u8]) -> Result<(), DecompressError> {
    let cut = malformed("the header is cut off");
    let head: [u8; 10] = take(rest).ok_or(cut.clone())?;
    if head[..3] != MAGIC {
        return Err(malformed("the magic bytes are missing"));
    }
    let flags = head[3];
    if flags & RESERVED_FLAGS != 0 {
        return Err(malformed("the header has unknown flags"));
    }
    if flags & EXTRA_FLAG != 0 {
        let len = take(rest).map(u16::from_le_bytes).ok_or(cut.clone())?;
        take_slice(rest, len.into()).ok_or(cut.clone())?;
    }
    for flag in [NAME_FLAG, COMMENT_FLAG] {
        if flags & flag != 0 {
            let end = rest.iter().position(|b| *b == 0).ok_or(cut.clone())?;
            *rest = &rest[end + 1..];
        }
    }
    if flags & HEADER_CRC_FLAG != 0 {
        take::<2>(rest).ok_or(cut)?;
    }
    Ok(())
}

pub(super) fn compress(state: &mut Option<Deflate>, level: Option<i32>, bytes: &[u8], out: &mut Vec<u8>) {
    let level = level.map_or(flate2::Compression::default().level(), |l| l.clamp(0, 9) as u32);
    let fresh = || (level, flate2::Compress::new(flate2::Compression::new(level), false));
    let (made_for, deflate) = state.get_or_insert_with(fresh);
    if *made_for == level {
        deflate.reset();
    } else {
        (*made_for, *deflate) = fresh();
    }
    // No flags, no time, no system: the same records give the same bytes.
    out.extend_from_slice(&[MAGIC[0], MAGIC[1], MAGIC[2], 0, 0, 0, 0, 0, 0, 255]);
    let mut read = 0;
    loop {
        out.reserve((bytes.len() - read) / 2 + 64);
        let before = deflate.total_in();
        let status = deflate
            .compress_vec(&bytes[read..], out, FlushCompress::Finish)
            .expect("a deflate state that was reset takes any bytes");
        read += (deflate.total_in() - before) as usize;
        if status == Status::StreamEnd {
            break;
        }
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
}

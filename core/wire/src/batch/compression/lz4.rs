//! The LZ4 frame format, around the library's block codec. The frame by hand: the library's reader takes a frame that
//! ends between two blocks for a whole one, reserves three times its block size (up to 12 MiB) by the word of seven
//! bytes, and copies what came out once more.
//!
//! ```text
//! frame: magic u32 | FLG | BD | content size u64? | dictionary u32? | header checksum | blocks | 0u32 | content checksum u32?
//! block: length u32, its top bit set for bytes as they are | bytes | block checksum u32?           all little-endian
//! ```
//! Source: the LZ4 frame format description, 1.6.3. Checksums are xxHash-32; KIP-57 made Kafka's the standard ones.

use lz4_flex::block::{
    CompressTable, DecompressError as BlockError, compress_into_with_table, decompress_into,
    get_maximum_output_size,
};
use twox_hash::XxHash32;

use super::{DecompressError, make_room, take, take_slice};
use crate::batch::Compression;

const MAGIC: u32 = 0x184d_2204;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1 << 0;

/// The top bit of a block's length: its bytes are not compressed.
const AS_IT_IS: u32 = 1 << 31;

/// A block expands at most so many times: each further byte of a match length stands for 255.
const EXPANSION_MAX: usize = 255;

/// Bytes that we compress at once, as Java clients do, and the code for that in BD.
const BLOCK_LEN: usize = 64 << 10;
const BLOCK_CODE: u8 = 4;

fn malformed(reason: &'static str) -> DecompressError {
    DecompressError::Malformed { codec: Compression::Lz4, reason }
}

/// Exactly one frame.
pub(super) fn decompress(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let too_large = DecompressError::TooLarge { limit, compressed: bytes.len() };
    let mut rest = bytes;
    let frame = FrameHeader::read(&mut rest)?;
    if frame.content_size.is_some_and(|size| size > limit as u64) {
        return Err(too_large);
    }
    loop {
        let cut = malformed("a block is cut off");
        let word = take(&mut rest).map(u32::from_le_bytes).ok_or(malformed("the end mark is missing"))?;
        let len = (word & !AS_IT_IS) as usize;
        match (word, len) {
            (0, _) => break,
            // For Java clients that is the end.
            (_, 0) => return Err(malformed("an empty block stands before the end mark")),
            _ => {}
        }
        if len > frame.block_len_max {
            return Err(malformed("a block is longer than the frame allows"));
        }
        let block = take_slice(&mut rest, len).ok_or(cut.clone())?;
        if frame.block_checksums {
            let stored = take(&mut rest).map(u32::from_le_bytes).ok_or(cut)?;
            if stored != XxHash32::oneshot(0, block) {
                return Err(malformed("a block's checksum does not match"));
            }
        }
        let start = out.len();
        let left = limit - start;
        if word & AS_IT_IS != 0 {
            if len > left {
                return Err(too_large);
            }
            make_room(out, len, limit);
            out.extend_from_slice(block);
            continue;
        }
        let room = frame.block_len_max.min(len.saturating_mul(EXPANSION_MAX)).min(left);
        make_room(out, room, limit);
        out.resize(start + room, 0);
        let written = match decompress_into(block, &mut out[start..]) {
            Ok(written) => written,
            Err(BlockError::OutputTooSmall { .. }) if room == left => return Err(too_large),
            Err(BlockError::OutputTooSmall { .. }) => {
                return Err(malformed("a block decompresses to more than the frame allows"));
            }
            Err(BlockError::OffsetZero | BlockError::OffsetOutOfBounds) => {
                return Err(malformed("a match reaches before the beginning"));
            }
            Err(_) => return Err(malformed("a block ends inside a sequence")),
        };
        out.truncate(start + written);
    }
    if frame.content_size.is_some_and(|size| size != out.len() as u64) {
        return Err(malformed("the stated size does not match"));
    }
    if frame.content_checksum {
        let stored =
            take(&mut rest).map(u32::from_le_bytes).ok_or(malformed("the content checksum is cut off"))?;
        if stored != XxHash32::oneshot(0, out) {
            return Err(malformed("the content checksum does not match"));
        }
    }
    // Java clients stop at the first frame: what they would not read is not let in.
    if rest.is_empty() { Ok(()) } else { Err(malformed("bytes follow the frame")) }
}

struct FrameHeader {
    block_checksums: bool,
    content_checksum: bool,
    content_size: Option<u64>,
    block_len_max: usize,
}

impl FrameHeader {
    fn read(rest: &mut &[u8]) -> Result<FrameHeader, DecompressError> {
        let cut = malformed("the frame header is cut off");
        let magic = take(rest).map(u32::from_le_bytes).ok_or(cut.clone())?;
        if magic != MAGIC {
            return Err(malformed("the magic number is missing"));
        }
        let descriptor = *rest;
        let [flags, sizes] = take(rest).ok_or(cut.clone())?;
        if flags & VERSION_MASK != VERSION || flags & RESERVED != 0 || sizes & 0x8f != 0 {
            return Err(malformed("the frame header has an unknown version or flags"));
        }
        if flags & DICTIONARY != 0 {
            return Err(malformed("the frame needs a dictionary"));
        }
        if flags & INDEPENDENT == 0 {
            // What Java clients would not read is not let in (KIP-57); librdkafka and they write no such frames.
            return Err(malformed("its blocks depend on each other"));
        }
        let block_len_max = match sizes >> 4 {
            code @ 4..=7 => 1 << (2 * code + 8),
            _ => return Err(malformed("the frame header has an unknown block size")),
        };
        let content_size = match flags & CONTENT_SIZE {
            0 => None,
            _ => Some(take(rest).map(u64::from_le_bytes).ok_or(cut.clone())?),
        };
        let described = &descriptor[..descriptor.len() - rest.len()];
        let [checksum] = take(rest).ok_or(cut)?;
        if checksum != header_checksum(described) {
            return Err(malformed("the frame header's checksum does not match"));
        }
        Ok(FrameHeader {
            block_checksums: flags & BLOCK_CHECKSUM != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
            content_size,
            block_len_max,
        })
    }
}

/// The second byte of the hash of everything between magic number and checksum.
fn header_checksum(described: &[u8]) -> u8 {
    (XxHash32::oneshot(0, described) >> 8) as u8
}

/// One frame of independent blocks: Java clients read no others.
pub(super) fn compress(table: &mut CompressTable, bytes: &[u8], out: &mut Vec<u8>) {
    let described = [VERSION | INDEPENDENT, BLOCK_CODE << 4];
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&described);
    out.push(header_checksum(&described));
    for block in bytes.chunks(BLOCK_LEN) {
        let start = out.len();
        out.resize(start + 4 + get_maximum_output_size(block.len()), 0);
        let len = compress_into_with_table(block, &mut out[start + 4..], table)
            .expect("the room is the library's own maximum");
        let word = if len < block.len() {
            out.truncate(start + 4 + len);
            len as u32
        } else {
            out.truncate(start + 4);
            out.extend_from_slice(block);
            block.len() as u32 | AS_IT_IS
        };
        out[start..start + 4].copy_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
}

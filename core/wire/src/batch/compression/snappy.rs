//! snappy: raw blocks, as librdkafka sends them, and the chunks of snappy-java (xerial), which Java clients send and
//! which every client reads.
//!
//! ```text
//! xerial: 0x82 "SNAPPY" 0 | version i32 | compatible version i32 | (length i32 | raw block)...     all big-endian
//! ```
//! A raw block cannot start like that: the byte after its length would copy from before its beginning.

use super::{DecompressError, make_room, take, take_slice};
use crate::batch::Compression;

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Bytes of the header: the magic and two versions.
const XERIAL_HEAD: usize = 16;

/// Bytes that snappy-java compresses at once.
const XERIAL_CHUNK: usize = 32 << 10;

fn malformed(reason: &'static str) -> DecompressError {
    DecompressError::Malformed { codec: Compression::Snappy, reason }
}

pub(super) fn decompress(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    if !bytes.starts_with(&XERIAL_MAGIC) {
        return block(bytes, bytes.len(), limit, out);
    }
    let mut rest = bytes.get(XERIAL_HEAD..).ok_or(malformed("the header is cut off"))?;
    while !rest.is_empty() {
        let len = take(&mut rest).map(i32::from_be_bytes).ok_or(malformed("a chunk's length is cut off"))?;
        let len = usize::try_from(len).map_err(|_| malformed("a chunk's length is negative"))?;
        let chunk = take_slice(&mut rest, len).ok_or(malformed("a chunk is cut off"))?;
        block(chunk, bytes.len(), limit, out)?;
    }
    Ok(())
}

/// Appends one raw block; `limit` is that of `out` as a whole.
fn block(block: &[u8], compressed: usize, limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let len = snap::raw::decompress_len(block).map_err(|e| malformed(reason(&e)))?;
    if len > limit - out.len() {
        return Err(DecompressError::TooLarge { limit, compressed });
    }
    // The best that a block can do is 64 bytes for each 3, so a claim beyond that is false: no memory for it.
    if len > block.len().saturating_mul(64).div_ceil(3) {
        return Err(malformed("a block claims more than it can hold"));
    }
    let start = out.len();
    make_room(out, len, limit);
    out.resize(start + len, 0);
    let written =
        snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(|e| malformed(reason(&e)))?;
    assert_eq!(written, len, "a block that decompresses has the length it states");
    Ok(())
}

fn reason(error: &snap::Error) -> &'static str {
    match error {
        snap::Error::Empty => "there are no bytes",
        snap::Error::Header | snap::Error::TooBig { .. } => "a block's length is not one",
        snap::Error::HeaderMismatch { .. } => "a block does not have the length it states",
        snap::Error::Literal { .. } => "a literal reaches beyond its block",
        snap::Error::CopyRead { .. } => "a copy is cut off",
        snap::Error::CopyWrite { .. } => "a copy reaches beyond the stated length",
        snap::Error::Offset { .. } => "a copy reaches before the beginning",
        _ => "a block is damaged",
    }
}

pub(super) fn compress(encoder: &mut Option<Box<snap::raw::Encoder>>, bytes: &[u8], out: &mut Vec<u8>) {
    let encoder = encoder.get_or_insert_with(|| Box::new(snap::raw::Encoder::new()));
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    for chunk in bytes.chunks(XERIAL_CHUNK) {
        let start = out.len();
        out.resize(start + 4 + snap::raw::max_compress_len(chunk.len()), 0);
        let len = encoder
            .compress(chunk, &mut out[start + 4..])
            .expect("a chunk is far below snappy's limit and has the room it asks for");
        out[start..start + 4].copy_from_slice(&(len as i32).to_be_bytes());
        out.truncate(start + 4 + len);
    }
}

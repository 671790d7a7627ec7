//! zstd (RFC 8878). Decompressed in one go into the output, which serves as the window: the streaming reader would
//! allocate whatever window the first bytes ask for, up to 128 MiB.

use ::zstd::zstd_safe::zstd_sys::{
    ZSTD_EndDirective::ZSTD_e_end, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall,
};
use ::zstd::zstd_safe::{
    CCtx, CParameter, DCtx, InBuffer, OutBuffer, compress_bound, get_error_name, is_error_kind, max_c_level,
    min_c_level,
};

use super::{DecompressError, take, take_slice};
use crate::batch::Compression;

const MAGIC: u32 = 0xfd2f_b528;

/// Skippable frames have sixteen magic numbers.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;

/// Most that one block decompresses to.
const BLOCK_MAX: u64 = 128 << 10;

/// Room for the first try: as much as records usually expand, and not so little that small batches need two.
const ROOM_PER_BYTE: usize = 8;
const ROOM_MIN: usize = 256 << 10;

/// How much more room each further try has: all the earlier ones together cost a third of the last.
const ROOM_GROWTH: usize = 4;

const LEVEL_DEFAULT: i32 = 3;

fn malformed(reason: &'static str) -> DecompressError {
    DecompressError::Malformed { codec: Compression::Zstd, reason }
}

pub(super) fn decompress(
    context: &mut Option<DCtx<'static>>,
    bytes: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let too_large = DecompressError::TooLarge { limit, compressed: bytes.len() };
    let sizes = Sizes::of_frames(bytes)?;
    if sizes.least > limit as u64 {
        return Err(too_large);
    }
    let most = sizes.most.min(limit as u64) as usize;
    // Blocks of a few bytes may each hold 128 KiB, or claim to: room grows with what has really come out.
    let mut room = most.min(bytes.len().saturating_mul(ROOM_PER_BYTE).max(ROOM_MIN));
    loop {
        out.reserve_exact(room);
        // zstd takes all the capacity there is; a Vec may have more than was asked for.
        match context.get_or_insert_default().decompress(out, bytes) {
            Ok(written) if written > limit => return Err(too_large),
            Ok(_) => return Ok(()),
            Err(code) if !is_error_kind(code, ZSTD_error_dstSize_tooSmall) => {
                return Err(malformed(get_error_name(code)));
            }
            Err(_) if out.capacity() < most => room = out.capacity().saturating_mul(ROOM_GROWTH).min(most),
            Err(_) if sizes.most > limit as u64 => return Err(too_large),
            Err(code) => return Err(malformed(get_error_name(code))),
        }
        // Nothing of the last try is of use: a block of its own instead of one that is grown by copying.
        *out = Vec::new();
    }
}

/// What frames can decompress to, in bytes, by their block headers: nothing else bounds a frame that does not state its
/// size, as those of Java clients do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sizes {
    /// Not less than this, if they decompress at all.
    least: u64,
    /// Not more than this.
    most: u64,
}

impl Sizes {
    fn of_frames(bytes: &[u8]) -> Result<Sizes, DecompressError> {
        let mut sizes = Sizes::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = frame_sizes(&mut rest)?;
            sizes.least = sizes.least.saturating_add(frame.least);
            sizes.most = sizes.most.saturating_add(frame.most);
        }
        if bytes.is_empty() { Err(malformed("there are no bytes")) } else { Ok(sizes) }
    }
}

fn frame_sizes(rest: &mut &[u8]) -> Result<Sizes, DecompressError> {
    let cut = malformed("a frame header is cut off");
    let magic = take(rest).map(u32::from_le_bytes).ok_or(cut.clone())?;
    if magic & !0xf == SKIPPABLE_MAGIC {
        let len = take(rest).map(u32::from_le_bytes).ok_or(cut.clone())?;
        take_slice(rest, len as usize).ok_or(cut)?;
        return Ok(Sizes::default());
    }
    if magic != MAGIC {
        return Err(malformed("the magic number is missing"));
    }
    let [descriptor] = take(rest).ok_or(cut.clone())?;
    let single_segment = descriptor & (1 << 5) != 0;
    let checksum = descriptor & (1 << 2) != 0;
    if !single_segment {
        take::<1>(rest).ok_or(cut.clone())?;
    }
    let dictionary_len = [0, 1, 2, 4][usize::from(descriptor & 3)];
    take_slice(rest, dictionary_len).ok_or(cut.clone())?;
    let content_size = match (descriptor >> 6, single_segment) {
        (0, false) => None,
        (0, true) => take(rest).map(|[byte]| u64::from(byte)),
        (1, _) => take(rest).map(|b| u64::from(u16::from_le_bytes(b)) + 256),
        (2, _) => take(rest).map(|b| u64::from(u32::from_le_bytes(b))),
        _ => take(rest).map(u64::from_le_bytes),
    };
    if content_size.is_none() && (descriptor >> 6 != 0 || single_segment) {
        return Err(cut);
    }
    let mut sizes = Sizes::default();
    loop {
        let cut = malformed("a block is cut off");
        let [a, b, c] = take(rest).ok_or(cut.clone())?;
        let word = u32::from_le_bytes([a, b, c, 0]);
        let (last, kind, len) = (word & 1 != 0, (word >> 1) & 3, u64::from(word >> 3));
        if len > BLOCK_MAX {
            return Err(malformed("a block is larger than 128 KiB"));
        }
        let stored = match kind {
            // As they are: so many bytes.
            0 => len,
            // One byte, so many times.
            1 => 1,
            // Compressed.
            2 => len,
            _ => return Err(malformed("a block is of an unknown kind")),
        };
        take_slice(rest, stored as usize).ok_or(cut)?;
        // How much a compressed block holds is known when it is decompressed.
        sizes.least += if kind == 2 { 0 } else { len };
        sizes.most += if kind == 2 { BLOCK_MAX } else { len };
        if last {
            break;
        }
    }
    if checksum {
        take::<4>(rest).ok_or(malformed("the checksum is cut off"))?;
    }
    match content_size {
        Some(size) if size < sizes.least || size > sizes.most => {
            Err(malformed("the stated size does not match"))
        }
        Some(size) => Ok(Sizes { least: size, most: size }),
        None => Ok(sizes),
    }
}

pub(super) fn compress(
    context: &mut Option<CCtx<'static>>,
    level: Option<i32>,
    bytes: &[u8],
    out: &mut Vec<u8>,
) {
    const SET: &str = "a parameter within its range is taken";
    let context = context.get_or_insert_default();
    let level = level.unwrap_or(LEVEL_DEFAULT).clamp(min_c_level(), max_c_level());
    context.set_parameter(CParameter::CompressionLevel(level)).expect(SET);
    let start = out.len();
    out.reserve(compress_bound(bytes.len()));
    let mut output = OutBuffer::around_pos(out, start);
    let mut input = InBuffer::around(bytes);
    // All of the input in the one call that also ends the frame: zstd then states the size and allocates no window.
    let left = context.compress_stream2(&mut output, &mut input, ZSTD_e_end).expect("zstd has its memory");
    assert_eq!((left, input.pos()), (0, bytes.len()), "the room is the library's own bound");
}

//! The four codecs, with a limit on what comes out.

use std::io::{self, Read, Write};

use super::Compression;

/// What snappy-java puts before its chunks: magic, then two version numbers.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Bytes of that header.
const XERIAL_HEAD: usize = 16;

/// Bytes of a chunk that snappy-java compresses at once.
const XERIAL_CHUNK: usize = 32 << 10;

/// Largest window that a zstd frame may ask for, as a power of two: 128 MiB, the format's recommended bound.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Why records cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// More comes out than allowed: a bomb, or a limit set too low.
    #[error("more than {limit} bytes come out of {compressed}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// Bytes that went in.
        compressed: usize,
    },
    /// Not in the codec's format.
    #[error("not {codec}: {reason}")]
    Malformed {
        /// The codec.
        codec: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Appends what `bytes` decompress to; at most `limit` bytes. `out` grows with what comes out, never by what the input
/// claims. After an error it may hold a part.
pub fn decompress(
    compression: Compression,
    bytes: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    match compression {
        Compression::None => {
            if bytes.len() > limit {
                return Err(DecompressError::TooLarge { limit, compressed: bytes.len() });
            }
            out.extend_from_slice(bytes);
            Ok(())
        }
        Compression::Gzip => {
            read_all("gzip", flate2::read::MultiGzDecoder::new(bytes), bytes.len(), limit, out)
        }
        Compression::Snappy => snappy(bytes, limit, out),
        Compression::Lz4 => {
            read_all("lz4", lz4_flex::frame::FrameDecoder::new(bytes), bytes.len(), limit, out)
        }
        Compression::Zstd => {
            let malformed =
                |e: io::Error| DecompressError::Malformed { codec: "zstd", reason: e.to_string() };
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(malformed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(malformed)?;
            read_all("zstd", decoder, bytes.len(), limit, out)
        }
    }
}

fn read_all(
    codec: &'static str,
    reader: impl Read,
    compressed: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let before = out.len();
    let read = reader.take(limit as u64 + 1).read_to_end(out);
    if out.len() - before > limit {
        return Err(DecompressError::TooLarge { limit, compressed });
    }
    read.map(drop).map_err(|e| DecompressError::Malformed { codec, reason: e.to_string() })
}

fn snappy(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    if !bytes.starts_with(&XERIAL_MAGIC) {
        return snappy_block(bytes, bytes.len(), limit, out);
    }
    let malformed = |reason: &str| DecompressError::Malformed { codec: "snappy", reason: reason.to_owned() };
    let mut rest = bytes.get(XERIAL_HEAD..).ok_or_else(|| malformed("the header is cut off"))?;
    let before = out.len();
    while !rest.is_empty() {
        let (len, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| malformed("a chunk's length is cut off"))?;
        let len = usize::try_from(i32::from_be_bytes(*len))
            .map_err(|_| malformed("a chunk's length is negative"))?;
        let block = after.get(..len).ok_or_else(|| malformed("a chunk is cut off"))?;
        snappy_block(block, bytes.len(), limit - (out.len() - before), out)?;
        rest = &after[len..];
    }
    Ok(())
}

fn snappy_block(
    block: &[u8],
    compressed: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let malformed = |e: snap::Error| DecompressError::Malformed { codec: "snappy", reason: e.to_string() };
    let len = snap::raw::decompress_len(block).map_err(malformed)?;
    if len > limit {
        return Err(DecompressError::TooLarge { limit, compressed });
    }
    // A block expands at most 22 times (64 bytes for each 3), so a claim beyond that is not true.
    if len > block.len().saturating_mul(24) {
        let reason = format!("{} bytes claim to hold {len}", block.len());
        return Err(DecompressError::Malformed { codec: "snappy", reason });
    }
    let before = out.len();
    out.resize(before + len, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[before..]).map_err(malformed)?;
    out.truncate(before + written);
    Ok(())
}

/// Appends `bytes` compressed. `level`: the codec's own scale, `None` for its default; snappy and lz4 have none.
///
/// # Panics
/// Never: compressing into memory does not fail.
pub fn compress(compression: Compression, level: Option<i32>, bytes: &[u8], out: &mut Vec<u8>) {
    const MEMORY: &str = "writing into memory does not fail";
    match compression {
        Compression::None => out.extend_from_slice(bytes),
        Compression::Gzip => {
            let level = level
                .map_or(flate2::Compression::default(), |l| flate2::Compression::new(l.clamp(0, 9) as u32));
            let mut encoder = flate2::write::GzEncoder::new(&mut *out, level);
            encoder.write_all(bytes).expect(MEMORY);
            encoder.finish().expect(MEMORY);
        }
        Compression::Snappy => {
            out.extend_from_slice(&XERIAL_MAGIC);
            out.extend_from_slice(&1i32.to_be_bytes());
            out.extend_from_slice(&1i32.to_be_bytes());
            let mut encoder = snap::raw::Encoder::new();
            for chunk in bytes.chunks(XERIAL_CHUNK) {
                let block = encoder.compress_vec(chunk).expect("a chunk is far below snappy's limit");
                out.extend_from_slice(&(block.len() as i32).to_be_bytes());
                out.extend_from_slice(&block);
            }
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(&mut *out);
            encoder.write_all(bytes).expect(MEMORY);
            encoder.finish().expect(MEMORY);
        }
        Compression::Zstd => {
            zstd::stream::copy_encode(bytes, &mut *out, level.unwrap_or(3)).expect(MEMORY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn unpack(compression: Compression, bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        let mut out = Vec::new();
        decompress(compression, bytes, limit, &mut out).map(|()| out)
    }

    #[test]
    fn what_was_compressed_comes_back_up_to_the_limit() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for codec in ALL {
            for bytes in [&text[..], &text[..1], &[]] {
                let mut packed = Vec::new();
                compress(codec, None, bytes, &mut packed);
                assert_eq!(unpack(codec, &packed, bytes.len()).unwrap(), bytes, "{codec:?}");
                if bytes.len() > 1 {
                    let refused = unpack(codec, &packed, bytes.len() - 1);
                    assert!(
                        matches!(refused, Err(DecompressError::TooLarge { .. })),
                        "{codec:?}: {refused:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_raw_snappy_block_is_read_too() {
        let block = snap::raw::Encoder::new().compress_vec(b"hello hello hello").unwrap();
        assert_eq!(unpack(Compression::Snappy, &block, 100).unwrap(), b"hello hello hello");
    }

    #[test]
    fn a_claim_alone_takes_no_memory() {
        // A raw snappy block of five bytes that claims to hold almost 4 GiB.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        let mut out = Vec::new();
        assert!(decompress(Compression::Snappy, &bomb, usize::MAX >> 8, &mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let text = b"some text that is compressed, some text that is compressed".repeat(20);
        for codec in ALL {
            let mut packed = Vec::new();
            compress(codec, None, &text, &mut packed);
            for i in 0..packed.len() {
                let mut damaged = packed.clone();
                damaged[i] ^= 0x55;
                let _ = unpack(codec, &damaged, 1 << 20);
                let _ = unpack(codec, &packed[..i], 1 << 20);
            }
        }
    }
}

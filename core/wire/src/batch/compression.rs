//! The four codecs, bounded in what comes out, with contexts and buffers that are used again.
//!
//! What compressed bytes claim of themselves takes no memory: output grows with what has really come out, or is
//! reserved by what the input can hold at most, and never beyond the caller's limit. A bomb ends as
//! [`DecompressError::TooLarge`], where the format tells its size before anything was decompressed.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;

use super::Compression;

/// A buffer that one large batch has grown is not kept beyond this.
const BUFFER_KEPT_MAX: usize = 4 << 20;

/// Why bytes cannot be decompressed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecompressError {
    /// More comes out than allowed: a bomb, or a limit set too low.
    #[error("more than {limit} bytes come out of {compressed}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// Bytes that went in.
        compressed: usize,
    },
    /// Not in the codec's format, or cut off.
    #[error("not {codec}: {reason}")]
    Malformed {
        /// The codec.
        codec: Compression,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Decompresses the records of batches, one after another, with the same contexts and buffer. One for each thread.
///
/// At rest it holds at most about 200 KiB of contexts and 4 MiB of buffer.
#[derive(Default)]
pub struct Decompressor {
    gzip: Option<flate2::Decompress>,
    zstd: Option<::zstd::zstd_safe::DCtx<'static>>,
    buffer: Vec<u8>,
}

impl Decompressor {
    /// Without contexts: each codec's is made when it is first needed.
    pub fn new() -> Decompressor {
        Decompressor::default()
    }

    /// Replaces the content of `out` by what `bytes` decompress to, at most `limit` bytes of it.
    ///
    /// `out` grows to `limit` at most, whatever the input claims; a `Vec` that is larger already is used as it is.
    /// After an error its content means nothing.
    pub fn decompress(
        &mut self,
        compression: Compression,
        bytes: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        out.clear();
        match compression {
            Compression::None if bytes.len() > limit => {
                Err(DecompressError::TooLarge { limit, compressed: bytes.len() })
            }
            Compression::None => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Compression::Gzip => gzip::decompress(&mut self.gzip, bytes, limit, out),
            Compression::Snappy => snappy::decompress(bytes, limit, out),
            Compression::Lz4 => lz4::decompress(bytes, limit, out),
            Compression::Zstd => zstd::decompress(&mut self.zstd, bytes, limit, out),
        }
    }

    /// Bytes that came out of the compressed batch opened last, or of what could be read of it.
    pub fn came_out(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets that, and gives back what a large batch has grown.
    pub fn forget_output(&mut self) {
        self.buffer.clear();
        if self.buffer.capacity() > BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
    }

    /// As [`Decompressor::decompress`], into the buffer that this decompressor keeps.
    pub(super) fn decompress_kept(
        &mut self,
        compression: Compression,
        bytes: &[u8],
        limit: usize,
    ) -> Result<&[u8], DecompressError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() > BUFFER_KEPT_MAX {
            buffer = Vec::new();
        }
        let result = self.decompress(compression, bytes, limit, &mut buffer);
        self.buffer = buffer;
        result.map(|()| &self.buffer[..])
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("buffer", &self.buffer.capacity()).finish_non_exhaustive()
    }
}

/// Compresses the records of batches, one after another, with the same contexts. One for each thread.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<gzip::Deflate>,
    snappy: Option<Box<snap::raw::Encoder>>,
    lz4: Option<lz4_flex::block::CompressTable>,
    zstd: Option<::zstd::zstd_safe::CCtx<'static>>,
}

impl Compressor {
    /// Without contexts: each codec's is made when it is first needed.
    pub fn new() -> Compressor {
        Compressor::default()
    }

    /// Appends `bytes` compressed, in the form that every Kafka client reads: gzip as one member, snappy in
    /// snappy-java's framing, lz4 as one frame of independent 64 KiB blocks, zstd as one frame that states its size.
    ///
    /// `level` is the codec's own scale, `None` its default: gzip 0 to 9 (6), zstd -131072 to 22 (3); a level beyond
    /// the scale counts as its end. snappy and lz4 have none here.
    pub fn compress(
        &mut self,
        compression: Compression,
        level: Option<i32>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) {
        match compression {
            Compression::None => out.extend_from_slice(bytes),
            Compression::Gzip => gzip::compress(&mut self.gzip, level, bytes, out),
            Compression::Snappy => snappy::compress(&mut self.snappy, bytes, out),
            Compression::Lz4 => lz4::compress(self.lz4.get_or_insert_default(), bytes, out),
            Compression::Zstd => zstd::compress(&mut self.zstd, level, bytes, out),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Gives `out` the room for `more` bytes behind those that it has; `limit` bytes in all are enough. It at least doubles
/// where the limit lets it: many small pieces cost no more than one large one.
fn make_room(out: &mut Vec<u8>, more: usize, limit: usize) {
    if out.capacity() - out.len() < more {
        out.reserve_exact(more.max(out.len().min(limit - out.len())));
    }
}

/// The next `N` bytes, which are taken off `bytes`.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The next `len` bytes, which are taken off `bytes`.
fn take_slice<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests;

//! Record batches (format v2): the fixed header.

/// Bytes of the fixed header of a batch, base offset and length included.
pub const HEADER_LEN: usize = 61;

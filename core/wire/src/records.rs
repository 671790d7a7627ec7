//! Record batches inside a produce request or a fetch response.

use bytes::Bytes;

/// Record batches of one partition, in whatever form is at hand. Their bytes are opaque here: see `batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records<'a> {
    /// Borrowed; what decoding yields. Encoding copies it, so that the encoder borrows nothing: to send large
    /// batches on, make them [`Records::Shared`] (`Bytes::slice_ref` of the received frame costs no copy).
    Slice(&'a [u8]),
    /// A counted reference; encoding keeps it as a piece of its own and never copies it.
    Shared(Bytes),
    /// Bytes that the writer of the frame supplies, by `sendfile` for example.
    External {
        /// How many bytes there will be.
        len: u32,
        /// Whatever lets the writer find them.
        token: u64,
    },
}

impl<'a> Records<'a> {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Records::Slice(slice) => slice.len(),
            Records::Shared(bytes) => bytes.len(),
            Records::External { len, .. } => *len as usize,
        }
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, unless they are external.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Records::Slice(slice) => Some(slice),
            Records::Shared(bytes) => Some(bytes),
            Records::External { .. } => None,
        }
    }

    /// The bytes with the lifetime of the input they were decoded from; `None` for the other forms.
    pub fn borrowed(&self) -> Option<&'a [u8]> {
        match self {
            Records::Slice(slice) => Some(slice),
            Records::Shared(_) | Records::External { .. } => None,
        }
    }
}

impl From<Bytes> for Records<'_> {
    fn from(bytes: Bytes) -> Self {
        Records::Shared(bytes)
    }
}

impl<'a> From<&'a [u8]> for Records<'a> {
    fn from(slice: &'a [u8]) -> Self {
        Records::Slice(slice)
    }
}

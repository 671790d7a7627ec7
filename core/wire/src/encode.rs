//! Writing Kafka's primitive types into a reusable buffer, with record bytes kept as pieces beside it.

use bytes::Bytes;

use crate::decode::{MAX_ARRAY_ELEMENTS, MAX_STRING_LEN};
use crate::error_code::ErrorCode;
use crate::ids::TopicId;
use crate::records::Records;

/// A type that can be written to the wire in the encoder's version.
pub trait Encode {
    /// Appends one value.
    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError>;
}

/// Why a value cannot be written in a version. What the encoder holds after it is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} in version {version}: {kind}")]
pub struct EncodeError {
    /// Kafka's name of the field.
    pub field: &'static str,
    /// The version being written.
    pub version: i16,
    /// What was wrong.
    pub kind: EncodeErrorKind,
}

/// What is wrong with the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeErrorKind {
    /// The version does not carry the field, its value is not the default, and it may not be dropped.
    #[error("the version has no such field, and its value may not be dropped")]
    Unsupported,
    /// Null where the version does not allow it.
    #[error("null is not allowed in this version")]
    Null,
    /// A string longer than 32,767 bytes.
    #[error("a string of {0} bytes, more than 32767")]
    StringTooLong(usize),
    /// More elements than a receiver takes.
    #[error("an array of {0} elements, more than 1000000")]
    ArrayTooLong(usize),
    /// More bytes than a length on the wire can say.
    #[error("{0} bytes, more than 2147483647")]
    TooLong(usize),
    /// A version the codec does not cover.
    #[error("known are versions {first} to {last}")]
    UnsupportedVersion {
        /// First version known.
        first: i16,
        /// Last version known.
        last: i16,
    },
}

/// Bytes that stand between two bytes of the encoder's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes of the buffer come before it.
    pub position: usize,
    /// The bytes, or where they will come from.
    pub body: PieceBody,
}

/// What a [`Piece`] stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceBody {
    /// These bytes.
    Shared(Bytes),
    /// Bytes that the writer supplies.
    External {
        /// How many.
        len: u32,
        /// Where they are; opaque here.
        token: u64,
    },
}

impl PieceBody {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            PieceBody::Shared(bytes) => bytes.len(),
            PieceBody::External { len, .. } => *len as usize,
        }
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One stretch of the encoded bytes, in wire order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'e> {
    /// Bytes of the encoder's own buffer.
    Buffer(&'e [u8]),
    /// A piece beside it.
    Piece(&'e PieceBody),
}

/// Where a frame starts; given back to [`Encoder::end_frame`] or [`Encoder::abandon_frame`].
#[must_use]
#[derive(Debug)]
pub struct OpenFrame {
    buffer_len: usize,
    pieces: usize,
    piece_bytes: usize,
}

/// A tagged field that is being written; given back to [`Encoder::end_tag`].
#[must_use]
#[derive(Debug)]
pub struct OpenTag {
    body_start: usize,
    pieces: usize,
}

/// Writes messages one after another; cleared and used again, it allocates nothing once it has grown.
#[derive(Debug, Default)]
pub struct Encoder {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    /// Sum of the pieces' lengths.
    piece_bytes: usize,
    version: i16,
    flexible: bool,
    field: &'static str,
    /// See [`Encoder::take_errors`].
    errors: Vec<(ErrorCode, u64)>,
}

impl Encoder {
    /// An empty encoder.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Forgets what was written, keeps the buffers.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.pieces.clear();
        self.piece_bytes = 0;
        self.errors.clear();
    }

    /// Sets the version of what is written next.
    pub fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// The version being written.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// True when this version has compact lengths and tagged fields.
    pub fn flexible(&self) -> bool {
        self.flexible
    }

    /// Names the field that is written next, for errors.
    #[inline]
    pub fn at(&mut self, field: &'static str) {
        self.field = field;
    }

    /// Bytes on the wire of everything written so far, pieces included.
    pub fn total_len(&self) -> usize {
        self.buffer.len() + self.piece_bytes
    }

    /// The buffer without the pieces.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// The pieces in wire order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Takes buffer and pieces out and leaves the encoder empty.
    pub fn take(&mut self) -> (Vec<u8>, Vec<Piece>) {
        self.piece_bytes = 0;
        (std::mem::take(&mut self.buffer), std::mem::take(&mut self.pieces))
    }

    /// How often each error code was written since the last call or [`Encoder::clear`], those that say "none" left out: of
    /// a message with a code for each partition, all of them.
    pub fn take_errors(&mut self) -> Vec<(ErrorCode, u64)> {
        std::mem::take(&mut self.errors)
    }

    /// A message has few different codes, however many entries.
    #[cold]
    fn count_error(&mut self, code: ErrorCode) {
        match self.errors.iter_mut().find(|(counted, _)| *counted == code) {
            Some((_, count)) => *count += 1,
            None => self.errors.push((code, 1)),
        }
    }

    /// Everything written, in wire order; empty stretches are left out.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let ends = self.pieces.iter().map(|piece| (piece.position, Some(&piece.body)));
        let mut start = 0;
        ends.chain([(self.buffer.len(), None)])
            .flat_map(move |(end, piece)| {
                let stretch = &self.buffer[start..end];
                start = end;
                [(!stretch.is_empty()).then_some(Segment::Buffer(stretch)), piece.map(Segment::Piece)]
            })
            .flatten()
    }

    /// A contiguous copy, or `None` when a piece is external. For small messages and tests.
    pub fn to_vec(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.total_len());
        for segment in self.segments() {
            match segment {
                Segment::Buffer(bytes) => out.extend_from_slice(bytes),
                Segment::Piece(PieceBody::Shared(bytes)) => out.extend_from_slice(bytes),
                Segment::Piece(PieceBody::External { .. }) => return None,
            }
        }
        Some(out)
    }

    /// Writes over what stands in the buffer: a field whose value is known only when the message is encoded.
    ///
    /// # Panics
    /// When there is nothing that long.
    pub fn overwrite(&mut self, position: usize, bytes: &[u8]) {
        self.buffer[position..position + bytes.len()].copy_from_slice(bytes);
    }

    /// Starts a frame: four bytes for its size, filled in by [`Encoder::end_frame`].
    pub fn begin_frame(&mut self) -> OpenFrame {
        let frame = OpenFrame {
            buffer_len: self.buffer.len(),
            pieces: self.pieces.len(),
            piece_bytes: self.piece_bytes,
        };
        self.buffer.extend_from_slice(&[0; 4]);
        frame
    }

    /// Fills in the frame's size. A frame beyond 2 GiB is taken back.
    pub fn end_frame(&mut self, frame: OpenFrame) -> Result<(), EncodeError> {
        let len = self.total_len() - frame.buffer_len - frame.piece_bytes - 4;
        match i32::try_from(len) {
            Ok(size) => {
                self.buffer[frame.buffer_len..frame.buffer_len + 4].copy_from_slice(&size.to_be_bytes());
                Ok(())
            }
            Err(_) => {
                self.abandon_frame(frame);
                Err(self.error(EncodeErrorKind::TooLong(len)))
            }
        }
    }

    /// Takes back everything written since the frame was begun.
    pub fn abandon_frame(&mut self, frame: OpenFrame) {
        self.buffer.truncate(frame.buffer_len);
        self.pieces.truncate(frame.pieces);
        self.piece_bytes = frame.piece_bytes;
    }

    #[cold]
    fn error(&self, kind: EncodeErrorKind) -> EncodeError {
        EncodeError { field: self.field, version: self.version, kind }
    }

    /// The current field has a value that this version cannot carry.
    #[cold]
    pub fn unsupported(&self) -> EncodeError {
        self.error(EncodeErrorKind::Unsupported)
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// An unsigned variable-length integer.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    /// The length before bytes, records or an array.
    fn long_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let value = match len {
            None => -1,
            Some(len) => i32::try_from(len).map_err(|_| self.error(EncodeErrorKind::TooLong(len)))?,
        };
        if self.flexible {
            // At most 2^31, which is why the sum is unsigned.
            self.unsigned_varint(len.map_or(0, |_| value as u32 + 1));
        } else {
            self.raw(&value.to_be_bytes());
        }
        Ok(())
    }

    fn string_or_null(&mut self, value: Option<&str>) -> Result<(), EncodeError> {
        let len = value.map(str::len);
        if let Some(len) = len.filter(|len| *len > MAX_STRING_LEN) {
            return Err(self.error(EncodeErrorKind::StringTooLong(len)));
        }
        if self.flexible {
            self.unsigned_varint(len.map_or(0, |len| len as u32 + 1));
        } else {
            self.raw(&len.map_or(-1, |len| len as i16).to_be_bytes());
        }
        self.raw(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    fn refuse_null(&self, is_null: bool, allowed: bool) -> Result<(), EncodeError> {
        if is_null && !allowed { Err(self.error(EncodeErrorKind::Null)) } else { Ok(()) }
    }

    /// A string that may be null when `allowed`.
    pub fn nullable_string(&mut self, value: Option<&str>, allowed: bool) -> Result<(), EncodeError> {
        self.refuse_null(value.is_none(), allowed)?;
        self.string_or_null(value)
    }

    /// Bytes that may be null when `allowed`.
    pub fn nullable_bytes(&mut self, value: Option<&[u8]>, allowed: bool) -> Result<(), EncodeError> {
        self.refuse_null(value.is_none(), allowed)?;
        self.long_len(value.map(<[u8]>::len))?;
        self.raw(value.unwrap_or_default());
        Ok(())
    }

    /// Record batches that may be null when `allowed`; shared and external ones become pieces.
    pub fn records(&mut self, value: Option<&Records<'_>>, allowed: bool) -> Result<(), EncodeError> {
        self.refuse_null(value.is_none(), allowed)?;
        self.long_len(value.map(Records::len))?;
        let body = match value {
            None => return Ok(()),
            Some(records) if records.is_empty() => return Ok(()),
            Some(Records::Slice(slice)) => {
                self.raw(slice);
                return Ok(());
            }
            Some(Records::Shared(bytes)) => PieceBody::Shared(bytes.clone()),
            Some(Records::External { len, token }) => PieceBody::External { len: *len, token: *token },
        };
        self.piece_bytes += body.len();
        self.pieces.push(Piece { position: self.buffer.len(), body });
        Ok(())
    }

    /// A struct that may be null when `allowed`.
    pub fn nullable_struct<T: Encode>(
        &mut self,
        value: Option<&T>,
        allowed: bool,
    ) -> Result<(), EncodeError> {
        self.refuse_null(value.is_none(), allowed)?;
        match value {
            None => self.raw(&[0xff]),
            Some(value) => {
                self.raw(&[1]);
                value.encode(self)?;
            }
        }
        Ok(())
    }

    /// An array.
    pub fn array<T: Encode>(&mut self, elements: &[T]) -> Result<(), EncodeError> {
        if elements.len() > MAX_ARRAY_ELEMENTS {
            return Err(self.error(EncodeErrorKind::ArrayTooLong(elements.len())));
        }
        self.long_len(Some(elements.len()))?;
        elements.iter().try_for_each(|element| element.encode(self))
    }

    /// An array that may be null when `allowed`.
    pub fn nullable_array<T: Encode>(
        &mut self,
        elements: Option<&[T]>,
        allowed: bool,
    ) -> Result<(), EncodeError> {
        match elements {
            Some(elements) => self.array(elements),
            None => {
                self.refuse_null(true, allowed)?;
                self.long_len(None)
            }
        }
    }

    /// The number of tagged fields that follow.
    pub fn tag_count(&mut self, count: u32) {
        self.unsigned_varint(count);
    }

    /// Starts a tagged field.
    pub fn begin_tag(&mut self, number: u32) -> OpenTag {
        self.unsigned_varint(number);
        OpenTag { body_start: self.buffer.len(), pieces: self.pieces.len() }
    }

    /// Puts the size in front of the tagged field just written. Tagged fields are small: moving one is cheaper than
    /// measuring every message first.
    pub fn end_tag(&mut self, tag: OpenTag) -> Result<(), EncodeError> {
        assert_eq!(tag.pieces, self.pieces.len(), "records stand in no tagged field");
        let body_end = self.buffer.len();
        let len = body_end - tag.body_start;
        let size = u32::try_from(len).ok().filter(|size| *size <= i32::MAX as u32);
        self.unsigned_varint(size.ok_or_else(|| self.error(EncodeErrorKind::TooLong(len)))?);
        let size_len = self.buffer.len() - body_end;
        self.buffer[tag.body_start..].rotate_right(size_len);
        Ok(())
    }
}

macro_rules! scalar {
    ($($ty:ty),*) => {$(
        impl Encode for $ty {
            #[inline]
            fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
                e.raw(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}
scalar!(i8, i16, u16, i32, i64, f64);

impl Encode for bool {
    #[inline]
    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        e.raw(&[u8::from(*self)]);
        Ok(())
    }
}

impl Encode for TopicId {
    #[inline]
    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        e.raw(&self.0);
        Ok(())
    }
}

impl Encode for ErrorCode {
    #[inline]
    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        if self.is_err() {
            e.count_error(*self);
        }
        self.0.encode(e)
    }
}

impl Encode for &str {
    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        e.string_or_null(Some(self))
    }
}

impl Encode for &[u8] {
    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        e.nullable_bytes(Some(self), true)
    }
}

#[cfg(test)]
mod tests;

//! Reading Kafka's primitive types from bytes that may be hostile.
//!
//! Every length is checked against the bytes that are there before anything is allocated, and what is allocated is
//! charged to a budget proportional to the input, so any input costs at most a small multiple of its own size.

use crate::error_code::ErrorCode;
use crate::ids::TopicId;
use crate::records::Records;

/// Elements of one array, at most (Kafka 4.4 refuses more, too).
pub const MAX_ARRAY_ELEMENTS: usize = 1_000_000;

/// Tagged fields of one struct, known and unknown, at most (Kafka 4.4's limit).
pub const MAX_TAGGED_FIELDS: u32 = 10_000;

/// Elements reserved before any of them has been read.
pub const MAX_INITIAL_CAPACITY: usize = 1_000;

/// Bytes of a string, at most, in the compact form too.
pub const MAX_STRING_LEN: usize = i16::MAX as usize;

/// Bytes of decoded structs that one byte of input may cost. The messages' own tests prove that none needs more.
pub const HEAP_BYTES_PER_INPUT_BYTE: usize = 64;

/// A type that can be read off the wire, borrowing from the input.
pub trait Decode<'a>: Sized {
    /// The fewest bytes any value takes in this version. Used to refuse an array before its first element is read.
    fn min_size(version: i16, flexible: bool) -> usize;

    /// Reads one value at the decoder's position.
    fn decode(d: &mut Decoder<'a>) -> Result<Self, DecodeError>;
}

/// Why bytes are not the message they claim to be. A retry of the same bytes never helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {position}: {kind}")]
pub struct DecodeError {
    /// Kafka's name of the field that was being read, empty before the first.
    pub field: &'static str,
    /// Bytes of the input that had been read.
    pub position: usize,
    /// What was wrong.
    pub kind: DecodeErrorKind,
}

/// What was wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// The input ends early.
    #[error("needs {needed} bytes, {remaining} are left")]
    Truncated {
        /// Bytes asked for.
        needed: usize,
        /// Bytes that were there.
        remaining: usize,
    },
    /// Null where the version does not allow it.
    #[error("is null, which this version does not allow")]
    Null,
    /// A length below zero that is not the mark for null.
    #[error("has the negative length {0}")]
    NegativeLength(i32),
    /// A string longer than 32,767 bytes.
    #[error("is a string of {0} bytes, more than 32767")]
    StringTooLong(usize),
    /// A string that is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// More elements than the remaining bytes or the limit can hold.
    #[error("announces {count} elements, at most {limit} are possible")]
    TooManyElements {
        /// Elements announced.
        count: usize,
        /// Elements possible.
        limit: usize,
    },
    /// The decoded form would outgrow its budget.
    #[error("would take {needed} bytes of memory, {budget} are left for this message")]
    HeapBudget {
        /// Bytes asked for.
        needed: usize,
        /// Bytes left in the budget.
        budget: usize,
    },
    /// More than 10,000 tagged fields.
    #[error("has {0} tagged fields, more than 10000")]
    TooManyTags(u32),
    /// A variable-length integer of more than 32 bits.
    #[error("is a variable-length integer of more than 32 bits")]
    Varint,
    /// Bytes are left over after a message or a tagged field.
    #[error("is followed by {0} bytes that belong to nothing")]
    TrailingBytes(usize),
    /// A version the codec does not cover.
    #[error("has version {version}, known are {first} to {last}")]
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
        /// First version known.
        first: i16,
        /// Last version known.
        last: i16,
    },
    /// An API key the codec does not know.
    #[error("is the unknown API key {0}")]
    UnknownApiKey(i16),
}

/// A tagged field that is being read; given back to [`Decoder::end_tag`].
#[must_use]
pub struct OpenTag<'a> {
    number: u32,
    /// What follows the tagged field.
    after: &'a [u8],
}

impl OpenTag<'_> {
    /// The tag.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// A cursor over one message body of a known version.
pub struct Decoder<'a> {
    input: &'a [u8],
    /// What is left; within a tagged field, what is left of it.
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    field: &'static str,
    heap_budget: usize,
    elements: usize,
}

impl<'a> Decoder<'a> {
    /// A cursor at the start of `input`, which holds a message of `version`.
    pub fn new(input: &'a [u8], version: i16, flexible: bool) -> Decoder<'a> {
        let heap_budget = input.len().saturating_mul(HEAP_BYTES_PER_INPUT_BYTE);
        Decoder { input, rest: input, version, flexible, field: "", heap_budget, elements: 0 }
    }

    /// Lets structs take at most so many bytes.
    pub fn limit_heap(&mut self, bytes: usize) {
        self.heap_budget = self.heap_budget.min(bytes);
    }

    /// Elements of all arrays entered so far.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The version being read.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// True when this version has compact lengths and tagged fields.
    pub fn flexible(&self) -> bool {
        self.flexible
    }

    /// Names the field that is read next, for errors.
    #[inline]
    pub fn at(&mut self, field: &'static str) {
        self.field = field;
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// An error at this position.
    #[cold]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        let position = self.rest.as_ptr() as usize - self.input.as_ptr() as usize;
        DecodeError { field: self.field, position, kind }
    }

    /// Confirms that nothing is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.error(DecodeErrorKind::TrailingBytes(left))),
        }
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(DecodeErrorKind::Truncated { needed: len, remaining: self.rest.len() })),
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.error(DecodeErrorKind::Truncated { needed: N, remaining: self.rest.len() })),
        }
    }

    /// An unsigned variable-length integer of at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            if shift == 28 && byte > 0x0f {
                return Err(self.error(DecodeErrorKind::Varint));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        unreachable!(
            "the fifth byte ended the loop: above 0x0f is refused, up to 0x0f has no continuation bit"
        )
    }

    /// The length before a string, `None` for null.
    fn string_len(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            return Ok((self.unsigned_varint()? as usize).checked_sub(1));
        }
        self.signed_len(|d| Ok(i32::from(i16::decode(d)?)))
    }

    /// The length before bytes, records or an array, `None` for null.
    fn long_len(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            return Ok((self.unsigned_varint()? as usize).checked_sub(1));
        }
        self.signed_len(i32::decode)
    }

    fn signed_len(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<i32, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        match read(self)? {
            -1 => Ok(None),
            len => match usize::try_from(len) {
                Ok(len) => Ok(Some(len)),
                Err(_) => Err(self.error(DecodeErrorKind::NegativeLength(len))),
            },
        }
    }

    fn not_null<T>(&self, value: Option<T>) -> Result<T, DecodeError> {
        value.ok_or_else(|| self.error(DecodeErrorKind::Null))
    }

    fn null_only_if<T>(&self, allowed: bool, value: Option<T>) -> Result<Option<T>, DecodeError> {
        if value.is_none() && !allowed { Err(self.error(DecodeErrorKind::Null)) } else { Ok(value) }
    }

    fn string_or_null(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let Some(len) = self.string_len()? else { return Ok(None) };
        if len > MAX_STRING_LEN {
            return Err(self.error(DecodeErrorKind::StringTooLong(len)));
        }
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.error(DecodeErrorKind::NotUtf8)),
        }
    }

    fn bytes_or_null(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.long_len()? {
            Some(len) => self.take(len).map(Some),
            None => Ok(None),
        }
    }

    /// A string that may be null when `allowed`.
    pub fn nullable_string(&mut self, allowed: bool) -> Result<Option<&'a str>, DecodeError> {
        let value = self.string_or_null()?;
        self.null_only_if(allowed, value)
    }

    /// Bytes that may be null when `allowed`.
    pub fn nullable_bytes(&mut self, allowed: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        let value = self.bytes_or_null()?;
        self.null_only_if(allowed, value)
    }

    /// Record batches, not looked into, that may be null when `allowed`.
    pub fn records(&mut self, allowed: bool) -> Result<Option<Records<'a>>, DecodeError> {
        Ok(self.nullable_bytes(allowed)?.map(Records::Slice))
    }

    /// A struct that may be null when `allowed`.
    pub fn nullable_struct<T: Decode<'a>>(&mut self, allowed: bool) -> Result<Option<T>, DecodeError> {
        let value = if i8::decode(self)? < 0 { None } else { Some(T::decode(self)?) };
        self.null_only_if(allowed, value)
    }

    /// An array.
    pub fn array<T: Decode<'a>>(&mut self) -> Result<Vec<T>, DecodeError> {
        let value = self.array_or_null()?;
        self.not_null(value)
    }

    /// An array that may be null when `allowed`.
    pub fn nullable_array<T: Decode<'a>>(&mut self, allowed: bool) -> Result<Option<Vec<T>>, DecodeError> {
        let value = self.array_or_null()?;
        self.null_only_if(allowed, value)
    }

    fn array_or_null<T: Decode<'a>>(&mut self) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.long_len()? else { return Ok(None) };
        let min_size = T::min_size(self.version, self.flexible).max(1);
        let limit = (self.rest.len() / min_size).min(MAX_ARRAY_ELEMENTS);
        if count > limit {
            return Err(self.error(DecodeErrorKind::TooManyElements { count, limit }));
        }
        let needed = count.saturating_mul(size_of::<T>());
        let Some(budget) = self.heap_budget.checked_sub(needed) else {
            return Err(self.error(DecodeErrorKind::HeapBudget { needed, budget: self.heap_budget }));
        };
        self.heap_budget = budget;
        self.elements += count;

        let mut elements = Vec::with_capacity(count.min(MAX_INITIAL_CAPACITY));
        for _ in 0..count {
            if elements.len() == elements.capacity() {
                // Doubles, but never beyond what was charged.
                elements.reserve_exact(elements.len().min(count - elements.len()));
            }
            elements.push(T::decode(self)?);
        }
        Ok(Some(elements))
    }

    /// The number of tagged fields that follow.
    pub fn tag_count(&mut self) -> Result<u32, DecodeError> {
        self.at("tagged fields");
        match self.unsigned_varint()? {
            count if count > MAX_TAGGED_FIELDS => Err(self.error(DecodeErrorKind::TooManyTags(count))),
            count => Ok(count),
        }
    }

    /// Enters the next tagged field: until [`Decoder::end_tag`] nothing outside of it can be read.
    pub fn begin_tag(&mut self) -> Result<OpenTag<'a>, DecodeError> {
        self.at("tagged field");
        let number = self.unsigned_varint()?;
        let len = self.unsigned_varint()? as usize;
        let body = self.take(len)?;
        let after = std::mem::replace(&mut self.rest, body);
        Ok(OpenTag { number, after })
    }

    /// Passes over the content of the tagged field just entered.
    pub fn skip_tag(&mut self) {
        self.rest = &self.rest[self.rest.len()..];
    }

    /// Leaves a tagged field, which must have been read to its end.
    pub fn end_tag(&mut self, tag: OpenTag<'a>) -> Result<(), DecodeError> {
        self.finish()?;
        self.rest = tag.after;
        Ok(())
    }
}

macro_rules! scalar {
    ($($ty:ty),*) => {$(
        impl<'a> Decode<'a> for $ty {
            #[inline]
            fn min_size(_version: i16, _flexible: bool) -> usize {
                size_of::<$ty>()
            }

            #[inline]
            fn decode(d: &mut Decoder<'a>) -> Result<$ty, DecodeError> {
                d.fixed().map(<$ty>::from_be_bytes)
            }
        }
    )*};
}
scalar!(i8, i16, u16, i32, i64, f64);

impl<'a> Decode<'a> for bool {
    #[inline]
    fn min_size(_version: i16, _flexible: bool) -> usize {
        1
    }

    /// Any byte but zero is true, as in Kafka.
    #[inline]
    fn decode(d: &mut Decoder<'a>) -> Result<bool, DecodeError> {
        Ok(i8::decode(d)? != 0)
    }
}

impl<'a> Decode<'a> for TopicId {
    #[inline]
    fn min_size(_version: i16, _flexible: bool) -> usize {
        16
    }

    #[inline]
    fn decode(d: &mut Decoder<'a>) -> Result<TopicId, DecodeError> {
        d.fixed().map(TopicId)
    }
}

impl<'a> Decode<'a> for ErrorCode {
    #[inline]
    fn min_size(_version: i16, _flexible: bool) -> usize {
        2
    }

    #[inline]
    fn decode(d: &mut Decoder<'a>) -> Result<ErrorCode, DecodeError> {
        i16::decode(d).map(ErrorCode)
    }
}

impl<'a> Decode<'a> for &'a str {
    #[inline]
    fn min_size(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 2 }
    }

    fn decode(d: &mut Decoder<'a>) -> Result<&'a str, DecodeError> {
        let value = d.string_or_null()?;
        d.not_null(value)
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    #[inline]
    fn min_size(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn decode(d: &mut Decoder<'a>) -> Result<&'a [u8], DecodeError> {
        let value = d.bytes_or_null()?;
        d.not_null(value)
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    #[inline]
    fn min_size(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn decode(d: &mut Decoder<'a>) -> Result<Vec<T>, DecodeError> {
        d.array()
    }
}

#[cfg(test)]
mod tests;

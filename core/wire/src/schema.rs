//! The static description that `#[derive(Wire)]` leaves beside each message.
//!
//! Nothing on the running path reads it. Tests compare it with Kafka's own message definitions and generate every
//! version of every message from it, so that a slip in a declaration cannot hide behind a codec made from that slip.

/// Inclusive range of versions; empty when `first > last`, open when `last` is `i16::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// First version.
    pub first: i16,
    /// Last version, inclusive.
    pub last: i16,
}

impl Versions {
    /// True when `version` is in the range.
    pub const fn contains(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// True when no version is in the range.
    pub const fn is_empty(&self) -> bool {
        self.first > self.last
    }
}

/// A request or a response.
#[derive(Debug)]
pub struct Message {
    /// Kafka's name: `FetchRequest`.
    pub name: &'static str,
    /// The API key that request and response share.
    pub key: i16,
    /// False for a request.
    pub response: bool,
    /// Versions the codec covers. What a broker advertises is another matter.
    pub versions: Versions,
    /// Versions with compact lengths and tagged fields (KIP-482).
    pub flexible: Versions,
    /// The fields.
    pub body: &'static Struct,
}

/// A struct: a message's body or an element of it.
#[derive(Debug)]
pub struct Struct {
    /// Kafka's name: `FetchPartition`.
    pub name: &'static str,
    /// Bytes of one decoded element in memory, without what it points to.
    pub heap_size: usize,
    /// The fields in wire order, tagged ones among them.
    pub fields: &'static [Field],
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Kafka's name: `PartitionMaxBytes`.
    pub name: &'static str,
    /// The type, without its nullability.
    pub ty: Type,
    /// Versions that carry the field.
    pub versions: Versions,
    /// Versions in which it may be null.
    pub nullable: Versions,
    /// The tag's number, for a tagged field.
    pub tag: Option<u32>,
    /// True when a version that does not carry the field drops its value, instead of refusing to encode it.
    pub ignorable: bool,
    /// The value in versions that do not carry it, and the one that a tagged field leaves out.
    pub default: Default,
}

/// A wire type.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// One byte, zero or not.
    Bool,
    /// 1 byte.
    Int8,
    /// 2 bytes.
    Int16,
    /// 2 bytes, unsigned.
    Uint16,
    /// 4 bytes.
    Int32,
    /// 8 bytes.
    Int64,
    /// 8 bytes, IEEE 754.
    Float64,
    /// 16 bytes.
    Uuid,
    /// UTF-8, at most 32,767 bytes.
    String,
    /// Any bytes.
    Bytes,
    /// Record batches.
    Records,
    /// A struct in place.
    Struct(&'static Struct),
    /// An array.
    Array(&'static Type),
}

/// A default value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// Zero, false, an empty string, array or struct.
    Empty,
    /// Null.
    Null,
    /// A bool.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(&'static str),
}

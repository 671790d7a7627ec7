//! Valid messages made from the schema constants alone, without the codec: a second, generic implementation of Kafka's
//! wire format that the derived one has to agree with. Each test program that includes it uses its own part of it.
#![allow(dead_code)]

use buslane_wire::schema::{Default, Field, Message, Struct, Type};
use buslane_wire::{AnyRequest, AnyResponse};
use buslane_wire::{ApiKey, Encoder};

/// A small seeded generator (splitmix64): same seed, same messages.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// Every request and response in every version.
pub fn all_messages() -> impl Iterator<Item = (ApiKey, &'static Message, i16)> {
    ApiKey::ALL.iter().flat_map(|key| {
        [key.request(), key.response()].into_iter().flat_map(move |schema| {
            (schema.versions.first..=schema.versions.last).map(move |version| (*key, schema, version))
        })
    })
}

/// One message body.
pub fn body(schema: &Message, version: i16, rng: &mut Rng) -> Vec<u8> {
    let mut writer = Writer { version, flexible: schema.flexible.contains(version), out: Vec::new() };
    writer.structure(schema.body, rng);
    writer.out
}

/// Decodes `bytes` and encodes the outcome again.
pub fn recode(key: ApiKey, response: bool, version: i16, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut e = Encoder::new();
    if response {
        let message = AnyResponse::decode(key, version, bytes).map_err(|e| e.to_string())?;
        message.encode(version, &mut e).map_err(|e| e.to_string())?;
        assert_eq!(message, message.clone());
    } else {
        let message = AnyRequest::decode(key, version, bytes).map_err(|e| e.to_string())?;
        message.encode(version, &mut e).map_err(|e| e.to_string())?;
    }
    Ok(e.to_vec().expect("decoded records are slices"))
}

struct Writer {
    version: i16,
    flexible: bool,
    out: Vec<u8>,
}

impl Writer {
    /// Writes a struct; true when each field has its default.
    fn structure(&mut self, schema: &Struct, rng: &mut Rng) -> bool {
        let (version, mut all_default) = (self.version, true);
        for field in schema.fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(version)) {
            all_default &= self.field(field, rng);
        }
        if self.flexible {
            let mut tagged: Vec<&Field> = schema
                .fields
                .iter()
                .filter(|f| f.tag.is_some() && f.versions.contains(self.version))
                .collect();
            tagged.sort_by_key(|field| field.tag);
            let mut written = Vec::new();
            for field in tagged {
                let mut value = Writer { version: self.version, flexible: true, out: Vec::new() };
                if !value.field(field, rng) {
                    written.push((field.tag.expect("filtered for it"), value.out));
                }
            }
            self.varint(written.len() as u32);
            for (tag, value) in written {
                all_default = false;
                self.varint(tag);
                self.varint(value.len() as u32);
                self.out.extend(value);
            }
        }
        all_default
    }

    fn field(&mut self, field: &Field, rng: &mut Rng) -> bool {
        let nullable = field.nullable.contains(self.version);
        if nullable && rng.chance(4) {
            match field.ty {
                Type::Struct(_) => self.out.push(0xff),
                Type::String => self.short_len(None),
                _ => self.long_len(None),
            }
            return field.default == Default::Null;
        }
        if let (Type::Struct(_), false) = (field.ty, field.nullable.is_empty()) {
            self.out.push(1);
        }
        self.value(field.ty, field.default, rng)
    }

    /// Writes a value that is not null; true when it is the default.
    fn value(&mut self, ty: Type, default: Default, rng: &mut Rng) -> bool {
        match ty {
            Type::Bool => {
                let value = rng.chance(2);
                self.out.push(u8::from(value));
                Default::Bool(value) == default || !value && default == Default::Empty
            }
            Type::Int8 => self.integer(1, i8::MIN.into(), i8::MAX.into(), default, rng),
            Type::Int16 => self.integer(2, i16::MIN.into(), i16::MAX.into(), default, rng),
            Type::Uint16 => self.integer(2, 0, u16::MAX.into(), default, rng),
            Type::Int32 => self.integer(4, i32::MIN.into(), i32::MAX.into(), default, rng),
            Type::Int64 => self.integer(8, i64::MIN, i64::MAX, default, rng),
            Type::Float64 => {
                let value = [0.0, 1.5, -2.25e300, f64::INFINITY][rng.below(4)];
                self.out.extend(f64::to_be_bytes(value));
                value == 0.0
            }
            Type::Uuid => {
                let value = if rng.chance(3) { [0; 16] } else { [rng.next() as u8; 16] };
                self.out.extend(value);
                value == [0; 16]
            }
            Type::String => {
                let text = ["", "a", "orders", "schlüssel-🚌", "x-very-long-".repeat(30).as_str()]
                    [rng.below(5)]
                .to_string();
                self.short_len(Some(text.len()));
                self.out.extend(text.as_bytes());
                match default {
                    Default::Text(default) => text == default,
                    Default::Empty => text.is_empty(),
                    _ => false,
                }
            }
            Type::Bytes | Type::Records => {
                let len = [0, 1, 7, 127, 128, 300][rng.below(6)];
                self.long_len(Some(len));
                self.out.extend((0..len).map(|_| rng.next() as u8));
                len == 0 && default == Default::Empty
            }
            Type::Struct(schema) => self.structure(schema, rng) && default == Default::Empty,
            Type::Array(element) => {
                let len = [0, 1, 1, 2, 3][rng.below(5)];
                self.long_len(Some(len));
                for _ in 0..len {
                    self.value(*element, Default::Empty, rng);
                }
                len == 0 && default == Default::Empty
            }
        }
    }

    fn integer(&mut self, size: usize, min: i64, max: i64, default: Default, rng: &mut Rng) -> bool {
        let default = match default {
            Default::Int(default) => default,
            _ => 0,
        };
        let random = min.wrapping_add((rng.next() % (max.wrapping_sub(min) as u64).max(1)) as i64);
        let value = [default, 0, 1, min, max, random, random][rng.below(7)];
        self.out.extend(&value.to_be_bytes()[8 - size..]);
        value == default
    }

    fn varint(&mut self, mut value: u32) {
        while value > 127 {
            self.out.push((value & 127) as u8 | 128);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn short_len(&mut self, len: Option<usize>) {
        match (self.flexible, len) {
            (true, None) => self.out.push(0),
            (true, Some(len)) => self.varint(len as u32 + 1),
            (false, None) => self.out.extend([0xff; 2]),
            (false, Some(len)) => self.out.extend((len as i16).to_be_bytes()),
        }
    }

    fn long_len(&mut self, len: Option<usize>) {
        match (self.flexible, len) {
            (true, None) => self.out.push(0),
            (true, Some(len)) => self.varint(len as u32 + 1),
            (false, None) => self.out.extend([0xff; 4]),
            (false, Some(len)) => self.out.extend((len as i32).to_be_bytes()),
        }
    }
}

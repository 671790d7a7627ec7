//! One record as one line of JSON, the same form for `consume --json` and `produce --input json`: what one prints, the
//! other reads back byte for byte.
//!
//! Keys and values are bytes. Those that are UTF-8 stand in `key` and `value` as strings, others in `key_hex` and
//! `value_hex`. On input a `value` that is not a string is taken as its JSON text: `{"value": {"id": 7}}`.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::units::TimestampMs;

/// A record to be produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// In order; a name may come more than once.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub partition: Option<i32>,
    pub timestamp: Option<TimestampMs>,
}

impl InputRecord {
    /// Reads one line. The error says what is wrong with it, in words for the user.
    pub fn from_json(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            // Every record is "line 1" to the parser; which line of the input it is, the caller says.
            format!("not a record in JSON: {}", error.to_string().replace(" at line 1 column", " at column"))
        })?;
        let headers = line.headers.map(read_headers).transpose()?.unwrap_or_default();
        if line.partition.is_some_and(|partition| partition < 0) {
            return Err("'partition' is negative".to_owned());
        }
        Ok(Self {
            key: bytes("key", line.key, line.key_hex)?,
            value: bytes("value", line.value, line.value_hex)?,
            headers,
            partition: line.partition,
            timestamp: line.timestamp.filter(|timestamp| *timestamp >= 0),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    key_hex: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    value_hex: Option<String>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    partition: Option<i32>,
    timestamp: Option<TimestampMs>,
    // Where the record came from: printed by `consume`, of no meaning here.
    #[serde(rename = "topic")]
    _topic: Option<String>,
    #[serde(rename = "offset")]
    _offset: Option<i64>,
    #[serde(rename = "timestamp_type")]
    _timestamp_type: Option<String>,
}

fn bytes(name: &str, text: Option<&RawValue>, hex: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (text, hex) {
        (Some(_), Some(_)) => Err(format!("both '{name}' and '{name}_hex' are given")),
        (Some(raw), None) => Ok(Some(plain_bytes(raw)?)),
        (None, Some(hex)) => {
            parse_hex(&hex).map(Some).ok_or_else(|| format!("'{name}_hex' is not hexadecimal"))
        }
        (None, None) => Ok(None),
    }
}

/// A JSON string's own bytes; of anything else the text as it was written.
fn plain_bytes(raw: &RawValue) -> Result<Vec<u8>, String> {
    if raw.get().starts_with('"') {
        let text: String = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        return Ok(text.into_bytes());
    }
    Ok(raw.get().as_bytes().to_vec())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine<'a> {
    key: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    value_hex: Option<String>,
}

type InputHeaders = Vec<(String, Option<Vec<u8>>)>;

/// `{"name": "value"}` or, where order, bytes or repeated names matter, `[{"key": "name", "value": "value"}]`.
fn read_headers(raw: &RawValue) -> Result<InputHeaders, String> {
    let in_headers = |error: serde_json::Error| format!("in 'headers': {error}");
    if raw.get().starts_with('[') {
        let lines: Vec<HeaderLine<'_>> = serde_json::from_str(raw.get()).map_err(in_headers)?;
        let read = |line: HeaderLine<'_>| Ok((line.key, bytes("value", line.value, line.value_hex)?));
        return lines.into_iter().map(read).collect();
    }
    let pairs: Pairs = serde_json::from_str(raw.get()).map_err(in_headers)?;
    pairs
        .0
        .into_iter()
        .map(|(name, value)| {
            let value = value.as_deref().map(plain_bytes).transpose()?;
            Ok((name, value))
        })
        .collect()
}

/// An object's members in the order they were written.
struct Pairs(Vec<(String, Option<Box<RawValue>>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object or an array of objects")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A record as it was consumed.
#[derive(Debug)]
pub struct OutputRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<TimestampMs>,
    /// `create` or `append`: who set the timestamp, the producer or the log.
    pub timestamp_type: Option<&'static str>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl Serialize for OutputRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("record", 8)?;
        line.serialize_field("topic", self.topic)?;
        line.serialize_field("partition", &self.partition)?;
        line.serialize_field("offset", &self.offset)?;
        line.serialize_field("timestamp", &self.timestamp)?;
        line.serialize_field("timestamp_type", &self.timestamp_type)?;
        bytes_field(&mut line, "key", "key_hex", self.key)?;
        bytes_field(&mut line, "value", "value_hex", self.value)?;
        let headers: Vec<_> =
            self.headers.iter().map(|(key, value)| OutputHeader { key, value: *value }).collect();
        line.serialize_field("headers", &headers)?;
        line.end()
    }
}

struct OutputHeader<'a> {
    key: &'a str,
    value: Option<&'a [u8]>,
}

impl Serialize for OutputHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("header", 2)?;
        line.serialize_field("key", self.key)?;
        bytes_field(&mut line, "value", "value_hex", self.value)?;
        line.end()
    }
}

fn bytes_field<S: SerializeStruct>(
    line: &mut S,
    text_name: &'static str,
    hex_name: &'static str,
    bytes: Option<&[u8]>,
) -> Result<(), S::Error> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => line.serialize_field(text_name, &()),
        Some((_, Ok(text))) => line.serialize_field(text_name, text),
        Some((bytes, Err(_))) => line.serialize_field(hex_name, &to_hex(bytes)),
    }
}

/// Lowercase hexadecimal, two digits a byte.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<InputRecord, String> {
        InputRecord::from_json(line.as_bytes())
    }

    #[test]
    fn strings_are_bytes_and_other_json_is_its_own_text() {
        let record = read(r#"{"key": "a\u00e9\n", "value": {"b": 1, "a": 1.50}}"#).unwrap();
        assert_eq!(record.key.as_deref(), Some("aé\n".as_bytes()));
        assert_eq!(record.value.as_deref(), Some(br#"{"b": 1, "a": 1.50}"#.as_slice()));
        assert_eq!(read(r#"{"value": null}"#).unwrap(), InputRecord::default());
        assert_eq!(read("{}").unwrap(), InputRecord::default());
    }

    #[test]
    fn headers_as_object_or_list_keep_order_and_repetition() {
        let expected = vec![
            ("z".to_owned(), Some(b"1".to_vec())),
            ("a".to_owned(), None),
            ("z".to_owned(), Some(b"2".to_vec())),
        ];
        let object = read(r#"{"headers": {"z": "1", "a": null, "z": 2}}"#).unwrap();
        assert_eq!(object.headers, expected);
        let list = read(
            r#"{"headers": [{"key":"z","value":"1"},{"key":"a","value":null},{"key":"z","value_hex":"32"}]}"#,
        );
        assert_eq!(list.unwrap().headers, expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, complaint) in [
            (r#"{"valeu": "x"}"#, "unknown field `valeu`"),
            (r#"{"value": "x", "value_hex": "00"}"#, "both 'value' and 'value_hex'"),
            (r#"{"value_hex": "0"}"#, "not hexadecimal"),
            (r#"{"value_hex": "0g"}"#, "not hexadecimal"),
            (r#"{"partition": -1}"#, "negative"),
            (r#"{"partition": "1"}"#, "invalid type"),
            (r#"{"headers": 1}"#, "in 'headers'"),
            ("{\"key\": x}", "not a record in JSON: expected value at column 9"),
            ("", "EOF"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(complaint), "{line}: {error}");
        }
    }

    #[test]
    fn what_consume_prints_produce_reads_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let headers = [("h", Some(bytes.as_slice())), ("h", Some(b"text".as_slice())), ("none", None)];
        for (key, value) in [
            (None, Some(bytes.as_slice())),
            (Some(bytes.as_slice()), None),
            (Some(b"".as_slice()), Some("ü\"".as_bytes())),
        ] {
            let printed = OutputRecord {
                topic: "orders",
                partition: 3,
                offset: 42,
                timestamp: Some(1_763_892_000_000),
                timestamp_type: Some("create"),
                key,
                value,
                headers: &headers,
            };
            let record = InputRecord::from_json(&serde_json::to_vec(&printed).unwrap()).unwrap();
            assert_eq!(record.key.as_deref(), key);
            assert_eq!(record.value.as_deref(), value);
            let back: Vec<_> =
                record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            assert_eq!(back, headers);
            assert_eq!((record.partition, record.timestamp), (Some(3), Some(1_763_892_000_000)));
        }
    }
}

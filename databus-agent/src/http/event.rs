//! A request's headers and body as events.
//!
//! * Plain: the body is the value; `Buslane-Key` the key, `Buslane-Id` the id.
//! * CloudEvents 1.0, binary mode (`ce-*` headers) and structured mode (`application/cloudevents+json`), into records as the
//!   Kafka protocol binding says.
//! * `traceparent`, `tracestate` (W3C Trace Context) and `baggage` (W3C Baggage) go with each event.

use axum::http::HeaderMap;
use buslane_wire::batch::RecordHeader;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use crate::channel::NewEvent;
use crate::settings::ChannelSettings;

/// Headers of a request that go with each of its events, under the same names.
const CARRIED: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The name under which a record carries the id that its service gave it.
const ID_HEADER: &str = "buslane-id";

/// What all events of a request share.
#[derive(Clone, Debug, Default)]
pub struct Common {
    headers: Vec<(String, Vec<u8>)>,
    /// `Buslane-Key`.
    key: Option<Vec<u8>>,
    /// `Buslane-Id`, or source and id of a CloudEvent.
    id: Option<String>,
    /// What the service calls the event.
    shown_id: Option<String>,
    /// The body is JSON by its content type.
    pub json: bool,
}

/// One event, owned but for its body.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// For deduplication.
    pub id: Option<String>,
    /// What the service calls it.
    pub shown_id: Option<String>,
    /// What events of one order share.
    pub key: Option<Vec<u8>>,
    /// The body.
    pub value: Bytes,
    /// Its own headers, beside those of the request.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Common {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// What is wrong with them, in words for people.
    pub fn read(headers: &HeaderMap, content_type: &str) -> Result<Common, String> {
        let mut common = Common { json: is_json(content_type), ..Common::default() };
        for name in CARRIED {
            for value in headers.get_all(name) {
                common.headers.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        }
        if let Some(key) = headers.get("buslane-key") {
            common.key = Some(key.as_bytes().to_vec());
        }
        if let Some(id) = headers.get("buslane-id") {
            let id =
                id.to_str().map_err(|_| "Buslane-Id has something else than visible ASCII".to_owned())?;
            check_id(id)?;
            common.headers.push((ID_HEADER.to_owned(), id.as_bytes().to_vec()));
            common.id = Some(format!("\n{id}"));
            common.shown_id = Some(id.to_owned());
        }
        if headers.contains_key("ce-specversion") {
            common.read_cloud_event(headers, content_type)?;
        }
        Ok(common)
    }

    /// CloudEvents' HTTP binding, 3.1: binary content mode.
    fn read_cloud_event(&mut self, headers: &HeaderMap, content_type: &str) -> Result<(), String> {
        let mut source = None;
        for (name, value) in headers {
            let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
            let text = value.to_str().map_err(|_| format!("{name} has something else than visible ASCII"))?;
            let text =
                percent_decoded(text).ok_or_else(|| format!("{name} is badly percent-encoded: {text:?}"))?;
            match attribute {
                "specversion" if text != "1.0" => {
                    return Err(format!("CloudEvents {text:?} is not served, 1.0 is"));
                }
                "id" => self.shown_id = Some(text.clone()),
                "source" => source = Some(text.clone()),
                "partitionkey" => self.key = Some(text.clone().into_bytes()),
                _ => {}
            }
            self.headers.push((format!("ce_{attribute}"), text.into_bytes()));
        }
        let missing = |name| format!("a CloudEvent has {name}; this one has none");
        let id = self.shown_id.as_deref().ok_or_else(|| missing("ce-id"))?;
        check_id(id)?;
        // What is the same event is said by source and id together.
        self.id = Some(format!("{}\n{id}", source.ok_or_else(|| missing("ce-source"))?));
        if !headers.contains_key("ce-type") {
            return Err(missing("ce-type"));
        }
        if !content_type.is_empty() {
            self.headers.push(("content-type".to_owned(), content_type.as_bytes().to_vec()));
        }
        Ok(())
    }

    /// An event with this body. `alone`: the request has no other, so its headers' id is the event's.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn event(&self, value: Bytes, alone: bool, settings: &ChannelSettings) -> Result<Parsed, String> {
        let mut key = self.key.clone();
        if key.is_none()
            && let Some(path) = &settings.key
        {
            key = Some(key_at(&value, path)?);
        } else if self.json {
            serde_json::from_slice::<IgnoredAny>(&value).map_err(|e| format!("it is no JSON: {e}"))?;
        }
        let (id, shown_id) = if alone { (self.id.clone(), self.shown_id.clone()) } else { (None, None) };
        Ok(Parsed { id, shown_id, key, value, headers: Vec::new() })
    }

    /// An event in CloudEvents' JSON format.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn structured(&self, value: Bytes, settings: &ChannelSettings) -> Result<Parsed, String> {
        #[derive(Deserialize)]
        struct Attributes {
            specversion: String,
            id: String,
            source: String,
            r#type: String,
            partitionkey: Option<String>,
        }
        let read: Attributes =
            serde_json::from_slice(&value).map_err(|e| format!("it is no CloudEvent in JSON: {e}"))?;
        if read.specversion != "1.0" {
            return Err(format!("CloudEvents {:?} is not served, 1.0 is", read.specversion));
        }
        if read.source.is_empty() || read.r#type.is_empty() {
            return Err("source and type of a CloudEvent are not empty".to_owned());
        }
        check_id(&read.id)?;
        let key = match (read.partitionkey, &self.key, &settings.key) {
            (Some(key), _, _) => Some(key.into_bytes()),
            (None, Some(key), _) => Some(key.clone()),
            (None, None, Some(path)) => {
                // The field is one of the event's data.
                let path: Vec<String> =
                    std::iter::once("data".to_owned()).chain(path.iter().cloned()).collect();
                Some(key_at(&value, &path)?)
            }
            (None, None, None) => None,
        };
        let content_type = b"application/cloudevents+json; charset=UTF-8".to_vec();
        Ok(Parsed {
            id: Some(format!("{}\n{}", read.source, read.id)),
            shown_id: Some(read.id),
            key,
            value,
            headers: vec![("content-type".to_owned(), content_type)],
        })
    }

    /// Record headers of an event, in front of its own.
    pub fn headers<'a>(&'a self, event: &'a Parsed) -> Vec<RecordHeader<'a>> {
        let all = self.headers.iter().chain(&event.headers);
        all.map(|(key, value)| RecordHeader { key: key.as_bytes(), value: Some(value) }).collect()
    }
}

impl Parsed {
    /// As the channel takes it.
    pub fn new_event<'a>(&'a self, headers: &'a [RecordHeader<'a>], timestamp_ms: i64) -> NewEvent<'a> {
        NewEvent {
            id: self.id.as_deref(),
            timestamp_ms,
            key: self.key.as_deref(),
            value: Some(&self.value),
            headers,
        }
    }
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json") || media.to_ascii_lowercase().ends_with("+json")
}

/// Ids are short, and can be said in a URL's path after encoding.
fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > 1_024 {
        return Err(format!("an id has 1 to 1024 bytes; this one has {}", id.len()));
    }
    Ok(())
}

/// RFC 3986, 2.1.
fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            out.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// The scalar at a path of a JSON body, as a key's bytes: text as it is, numbers and booleans as they are written.
fn key_at(body: &[u8], path: &[String]) -> Result<Vec<u8>, String> {
    let name = || path.join(".");
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let found = At { path }
        .deserialize(&mut deserializer)
        .and_then(|found| deserializer.end().map(|()| found))
        .map_err(|e| format!("it is no JSON with a key at {:?}: {e}", name()))?;
    found.ok_or_else(|| format!("it has nothing at {:?}, which is the key of this channel", name()))
}

/// Looks for a path, and checks all the rest.
struct At<'a> {
    path: &'a [String],
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Vec<u8>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Vec<u8>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.first() {
            Some(name) => write!(f, "an object with {name:?}"),
            None => f.write_str("text, a number, true or false"),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((name, rest)) = self.path.split_first() else {
            return Err(serde::de::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == name.as_str() {
                found = map.next_value_seed(At { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.scalar(|| text.as_bytes().to_vec(), serde::de::Unexpected::Str(text))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.scalar(|| number.to_string().into_bytes(), serde::de::Unexpected::Unsigned(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.scalar(|| number.to_string().into_bytes(), serde::de::Unexpected::Signed(number))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        self.scalar(|| number.to_string().into_bytes(), serde::de::Unexpected::Float(number))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.scalar(|| value.to_string().into_bytes(), serde::de::Unexpected::Bool(value))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

impl At<'_> {
    fn scalar<E: serde::de::Error>(
        self,
        bytes: impl FnOnce() -> Vec<u8>,
        found: serde::de::Unexpected<'_>,
    ) -> Result<Option<Vec<u8>>, E> {
        if self.path.is_empty() { Ok(Some(bytes())) } else { Err(E::invalid_type(found, &self)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(body: &str, path: &str) -> Result<String, String> {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        key_at(body.as_bytes(), &path).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn a_key_is_found_in_json() {
        let body = r#"{"a":[1,{"order":5}],"order":{"id":"x\u0041","n":-3,"f":1.5,"ok":true,"none":null}}"#;
        for (path, expected) in
            [("order.id", "xA"), ("order.n", "-3"), ("order.f", "1.5"), ("order.ok", "true")]
        {
            assert_eq!(key(body, path).unwrap(), expected, "{path}");
        }
        for (path, reason) in [
            ("order.none", "nothing at \"order.none\""),
            ("order.nothing", "nothing at"),
            ("order", "expected text"),
            ("order.id.x", "expected an object with \"x\""),
            ("a.b", "expected an object with \"b\""),
        ] {
            let told = key(body, path).unwrap_err();
            assert!(told.contains(reason), "{path}: {told}");
        }
        assert!(key("{\"order\":1", "order").unwrap_err().contains("no JSON"));
        assert!(key("{\"order\":1} x", "order").unwrap_err().contains("trailing"));
    }

    #[test]
    fn header_values_are_percent_decoded() {
        assert_eq!(percent_decoded("Euro%20%E2%82%AC").unwrap(), "Euro €");
        assert_eq!(percent_decoded("plain").unwrap(), "plain");
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }
}

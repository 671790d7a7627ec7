//! Agreement with Kafka's own message definitions: the JSON inside its client library, read where Maven keeps it.
//!
//! The jar is not part of this repository. It is found through BUSLANE_KAFKA_CLIENTS_JAR, else in the local Maven
//! repository; without it the test fails and names the command that fetches it.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

use buslane_wire::ApiKey;
use buslane_wire::schema::{Default, Field, Struct, Type, Versions};
use serde_json::Value;

const KAFKA_VERSION: &str = "4.4.0";

fn jar() -> PathBuf {
    if let Some(path) = std::env::var_os("BUSLANE_KAFKA_CLIENTS_JAR") {
        return path.into();
    }
    let home = std::env::home_dir().expect("a home directory");
    let path = home.join(format!(
        ".m2/repository/org/apache/kafka/kafka-clients/{KAFKA_VERSION}/kafka-clients-{KAFKA_VERSION}.jar"
    ));
    assert!(
        path.exists(),
        "Kafka's message definitions are missing. Fetch them with\n  \
         mvn -q dependency:get -Dtransitive=false -Dartifact=org.apache.kafka:kafka-clients:{KAFKA_VERSION}\n\
         or set BUSLANE_KAFKA_CLIENTS_JAR to a copy of kafka-clients-{KAFKA_VERSION}.jar."
    );
    path
}

/// Every definition in the jar by name.
fn definitions() -> HashMap<String, Value> {
    let path = jar();
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut out = HashMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        if entry.name().starts_with("common/message/") && entry.name().ends_with(".json") {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let value: Value = serde_json::from_str(&without_comments(&text))
                .unwrap_or_else(|e| panic!("{}: {e}", entry.name()));
            out.insert(value["name"].as_str().unwrap().to_string(), value);
        }
    }
    out
}

/// Blanks `// ...` outside of strings.
fn without_comments(text: &str) -> String {
    let strip = |line: &str| {
        let (mut in_string, mut escaped, mut slash) = (false, false, false);
        for (at, c) in line.char_indices() {
            if !in_string && c == '/' {
                if slash {
                    return line[..at - 1].to_string();
                }
                slash = true;
                continue;
            }
            slash = false;
            if c == '"' && !escaped {
                in_string = !in_string;
            }
            escaped = c == '\\' && !escaped;
        }
        line.to_string()
    };
    text.lines().map(|line| strip(line) + "\n").collect()
}

/// `"3+"`, `"0-5"`, `"7"`, `"none"`.
fn versions(text: Option<&str>) -> Versions {
    match text.unwrap_or("none") {
        "none" => Versions { first: 0, last: -1 },
        text => match (text.strip_suffix('+'), text.split_once('-')) {
            (Some(first), _) => Versions { first: first.parse().unwrap(), last: i16::MAX },
            (None, Some((first, last))) => {
                Versions { first: first.parse().unwrap(), last: last.parse().unwrap() }
            }
            (None, None) => Versions { first: text.parse().unwrap(), last: text.parse().unwrap() },
        },
    }
}

fn within(inner: Versions, outer: Versions) -> (i16, i16) {
    let (first, last) = (inner.first.max(outer.first), inner.last.min(outer.last));
    if first <= last { (first, last) } else { (0, -1) }
}

struct Comparison<'j> {
    message: &'j str,
    valid: Versions,
    /// Structs that several fields share.
    common: HashMap<&'j str, &'j Value>,
    differences: Vec<String>,
    fields: usize,
}

impl<'j> Comparison<'j> {
    fn differ(&mut self, path: &str, what: &str, ours: impl std::fmt::Debug, theirs: impl std::fmt::Debug) {
        self.differences.push(format!("{}{path}: {what} is {ours:?}, Kafka's is {theirs:?}", self.message));
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, path: &str, what: &str, ours: T, theirs: T) {
        if ours != theirs {
            self.differ(path, what, ours, theirs);
        }
    }

    fn structure(&mut self, path: &str, ours: &Struct, theirs: &'j Value) {
        // Fields of a version that is not ours (marked unstable by Kafka) are not declared.
        let theirs: Vec<&Value> = theirs
            .as_array()
            .unwrap_or_else(|| panic!("{}{path} has fields", self.message))
            .iter()
            .filter(|field| within(versions(field["versions"].as_str()), self.valid) != (0, -1))
            .collect();
        let names = |names: Vec<&str>| names.join(" ");
        self.equal(
            path,
            "the list of fields",
            names(ours.fields.iter().map(|field| field.name).collect()),
            names(theirs.iter().map(|field| field["name"].as_str().unwrap()).collect()),
        );
        for (ours, theirs) in ours.fields.iter().zip(theirs) {
            self.field(&format!("{path}.{}", ours.name), ours, theirs);
        }
    }

    fn field(&mut self, path: &str, ours: &Field, theirs: &'j Value) {
        self.fields += 1;
        let of = |key: &str| versions(theirs[key].as_str());
        let valid = self.valid;
        self.equal(path, "versions", within(ours.versions, valid), within(of("versions"), valid));
        self.equal(path, "nullable", within(ours.nullable, valid), within(of("nullableVersions"), valid));
        self.equal(path, "tag", ours.tag, theirs["tag"].as_u64().map(|tag| tag as u32));
        if ours.tag.is_some() {
            self.equal(
                path,
                "tagged versions",
                within(ours.versions, valid),
                within(of("taggedVersions"), valid),
            );
        }
        self.equal(path, "ignorable", ours.ignorable, theirs["ignorable"].as_bool().unwrap_or(false));
        // Only the request header sets this; no message does.
        assert!(theirs["flexibleVersions"].is_null(), "{path}");
        let ty = theirs["type"].as_str().unwrap();
        self.equal(path, "default", value(ours), default(ty, &theirs["default"]));
        self.ty(path, ours.ty, ty, &theirs["fields"]);
    }

    fn ty(&mut self, path: &str, ours: Type, theirs: &'j str, fields: &'j Value) {
        let scalar = match ours {
            Type::Array(element) => {
                return match theirs.strip_prefix("[]") {
                    Some(theirs) => self.ty(path, *element, theirs, fields),
                    None => self.differ(path, "type", "an array", theirs),
                };
            }
            Type::Struct(inner) => {
                self.equal(path, "struct", inner.name, theirs);
                let fields = if fields.is_null() {
                    self.common.get(theirs).copied().unwrap_or(fields)
                } else {
                    fields
                };
                return self.structure(path, inner, fields);
            }
            Type::Bool => "bool",
            Type::Int8 => "int8",
            Type::Int16 => "int16",
            Type::Uint16 => "uint16",
            Type::Int32 => "int32",
            Type::Int64 => "int64",
            Type::Float64 => "float64",
            Type::Uuid => "uuid",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Records => "records",
        };
        self.equal(path, "type", scalar, theirs);
    }
}

/// Our default as text, with zero and the like spelled out.
fn value(field: &Field) -> String {
    match (field.default, field.ty) {
        (Default::Null, _) => "null".to_string(),
        (Default::Bool(value), _) => value.to_string(),
        (Default::Int(value), _) => value.to_string(),
        (Default::Float(value), _) => value.to_string(),
        (Default::Text(value), _) => value.to_string(),
        (Default::Empty, Type::Bool) => "false".to_string(),
        (
            Default::Empty,
            Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64 | Type::Float64,
        ) => "0".to_string(),
        (Default::Empty, _) => String::new(),
    }
}

/// Kafka's default in the same spelling.
fn default(ty: &str, json: &Value) -> String {
    let text = match json {
        Value::Null if ty == "records" => return "null".to_string(),
        Value::Null => "",
        Value::String(text) => text,
        other => return other.to_string(),
    };
    match ty {
        "bool" if text.is_empty() => "false".to_string(),
        ty if ty.starts_with("int") || ty.starts_with("uint") || ty.starts_with("float") => {
            match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16).unwrap().to_string(),
                None if text.is_empty() => "0".to_string(),
                None => text.to_string(),
            }
        }
        _ => text.to_string(),
    }
}

#[test]
fn every_declaration_equals_kafkas_definition() {
    let definitions = definitions();
    let (mut differences, mut fields) = (Vec::new(), 0);
    for key in ApiKey::ALL {
        let unstable = definitions[key.request().name]["latestVersionUnstable"].as_bool().unwrap_or(false);
        for ours in [key.request(), key.response()] {
            let theirs = &definitions[ours.name];
            let mut valid = versions(theirs["validVersions"].as_str());
            valid.last -= i16::from(unstable);
            let common = theirs["commonStructs"].as_array().into_iter().flatten();
            let mut comparison = Comparison {
                message: ours.name,
                valid,
                common: common.map(|common| (common["name"].as_str().unwrap(), &common["fields"])).collect(),
                differences: Vec::new(),
                fields: 0,
            };
            comparison.equal("", "key", i64::from(ours.key), theirs["apiKey"].as_i64().unwrap());
            comparison.equal(
                "",
                "direction",
                if ours.response { "response" } else { "request" },
                theirs["type"].as_str().unwrap(),
            );
            comparison.equal("", "valid versions", ours.versions, valid);
            let flexible = versions(theirs["flexibleVersions"].as_str());
            comparison.equal("", "flexible versions", within(ours.flexible, valid), within(flexible, valid));
            comparison.structure("", ours.body, &theirs["fields"]);
            differences.append(&mut comparison.differences);
            fields += comparison.fields;
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(fields > 700, "only {fields} fields were compared");
}

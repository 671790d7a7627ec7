//! Agreement with Kafka's own definitions of what stands in `__consumer_offsets`: the JSON inside its group coordinator.
//!
//! The jar is not part of this repository. It is found through BUSLANE_KAFKA_GROUP_COORDINATOR_JAR, else in the local
//! Maven repository; without it the test fails and names the command that fetches it.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

use buslane_group::records::RecordType;
use buslane_wire::schema::{Default, Field, Struct, Type, Versions};
use serde_json::Value;

const KAFKA_VERSION: &str = "4.4.0";

fn jar() -> PathBuf {
    if let Some(path) = std::env::var_os("BUSLANE_KAFKA_GROUP_COORDINATOR_JAR") {
        return path.into();
    }
    let home = std::env::home_dir().expect("a home directory");
    let artifact = "kafka-group-coordinator";
    let path = home.join(format!(
        ".m2/repository/org/apache/kafka/{artifact}/{KAFKA_VERSION}/{artifact}-{KAFKA_VERSION}.jar"
    ));
    assert!(
        path.exists(),
        "Kafka's record definitions are missing. Fetch them with\n  \
         mvn -q dependency:get -Dtransitive=false -Dartifact=org.apache.kafka:{artifact}:{KAFKA_VERSION}\n\
         or set BUSLANE_KAFKA_GROUP_COORDINATOR_JAR to a copy of {artifact}-{KAFKA_VERSION}.jar."
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
            // Comments in these definitions stand on lines of their own.
            let text: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", entry.name()));
            out.insert(value["name"].as_str().unwrap().to_string(), value);
        }
    }
    out
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

/// Some definitions begin their names in lower case.
fn upper_camel(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}

struct Comparison<'j> {
    definition: &'j Value,
    valid: Versions,
    differences: Vec<String>,
    fields: usize,
}

impl<'j> Comparison<'j> {
    fn new(definition: &'j Value) -> Self {
        let valid = versions(definition["validVersions"].as_str());
        Comparison { definition, valid, differences: Vec::new(), fields: 0 }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, path: &str, what: &str, ours: T, theirs: T) {
        if ours != theirs {
            let name = &self.definition["name"];
            self.differences.push(format!("{name}{path}: {what} is {ours:?}, Kafka's is {theirs:?}"));
        }
    }

    fn structure(&mut self, path: &str, ours: &Struct, theirs: &'j Value) {
        let theirs = theirs.as_array().unwrap_or_else(|| panic!("{path} has fields"));
        self.equal(
            path,
            "the list of fields",
            ours.fields.iter().map(|field| field.name.to_string()).collect::<Vec<_>>(),
            theirs.iter().map(|field| upper_camel(field["name"].as_str().unwrap())).collect(),
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
            self.equal(path, "tagged", within(ours.versions, valid), within(of("taggedVersions"), valid));
        }
        self.equal(path, "ignorable", ours.ignorable, theirs["ignorable"].as_bool().unwrap_or(false));
        let default = match ours.default {
            Default::Empty => String::new(),
            Default::Null => "null".to_string(),
            Default::Bool(value) => value.to_string(),
            Default::Int(value) => value.to_string(),
            Default::Float(value) => value.to_string(),
            Default::Text(value) => value.to_string(),
        };
        let json_default = match &theirs["default"] {
            // A null that is written down; an absent one is Null as well.
            Value::Null if theirs.as_object().unwrap().contains_key("default") => "null".to_string(),
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            // Zero is what an absent default means.
            Value::Number(number) if number.as_i64() == Some(0) => String::new(),
            other => other.to_string(),
        };
        self.equal(path, "default", default, json_default);
        self.ty(path, ours.ty, theirs["type"].as_str().unwrap(), &theirs["fields"]);
    }

    fn ty(&mut self, path: &str, ours: Type, theirs: &'j str, fields: &'j Value) {
        let scalar = match ours {
            Type::Array(element) => {
                let of = theirs.strip_prefix("[]").unwrap_or("not an array");
                return self.ty(path, *element, of, fields);
            }
            Type::Struct(inner) => {
                self.equal(path, "struct", inner.name, theirs);
                let mut common = self.definition["commonStructs"].as_array().into_iter().flatten();
                let fields = match common.find(|common| common["name"] == theirs) {
                    Some(common) => &common["fields"],
                    None => fields,
                };
                return self.structure(path, inner, fields);
            }
            Type::Int8 => "int8",
            Type::Int32 => "int32",
            Type::Int64 => "int64",
            Type::Uuid => "uuid",
            Type::String => "string",
            Type::Bytes => "bytes",
            other => panic!("{path}: no record has a {other:?}"),
        };
        self.equal(path, "type", scalar, theirs);
    }
}

#[test]
fn every_record_equals_kafkas_definition() {
    let definitions = definitions();
    let (mut differences, mut fields) = (Vec::new(), 0);
    for kind in RecordType::ALL {
        let (key, value) = kind.schemas();
        for (ours, role) in [(key, "coordinator-key"), (value, "coordinator-value")] {
            let theirs = &definitions[ours.name];
            let mut comparison = Comparison::new(theirs);
            comparison.equal("", "number", i64::from(*kind as i16), theirs["apiKey"].as_i64().unwrap());
            comparison.equal("", "role", role, theirs["type"].as_str().unwrap());
            let flexible = versions(theirs["flexibleVersions"].as_str());
            let (our_versions, our_flexible) = match role {
                "coordinator-key" => (Versions { first: 0, last: 0 }, Versions { first: 0, last: -1 }),
                _ => {
                    let (valid, first) = kind.value_versions();
                    (valid, Versions { first, last: i16::MAX })
                }
            };
            let valid = comparison.valid;
            comparison.equal("", "valid versions", our_versions, valid);
            comparison.equal("", "flexible", within(our_flexible, valid), within(flexible, valid));
            comparison.structure("", ours, &theirs["fields"]);
            differences.append(&mut comparison.differences);
            fields += comparison.fields;
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(fields > 60, "only {fields} fields were compared");
}

//! The server's configuration: typed, checked once at start, the same from a file and from a command line.
//!
//! A file is TOML with the sections below. Unknown keys are refused with the nearest known one. Sizes and times carry
//! their unit. [`reference`] writes all keys with their defaults.

mod error;
mod file;
mod groups;
mod memory;
mod section;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors, Place};
pub use groups::{Assignors, GroupsSection};
pub use section::{Key, Section};
pub use value::{Auto, Bound, ByteSize, ConfigValue, HostPort};

use crate::net::{Budget, ConnectionLimits, ListenerSettings};
use section::{Given, section};

section! {
    /// This node and its Kafka listener.
    ServerSection "server" {
        /// Folder of all data. Created when missing; used by one server at a time.
        data: PathBuf = "./buslane-data" kafka "log.dirs";
        /// Address of the Kafka listener.
        listen: SocketAddr = "127.0.0.1:9092" kafka "listeners";
        /// Host and port that clients are told to connect to; auto: the address listened on.
        advertise: Auto<HostPort> = "auto" kafka "advertised.listeners";
        /// Number of this node, stable for ever; auto: drawn at the first start and kept in the data folder.
        node_id: Auto<i32> = "auto" kafka "node.id";
        /// Allows addresses other than loopback though there is neither TLS nor a token: for closed networks.
        insecure_listen: bool = "false";
        /// Writes are refused while less than this, or less than 2 % of the disk, is free.
        disk_reserve: ByteSize = "2GiB" in "1MiB"..="1TiB";
        /// How long a shutdown waits for requests in flight.
        shutdown_deadline: Duration = "10s" in "0s"..="1h";
    }
}

section! {
    /// The HTTP listener: /metrics, /healthz, /readyz.
    HttpSection "http" {
        /// Whether there is one.
        enabled: bool = "true";
        /// Its address.
        listen: SocketAddr = "127.0.0.1:8080";
    }
}

section! {
    /// What clients may take of this server.
    LimitsSection "limits" {
        /// All request and response bytes in memory; auto: the smaller of 1GiB and a quarter of the memory.
        memory: Auto<ByteSize> = "auto" kafka "queued.max.request.bytes";
        /// Longest request.
        request_max: ByteSize = "100MiB" in "1KiB"..="1GiB" kafka "socket.request.max.bytes";
        /// Connections in all.
        connections: usize = "16384" in "1"..="1000000" kafka "max.connections";
        /// Connections from one address.
        connections_per_address: usize = "8192" in "1"..="1000000" kafka "max.connections.per.ip";
        /// Requests of one connection that are served side by side.
        requests_in_flight: usize = "32" in "1"..="1000";
        /// A connection with nothing in flight is closed after this time.
        idle: Duration = "10m" in "1s"..="365d" kafka "connections.max.idle.ms";
        /// How long a begun request may take to arrive, plus the time its bytes take at the lowest rate.
        read_timeout: Duration = "30s" in "100ms"..="1h";
        /// How long a client may take for its responses, plus the time their bytes take at the lowest rate.
        write_timeout: Duration = "30s" in "100ms"..="1h";
        /// Bytes a second under which a client counts as too slow.
        rate_min: ByteSize = "64KiB" in "1B"..="1GiB";
    }
}

section! {
    /// What topics have unless they say otherwise.
    TopicsSection "topics" {
        /// Topics are created when a client asks for one that is not there.
        auto_create: bool = "true" kafka "auto.create.topics.enable";
        /// Partitions of a new topic.
        partitions: i32 = "4" in "1"..="100000" kafka "num.partitions";
        /// Copies of a new topic's partitions: one, until servers form a cluster.
        replication: i32 = "1" in "1"..="1" kafka "default.replication.factor";
        /// Records older than this are dropped, segment by segment.
        retention: Bound<Duration> = "7d" kafka "log.retention.ms";
        /// Oldest segments of a partition are dropped above this size.
        retention_bytes: Bound<ByteSize> = "unlimited" kafka "log.retention.bytes";
        /// A segment is sealed at this size.
        segment_bytes: ByteSize = "1GiB" in "1MiB"..="2047MiB" kafka "log.segment.bytes";
        /// A segment is sealed at this age.
        segment_age: Duration = "7d" in "1s"..="3650d" kafka "log.roll.ms";
        /// A segment is sealed when nothing was written to it for this time.
        segment_idle: Duration = "10m" in "1s"..="365d";
        /// How often segments are looked at for what is too old or too much.
        retention_check: Duration = "5m" in "100ms"..="1d" kafka "log.retention.check.interval.ms";
        /// A producer that wrote nothing for this time is forgotten, and may start at any sequence again.
        producer_expiry: Duration = "1d" in "1s"..="365d" kafka "producer.id.expiration.ms";
        /// Bytes of records in one fetch response.
        fetch_max: ByteSize = "55MiB" in "1KiB"..="1GiB" kafka "fetch.max.bytes";
    }
}

section! {
    /// Reading sealed segments again, to find what a disk has spoiled before somebody consumes it.
    ScrubSection "scrub" {
        /// Each sealed segment is read and checked once in this time, or as often as the rate allows; 0s: never.
        interval: Duration = "7d" in "0s"..="3650d";
        /// Bytes a second that are read for it, at most.
        rate: ByteSize = "8MiB" in "64KiB"..="64GiB";
    }
}

section! {
    /// Keeping the newest record of each key, in topics whose `cleanup.policy` says so.
    CompactionSection "compaction" {
        /// Pause between two looks at what is to be compacted.
        check: Duration = "15s" in "100ms"..="1d" kafka "log.cleaner.backoff.ms";
        /// Memory for the table of keys, some 27 bytes a key: with fewer keys it is smaller, with more it takes more passes.
        memory: ByteSize = "128MiB" in "1MiB"..="64GiB" kafka "log.cleaner.dedupe.buffer.size";
        /// Bytes a second that are read for it, at most.
        rate: ByteSize = "64MiB" in "64KiB"..="64GiB" kafka "log.cleaner.io.max.bytes.per.second";
    }
}

/// The whole configuration.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ServerConfig {
    /// This node and its Kafka listener.
    pub server: ServerSection,
    /// The HTTP listener.
    pub http: HttpSection,
    /// What clients may take.
    pub limits: LimitsSection,
    /// Defaults of topics.
    pub topics: TopicsSection,
    /// Consumer groups.
    pub groups: GroupsSection,
    /// The background scrub.
    pub scrub: ScrubSection,
    /// Compaction.
    pub compaction: CompactionSection,
}

/// Sections in the order in which they are shown.
const SECTIONS: [&[Key]; 7] = [
    ServerSection::KEYS,
    HttpSection::KEYS,
    LimitsSection::KEYS,
    TopicsSection::KEYS,
    GroupsSection::KEYS,
    ScrubSection::KEYS,
    CompactionSection::KEYS,
];

/// Our path of the key that Kafka calls so: `topics.partitions`.
pub fn key_of(kafka: &str) -> Option<String> {
    SECTIONS.iter().flat_map(|keys| keys.iter()).find(|key| key.kafka == Some(kafka)).map(Key::path)
}

/// A key set on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// What the user typed, for messages: `--listen`.
    pub option: String,
    /// The key: `server.listen`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// Every key.
pub fn keys() -> impl DoubleEndedIterator<Item = &'static Key> {
    SECTIONS.into_iter().flatten()
}

/// A file with every key at its default.
pub fn reference() -> String {
    let mut text = String::new();
    for keys in SECTIONS {
        let gap = if text.is_empty() { "" } else { "\n" };
        text += &format!("{gap}[{}]\n", keys[0].section);
        for key in keys {
            let kafka = key.kafka.map_or(String::new(), |name| format!(" (Kafka: {name})"));
            text += &format!("#{}{kafka}\n{} = {}\n", key.doc, key.name, (key.default)());
        }
    }
    text
}

impl ServerConfig {
    /// Reads a file, if one is given, then the command line, and checks that it all fits together.
    pub fn load(path: Option<&Path>, overrides: &[Override]) -> Result<ServerConfig, ConfigErrors> {
        let text = path.map(|path| (path, std::fs::read_to_string(path)));
        match text {
            None => Self::from_parts(None, overrides),
            Some((path, Ok(text))) => Self::from_parts(Some((path, &text)), overrides),
            Some((path, Err(e))) => {
                let place = Place::File(path.to_owned(), 0);
                Err(ConfigErrors(vec![ConfigError { place, problem: format!("cannot be read: {e}") }]))
            }
        }
    }

    fn from_parts(file: Option<(&Path, &str)>, overrides: &[Override]) -> Result<ServerConfig, ConfigErrors> {
        let mut config = ServerConfig::default();
        let mut places = BTreeMap::new();
        let mut errors = vec![];
        if let Some((path, text)) = file {
            file::read(path, text, &mut config, &mut places, &mut errors);
        }
        for Override { option, key, value } in overrides {
            let place = Place::Option(option.clone());
            let (section, name) = key.split_once('.').expect("a key is written section.name");
            match config.set(section, name, Given::Text(value)) {
                Ok(()) => drop(places.insert((*key).to_owned(), place)),
                Err(problem) => errors.push(ConfigError { place, problem }),
            }
        }
        if errors.is_empty() {
            config.check(|key, problem| {
                let place = places.get(key).cloned().unwrap_or(Place::Default);
                errors.push(ConfigError { place, problem: format!("{key}: {problem}") });
            });
        }
        errors.sort();
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// Sets a known key.
    fn set(&mut self, section: &str, name: &str, given: Given<'_>) -> Result<(), String> {
        match section {
            "server" => self.server.set(name, given),
            "http" => self.http.set(name, given),
            "limits" => self.limits.set(name, given),
            "topics" => self.topics.set(name, given),
            "groups" => self.groups.set(name, given),
            "scrub" => self.scrub.set(name, given),
            "compaction" => self.compaction.set(name, given),
            _ => unreachable!("there is no section {section}"),
        }
    }

    /// What keys must be to each other.
    fn check(&self, mut wrong: impl FnMut(&str, String)) {
        let ServerSection { listen, advertise, node_id, insecure_listen, .. } = &self.server;
        let listeners =
            [("server.listen", *listen, true), ("http.listen", self.http.listen, self.http.enabled)];
        for (key, address, used) in listeners {
            if used && !insecure_listen && !address.ip().to_canonical().is_loopback() {
                wrong(
                    key,
                    format!(
                        "{address} can be reached from other machines, and this listener has neither TLS nor a token. \
                         Listen on 127.0.0.1, or set server.insecure_listen = true in a closed network"
                    ),
                );
            }
        }
        if advertise.0.is_none() && listen.ip().is_unspecified() {
            wrong(
                "server.advertise",
                format!("must be given, since clients cannot connect to {}", listen.ip()),
            );
        }
        if node_id.0.is_some_and(|id| id < 0) {
            wrong("server.node_id", "must be from 0 to 2147483647".to_owned());
        }
        if let Auto(Some(memory)) = self.limits.memory {
            let least = ByteSize(2 * self.limits.request_max.0);
            if memory < least {
                wrong(
                    "limits.memory",
                    format!(
                        "{memory} must be at least {least}, twice limits.request_max: a request must fit beside others"
                    ),
                );
            }
        }
        self.groups.check(&mut wrong);
        if let Bound(Some(time)) = self.topics.retention
            && time.is_zero()
        {
            wrong(
                "topics.retention",
                "must be longer than 0; to keep everything write \"unlimited\"".to_owned(),
            );
        }
    }

    /// The budget for all request and response bytes.
    pub fn budget(&self) -> Budget {
        let memory = self.limits.memory.0.map_or_else(memory::default_budget_bytes, ByteSize::as_usize);
        Budget::new(memory, self.limits.request_max.as_usize())
    }

    /// What the Kafka listener is told.
    pub fn kafka_listener(&self) -> ListenerSettings {
        let limits = &self.limits;
        ListenerSettings {
            connections_max: limits.connections,
            connections_per_address_max: limits.connections_per_address,
            shutdown_deadline: self.server.shutdown_deadline,
            connection: ConnectionLimits {
                frame_bytes_max: limits.request_max.as_usize(),
                in_flight_max: limits.requests_in_flight,
                idle_max: limits.idle,
                read_timeout: limits.read_timeout,
                write_timeout: limits.write_timeout,
                rate_min: limits.rate_min.0,
                ..ConnectionLimits::default()
            },
            ..ListenerSettings::new("kafka", self.server.listen)
        }
    }
}

#[cfg(test)]
mod tests;

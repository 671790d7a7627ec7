//! What an agent is told: clusters, channels, itself. One file (TOML), or the same as JSON from a Databus server.
//!
//! Everything is checked before anything of it is used; a mistake is told with its place, and the old configuration stays.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use buslane_client::{Address, Config, Identity, Sasl, SaslMechanism, Tls};
use buslane_wire::batch::Compression;
use serde::{Deserialize, Deserializer, Serialize};

use crate::channel::Level;
use crate::route::Partitioner;

/// Where the agent listens unless it is told.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8970";

/// A configuration, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// This agent.
    pub agent: AgentSection,
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterSection>,
    /// Channels by name.
    pub channels: BTreeMap<String, ChannelSection>,
}

/// `[agent]`: what takes effect at a start only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSection {
    /// Address of HTTP and gRPC.
    pub listen: SocketAddr,
    /// A Unix socket beside it, made with mode 0660.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Folder of the spool.
    pub spool: PathBuf,
    /// Space of the disk that is left free.
    pub disk_reserve: Size,
    /// File whose first line requests have to bring, as `Authorization: Bearer …`; needed beyond loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// How long a stop waits for what is under way.
    pub shutdown_deadline: Time,
}

impl Default for AgentSection {
    fn default() -> AgentSection {
        AgentSection {
            listen: DEFAULT_LISTEN.parse().expect("it is an address"),
            socket: None,
            spool: "./buslane-agent".into(),
            disk_reserve: Size(512 << 20),
            token_file: None,
            shutdown_deadline: Time(Duration::from_secs(10)),
        }
    }
}

/// `[clusters.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// Brokers to start from, `host:port` each.
    pub bootstrap: Vec<String>,
    /// Connections are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSection>,
    /// The agent proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslSection>,
}

/// `[clusters.NAME.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// Authorities that are trusted, as PEM; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// The agent's certificate, as PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, as PEM.
    pub key_file: Option<PathBuf>,
    /// The name that certificates must be for, instead of the host's.
    pub server_name: Option<String>,
}

/// `[clusters.NAME.sasl]`. The password is a reference, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SaslSection {
    /// PLAIN, SCRAM-SHA-256, SCRAM-SHA-512.
    pub mechanism: String,
    /// The user.
    pub username: String,
    /// File whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
}

/// `[channels.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelSection {
    /// Which cluster; the only one where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The topic; the channel's name unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// key, round_robin or sticky.
    pub partitioner: Partitioner,
    /// Field of a JSON body that is the key, as `order.id`; a key that a request names goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How safe an event is before it is answered, unless the request says so: memory, disk or cluster.
    pub level: Level,
    /// Events wait so long for others at most, and only while there are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<Time>,
    /// Bytes of a batch before compression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_bytes: Option<Size>,
    /// none, gzip, snappy, lz4 or zstd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Bytes of the channel's spool; beyond, requests are answered 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_bytes: Option<Size>,
    /// Bytes of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_bytes_max: Option<Size>,
    /// An event whose id came within this time before is the same event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_window: Option<Time>,
}

/// A channel's settings, checked and complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSettings {
    /// The cluster's name.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// Which partition.
    pub partitioner: Partitioner,
    /// Where in a JSON body the key is.
    pub key: Option<Vec<String>>,
    /// Unless a request says so.
    pub level: Level,
    /// See [`ChannelSection::linger`].
    pub linger_max: Duration,
    /// Of a batch, before compression.
    pub batch_bytes: usize,
    /// Of batches.
    pub compression: Compression,
    /// Of the spool.
    pub spool_bytes_max: u64,
    /// Of an event: body, key and headers.
    pub event_bytes_max: usize,
    /// See [`ChannelSection::dedup_window`].
    pub dedup_window: Duration,
}

impl ChannelSettings {
    /// Milliseconds.
    pub fn dedup_window_ms(&self) -> i64 {
        i64::try_from(self.dedup_window.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Ids that a channel remembers at most, some 100 bytes each.
pub const DEDUP_IDS_MAX: usize = 1_000_000;

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// This agent.
    pub agent: AgentSection,
    /// Clusters by name.
    pub clusters: BTreeMap<String, Config>,
    /// Channels by name.
    pub channels: BTreeMap<String, ChannelSettings>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `channels.orders.linger`; empty where the whole cannot be read.
    pub path: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// What is wrong with a configuration: all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Mistake { path, reason }) in self.0.iter().enumerate() {
            let between = if at > 0 { "\n" } else { "" };
            let colon = if path.is_empty() { "" } else { ": " };
            write!(f, "{between}{path}{colon}{reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl AgentConfig {
    /// Reads a configuration's text.
    ///
    /// # Errors
    /// Where it is no TOML, or has a key that is unknown: with line and nearest name.
    pub fn parse(text: &str) -> Result<AgentConfig, Mistakes> {
        toml::from_str(text).map_err(|error| {
            let mut reason = error.to_string().trim_end().to_owned();
            if let Some(nearest) = nearest_of(error.message()) {
                reason = format!("{reason}\nperhaps {nearest:?} is meant");
            }
            Mistakes(vec![Mistake { path: String::new(), reason }])
        })
    }

    /// Checks all of it; secrets are read from where they are.
    ///
    /// # Errors
    /// Every mistake, each with its place.
    pub fn check(&self) -> Result<Checked, Mistakes> {
        let mut mistakes = Vec::new();
        let mut wrong = |path: String, reason: String| mistakes.push(Mistake { path, reason });
        if !self.agent.listen.ip().is_loopback() && self.agent.token_file.is_none() {
            let listen = self.agent.listen;
            let reason = format!(
                "{listen} is reached from other hosts, and nobody has to say who they are; listen on 127.0.0.1, or \
                 name a token_file"
            );
            wrong("agent.listen".to_owned(), reason);
        }
        let mut clusters = BTreeMap::new();
        for (name, section) in &self.clusters {
            match section.check() {
                Ok(config) => drop(clusters.insert(name.clone(), config)),
                Err((key, reason)) => wrong(format!("clusters.{name}.{key}"), reason),
            }
        }
        let mut channels = BTreeMap::new();
        for (name, section) in &self.channels {
            if let Some(reason) = bad_name(name) {
                wrong(format!("channels.{name}"), reason);
                continue;
            }
            match section.check(name, &self.clusters) {
                Ok(settings) => drop(channels.insert(name.clone(), settings)),
                Err((key, reason)) => wrong(format!("channels.{name}.{key}"), reason),
            }
        }
        if mistakes.is_empty() {
            Ok(Checked { agent: self.agent.clone(), clusters, channels })
        } else {
            Err(Mistakes(mistakes))
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// As [`AgentConfig::parse`] and [`AgentConfig::check`]; each names the file.
    pub fn load(path: &Path) -> Result<Checked, Mistakes> {
        let named = |mistake: Mistake| Mistake {
            path: format!(
                "{}{}{}",
                path.display(),
                if mistake.path.is_empty() { "" } else { ": " },
                mistake.path
            ),
            ..mistake
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Mistakes(vec![named(Mistake { path: String::new(), reason: error.to_string() })])
        })?;
        let all = |mistakes: Mistakes| Mistakes(mistakes.0.into_iter().map(named).collect());
        AgentConfig::parse(&text).map_err(all)?.check().map_err(all)
    }
}

type Wrong = (&'static str, String);

impl ClusterSection {
    fn check(&self) -> Result<Config, Wrong> {
        let mut bootstrap = Vec::new();
        for text in &self.bootstrap {
            bootstrap.push(text.parse::<Address>().map_err(|error| ("bootstrap", error.to_string()))?);
        }
        if bootstrap.is_empty() {
            return Err(("bootstrap", "no broker is named; [\"127.0.0.1:9092\"] names one".to_owned()));
        }
        let mut config = Config::new(bootstrap, "buslane-agent");
        if let Some(tls) = &self.tls {
            let identity = match (&tls.certificate_file, &tls.key_file) {
                (Some(certificate_file), Some(key_file)) => {
                    Some(Identity { certificate_file: certificate_file.clone(), key_file: key_file.clone() })
                }
                (None, None) => None,
                _ => return Err(("tls", "certificate_file and key_file go together".to_owned())),
            };
            let (ca_file, server_name) = (tls.ca_file.clone(), tls.server_name.clone());
            config.tls = Some(Tls { ca_file, identity, server_name });
        }
        if let Some(sasl) = &self.sasl {
            let mechanism: SaslMechanism = sasl.mechanism.parse().map_err(|e| ("sasl.mechanism", e))?;
            let password = match (&sasl.password_file, &sasl.password_env) {
                (Some(file), None) => first_line(file).map_err(|reason| ("sasl.password_file", reason))?,
                (None, Some(name)) => std::env::var(name).map_err(|_| {
                    ("sasl.password_env", format!("there is no environment variable {name:?}"))
                })?,
                _ => {
                    return Err((
                        "sasl",
                        "one of password_file and password_env says where the password is".to_owned(),
                    ));
                }
            };
            config.sasl = Some(Sasl { mechanism, username: sasl.username.clone(), password });
        }
        Ok(config)
    }
}

/// The first line of a file that holds a secret.
///
/// # Errors
/// In words for people.
pub fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text.lines().next().unwrap_or_default().trim_end();
    if line.is_empty() {
        return Err(format!("{}: its first line is empty", path.display()));
    }
    Ok(line.to_owned())
}

impl ChannelSection {
    fn check(
        &self,
        name: &str,
        clusters: &BTreeMap<String, ClusterSection>,
    ) -> Result<ChannelSettings, Wrong> {
        let cluster = match &self.cluster {
            Some(cluster) if clusters.contains_key(cluster) => cluster.clone(),
            Some(cluster) => return Err(("cluster", unknown("cluster", cluster, clusters.keys()))),
            None if clusters.len() == 1 => clusters.keys().next().cloned().unwrap_or_default(),
            None => {
                let names: Vec<&str> = clusters.keys().map(String::as_str).collect();
                return Err(("cluster", format!("which of them: {}?", names.join(", "))));
            }
        };
        let topic = self.topic.clone().unwrap_or_else(|| name.to_owned());
        if let Some(reason) = bad_name(&topic) {
            return Err(("topic", reason));
        }
        let within = |key, value: Size, least: u64, most: u64| {
            if (least..=most).contains(&value.0) {
                Ok(value.0)
            } else {
                Err((key, format!("{value} is out of range: {} to {}", Size(least), Size(most))))
            }
        };
        let time = |key, value: Time, most: Duration| {
            if value.0 <= most {
                Ok(value.0)
            } else {
                Err((key, format!("{value} is out of range: 0ms to {}", Time(most))))
            }
        };
        let compression = match self.compression.as_deref().unwrap_or("lz4") {
            "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => {
                let codecs = ["none", "gzip", "snappy", "lz4", "zstd"].map(str::to_owned);
                return Err(("compression", unknown("codec", other, codecs.iter())));
            }
        };
        let event_bytes_max =
            within("event_bytes_max", self.event_bytes_max.unwrap_or(Size(1_000_000)), 1, 64 << 20)?;
        let batch_bytes =
            within("batch_bytes", self.batch_bytes.unwrap_or(Size(512 << 10)), 1 << 10, 64 << 20)?;
        Ok(ChannelSettings {
            cluster,
            topic,
            partitioner: self.partitioner,
            key: self.key.as_ref().map(|path| path.split('.').map(str::to_owned).collect()),
            level: self.level,
            linger_max: time(
                "linger",
                self.linger.unwrap_or(Time(Duration::from_millis(10))),
                Duration::from_secs(60),
            )?,
            batch_bytes: batch_bytes as usize,
            compression,
            spool_bytes_max: within(
                "spool_bytes",
                self.spool_bytes.unwrap_or(Size(10 << 30)),
                1 << 20,
                1 << 50,
            )?,
            event_bytes_max: event_bytes_max as usize,
            dedup_window: time(
                "dedup_window",
                self.dedup_window.unwrap_or(Time(Duration::from_secs(600))),
                Duration::from_secs(7 * 86_400),
            )?,
        })
    }
}

/// What is wrong with the name of a channel or topic: Kafka's rule for topics.
fn bad_name(name: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(fits)).then(
        || {
            format!(
                "{name:?} is no name: 1 to 249 of the letters a to z and A to Z, digits, '.', '_' and '-'"
            )
        },
    )
}

/// Names something that is not there, and what is.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let mut near: Vec<(f64, &String)> =
        known.map(|known| (strsim::jaro_winkler(name, known), known)).collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    let names: Vec<&str> = near.iter().take(3).map(|(_, name)| name.as_str()).collect();
    if names.is_empty() {
        return format!("{what} {name:?} is unknown; none is configured");
    }
    format!("{what} {name:?} is unknown; nearest: {}", names.join(", "))
}

/// The nearest of the names that serde says are expected.
fn nearest_of(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let given = message.contains("unknown field").then(|| quoted.next())??;
    quoted.max_by(|one, other| {
        strsim::jaro_winkler(&given, one).total_cmp(&strsim::jaro_winkler(&given, other))
    })
}

/// A size, written with a binary unit: `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A time, written with its unit: `10ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn in_largest_unit(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| value > 0 && value.is_multiple_of(*factor);
    let (unit, factor) = units.iter().find(fits).unwrap_or(&units[units.len() - 1]);
    format!("{}{unit}", value / factor)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_largest_unit(self.0, &SIZES))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_largest_unit(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &TIMES))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let text = String::deserialize(deserializer)?;
        with_unit(&text, &SIZES).map(Size).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is no size; a number with B, KiB, MiB, GiB or TiB is, like \"64MiB\""
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        with_unit(&text, &TIMES).map(|ms| Time(Duration::from_millis(ms))).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is no time; a number with ms, s, m, h or d is, like \"10ms\""
            ))
        })
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [agent]
        spool = "/var/lib/buslane-agent"

        [clusters.main]
        bootstrap = ["127.0.0.1:9092"]

        [channels.orders]
        key = "order.id"
        level = "disk"
        linger = "5ms"
    "#;

    fn mistakes(text: &str) -> String {
        AgentConfig::parse(text).and_then(|config| config.check()).unwrap_err().to_string()
    }

    #[test]
    fn a_small_file_is_complete() {
        let checked = AgentConfig::parse(GOOD).unwrap().check().unwrap();
        let orders = &checked.channels["orders"];
        assert_eq!((orders.cluster.as_str(), orders.topic.as_str()), ("main", "orders"));
        assert_eq!(orders.key, Some(vec!["order".to_owned(), "id".to_owned()]));
        assert_eq!((orders.level, orders.linger_max), (Level::Disk, Duration::from_millis(5)));
        assert_eq!(checked.agent.listen.to_string(), DEFAULT_LISTEN);
        let config = AgentConfig::parse(GOOD).unwrap();
        assert_eq!(AgentConfig::parse(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn each_mistake_has_its_place_and_what_would_be_right() {
        for (from, to, expected) in [
            ("key =", "kye =", "perhaps \"key\" is meant"),
            ("linger = \"5ms\"", "linger = \"5\"", "is no time; a number with ms"),
            ("linger = \"5ms\"", "linger = \"2h\"", "channels.orders.linger: 2h is out of range: 0ms to 1m"),
            ("level = \"disk\"", "level = \"disc\"", "unknown variant `disc`"),
            ("level =", "cluster = \"mian\"\nlevel =", "cluster \"mian\" is unknown; nearest: main"),
            ("level =", "compression = \"lz5\"\nlevel =", "codec \"lz5\" is unknown; nearest: lz4"),
            (
                "\"127.0.0.1:9092\"",
                "\"http://127.0.0.1\"",
                "clusters.main.bootstrap: \"http://127.0.0.1\" is no address",
            ),
            (
                "[agent]",
                "[agent]\nlisten = \"0.0.0.0:8970\"",
                "agent.listen: 0.0.0.0:8970 is reached from other hosts",
            ),
            ("[channels.orders]", "[channels.\"or ders\"]", "\"or ders\" is no name"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            let told = mistakes(&text);
            assert!(told.contains(expected), "{expected:?} is not in {told}");
        }
        let two = GOOD.replace("linger = \"5ms\"", "linger = \"2h\"").replace("127.0.0.1:9092", "a:b");
        assert_eq!(mistakes(&two).lines().count(), 2);
    }

    #[test]
    fn a_password_is_a_reference() {
        let with = |line: &str| {
            let sasl = format!(
                "[clusters.main.sasl]\nmechanism = \"PLAIN\"\nusername = \"ann\"\n{line}\n[channels.orders]"
            );
            GOOD.replace("[channels.orders]", &sasl)
        };
        assert!(mistakes(&with("password = \"secret\"")).contains("unknown field `password`"));
        assert!(mistakes(&with("")).contains("clusters.main.sasl: one of password_file and password_env"));
        assert!(mistakes(&with("password_file = \"/nowhere/at/all\"")).contains("/nowhere/at/all"));
        let checked = AgentConfig::parse(&with("password_env = \"PATH\"")).unwrap().check().unwrap();
        assert_eq!(checked.clusters["main"].sasl.as_ref().unwrap().password, std::env::var("PATH").unwrap());
    }
}

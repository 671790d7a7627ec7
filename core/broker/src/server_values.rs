//! Settings of the broker that can be changed while it runs (KIP-226), over those of its configuration file.
//!
//! What is changed stands in the metadata, for one broker or for all, and holds from then on, over restarts too, until it is
//! removed. It is the defaults of topics' settings, under the names that they have for a broker ([`Key::server_key`]), and
//! the broker's own [`OWN`]. All others stand in the file alone.

use std::collections::BTreeMap;

use buslane_meta::Image;
use buslane_wire::ids::NodeId;

use crate::compaction::CompactionSettings;
use crate::topic_config::{ConfigError, KEYS, Key, Source, ValueType};

/// The values of settings under a broker's names for them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ServerValues {
    /// Changed, for this broker.
    of_broker: BTreeMap<String, String>,
    /// Changed, for all brokers.
    of_all: BTreeMap<String, String>,
    /// In its configuration file.
    file: BTreeMap<String, String>,
}

impl ServerValues {
    /// Those of a configuration file alone.
    pub fn of_file(file: BTreeMap<String, String>) -> ServerValues {
        ServerValues { file, ..ServerValues::default() }
    }

    /// The same file's, with what was changed since.
    pub fn changed(&self, image: &Image, node: NodeId) -> ServerValues {
        let of = |whose: Option<NodeId>| {
            image.broker_configs.get(&whose).map_or_else(BTreeMap::new, |values| BTreeMap::clone(values))
        };
        ServerValues { of_broker: of(Some(node)), of_all: of(None), file: self.file.clone() }
    }

    /// Every value of a setting with its origin, the one in force first.
    pub fn each<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, Source)> + use<'a> {
        let places = [
            (&self.of_broker, Source::Broker),
            (&self.of_all, Source::AllBrokers),
            (&self.file, Source::Server),
        ];
        let found = places.map(|(values, source)| values.get(name).map(|value| (value.trim(), source)));
        found.into_iter().flatten()
    }

    /// The value in force, where somebody set it.
    pub fn get(&self, name: &str) -> Option<(&str, Source)> {
        self.each(name).next()
    }

    /// Settings for which the file says something and something else holds: name, the file's value, the one in force.
    pub fn overridden(&self) -> Vec<(&str, &str, &str)> {
        let both = self.file.iter().filter_map(|(name, file)| {
            let (now, _) = self.get(name)?;
            Some((name.as_str(), file.trim(), now))
        });
        both.filter(|(_, file, now)| file != now).collect()
    }

    /// What was changed for all brokers.
    pub fn of_all(&self) -> &BTreeMap<String, String> {
        &self.of_all
    }

    /// How partitions are compacted, where the file says `settings`.
    pub fn compaction(&self, settings: CompactionSettings) -> CompactionSettings {
        let number = |own: &OwnKey| self.changed_number(own);
        let CompactionSettings { check, table_bytes, rate } = settings;
        CompactionSettings {
            check: number(&BACKOFF).map_or(check, std::time::Duration::from_millis),
            table_bytes: number(&TABLE).map_or(table_bytes, |n| usize::try_from(n).unwrap_or(usize::MAX)),
            rate: number(&RATE).unwrap_or(rate),
        }
    }

    /// A value that another version of the program accepted and this one does not counts as not set.
    fn changed_number(&self, own: &OwnKey) -> Option<u64> {
        self.get(own.name).and_then(|(value, _)| own.number(value))
    }
}

/// A setting of the broker itself, a number that can be changed while it runs.
#[derive(Debug)]
pub struct OwnKey {
    /// Kafka's name.
    pub name: &'static str,
    value_type: ValueType,
    /// Least and greatest value: those of the configuration file.
    range: (u64, u64),
}

const BACKOFF: OwnKey =
    OwnKey { name: "log.cleaner.backoff.ms", value_type: ValueType::Long, range: (100, 86_400_000) };
const TABLE: OwnKey = OwnKey {
    name: "log.cleaner.dedupe.buffer.size",
    value_type: ValueType::Long,
    range: (1 << 20, 64 << 30),
};
const RATE: OwnKey = OwnKey {
    name: "log.cleaner.io.max.bytes.per.second",
    value_type: ValueType::Double,
    range: (64 << 10, 64 << 30),
};

/// All of them.
pub static OWN: [OwnKey; 3] = [BACKOFF, TABLE, RATE];

impl OwnKey {
    fn number(&self, value: &str) -> Option<u64> {
        let number = match self.value_type {
            ValueType::Double => value.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0)? as u64,
            _ => value.parse().ok()?,
        };
        (self.range.0..=self.range.1).contains(&number).then_some(number)
    }
}

/// A setting that can be changed while a broker runs.
#[derive(Clone, Copy, Debug)]
pub enum Changeable {
    /// What a topic has that does not say otherwise.
    Default(&'static Key),
    /// The broker's own.
    Own(&'static OwnKey),
}

impl Changeable {
    /// The setting with a broker's name for it.
    pub fn find(name: &str) -> Option<Changeable> {
        let default = KEYS.iter().find(|key| key.server_key == Some(name)).map(Changeable::Default);
        default.or_else(|| OWN.iter().find(|own| own.name == name).map(Changeable::Own))
    }

    /// What holds when nobody sets it, of what a topic has; the broker's own have it in their section.
    pub fn default(self) -> &'static str {
        match self {
            Changeable::Default(key) => key.default,
            Changeable::Own(_) => "",
        }
    }

    /// How its value is written.
    pub fn value_type(self) -> ValueType {
        match self {
            Changeable::Default(key) => key.value_type,
            Changeable::Own(own) => own.value_type,
        }
    }

    /// Checks a value given for it.
    pub fn check(self, value: &str) -> Result<(), ConfigError> {
        match self {
            Changeable::Default(key) => {
                key.check(value).map_err(|error| error.of_broker(key.server_key.unwrap_or(key.name)))
            }
            Changeable::Own(own) if own.number(value.trim()).is_some() => Ok(()),
            Changeable::Own(own) => Err(ConfigError::Invalid {
                of: "broker",
                name: own.name,
                value: value.to_owned(),
                takes: format!("a whole number from {} to {}", own.range.0, own.range.1),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_brokers_own_value_is_before_that_of_all_and_that_before_the_file() {
        let file = ServerValues::of_file(values(&[("a", "file"), ("b", "file"), ("c", " file ")]));
        let mut image = Image::default();
        image.broker_configs.insert(None, Arc::new(values(&[("a", "all"), ("b", "all")])));
        image.broker_configs.insert(Some(NodeId(1)), Arc::new(values(&[("a", "one")])));
        image.broker_configs.insert(Some(NodeId(2)), Arc::new(values(&[("a", "two")])));
        let now = file.changed(&image, NodeId(1));
        assert_eq!(now.get("a"), Some(("one", Source::Broker)));
        let each: Vec<_> = now.each("a").map(|(value, _)| value).collect();
        assert_eq!(each, ["one", "all", "file"]);
        assert_eq!(now.get("b"), Some(("all", Source::AllBrokers)));
        assert_eq!(now.get("c"), Some(("file", Source::Server)));
        assert_eq!(now.get("d"), None);
        assert_eq!(now.overridden(), [("a", "file", "one"), ("b", "file", "all")]);
        assert_eq!(now.changed(&Image::default(), NodeId(1)), file, "what is removed holds no more");
    }

    #[test]
    fn what_can_be_changed_is_checked_and_named_as_the_broker_names_it() {
        let refused = |name: &str, value: &str| {
            let changeable = Changeable::find(name).unwrap();
            changeable.check(value).unwrap_err().to_string()
        };
        assert_eq!(
            refused("log.retention.ms", "soon"),
            "broker config 'log.retention.ms' cannot be 'soon': it takes a whole number from -1 to 9223372036854775807"
        );
        assert_eq!(
            refused("log.cleaner.backoff.ms", "99"),
            "broker config 'log.cleaner.backoff.ms' cannot be '99': it takes a whole number from 100 to 86400000"
        );
        assert!(refused("log.cleaner.io.max.bytes.per.second", "NaN").contains("whole number"));
        assert!(Changeable::find("log.cleaner.io.max.bytes.per.second").unwrap().check("1048576.0").is_ok());
        assert!(Changeable::find("retention.ms").is_none(), "that is a topic's name");
        assert!(Changeable::find("num.partitions").is_none());
    }

    #[test]
    fn compaction_goes_by_what_was_changed() {
        let file = CompactionSettings { check: Duration::from_secs(15), table_bytes: 1 << 27, rate: 1 << 26 };
        let mut image = Image::default();
        let changed = [("log.cleaner.backoff.ms", "500"), ("log.cleaner.io.max.bytes.per.second", "7")];
        image.broker_configs.insert(None, Arc::new(values(&changed)));
        let now = ServerValues::default().changed(&image, NodeId(1)).compaction(file);
        let expected = CompactionSettings { check: Duration::from_millis(500), ..file };
        assert_eq!(now, expected, "a rate that is too small counts as not set");
    }
}

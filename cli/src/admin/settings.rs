//! The settings of topics, brokers and groups: show and change.

use buslane_wire::messages::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult};
use buslane_wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use buslane_wire::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use clap::ValueEnum;

use super::{Admin, Node, Trouble, refused};
use crate::exit::{Failure, Status};

/// What has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Topic,
    /// By node id; `default` for what holds for all brokers
    Broker,
    Group,
}

impl Kind {
    /// As Kafka numbers resources.
    fn code(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::Group => 32,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
        }
    }
}

/// Where a value comes from (KIP-226), strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(i8);

impl Source {
    /// As `kafka-configs.sh` calls it, in words.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "topic",
            2 => "broker",
            3 => "all brokers",
            4 => "broker's file",
            5 => "built in",
            6 => "broker logger",
            7 => "client metrics",
            8 => "group",
            _ => "unknown",
        }
    }

    /// Nobody chose it.
    pub fn is_built_in(self) -> bool {
        self.0 == 5
    }
}

/// A value that holds, or would hold if the stronger ones were not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// None where it is withheld or not set.
    pub value: Option<String>,
    pub source: Source,
}

#[derive(Clone, Debug)]
pub struct Setting {
    pub name: String,
    pub now: Value,
    /// No request can change it.
    pub read_only: bool,
    /// The value is withheld.
    pub sensitive: bool,
    /// Which values there are for it, the one that holds first; empty where the broker does not tell.
    pub levels: Vec<(String, Value)>,
}

/// A new value, or none to go back to what holds without it.
pub type Change = (String, Option<String>);

impl Admin {
    /// All settings of a topic, broker or group, by name.
    pub fn settings(&mut self, kind: Kind, name: &str) -> Result<Vec<Setting>, Trouble> {
        self.patiently(|admin| {
            let (node, resource_name) = admin.who_knows(kind, name)?;
            let resource = DescribeConfigsResource {
                resource_type: kind.code(),
                resource_name: &resource_name,
                configuration_keys: None,
            };
            let request = DescribeConfigsRequest {
                resources: vec![resource],
                include_synonyms: true,
                ..Default::default()
            };
            let answer = admin.ask(&node, 1..=4, &request)?;
            let response = answer.read()?;
            let result = response.results.first().ok_or_else(|| unmentioned(kind, name))?;
            refused(result.error_code, result.error_message)?;
            let mut settings: Vec<_> = result.configs.iter().map(setting).collect();
            settings.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Ok(settings)
        })
    }

    /// Changes settings, all of them or none. With `validate_only` the broker only says whether it would.
    pub fn change_settings(
        &mut self,
        kind: Kind,
        name: &str,
        changes: &[Change],
        validate_only: bool,
    ) -> Result<(), Trouble> {
        self.patiently(|admin| {
            let (node, resource_name) = admin.who_knows(kind, name)?;
            let configs = changes.iter().map(|(name, value)| AlterableConfig {
                name,
                config_operation: if value.is_some() { 0 } else { 1 },
                value: value.as_deref(),
            });
            let resource = AlterConfigsResource {
                resource_type: kind.code(),
                resource_name: &resource_name,
                configs: configs.collect(),
            };
            let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
            let answer = admin.ask(&node, 0..=1, &request)?;
            let response = answer.read()?;
            let result = response.responses.first().ok_or_else(|| unmentioned(kind, name))?;
            Ok(refused(result.error_code, result.error_message)?)
        })
    }

    /// Only a broker itself knows its file; what holds for all brokers, and the rest, any of them knows.
    fn who_knows(&mut self, kind: Kind, name: &str) -> Result<(Node, String), Failure> {
        match kind {
            Kind::Broker if name == "default" => Ok((self.any(), String::new())),
            Kind::Broker => {
                let id = name.parse::<i32>().map_err(|_| {
                    Failure::usage(format!("'{name}' is not a broker; write its node id, or default for all"))
                })?;
                let mut nodes = self.cluster()?.nodes;
                let node = nodes.remove(&id).ok_or_else(|| {
                    let there: Vec<_> = nodes.keys().map(i32::to_string).collect();
                    let message = format!("there is no broker {id}; there are: {}", there.join(", "));
                    Failure::new(Status::Existence, message)
                })?;
                Ok((node, name.to_owned()))
            }
            Kind::Topic | Kind::Group => Ok((self.any(), name.to_owned())),
        }
    }
}

fn unmentioned(kind: Kind, name: &str) -> Failure {
    Failure::failed(format!("the broker's answer does not mention {} '{name}'", kind.name()))
}

fn setting(entry: &DescribeConfigsResourceResult<'_>) -> Setting {
    let value =
        |value: Option<&str>, source| Value { value: value.map(str::to_owned), source: Source(source) };
    let levels = entry.synonyms.iter().map(|level| (level.name.to_owned(), value(level.value, level.source)));
    Setting {
        name: entry.name.to_owned(),
        now: value(entry.value, entry.config_source),
        read_only: entry.read_only,
        sensitive: entry.is_sensitive,
        levels: levels.collect(),
    }
}

//! AlterConfigs (key 33), versions 0 to 2, and IncrementalAlterConfigs (key 44), versions 0 and 1 (KIP-339).
//!
//! Topics, this broker and all brokers (KIP-226): those of a broker's settings that can be changed while it runs
//! ([`Changeable`]), all others stand in its configuration file. Each resource is answered for itself and changed as
//! a whole or not at all; what its settings would be is checked before anything is. A setting that is known and has one
//! value only takes that value. The last change wins; a change holds for requests that come after its answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use buslane_meta::Command;
use buslane_wire::ErrorCode;
use buslane_wire::messages::{alter_configs as whole, incremental_alter_configs as single};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::config;
use crate::node::Node;
use crate::server_values::Changeable;
use crate::topic_config::{self, ValueType, effective};
use crate::topics::{Refused, is_bad_name, repeated};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What to do with a setting; the numbers are the protocol's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn of(number: i8) -> Option<Operation> {
        [Operation::Set, Operation::Delete, Operation::Append, Operation::Subtract]
            .get(usize::try_from(number).ok()?)
            .copied()
    }
}

/// One resource of a request.
struct Wanted<'a> {
    resource_type: i8,
    name: &'a str,
    /// What is not named is removed (AlterConfigs).
    replaces: bool,
    changes: Vec<(&'a str, i8, Option<&'a str>)>,
}

/// Key 33.
pub async fn replace(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: whole::AlterConfigsRequest<'_> = decode(body, context.version)?;
    let wanted: Vec<Wanted<'_>> = request
        .resources
        .iter()
        .map(|r| Wanted {
            resource_type: r.resource_type,
            name: r.resource_name,
            replaces: true,
            changes: r.configs.iter().map(|c| (c.name, 0, c.value)).collect(),
        })
        .collect();
    let outcomes = alter(node, &wanted, request.validate_only).await;
    let responses = request
        .resources
        .iter()
        .zip(&outcomes)
        .map(|(resource, outcome)| whole::AlterConfigsResourceResponse {
            error_code: outcome.as_ref().err().map_or(ErrorCode::NONE, |r| r.code),
            error_message: outcome.as_ref().err().map(|r| &*r.message),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        })
        .collect();
    context.answer(&whole::AlterConfigsResponse { throttle_time_ms: 0, responses })
}

/// Key 44.
pub async fn incremental(
    node: &Arc<Node>,
    context: RequestContext,
    body: &[u8],
) -> Result<Answer, Unanswerable> {
    let request: single::IncrementalAlterConfigsRequest<'_> = decode(body, context.version)?;
    let wanted: Vec<Wanted<'_>> = request
        .resources
        .iter()
        .map(|r| Wanted {
            resource_type: r.resource_type,
            name: r.resource_name,
            replaces: false,
            changes: r.configs.iter().map(|c| (c.name, c.config_operation, c.value)).collect(),
        })
        .collect();
    let outcomes = alter(node, &wanted, request.validate_only).await;
    let responses = request
        .resources
        .iter()
        .zip(&outcomes)
        .map(|(resource, outcome)| single::AlterConfigsResourceResponse {
            error_code: outcome.as_ref().err().map_or(ErrorCode::NONE, |r| r.code),
            error_message: outcome.as_ref().err().map(|r| &*r.message),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        })
        .collect();
    context.answer(&single::IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses })
}

async fn alter(node: &Arc<Node>, wanted: &[Wanted<'_>], validate_only: bool) -> Vec<Result<(), Refused>> {
    let twice = repeated(wanted.iter().map(|w| (w.resource_type, w.name)));
    let mut outcomes = Vec::with_capacity(wanted.len());
    let (mut indexes, mut commands) = (Vec::new(), Vec::new());
    for (index, resource) in wanted.iter().enumerate() {
        let planned = match resource {
            w if twice.contains(&(w.resource_type, w.name)) => Err(Refused::new(
                ErrorCode::INVALID_REQUEST,
                format!("'{}' stands twice in the request", w.name),
            )),
            _ => plan(node, resource),
        };
        outcomes.push(planned.map(|command| {
            // Of what is already as wanted there is no command.
            if let Some(command) = command.filter(|_| !validate_only) {
                indexes.push(index);
                commands.push(command);
            }
        }));
    }
    if commands.is_empty() {
        return outcomes;
    }
    match node.propose_all(commands).await {
        Ok(results) => {
            for (index, result) in indexes.into_iter().zip(results) {
                outcomes[index] = result.map(drop).map_err(|refused| {
                    Refused::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, refused.to_string())
                });
            }
        }
        Err(code) => {
            for index in indexes {
                outcomes[index] = Err(Refused::new(code, "the metadata did not take the change; try again"));
            }
        }
    }
    outcomes
}

/// The command that changes a resource's settings.
fn plan(node: &Node, wanted: &Wanted<'_>) -> Result<Option<Command>, Refused> {
    let invalid = |message: String| Refused::new(ErrorCode::INVALID_REQUEST, message);
    let image = node.consensus.image();
    match wanted.resource_type {
        TOPIC => {
            if wanted.name.is_empty() {
                return Err(invalid(
                    "a topic's settings need its name; there are no defaults of all topics".to_owned(),
                ));
            }
            if let Some(message) = is_bad_name(wanted.name) {
                return Err(Refused::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
            }
            let Some(topic) = image.topic_named(wanted.name) else {
                let message = format!("there is no topic '{}'", wanted.name);
                return Err(Refused::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
            };
            let server = node.server_values.load();
            let before = topic.config_map();
            let changes = changes(wanted, &before, |name| {
                let key = topic_config::known(name).map_err(of_config)?;
                let check = |value: &str| key.check(value).map_err(of_config);
                Ok(Setting {
                    is_list: key.value_type == ValueType::List,
                    now: effective(key, &before, &server).0,
                    check,
                })
            })?;
            let mut after = before.clone();
            for (name, value) in &changes {
                match value {
                    Some(value) => drop(after.insert(name.clone(), value.clone())),
                    None => drop(after.remove(name)),
                }
            }
            topic_config::check_together(&after, &server).map_err(of_config)?;
            Ok((!changes.is_empty()).then(|| Command::AlterTopicConfig { topic: topic.id, changes }))
        }
        BROKER => {
            let of = match wanted.name {
                "" => None,
                name if name == node.id.0.to_string() => Some(node.id),
                name => {
                    let message =
                        format!("this is broker {}, not '{name}'; without a name it is all brokers", node.id);
                    return Err(invalid(message));
                }
            };
            let server = node.server_values.load();
            let before = image.broker_configs.get(&of).map_or_else(BTreeMap::new, |b| BTreeMap::clone(b));
            let changes = changes(wanted, &before, |name| {
                let setting = changeable(name)?;
                let check = move |value: &str| setting.check(value).map_err(of_config);
                let own = before.get(name).map(String::as_str);
                let now = own.or(server.get(name).map(|(value, _)| value)).unwrap_or(setting.default());
                Ok(Setting { is_list: setting.value_type() == ValueType::List, now, check })
            })?;
            Ok((!changes.is_empty()).then_some(Command::AlterBrokerConfig { node: of, changes }))
        }
        other => Err(invalid(format!(
            "only topics (2) and brokers (4) can be changed here, not resources of type {other}"
        ))),
    }
}

fn of_config(error: topic_config::ConfigError) -> Refused {
    Refused::new(ErrorCode::INVALID_CONFIG, error.to_string())
}

/// A setting of a broker that can be changed while it runs, or why it cannot.
fn changeable(name: &str) -> Result<Changeable, Refused> {
    Changeable::find(name).ok_or_else(|| {
        let message = match config::key_of(name) {
            Some(ours) => format!(
                "broker config '{name}' cannot be changed while the broker runs; its configuration file has it as {ours}"
            ),
            None => format!("unknown broker config '{name}'"),
        };
        Refused::new(ErrorCode::INVALID_CONFIG, message)
    })
}

/// What is known of a setting that is to be changed.
struct Setting<'a, C> {
    is_list: bool,
    /// Its value in force, to which words are appended.
    now: &'a str,
    check: C,
}

/// The settings that shall be others than `before`; none for those that go.
fn changes<'a, C: Fn(&str) -> Result<(), Refused>>(
    wanted: &Wanted<'_>,
    before: &BTreeMap<String, String>,
    find: impl Fn(&str) -> Result<Setting<'a, C>, Refused>,
) -> Result<BTreeMap<String, Option<String>>, Refused> {
    let mut changes: BTreeMap<String, Option<String>> = match wanted.replaces {
        true => before.keys().map(|name| (name.clone(), None)).collect(),
        false => BTreeMap::new(),
    };
    let mut named = HashSet::new();
    for (name, operation, value) in &wanted.changes {
        if !named.insert(*name) {
            let message = format!("'{name}' stands twice among the settings of '{}'", wanted.name);
            return Err(Refused::new(ErrorCode::INVALID_REQUEST, message));
        }
        changes.insert((*name).to_owned(), changed(name, *operation, *value, &find)?);
    }
    changes.retain(|name, value| before.get(name) != value.as_ref());
    Ok(changes)
}

/// The value that a setting shall have; none for the one below it.
fn changed<'a, C: Fn(&str) -> Result<(), Refused>>(
    name: &str,
    operation: i8,
    value: Option<&str>,
    find: impl Fn(&str) -> Result<Setting<'a, C>, Refused>,
) -> Result<Option<String>, Refused> {
    let invalid = |message: String| Refused::new(ErrorCode::INVALID_REQUEST, message);
    let Some(operation) = Operation::of(operation) else {
        return Err(invalid(format!(
            "'{name}': there is no operation {operation}; 0 sets, 1 deletes, 2 appends, 3 subtracts"
        )));
    };
    // A key that is not known can be taken away, as in Kafka: it may be left from another version.
    if operation == Operation::Delete {
        return Ok(None);
    }
    let setting = find(name)?;
    let Some(value) = value else { return Err(invalid(format!("'{name}' has no value"))) };
    let value = match operation {
        Operation::Append | Operation::Subtract if !setting.is_list => {
            let message = format!("'{name}' is no list: it can be set, not appended to or subtracted from");
            return Err(Refused::new(ErrorCode::INVALID_CONFIG, message));
        }
        Operation::Append | Operation::Subtract => {
            let words = |list: &str| -> Vec<String> {
                list.split(',').map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect()
            };
            let (mut list, operands) = (words(setting.now), words(value));
            list.retain(|word| !operands.contains(word));
            if operation == Operation::Append {
                list.extend(operands);
            }
            list.join(",")
        }
        _ => value.trim().to_owned(),
    };
    (setting.check)(&value)?;
    Ok(Some(value))
}

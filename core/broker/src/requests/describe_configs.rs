//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! Every known key with its value in force, its origin and its synonyms (KIP-226), type and documentation (KIP-569).
//! Topics (2) and this broker (4). A broker's keys are those of its configuration file that Kafka has too; those that can be
//! changed while it runs are not read-only. The broker without a name is all of them: what was changed for all (KIP-226).

use std::collections::{BTreeMap, HashSet};

use buslane_wire::ErrorCode;
use buslane_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::create_topics::source_code;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::broker_settings::BrokerSetting;
use crate::node::Node;
use crate::server_values::{Changeable, ServerValues};
use crate::topic_config::{KEYS, Key, Source, effective};
use crate::topics;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let mut request: DescribeConfigsRequest<'_> = decode(body, context.version)?;
    // Each resource once: a small request has no huge answer.
    let mut seen = HashSet::new();
    request.resources.retain(|r| seen.insert((r.resource_type, r.resource_name)));
    let image = node.consensus.image();
    let server = node.server_values.load_full();
    let explicit: Vec<Option<BTreeMap<String, String>>> = request
        .resources
        .iter()
        .map(|r| {
            (r.resource_type == TOPIC)
                .then(|| image.topic_named(r.resource_name).map(|t| t.config_map()))
                .flatten()
        })
        .collect();
    let none = BTreeMap::new();
    let id = node.id.0.to_string();
    let results = request
        .resources
        .iter()
        .zip(&explicit)
        .map(|(resource, topic)| {
            let mut result = DescribeConfigsResult {
                error_code: ErrorCode::NONE,
                error_message: Some(""),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                configs: Vec::new(),
            };
            match (resource.resource_type, topic) {
                (TOPIC, Some(topic)) => result.configs = topic_keys(&server, &request, resource, topic),
                (TOPIC, None) if topics::is_bad_name(resource.resource_name).is_some() => {
                    result.error_code = ErrorCode::INVALID_TOPIC_EXCEPTION;
                    result.error_message = Some("this cannot be a topic's name");
                }
                (TOPIC, None) => {
                    result.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                    result.error_message = Some("there is no such topic");
                }
                (BROKER, _) if resource.resource_name.is_empty() => {
                    result.configs = keys_of_all_brokers(&server, &request, resource);
                }
                // As it is written elsewhere: of "01", "001" and so on each would be a resource of its own.
                (BROKER, _) if resource.resource_name == id => {
                    result.configs = broker_keys(node, &server, &request, resource, &none);
                }
                (BROKER, _) => {
                    result.error_code = ErrorCode::INVALID_REQUEST;
                    result.error_message = Some("ask the broker itself for its configuration");
                }
                _ => {
                    result.error_code = ErrorCode::INVALID_REQUEST;
                    result.error_message = Some("only topics (2) and brokers (4) have configurations here");
                }
            }
            result
        })
        .collect();
    context.answer(&DescribeConfigsResponse { throttle_time_ms: 0, results })
}

fn asked(resource: &DescribeConfigsResource<'_>, name: &str) -> bool {
    resource.configuration_keys.as_ref().is_none_or(|keys| keys.is_empty() || keys.contains(&name))
}

fn topic_keys<'a>(
    server: &'a ServerValues,
    request: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    topic: &'a BTreeMap<String, String>,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    KEYS.iter()
        .filter(|key| asked(resource, key.name))
        .map(|key| {
            let (value, source) = effective(key, topic, server);
            DescribeConfigsResourceResult {
                name: key.name,
                value: Some(value),
                read_only: false,
                config_source: source_code(source),
                is_sensitive: false,
                synonyms: if request.include_synonyms { synonyms(server, key, topic) } else { Vec::new() },
                config_type: key.value_type.code(),
                documentation: request.include_documentation.then_some(key.doc),
            }
        })
        .collect()
}

/// The values that would hold, strongest first: the topic's, the server's, the default.
fn synonyms<'a>(
    server: &'a ServerValues,
    key: &'static Key,
    topic: &'a BTreeMap<String, String>,
) -> Vec<DescribeConfigsSynonym<'a>> {
    let mut all = Vec::new();
    if let Some(value) = topic.get(key.name) {
        all.push(DescribeConfigsSynonym {
            name: key.name,
            value: Some(value),
            source: source_code(Source::Topic),
        });
    }
    if let Some(name) = key.server_key {
        all.extend(server.each(name).map(|(value, source)| DescribeConfigsSynonym {
            name,
            value: Some(value),
            source: source_code(source),
        }));
        all.push(DescribeConfigsSynonym {
            name,
            value: Some(key.default),
            source: source_code(Source::Default),
        });
    }
    all
}

/// The values that a setting of the broker would have, strongest first: what was changed, what the file says, the default.
fn own_values<'a>(setting: &'a BrokerSetting, server: &'a ServerValues) -> Vec<(&'a str, Source)> {
    let changed = server.each(setting.name);
    let file = setting.is_set.then_some((&*setting.value, Source::Server));
    // Some follow from others, and have no default of their own.
    let default = setting.default.as_deref().or((!setting.is_set).then_some(&*setting.value));
    changed.chain(file).chain(default.map(|value| (value, Source::Default))).collect()
}

/// What was changed for all brokers.
fn keys_of_all_brokers<'a>(
    server: &'a ServerValues,
    request: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let changed = server.of_all().iter().filter(|(name, _)| asked(resource, name));
    let known = changed.filter_map(|(name, value)| Some((Changeable::find(name)?, name, value)));
    known
        .map(|(key, name, value)| {
            let config_source = source_code(Source::AllBrokers);
            let synonym = DescribeConfigsSynonym { name, value: Some(value), source: config_source };
            DescribeConfigsResourceResult {
                name,
                value: Some(value),
                read_only: false,
                config_source,
                is_sensitive: false,
                synonyms: if request.include_synonyms { vec![synonym] } else { Vec::new() },
                config_type: key.value_type().code(),
                documentation: None,
            }
        })
        .collect()
}

fn broker_keys<'a>(
    node: &'a Node,
    server: &'a ServerValues,
    request: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    none: &'a BTreeMap<String, String>,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let own = node.broker_settings.iter().filter(|s| asked(resource, s.name)).map(|setting| {
        let values = own_values(setting, server);
        let (value, source) = values.first().copied().unwrap_or((&setting.value, Source::Default));
        let synonym = |(value, source)| DescribeConfigsSynonym {
            name: setting.name,
            value: Some(value),
            source: source_code(source),
        };
        DescribeConfigsResourceResult {
            name: setting.name,
            value: Some(value),
            read_only: Changeable::find(setting.name).is_none(),
            config_source: source_code(source),
            is_sensitive: false,
            synonyms: if request.include_synonyms {
                values.into_iter().map(synonym).collect()
            } else {
                Vec::new()
            },
            config_type: setting.value_type.code(),
            documentation: request.include_documentation.then_some(setting.doc),
        }
    });
    let defaults = KEYS
        .iter()
        .filter_map(|key| key.server_key.map(|name| (key, name)))
        .filter(|(_, name)| asked(resource, name))
        .map(|(key, name)| {
            let (value, source) = effective(key, none, server);
            DescribeConfigsResourceResult {
                name,
                value: Some(value),
                read_only: false,
                config_source: source_code(source),
                is_sensitive: false,
                synonyms: if request.include_synonyms { synonyms(server, key, none) } else { Vec::new() },
                config_type: key.value_type.code(),
                documentation: request.include_documentation.then_some(key.doc),
            }
        });
    own.chain(defaults).collect()
}

//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! Every known key with its value in force, its origin and its synonyms (KIP-226), type and documentation (KIP-569).
//! Topics (2) and this broker (4). A broker's keys are those of its configuration file that Kafka has too.

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
use crate::topic_config::{KEYS, Key, Source, effective};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let mut request: DescribeConfigsRequest<'_> = decode(body, context.version)?;
    // Each resource once: a small request has no huge answer.
    let mut seen = HashSet::new();
    request.resources.retain(|r| seen.insert((r.resource_type, r.resource_name)));
    let image = node.consensus.image();
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
    let results = request
        .resources
        .iter()
        .zip(&explicit)
        .map(|(resource, topic)| {
            let mut result = DescribeConfigsResult {
                error_code: ErrorCode::NONE,
                error_message: None,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                configs: Vec::new(),
            };
            match (resource.resource_type, topic) {
                (TOPIC, Some(topic)) => result.configs = topic_keys(node, &request, resource, topic),
                (TOPIC, None) => {
                    result.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                    result.error_message = Some("there is no such topic");
                }
                (BROKER, _) if is_this_broker(node, resource.resource_name) => {
                    result.configs = broker_keys(node, &request, resource, &none);
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

fn is_this_broker(node: &Node, name: &str) -> bool {
    // As it is written elsewhere: of "01", "001" and so on each would be a resource of its own.
    name.is_empty() || *name == node.id.0.to_string()
}

fn asked(resource: &DescribeConfigsResource<'_>, name: &str) -> bool {
    resource.configuration_keys.as_ref().is_none_or(|keys| keys.contains(&name))
}

fn topic_keys<'a>(
    node: &'a Node,
    request: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    topic: &'a BTreeMap<String, String>,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    KEYS.iter()
        .filter(|key| asked(resource, key.name))
        .map(|key| {
            let (value, source) = effective(key, topic, &node.server_configs);
            DescribeConfigsResourceResult {
                name: key.name,
                value: Some(value),
                read_only: false,
                config_source: source_code(source),
                is_sensitive: false,
                synonyms: if request.include_synonyms { synonyms(node, key, topic) } else { Vec::new() },
                config_type: key.value_type.code(),
                documentation: request.include_documentation.then_some(key.doc),
            }
        })
        .collect()
}

/// The values that would hold, strongest first: the topic's, the server's, the default.
fn synonyms<'a>(
    node: &'a Node,
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
        if let Some(value) = node.server_configs.get(name) {
            all.push(DescribeConfigsSynonym {
                name,
                value: Some(value),
                source: source_code(Source::Server),
            });
        }
        all.push(DescribeConfigsSynonym {
            name,
            value: Some(key.default),
            source: source_code(Source::Default),
        });
    }
    all
}

/// The values that a setting of the broker would have, strongest first: what was set, the default.
fn own_synonyms(setting: &BrokerSetting) -> Vec<DescribeConfigsSynonym<'_>> {
    let synonym = |value, source| DescribeConfigsSynonym {
        name: setting.name,
        value: Some(value),
        source: source_code(source),
    };
    let default = setting.default.as_ref().map(|value| synonym(value, Source::Default));
    match setting.is_set {
        true => std::iter::once(synonym(&setting.value, Source::Server)).chain(default).collect(),
        false => vec![synonym(&setting.value, Source::Default)],
    }
}

fn broker_keys<'a>(
    node: &'a Node,
    request: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    none: &'a BTreeMap<String, String>,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let own = node.broker_settings.iter().filter(|s| asked(resource, s.name)).map(|setting| {
        let source = source_code(if setting.is_set { Source::Server } else { Source::Default });
        DescribeConfigsResourceResult {
            name: setting.name,
            value: Some(&setting.value),
            read_only: true,
            config_source: source,
            is_sensitive: false,
            synonyms: if request.include_synonyms { own_synonyms(setting) } else { Vec::new() },
            config_type: setting.value_type.code(),
            documentation: request.include_documentation.then_some(setting.doc),
        }
    });
    let defaults = KEYS
        .iter()
        .filter_map(|key| key.server_key.map(|name| (key, name)))
        .filter(|(_, name)| asked(resource, name))
        .map(|(key, name)| {
            let (value, source) = effective(key, none, &node.server_configs);
            DescribeConfigsResourceResult {
                name,
                value: Some(value),
                read_only: true,
                config_source: source_code(source),
                is_sensitive: false,
                synonyms: if request.include_synonyms { synonyms(node, key, none) } else { Vec::new() },
                config_type: key.value_type.code(),
                documentation: request.include_documentation.then_some(key.doc),
            }
        });
    own.chain(defaults).collect()
}

//! ListConfigResources (key 74), versions 0 and 1: what has settings of its own to be described (KIP-1142).
//!
//! Version 0 asks for client metrics subscriptions (KIP-714), of which there are none.

use std::collections::BTreeSet;

use buslane_wire::ErrorCode;
use buslane_wire::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: ListConfigResourcesRequest = decode(body, context.version)?;
    let all = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let wanted: BTreeSet<i8> = match (context.version, &request.resource_types[..]) {
        (0, _) => [CLIENT_METRICS].into(),
        (_, []) => all.into(),
        (_, types) => types.iter().copied().collect(),
    };
    if wanted.iter().any(|kind| !all.contains(kind)) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION;
        return context.answer(&ListConfigResourcesResponse { error_code, ..Default::default() });
    }
    let table = node.topics.load_full();
    let id = node.id.0.to_string();
    let mut config_resources = Vec::new();
    for kind in wanted {
        match kind {
            TOPIC => {
                let mut names: Vec<&str> = table.iter().map(|topic| &*topic.name).collect();
                names.sort_unstable();
                let resources =
                    names.into_iter().map(|name| ConfigResource { resource_name: name, resource_type: kind });
                config_resources.extend(resources);
            }
            BROKER | BROKER_LOGGER => {
                config_resources.push(ConfigResource { resource_name: &id, resource_type: kind });
            }
            // Groups have no settings of their own yet.
            _ => {}
        }
    }
    context.answer(&ListConfigResourcesResponse { config_resources, ..Default::default() })
}

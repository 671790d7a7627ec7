//! ApiVersions (key 18), versions 0 to 5.
//!
//! An unknown version is answered with a version 0 body, UNSUPPORTED_VERSION and the table (KIP-511). From version 5 on
//! the client may say which cluster and node it means to reach (KIP-1242); what it leaves out is not compared.
//! Features are told with the levels that this build knows and the one that is in force (KIP-584).

use buslane_wire::frame::encode_response;
use buslane_wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use buslane_wire::{Encoder, ErrorCode};

use super::{Answer, RequestContext, SERVED, Unanswerable, decode};
use crate::node::{GROUP_VERSION, Node};
use crate::quotas::Usage;

/// Features of the cluster with the greatest level that this build knows.
const FEATURES: &[(&str, i16)] = &[(GROUP_VERSION, 1)];

fn table() -> Vec<ApiVersion> {
    SERVED
        .iter()
        .map(|s| ApiVersion { api_key: s.key as i16, min_version: s.advertised_first, max_version: s.last })
        .collect()
}

pub fn handle(
    node: &Node,
    context: RequestContext,
    body: &[u8],
    usage: &Usage<'_>,
) -> Result<Answer, Unanswerable> {
    let request: ApiVersionsRequest<'_> = decode(body, context.version)?;
    let elsewhere = request.cluster_id.is_some_and(|id| id != node.cluster_id)
        || (request.node_id >= 0 && !node.answers_to(request.node_id));
    let error_code = if elsewhere {
        ErrorCode::REBOOTSTRAP_REQUIRED
    } else if is_bad_name(request.client_software_name, context.version)
        || is_bad_name(request.client_software_version, context.version)
    {
        ErrorCode::INVALID_REQUEST
    } else {
        ErrorCode::NONE
    };
    if error_code.is_err() {
        let throttle_time_ms = usage.finish();
        return context.answer(&ApiVersionsResponse { error_code, throttle_time_ms, ..Default::default() });
    }
    let image = node.consensus.image();
    let finalized = |name: &'static str| {
        let level = image.feature(name) as i16;
        (level > 0).then_some(FinalizedFeatureKey {
            name,
            max_version_level: level,
            min_version_level: level,
        })
    };
    context.answer(&ApiVersionsResponse {
        error_code,
        api_keys: table(),
        supported_features: FEATURES
            .iter()
            // A feature that can be off is what clients before version 4 cannot read (KAFKA-17011).
            .filter(|_| context.version >= 4)
            .map(|(name, level)| SupportedFeatureKey { name, min_version: 0, max_version: *level })
            .collect(),
        finalized_features_epoch: image.version as i64,
        finalized_features: FEATURES.iter().filter_map(|(name, _)| finalized(name)).collect(),
        throttle_time_ms: usage.finish(),
        ..Default::default()
    })
}

/// KIP-511: letters, digits, dots and dashes, beginning and ending with a letter or digit.
fn is_bad_name(name: &str, version: i16) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    version >= 3
        && !(bytes.first().copied().is_some_and(word)
            && bytes.last().copied().is_some_and(word)
            && bytes.iter().all(|c| word(*c) || matches!(c, b'.' | b'-')))
}

/// The answer to a version that is not served.
pub fn unsupported(correlation_id: i32) -> Result<Answer, Unanswerable> {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: table(),
        ..Default::default()
    };
    let mut encoder = Encoder::new();
    encode_response(&mut encoder, correlation_id, 0, &response)?;
    Ok(Answer::Send { encoder, files: Vec::new() })
}

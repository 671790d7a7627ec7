//! FindCoordinator (key 10), versions 0 to 6.
//!
//! Groups and transactions are not served yet. The key is advertised nevertheless: librdkafka takes a broker without it
//! for one that cannot lz4. A group gets COORDINATOR_NOT_AVAILABLE, which clients take as "not yet" and which leaves
//! consumers with assigned partitions alone; a transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every
//! client reports at once instead of trying for ever. The message says what is really the matter.

use buslane_wire::ErrorCode;
use buslane_wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

use super::{Answer, RequestContext, Unanswerable, decode};

const TRANSACTION: i8 = 1;

fn verdict(key_type: i8) -> (ErrorCode, &'static str) {
    match key_type {
        0 => (
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            "consumer groups are not served yet; assign partitions instead",
        ),
        TRANSACTION => (
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            "transactions are not served yet; use an idempotent producer without a transactional id",
        ),
        _ => (ErrorCode::INVALID_REQUEST, "this kind of coordinator is not served"),
    }
}

pub fn handle(context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: FindCoordinatorRequest<'_> = decode(body, context.version)?;
    let (error_code, message) = verdict(request.key_type);
    let mut response = FindCoordinatorResponse { node_id: -1, port: -1, ..Default::default() };
    if context.version >= 4 {
        response.node_id = 0;
        response.port = 0;
        response.coordinators = request
            .coordinator_keys
            .iter()
            .map(|key| Coordinator {
                key,
                node_id: -1,
                host: "",
                port: -1,
                error_code,
                error_message: Some(message),
            })
            .collect();
    } else {
        response.error_code = error_code;
        response.error_message = Some(message);
    }
    context.answer(&response)
}

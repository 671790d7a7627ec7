//! What the requests of groups share.

use buslane_group::api::{Caller, Reply};

use super::{Answer, RequestContext, Unanswerable};
use crate::node::{GROUP_VERSION, Node};

/// Who sends a request, in Kafka's notation.
pub fn caller(context: RequestContext, client_id: Option<&str>) -> Caller {
    Caller {
        client_id: client_id.unwrap_or_default().into(),
        client_host: format!("/{}", context.peer).into(),
    }
}

/// Whether groups of the consumer protocol are served: the feature `group.version`, at its only level.
pub fn consumer_protocol_is_on(node: &Node) -> bool {
    node.consensus.image().feature(GROUP_VERSION) >= 1
}

/// A shard that answers another request than it was asked would be a bug of ours.
pub fn wrong(reply: &Reply) -> Result<Answer, Unanswerable> {
    unreachable!("a shard answered {reply:?} to another kind of request")
}

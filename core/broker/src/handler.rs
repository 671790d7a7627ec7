//! From frames to requests and back: where the listener meets the node.

use std::sync::{Arc, OnceLock};

use buslane_log::ReadSlice;
use bytes::Bytes;

use crate::net::{ConnectionContext, Frame, Outcome, Piece, RequestHandler, Response};
use crate::node::Node;
use crate::requests::{self, Answer};

/// Serves the requests of one node, once it is there.
#[derive(Default)]
pub struct NodeHandler {
    node: OnceLock<Arc<Node>>,
}

impl NodeHandler {
    /// From now on requests are served.
    pub fn serve(&self, node: Arc<Node>) {
        assert!(self.node.set(node).is_ok(), "a handler serves one node");
    }

    /// Whether requests are served; else what that waits for.
    pub fn ready(&self) -> Result<(), String> {
        let node = self.node.get().ok_or("the data folder is being opened")?;
        if let Some(failure) = node.failure() {
            return Err(failure);
        }
        match node.recovering() {
            0 => Ok(()),
            n => Err(format!("{n} partitions recover")),
        }
    }
}

impl NodeHandler {
    /// Metrics that are gathered when they are asked for, as text with its end mark.
    pub async fn gathered_metrics(&self) -> String {
        match self.node.get() {
            Some(node) => node.groups.metrics(node).await,
            None => crate::metrics::text(&crate::metrics::registry()),
        }
    }
}

impl RequestHandler for NodeHandler {
    async fn handle(&self, connection: &ConnectionContext, frame: Frame) -> Outcome {
        let Some(node) = self.node.get() else { return Outcome::Close };
        let frame = frame.into_bytes();
        let close = |reason: String| {
            tracing::info!(peer = %connection.peer, reason, "connection closed");
            Outcome::Close
        };
        let _memory = match requests::memory_needed(&frame) {
            Ok(0) => None,
            Ok(bytes) => {
                match tokio::time::timeout(requests::MEMORY_WAIT, connection.budget.reserve(bytes)).await {
                    Ok(charge) => Some(charge),
                    Err(_) => return close("no memory for a large request".to_owned()),
                }
            }
            Err(reason) => return close(reason),
        };
        match requests::handle(node.clone(), connection.peer.ip(), frame).await {
            Answer::Send { mut encoder, files } => {
                Outcome::Respond(Response::from_encoder(&mut encoder, |token, len| piece(&files, token, len)))
            }
            Answer::Nothing => Outcome::Silent,
            Answer::Close(reason) => close(reason),
        }
    }
}

fn piece(files: &[ReadSlice], token: u64, len: u32) -> Piece {
    match usize::try_from(token).ok().and_then(|i| files.get(i)) {
        Some(slice) => Piece::File { file: slice.file.clone(), position: slice.position, len },
        // An answer without its file would be a bug of ours; the length check of the response finds it.
        None => Piece::Bytes(Bytes::new()),
    }
}

//! From frames to requests and back: where the listener meets the node.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use buslane_log::ReadSlice;
use bytes::Bytes;

use crate::net::{ConnectionContext, Frame, Outcome, Piece, RequestHandler, Response};
use crate::node::Node;
use crate::requests::memory::{self, Memory};
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
    fn connecting(&self, peer: IpAddr) -> Duration {
        self.node.get().map_or(Duration::ZERO, |node| node.quotas.connecting(peer))
    }

    fn memory_needed(&self, connection: &ConnectionContext, frame: &Frame) -> Option<usize> {
        memory::memory_needed(frame).map_err(|reason| closed(connection, &reason)).ok()
    }

    async fn handle(&self, connection: &ConnectionContext, mut frame: Frame) -> Outcome {
        let Some(node) = self.node.get() else { return Outcome::Close };
        let memory = Memory::new(&connection.budget, frame.take_memory());
        let usage = node.quotas.begin();
        let serve = requests::handle(node.clone(), connection.peer.ip(), frame.into_bytes(), &memory, &usage);
        let mut serve = pin!(serve);
        match poll_fn(|cx| usage.step(|| memory.step(|| serve.as_mut().poll(cx)))).await {
            Answer::Send { mut encoder, files } => {
                let response = Response::from_encoder(&mut encoder, |token, len| piece(&files, token, len));
                let response = response.muting(usage.mute());
                Outcome::Respond(match memory.for_response() {
                    Some(charge) => response.reserved(charge),
                    None => response,
                })
            }
            Answer::Nothing => Outcome::Silent { mute: usage.mute() },
            Answer::Close(reason) => {
                closed(connection, &reason);
                Outcome::Close
            }
        }
    }
}

fn closed(connection: &ConnectionContext, reason: &str) {
    tracing::info!(peer = %connection.peer, reason, "connection closed");
}

fn piece(files: &[ReadSlice], token: u64, len: u32) -> Piece {
    match usize::try_from(token).ok().and_then(|i| files.get(i)) {
        Some(slice) => Piece::File { file: slice.file.clone(), position: slice.position, len },
        // An answer without its file would be a bug of ours; the length check of the response finds it.
        None => Piece::Bytes(Bytes::new()),
    }
}

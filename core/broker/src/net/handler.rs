//! The seam between a connection and what serves its requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::frame::Frame;
use super::response::Response;

/// Serves request frames.
pub trait RequestHandler: Send + Sync + 'static {
    /// A connection from an address is accepted. Above zero it is one too many: nothing of it is read, and it is closed
    /// after that time, or after the longest time that a connection may be idle.
    fn connecting(&self, _peer: IpAddr) -> Duration {
        Duration::ZERO
    }

    /// Bytes of memory that serving a frame may take besides the frame itself; `None` for more than is ever given: the
    /// connection is closed once all earlier responses are written.
    ///
    /// The connection has them charged before it hands in the frame, and reads nothing meanwhile: its requests keep
    /// their order whatever they need.
    fn memory_needed(&self, _connection: &ConnectionContext, _frame: &Frame) -> Option<usize> {
        Some(0)
    }

    /// Serves one whole request frame (without the four bytes of its size).
    ///
    /// * **Order.** The future is polled once before the next frame of the connection is handed in. Whatever must happen
    ///   in the order of arrival (appending a produce request's batches) happens before the first `.await`. After that
    ///   the futures of one connection run side by side; responses are written in the order of arrival all the same.
    /// * **Threads.** The futures of one connection run on its task, never two at the same moment. Blocking work goes to
    ///   the blocking pool.
    /// * **Cancellation.** The future is dropped when the connection fails or the server's shutdown deadline passes.
    ///   Work that must be finished then must not live in it.
    /// * **Panics** close this connection alone and are counted.
    fn handle(&self, connection: &ConnectionContext, frame: Frame) -> impl Future<Output = Outcome> + Send;
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// This response.
    Respond(Response),
    /// No response (acks=0).
    Silent {
        /// As [`Response::muting`].
        mute: Duration,
    },
    /// The connection is closed once all earlier responses are written: bytes that are no request.
    Close,
}

/// What a handler may know of a connection.
#[derive(Debug)]
pub struct ConnectionContext {
    /// Unique in this process.
    pub id: u64,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// The budget that its requests and responses are charged to.
    pub budget: Budget,
}

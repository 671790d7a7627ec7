//! Accepts connections and runs their tasks, until it is told to stop.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::budget::Budget;
use super::connection::{Closed, Connection};
use super::handler::{ConnectionContext, RequestHandler};
use super::limits::{ConnectionCount, ConnectionLimits, ListenerSettings, Place, Refusal};
use super::residency::Residency;
use super::transport::Transport;
use crate::metrics::{CloseReason, ListenerMetrics, NetMetrics};

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 1024;

/// First and longest pause after an accept that failed for want of files or memory.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A listener with its connections.
pub struct Server<H> {
    listener: TcpListener,
    settings: ListenerSettings,
    shared: Arc<Shared<H>>,
}

struct Shared<H> {
    name: Arc<str>,
    handler: Arc<H>,
    budget: Budget,
    limits: ConnectionLimits,
    metrics: ListenerMetrics,
    residency: Arc<Residency>,
    draining: AtomicBool,
    drain: Notify,
}

impl<H: RequestHandler> Server<H> {
    /// Opens the listener; connections are accepted once it runs. Must be called inside a tokio runtime.
    ///
    /// Frames are limited to [`Budget::largest_frame`], should the settings allow more.
    pub fn bind(
        mut settings: ListenerSettings,
        budget: Budget,
        handler: Arc<H>,
        metrics: &NetMetrics,
    ) -> Result<(Server<H>, SocketAddr), BindError> {
        let address = settings.address;
        let bound = listen(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (local, listener) = bound.map_err(|source| BindError { address, source })?;
        let frame_max = &mut settings.connection.frame_bytes_max;
        if *frame_max > budget.largest_frame() {
            let (asked, given) = (*frame_max, budget.largest_frame());
            tracing::warn!(asked, given, "requests are limited to what the memory budget can hold");
            *frame_max = given;
        }
        let shared = Arc::new(Shared {
            name: settings.name.as_str().into(),
            handler,
            limits: settings.connection,
            metrics: metrics.listener(&settings.name, &budget),
            budget,
            residency: Arc::default(),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
        });
        Ok((Server { listener, settings, shared }, local))
    }

    /// Serves until `shutdown` is ready; then accepts no more, closes idle connections, lets requests in flight finish
    /// within the shutdown deadline and closes what is left.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Server { listener, settings, shared } = self;
        let count = ConnectionCount::new(settings.connections_max, settings.connections_per_address_max);
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut next_id = 0;
        let mut back_off = BACK_OFF.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = tasks.join_next() => {
                    shared.ended(ended);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    back_off = BACK_OFF.0;
                    match count.admit(peer.ip()) {
                        Ok(place) => {
                            let hold = shared.handler.connecting(peer.ip());
                            if hold > Duration::ZERO {
                                shared.refuse(Refusal::Rate, peer);
                                tasks.spawn(hold_back(shared.clone(), stream, hold, place));
                                continue;
                            }
                            next_id += 1;
                            tasks.spawn(serve(shared.clone(), stream, peer, next_id, place));
                        }
                        Err(refusal) => shared.refuse(refusal, peer),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Most likely no file descriptor is free (EMFILE, ENFILE). The connection stays in the backlog;
                    // trying again at once would only burn the processor.
                    shared.metrics.accept_errors.inc();
                    tracing::warn!(listener = &*shared.name, %error, "cannot accept, pausing {back_off:?}");
                    tokio::select! {
                        biased;
                        () = &mut shutdown => break,
                        () = sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF.1),
                    }
                }
            }
        }
        drop(listener);
        shared.draining.store(true, Ordering::SeqCst);
        shared.drain.notify_waiters();
        let drained = timeout(settings.shutdown_deadline, async {
            while let Some(ended) = tasks.join_next().await {
                shared.ended(ended);
            }
        });
        if drained.await.is_err() {
            let left = tasks.len();
            tracing::warn!(listener = &*shared.name, left, "requests outlived the shutdown deadline");
            tasks.abort_all();
            while let Some(ended) = tasks.join_next().await {
                shared.ended(ended);
            }
        }
    }
}

impl<H> Shared<H> {
    fn refuse(&self, refusal: Refusal, peer: SocketAddr) {
        self.metrics.rejected(refusal);
        tracing::debug!(listener = &*self.name, %peer, ?refusal, "connection refused");
    }

    fn ended(&self, ended: Result<(), JoinError>) {
        match ended {
            Ok(()) => {}
            Err(e) if e.is_panic() => {
                self.metrics.closed(CloseReason::Panic);
                tracing::error!(
                    listener = &*self.name,
                    "a request's handler panicked; its connection is closed"
                );
            }
            Err(_) => self.metrics.closed(CloseReason::Shutdown),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Closes a connection later, so that its client does not come back at once (KIP-612). It keeps its place meanwhile.
async fn hold_back<H>(shared: Arc<Shared<H>>, stream: TcpStream, hold: Duration, place: Place) {
    let drain = shared.drain.notified();
    if !shared.draining.load(Ordering::SeqCst) {
        tokio::select! {
            () = drain => {}
            () = sleep(hold.min(shared.limits.idle_max)) => {}
        }
    }
    drop((stream, place));
}

/// One connection, from its acceptance to its end.
async fn serve<H: RequestHandler>(
    shared: Arc<Shared<H>>,
    stream: TcpStream,
    peer: SocketAddr,
    id: u64,
    place: Place,
) {
    let _open = shared.metrics.opened();
    let _place = place;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "the connection was gone at once");
        return;
    }
    let context = ConnectionContext {
        id,
        listener: shared.name.clone(),
        peer,
        local: stream.local_addr().unwrap_or(peer),
        budget: shared.budget.clone(),
    };
    let closed = converse(&shared, &context, stream).await;
    let reason = CloseReason::of(&closed);
    shared.metrics.closed(reason);
    tracing::debug!(listener = &*shared.name, %peer, id, %closed, "connection closed");
}

async fn converse<H: RequestHandler>(
    shared: &Shared<H>,
    context: &ConnectionContext,
    mut io: impl Transport,
) -> Closed {
    let mut drain = pin!(shared.drain.notified());
    let mut connection =
        Connection::new(&*shared.handler, context, shared.limits, &shared.metrics, shared.residency.clone());
    let mut draining = shared.draining.load(Ordering::SeqCst);
    if draining {
        connection.drain();
    }
    let mut wake_at = Instant::now() + shared.limits.idle_max;
    let mut alarm = pin!(sleep_until(wake_at));
    let closed = poll_fn(|cx| {
        if !draining && drain.as_mut().poll(cx).is_ready() {
            draining = true;
            connection.drain();
        }
        loop {
            if let Poll::Ready(closed) = connection.poll(cx, &mut io) {
                return Poll::Ready(closed);
            }
            let next = match connection.check_time() {
                Ok(next) => next,
                Err(closed) => return Poll::Ready(closed),
            };
            // A later deadline leaves the alarm as it is: it rings too early once, not at each request.
            if next < wake_at || alarm.is_elapsed() {
                wake_at = next;
                alarm.as_mut().reset(next);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    drop(connection);
    // What is written goes out before the end of the stream; the client may have gone already.
    let _ = io.shutdown().await;
    closed
}

//! The HTTP listener: `/metrics`, `/healthz` (the process lives), `/readyz` (it serves).
//!
//! A browser on this machine reaches loopback too, on behalf of any page it shows; with a name that the page's owner
//! points to 127.0.0.1 (DNS rebinding) it may even read the answer. So a listener on loopback answers only requests
//! whose Host is a loopback name ([`host`]).

mod bounded;
mod host;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use bounded::Bounded;

/// Whether the server is ready to serve; the error says for people what it waits for.
pub type Readiness = dyn Fn() -> Result<(), String> + Send + Sync;

/// Metrics that are gathered when they are asked for: OpenMetrics text with its end mark.
pub type Gathered = dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync;

/// How long a shutdown waits for requests under way.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(2);

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The HTTP listener.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
}

struct Shared {
    registry: Registry,
    gathered: Box<Gathered>,
    ready: Box<Readiness>,
}

impl HttpServer {
    /// Opens the listener; requests are answered once it runs.
    pub async fn bind(
        address: SocketAddr,
        registry: Registry,
        gathered: Box<Gathered>,
        ready: Box<Readiness>,
    ) -> io::Result<(HttpServer, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let mut router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .with_state(Arc::new(Shared { registry, gathered, ready }));
        if local.ip().to_canonical().is_loopback() {
            router = router.layer(middleware::from_fn(loopback_names_only));
        }
        Ok((HttpServer { listener, router }, local))
    }

    /// Answers until `shutdown` is ready; requests under way have [`SHUTDOWN_DEADLINE`] to finish.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let (stopping, stopped) = oneshot::channel();
        let shutdown = async move {
            shutdown.await;
            let _ = stopping.send(());
        };
        let serving = axum::serve(Bounded::new(self.listener), self.router).with_graceful_shutdown(shutdown);
        let deadline = async move {
            let _ = stopped.await;
            sleep(SHUTDOWN_DEADLINE).await;
        };
        tokio::select! {
            ended = serving.into_future() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the HTTP listener failed");
                }
            }
            () = deadline => {}
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut text = crate::metrics::text(&shared.registry);
    // One exposition has one end.
    text.truncate(text.trim_end_matches("# EOF\n").len());
    text += &(shared.gathered)().await;
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match (shared.ready)() {
        Ok(()) => "ready\n".into_response(),
        Err(waits_for) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {waits_for}\n")).into_response()
        }
    }
}

async fn loopback_names_only(request: Request, next: Next) -> Response {
    // HTTP/2 and absolute-form requests carry the name in the URI.
    let in_uri = request.uri().authority().map(|authority| authority.as_str());
    let in_header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    let names = [in_uri, in_header];
    if names.iter().all(Option::is_none) || names.into_iter().flatten().any(|host| !host::is_loopback(host)) {
        let why =
            "this listener is on loopback and answers to loopback names only (localhost, 127.0.0.1, [::1])\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests;

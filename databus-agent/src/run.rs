//! Runs an agent: its listeners, its configuration file, its stop.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::agent::{Agent, AgentError};
use crate::http::router;
use crate::settings::{AgentConfig, Checked, Mistakes, first_line};

/// How often the configuration file is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// HTTP over TCP.
    pub listen: SocketAddr,
    /// HTTP over a Unix socket.
    pub socket: Option<PathBuf>,
    /// Who it is.
    pub id: String,
}

/// Why an agent ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error("the configuration is wrong:\n{0}")]
    Configuration(#[from] Mistakes),
    /// The spool, or a cluster's files.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A listener.
    #[error("cannot listen on {on}: {source}")]
    Listen {
        /// Address or path.
        on: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs an agent with the configuration of a file until `shutdown` is ready. While it runs, a file that changed is applied
/// within a second; one that is wrong changes nothing, and is told.
///
/// # Errors
/// When it cannot start.
pub async fn run(
    file: &Path,
    started: impl FnOnce(&Started),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let seen = stamp(file);
    let checked = AgentConfig::load(file)?;
    let token = match &checked.agent.token_file {
        Some(path) => {
            let wrong = |reason| crate::settings::Mistake { path: "agent.token_file".to_owned(), reason };
            Some(first_line(path).map_err(|reason| Mistakes(vec![wrong(reason)]))?)
        }
        None => None,
    };
    let listen = checked.agent.listen;
    let named = |on: String| move |source| RunError::Listen { on, source };
    // Before the spool: a second agent says what is in its way.
    let tcp = TcpListener::bind(listen).await.map_err(named(listen.to_string()))?;
    let local = tcp.local_addr().map_err(named(listen.to_string()))?;
    let agent = Agent::start(checked.clone()).await?;
    let unix = match &checked.agent.socket {
        Some(path) => Some(bind_unix(path).map_err(named(path.display().to_string()))?),
        None => None,
    };
    let (stopping, stop) = watch::channel(false);
    let until = |mut stop: watch::Receiver<bool>| async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let loopback = local.ip().to_canonical().is_loopback();
    let tcp_router = router(agent.clone(), token, loopback);
    let tcp = tcp.tap_io(|stream| {
        // An answer is one write.
        let _ = stream.set_nodelay(true);
    });
    let mut servers = vec![tokio::spawn({
        let until = until(stop.clone());
        async move { axum::serve(tcp, tcp_router).with_graceful_shutdown(until).await }
    })];
    if let Some(unix) = unix {
        // Whoever may open the socket may use it.
        let unix_router = router(agent.clone(), None, false);
        let until = until(stop.clone());
        servers.push(tokio::spawn(async move {
            axum::serve(unix, unix_router).with_graceful_shutdown(until).await
        }));
    }
    let watching = tokio::spawn(watch_file(file.to_owned(), seen, checked.clone(), agent.clone()));
    let (socket, id) = (checked.agent.socket.clone(), agent.id().to_owned());
    started(&Started { listen: local, socket: socket.clone(), id });
    shutdown.await;
    watching.abort();
    stopping.send_replace(true);
    let patience = checked.agent.shutdown_deadline.0;
    for server in servers {
        // Whoever waits for its level longer than that is answered by the end of its connection.
        let _ = tokio::time::timeout(patience, server).await;
    }
    agent.stop().await;
    if let Some(path) = socket {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// A socket of a run before is in the way, and nobody listens there: it is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// What changes when a file does.
fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len()))
}

async fn watch_file(
    file: PathBuf,
    mut seen: Option<(SystemTime, u64)>,
    mut current: Checked,
    agent: Arc<Agent>,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamp(&file);
        if now == seen {
            continue;
        }
        seen = now;
        match AgentConfig::load(&file) {
            Ok(checked) if checked == current => {}
            Ok(checked) => {
                if checked.agent != current.agent {
                    tracing::warn!("[agent] changed: that takes effect at the next start");
                }
                match agent.apply(checked.clone()).await {
                    Ok(()) => {
                        tracing::info!(
                            version = agent.version(),
                            channels = checked.channels.len(),
                            "configuration applied"
                        );
                        current = checked;
                    }
                    Err(error) => tracing::error!(%error, "configuration refused: the one before stays"),
                }
            }
            Err(mistakes) => tracing::error!(%mistakes, "configuration refused: the one before stays"),
        }
    }
}

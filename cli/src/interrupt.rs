//! Ctrl-C and SIGTERM as a flag: loops look at it between steps and end in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// Set once, by the first Ctrl-C or SIGTERM. A second one ends the process at once.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Starts to listen. The listener is a thread of its own that lives as long as the process.
    pub fn listen() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("cannot listen for Ctrl-C")?;
        let seen = Self(flag.clone());
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    if wait().await.is_ok() {
                        flag.store(true, Ordering::Relaxed);
                        if wait().await.is_ok() {
                            std::process::exit(130);
                        }
                    }
                });
            })
            .context("cannot listen for Ctrl-C")?;
        Ok(seen)
    }

    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Resolves at the next Ctrl-C or SIGTERM.
pub async fn wait() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

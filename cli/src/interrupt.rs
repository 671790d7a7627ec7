//! Ctrl-C and SIGTERM as a flag: loops look at it between steps and end in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Set once, by the first Ctrl-C or SIGTERM. A second one ends the process at once.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. The listener is a thread of its own that lives as long as the process.
    pub fn listen() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("cannot listen for Ctrl-C")?;
        let mut signals = {
            let _runtime = runtime.enter();
            Signals::listen().context("cannot listen for Ctrl-C")?
        };
        let seen = Self(flag.clone());
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    signals.next().await;
                    flag.store(true, Ordering::Relaxed);
                    signals.next().await;
                    std::process::exit(130);
                });
            })
            .context("cannot listen for Ctrl-C")?;
        Ok(seen)
    }

    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ctrl-C and SIGTERM, none of which is missed from the moment on that this is made.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// # Panics
    /// Outside of a runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves at the first of them. The second one ends the process.
    pub async fn shutdown(mut self) {
        self.next().await;
        tracing::info!("stopping");
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(130);
        });
    }

    /// Resolves at the next of them.
    pub async fn next(&mut self) {
        let either = async {
            tokio::select! {
                heard = self.interrupt.recv() => heard,
                heard = self.terminate.recv() => heard,
            }
        };
        if either.await.is_none() {
            // Nothing is heard any more; the process can still be killed.
            std::future::pending::<()>().await;
        }
    }
}

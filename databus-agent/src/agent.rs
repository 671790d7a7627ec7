//! The agent: its channels, and how a new configuration takes effect while it runs.
//!
//! A configuration is applied as a whole or not at all. A channel that is new is opened; one that is gone takes nothing more,
//! and what it has still goes to the cluster; the others go on under their new settings, without a pause.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use buslane_client::{Client, Config};
use buslane_log::SpaceReserve;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::channel::{Channel, now_ms};
use crate::pump::{Destination, Pump};
use crate::settings::{AgentSection, ChannelSettings, Checked, DEDUP_IDS_MAX, unknown};
use crate::spool::{Spool, SpoolError};

/// Why an agent does not start, or a configuration is not applied.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A cluster's files cannot be used.
    #[error("clusters.{name}: {source}")]
    Cluster {
        /// Its name.
        name: String,
        /// What is wrong.
        source: buslane_client::Error,
    },
    /// A channel's ledger cannot be written.
    #[error("channel {name:?}: {reason}")]
    Channel {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// A channel at work.
struct Running {
    channel: Arc<Channel>,
    destination: watch::Sender<Destination>,
    writer: JoinHandle<()>,
    syncer: JoinHandle<()>,
    pump: JoinHandle<()>,
}

/// Clients by the name of their cluster, with what each was made from.
type Clients = BTreeMap<String, (Config, Client)>;

/// An agent at work.
pub struct Agent {
    spool: Spool,
    section: AgentSection,
    /// Those that take events.
    open: ArcSwap<BTreeMap<String, Arc<Channel>>>,
    running: Mutex<BTreeMap<String, Running>>,
    clients: Mutex<Clients>,
    applying: tokio::sync::Mutex<()>,
    version: AtomicU64,
    stop: watch::Sender<bool>,
}

impl Agent {
    /// Opens the spool and the channels. Clusters need not be there.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn start(checked: Checked) -> Result<Arc<Agent>, AgentError> {
        let section = checked.agent.clone();
        let reserve = SpaceReserve { percent: 0, bytes: section.disk_reserve.0 };
        let path = section.spool.clone();
        let spool = tokio::task::spawn_blocking(move || Spool::open(&path, reserve))
            .await
            .expect("opening does not panic")?;
        if spool.machine_crash() {
            tracing::warn!(
                "the machine stopped since the last run, and not in order: events of the last second may be gone"
            );
        }
        let agent = Arc::new(Agent {
            spool,
            section,
            open: ArcSwap::default(),
            running: Mutex::default(),
            clients: Mutex::default(),
            applying: tokio::sync::Mutex::default(),
            version: AtomicU64::new(0),
            stop: watch::channel(false).0,
        });
        agent.apply(checked).await?;
        Ok(agent)
    }

    /// This agent's part of its first configuration.
    pub fn section(&self) -> &AgentSection {
        &self.section
    }

    /// Who it is, for ever.
    pub fn id(&self) -> &str {
        self.spool.id()
    }

    /// How many configurations were applied.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The channels that take events, by name.
    pub fn channels(&self) -> Arc<BTreeMap<String, Arc<Channel>>> {
        self.open.load_full()
    }

    /// All channels, those too that only empty their spool.
    pub fn all_channels(&self) -> Vec<Arc<Channel>> {
        self.running.lock().values().map(|running| running.channel.clone()).collect()
    }

    /// A channel that takes events.
    ///
    /// # Errors
    /// The nearest names, in words for people.
    pub fn channel(&self, name: &str) -> Result<Arc<Channel>, String> {
        let open = self.open.load();
        open.get(name).cloned().ok_or_else(|| unknown("channel", name, open.keys()))
    }

    /// Whether the disk has room for more events; the bytes that are free and those that have to be, where it has not.
    pub fn room(&self) -> Result<(), (u64, u64)> {
        match self.spool.store().space_state() {
            Ok(buslane_log::SpaceState::NearlyFull { available_bytes, needed_bytes }) => {
                Err((available_bytes, needed_bytes))
            }
            // What cannot be asked is told by the write.
            _ => Ok(()),
        }
    }

    /// Why nothing can be made durable any more, once that is so.
    pub fn failure(&self) -> Option<String> {
        self.spool.store().failure()
    }

    /// Takes over another configuration; `[agent]` stays as it was. All of it, or nothing.
    ///
    /// # Errors
    /// See [`AgentError`]: the configuration before stays.
    pub async fn apply(&self, checked: Checked) -> Result<(), AgentError> {
        let _applying = self.applying.lock().await;
        let clients = self.clients_of(&checked)?;
        let by_name: Arc<HashMap<String, Client>> =
            Arc::new(clients.iter().map(|(name, (_, client))| (name.clone(), client.clone())).collect());
        // Everything that may fail comes first.
        let mut made = Vec::new();
        for (name, settings) in &checked.channels {
            if !self.running.lock().contains_key(name) {
                made.push((name.clone(), self.open_channel(name, settings, &by_name)?));
            }
        }
        let mut running = self.running.lock();
        running.extend(made);
        let mut open = BTreeMap::new();
        for (name, at_work) in running.iter() {
            let settings = match checked.channels.get(name) {
                Some(settings) => Arc::new(settings.clone()),
                None => at_work.channel.settings(),
            };
            let is_open = checked.channels.contains_key(name);
            at_work.channel.set_open(is_open);
            if is_open {
                at_work.channel.set_settings(settings.clone());
                open.insert(name.clone(), at_work.channel.clone());
            }
            // One whose cluster is gone waits, and says so.
            let clients = if by_name.contains_key(&settings.cluster) {
                by_name.clone()
            } else {
                let old = at_work.destination.borrow().clients.clone();
                let mut all = HashMap::clone(&by_name);
                all.extend(
                    old.get(&settings.cluster).map(|client| (settings.cluster.clone(), client.clone())),
                );
                Arc::new(all)
            };
            at_work.destination.send_replace(Destination { settings, clients });
        }
        *self.clients.lock() = clients;
        self.open.store(Arc::new(open));
        self.version.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A client for each cluster; those whose settings stay keep theirs.
    fn clients_of(&self, checked: &Checked) -> Result<Clients, AgentError> {
        let known = self.clients.lock();
        let mut clients = Clients::new();
        for (name, config) in &checked.clusters {
            let kept = known.get(name).filter(|(old, _)| old == config).cloned();
            let client = match kept {
                Some(kept) => kept,
                None => {
                    let made = Client::new(config.clone())
                        .map_err(|source| AgentError::Cluster { name: name.clone(), source })?;
                    (config.clone(), made)
                }
            };
            clients.insert(name.clone(), client);
        }
        Ok(clients)
    }

    fn open_channel(
        &self,
        name: &str,
        settings: &ChannelSettings,
        clients: &Arc<HashMap<String, Client>>,
    ) -> Result<Running, AgentError> {
        let logs = self.spool.channel(name, settings.dedup_window_ms(), DEDUP_IDS_MAX, now_ms())?;
        let confirmed = logs.ledger.state().confirmed;
        let settings = Arc::new(settings.clone());
        let prefix = format!("{name}~{}", &self.id()[..8]);
        let channel = Channel::new(name, prefix, settings.clone(), logs.events, confirmed, logs.dedup);
        let (destination, pumped) = watch::channel(Destination { settings, clients: clients.clone() });
        let pump = Pump::new(channel.clone(), logs.ledger, logs.parked, pumped)
            .map_err(|error| AgentError::Channel { name: name.to_owned(), reason: error.to_string() })?;
        let patience = self.section.shutdown_deadline.0;
        Ok(Running {
            writer: tokio::spawn(channel.clone().write(logs.ids)),
            syncer: tokio::spawn(channel.clone().sync()),
            pump: tokio::spawn(pump.run(self.stop.subscribe(), patience)),
            destination,
            channel,
        })
    }

    /// Stops in order: nothing more is taken, what was taken is written, what is under way is waited for, all is synced.
    /// Events that are not in the cluster stay in the spool.
    pub async fn stop(&self) {
        self.open.store(Arc::default());
        let running = std::mem::take(&mut *self.running.lock());
        for at_work in running.values() {
            at_work.channel.end();
        }
        self.stop.send_replace(true);
        for (name, at_work) in running {
            at_work.syncer.abort();
            for task in [at_work.writer, at_work.pump] {
                if let Err(error) = task.await {
                    tracing::error!(channel = name, %error, "a task of the channel ended badly");
                }
            }
        }
        tokio::time::sleep(Duration::ZERO).await;
        if let Err(error) = self.spool.close() {
            tracing::error!(%error, "the spool could not be closed in order; the next start looks at all of it");
        }
    }
}

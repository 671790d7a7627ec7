//! A client of one cluster: its connections, what it knows of the cluster, and whom to ask.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use buslane_wire::ErrorCode;
use buslane_wire::Request;
use buslane_wire::ids::TopicId;
use buslane_wire::messages::MetadataRequest;
use buslane_wire::messages::metadata::MetadataRequestTopic;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::config::{Address, Config};
use crate::connection::Connection;
use crate::error::Error;
use crate::handshake;
use crate::metadata::{Metadata, Refused};
use crate::stream::Encryption;

/// Any version that the codec knows.
pub const ANY_VERSION: RangeInclusive<i16> = 0..=i16::MAX;

/// What a connection is for. Brokers answer the requests of a connection in order, so what waits there (a fetch, a join)
/// has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// What is answered at once.
    Requests,
    /// Produce.
    Produce,
    /// Fetch.
    Fetch,
    /// Membership in groups.
    Group,
}

/// A client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// By address and purpose; each is made by one at a time.
type Connections = HashMap<(Address, Purpose), Arc<tokio::sync::Mutex<Slot>>>;

struct Inner {
    config: Config,
    encryption: Option<Encryption>,
    connections: Mutex<Connections>,
    metadata: ArcSwap<Metadata>,
    /// Topics that metadata is asked for.
    topics: Mutex<BTreeSet<String>>,
    refresh: tokio::sync::Mutex<Refreshed>,
}

/// One refresh of the metadata at a time; who comes meanwhile takes what the next one finds, once for all of them.
#[derive(Default)]
struct Refreshed {
    begun: Option<Instant>,
    refused: Refused,
}

/// A connection that is there, or when it may be tried again.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// In a row.
    failures: u32,
    failed: Option<(Instant, Error)>,
}

impl Client {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// [`Error::Configuration`]: no address, or a file that cannot be used.
    pub fn new(config: Config) -> Result<Client, Error> {
        if config.bootstrap.is_empty() {
            return Err(Error::Configuration("no broker is named to start from".to_owned()));
        }
        let encryption = config.tls.as_ref().map(Encryption::new).transpose()?;
        let inner = Inner {
            config,
            encryption,
            connections: Mutex::default(),
            metadata: ArcSwap::default(),
            topics: Mutex::default(),
            refresh: tokio::sync::Mutex::default(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// What it was told.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What is known of the cluster now, without asking.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.inner.metadata.load_full()
    }

    /// A connection to an address, made if there is none. After a failure the next try waits, longer each time; who asked
    /// before the failure gets the failure.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Authentication`], [`Error::Configuration`].
    pub async fn connect(&self, address: &Address, purpose: Purpose) -> Result<Connection, Error> {
        let asked = Instant::now();
        let slot = self.inner.connections.lock().entry((address.clone(), purpose)).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_usable()) {
            return Ok(connection.clone());
        }
        slot.connection = None;
        if let Some((at, error)) = &slot.failed {
            if *at > asked {
                return Err(error.clone());
            }
            tokio::time::sleep_until(*at + self.pause(slot.failures)).await;
        }
        match handshake::open(&self.inner.config, self.inner.encryption.as_ref(), address).await {
            Ok(connection) => {
                *slot = Slot { connection: Some(connection.clone()), ..Slot::default() };
                Ok(connection)
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                slot.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        let (first, longest) = self.inner.config.reconnect_backoff;
        first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest)
    }

    /// A connection to a node.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`Error::Unreachable`] for a node that the metadata does not have.
    pub async fn node(&self, node: i32, purpose: Purpose) -> Result<Connection, Error> {
        let address = self.metadata().nodes.get(&node).cloned();
        let Some(address) = address else {
            let reason = "the cluster's metadata does not have it".to_owned();
            return Err(Error::Unreachable { peer: format!("node {node}"), reason });
        };
        self.connect(&address, purpose).await
    }

    /// A connection to any broker: one that there is, else the first that can be reached, of the nodes that are known and
    /// the addresses to start from.
    ///
    /// # Errors
    /// That of the only address, or [`Error::Unreachable`] with what each of them said.
    pub async fn any(&self) -> Result<Connection, Error> {
        let metadata = self.metadata();
        let mut addresses: Vec<&Address> = Vec::new();
        for address in metadata.nodes.values().chain(&self.inner.config.bootstrap) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        for address in &addresses {
            let slot = self.inner.connections.lock().get(&((*address).clone(), Purpose::Requests)).cloned();
            if let Some(slot) = slot
                && let Ok(slot) = slot.try_lock()
                && let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_usable())
            {
                return Ok(connection.clone());
            }
        }
        let mut failures = Vec::new();
        for address in addresses {
            match self.connect(address, Purpose::Requests).await {
                Ok(connection) => return Ok(connection),
                // Elsewhere they would be refused as well.
                Err(error @ (Error::Authentication { .. } | Error::Configuration(_))) => return Err(error),
                Err(error) => failures.push(error),
            }
        }
        if failures.len() == 1 {
            return Err(failures.remove(0));
        }
        let reason = failures.iter().map(Error::to_string).collect::<Vec<_>>().join("; ");
        Err(Error::Unreachable { peer: "the cluster".to_owned(), reason })
    }

    /// Asks any broker.
    ///
    /// # Errors
    /// As [`Client::any`] and [`Connection::ask`].
    pub async fn ask<R: Request>(
        &self,
        versions: RangeInclusive<i16>,
        request: &R,
    ) -> Result<Answer<R>, Error> {
        self.any().await?.ask(versions, request, self.inner.config.request_timeout).await
    }

    /// Asks a broker for the metadata of these topics and of all that were asked for before. Returns what is known then.
    /// Topics are not created by being asked for.
    ///
    /// # Errors
    /// As [`Client::ask`]; [`Error::Refused`] names the first of `topics` that cannot be used.
    pub async fn refresh(&self, topics: &[&str]) -> Result<Arc<Metadata>, Error> {
        self.inner.topics.lock().extend(topics.iter().map(|topic| (*topic).to_owned()));
        let asked = Instant::now();
        let mut refreshed = self.inner.refresh.lock().await;
        if refreshed.begun.is_none_or(|begun| begun < asked) {
            let begun = Instant::now();
            refreshed.refused = self.ask_for_metadata().await?;
            refreshed.begun = Some(begun);
        }
        match topics.iter().find_map(|topic| Some((topic, *refreshed.refused.get(*topic)?))) {
            None => Ok(self.metadata()),
            Some((topic, code)) => {
                let message = Some(format!("topic {topic:?}"));
                Err(Error::Refused { peer: "the cluster".to_owned(), request: "Metadata", code, message })
            }
        }
    }

    async fn ask_for_metadata(&self) -> Result<Refused, Error> {
        let topics: Vec<String> = self.inner.topics.lock().iter().cloned().collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let wanted = |name| MetadataRequestTopic { topic_id: TopicId::default(), name: Some(name) };
        let request = MetadataRequest {
            topics: Some(names.iter().copied().map(wanted).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        // Before 4, asking for a topic creates it.
        let answer = self.ask(4..=i16::MAX, &request).await?;
        let response = answer.read()?;
        if response.error_code.is_err() {
            let (peer, code) = (answer.peer().to_owned(), response.error_code);
            return Err(Error::Refused { peer, request: "Metadata", code, message: None });
        }
        let (next, refused) =
            self.metadata().merged(&response, &names).map_err(|reason| answer.malformed(reason))?;
        let addresses: Vec<Address> =
            next.nodes.values().chain(&self.inner.config.bootstrap).cloned().collect();
        self.inner.metadata.store(Arc::new(next));
        self.inner.connections.lock().retain(|(address, _), _| addresses.contains(address));
        Ok(refused)
    }

    /// Metadata is asked for this topic no longer.
    pub fn forget(&self, topic: &str) {
        self.inner.topics.lock().remove(topic);
        self.inner.metadata.rcu(|known| {
            let mut next = Metadata::clone(known);
            next.topics.remove(topic);
            next
        });
    }

    /// A broker says who leads a partition instead of it (KIP-951).
    pub(crate) fn learn_leader(&self, topic: &str, id: TopicId, index: i32, leader: i32, epoch: i32) {
        self.inner.metadata.rcu(|known| match known.with_leader(topic, id, index, leader, epoch) {
            Some(next) => Arc::new(next),
            None => known.clone(),
        });
    }

    /// The node that leads a partition; asks for metadata where it is not known.
    ///
    /// # Errors
    /// As [`Client::refresh`]; [`Error::Refused`] with LEADER_NOT_AVAILABLE, or UNKNOWN_TOPIC_OR_PARTITION.
    pub async fn leader(&self, topic: &str, index: i32) -> Result<i32, Error> {
        let known = self.metadata();
        if let Some(leader) = known.partition(topic, index).and_then(|partition| partition.leader) {
            return Ok(leader);
        }
        let now = self.refresh(&[topic]).await?;
        let (code, message) = match now.partition(topic, index) {
            Some(partition) => match partition.leader {
                Some(leader) => return Ok(leader),
                None => (ErrorCode::LEADER_NOT_AVAILABLE, format!("partition {index} of topic {topic:?}")),
            },
            None => {
                let count = now.topics.get(topic).map_or(0, |topic| topic.partitions.len());
                let message = format!("partition {index} of topic {topic:?}, which has {count}");
                (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message)
            }
        };
        let peer = "the cluster".to_owned();
        Err(Error::Refused { peer, request: "Metadata", code, message: Some(message) })
    }
}

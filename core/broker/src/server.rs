//! Starting and stopping a whole server: configuration in, listeners up, and down again in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use buslane_log::{SpaceReserve, StoreOptions};

use crate::broker_settings;
use crate::compaction::CompactionSettings;
use crate::config::ServerConfig;
use crate::handler::NodeHandler;
use crate::http::{Gathered, HttpServer};
use crate::metrics::{BackgroundMetrics, NetMetrics};
use crate::net::Server;
use crate::node::{Node, NodeSettings};
use crate::partitions::PartitionMetrics;
use crate::quotas::QuotaCollector;
use crate::requests;
use crate::scrub::ScrubSettings;
use crate::topic_config::KEYS;

/// What a running server tells whoever started it.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where the Kafka listener is: the real port where 0 was asked for.
    pub kafka: SocketAddr,
    /// Where the HTTP listener is, if there is one.
    pub http: Option<SocketAddr>,
    /// The cluster's id.
    pub cluster_id: String,
    /// This node's id.
    pub node_id: i32,
}

/// Runs a server until `shutdown` is ready, then stops it in order. `started` hears when requests are served.
///
/// # Errors
/// A port that is taken, a data folder that cannot be used: each says what and where.
pub async fn run(
    config: ServerConfig,
    started: impl FnOnce(&Started),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let listener = config.kafka_listener();
    let mut registry = crate::metrics::registry();
    let metrics = NetMetrics::register(&mut registry);
    let background = BackgroundMetrics::register(&mut registry);
    let partition_metrics = PartitionMetrics::register(&mut registry);
    let quota_metrics = QuotaCollector::register(&mut registry);
    // The ports first: a second server on the same ones fails before it touches the data. Nothing is accepted before
    // the listener runs, and what is asked then is answered by the node.
    let handler = Arc::new(NodeHandler::default());
    let budget = config.budget();
    let (server, kafka) = Server::bind(listener, budget.clone(), handler.clone(), &metrics)?;
    let mut http = None;
    let stop_http = Arc::new(tokio::sync::Notify::new());
    if config.http.enabled {
        let address = config.http.listen;
        let (asked, gathering) = (handler.clone(), handler.clone());
        let ready = Box::new(move || asked.ready());
        let gathered: Box<Gathered> = Box::new(move || {
            let handler = gathering.clone();
            Box::pin(async move { handler.gathered_metrics().await })
        });
        let (listener, local) = HttpServer::bind(address, registry, gathered, ready)
            .await
            .with_context(|| format!("cannot listen on {address} (http.listen)"))?;
        let stop = stop_http.clone();
        tokio::spawn(listener.run(async move { stop.notified().await }));
        http = Some(local);
    }
    let node = Node::start(node_settings(&config, kafka), background)
        .await
        .with_context(|| format!("cannot start with the data in {}", config.server.data.display()))?;
    handler.serve(node.clone());
    partition_metrics.of(node.clone());
    quota_metrics.of(node.quotas.clone());
    started(&Started { kafka, http, cluster_id: node.cluster_id.clone(), node_id: node.id.0 });
    let ended = async {
        tokio::select! {
            () = shutdown => {}
            _ = node.failed() => {}
        }
        requests::end_long_polls(&node);
    };
    tokio::select! {
        () = server.run(ended) => {}
        never = crate::allocator::give_back_after(budget) => match never {},
    }
    let stopped = match node.failure() {
        None => {
            tracing::info!("sealing open segments");
            node.stop().await.context("the clean stop failed; the next start recovers")
        }
        // Nothing more can be promised; whoever watches over the process starts it again.
        Some(_) => node.stop().await.context(
            "the server ended by itself: nothing more could be made durable. What was acknowledged is on the disk; \
             look after the disk and start the server again",
        ),
    };
    stop_http.notify_one();
    stopped
}

pub(crate) fn node_settings(config: &ServerConfig, listen: SocketAddr) -> NodeSettings {
    let (host, port) = match &config.server.advertise.0 {
        Some(advertise) => (advertise.host.clone(), advertise.port),
        None => (listen.ip().to_string(), listen.port()),
    };
    let topics = &config.topics;
    let mut defaults = BTreeMap::new();
    let millis = |d: std::time::Duration| d.as_millis().to_string();
    // What nobody changed is told as Kafka's default, not as this server's choice.
    let mut set = |name: &str, value: String| {
        let key =
            KEYS.iter().find(|key| key.server_key == Some(name)).expect("the name of a topic's default");
        if value != key.default {
            defaults.insert(name.to_owned(), value);
        }
    };
    set("log.retention.ms", topics.retention.0.map_or("-1".to_owned(), millis));
    set("log.retention.bytes", topics.retention_bytes.0.map_or("-1".to_owned(), |b| b.0.to_string()));
    set("log.segment.bytes", topics.segment_bytes.0.to_string());
    set("log.roll.ms", millis(topics.segment_age));
    NodeSettings {
        data: config.server.data.clone(),
        node_id: config.server.node_id.0,
        advertised_host: host,
        advertised_port: port,
        auto_create_topics: topics.auto_create,
        default_partitions: topics.partitions,
        fetch_max_bytes: topics.fetch_max.0,
        segment_idle: topics.segment_idle,
        producer_expiry: topics.producer_expiry,
        retention_check: topics.retention_check,
        broker_settings: broker_settings::of(config),
        topic_defaults: defaults,
        store: StoreOptions {
            reserve: SpaceReserve { bytes: config.server.disk_reserve.0, ..SpaceReserve::default() },
            ..StoreOptions::default()
        },
        compaction: CompactionSettings {
            check: config.compaction.check,
            table_bytes: usize::try_from(config.compaction.memory.0).unwrap_or(usize::MAX),
            rate: config.compaction.rate.0,
        },
        scrub: ScrubSettings { interval: config.scrub.interval, rate: config.scrub.rate.0 },
        groups: config.groups.coordinator(),
    }
}

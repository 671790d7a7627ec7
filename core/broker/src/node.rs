//! The node: opens store and metadata, owns its partitions, follows the image, retires and scrubs old segments, stops in
//! order.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use buslane_log::disk::{Disk, boot_id};
use buslane_log::fs::Fs;
use buslane_log::{DataDir, Identity, SpaceState, Store, StoreOptions, Syncer, SyncerOptions, Wanted};
use buslane_meta::{Command, Consensus, Event, Image, NodeImage, RaftConsensus, Refused, TopicImage};
use buslane_partition::Phase;
use buslane_wire::ErrorCode;
use buslane_wire::ids::{NodeId, SegmentRef, TopicId, TopicPartition};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::broker_settings::BrokerSetting;
use crate::clock::Clock;
use crate::fetch_sessions::FetchSessions;
use crate::groups::Groups;
use crate::metrics::ScrubMetrics;
use crate::partitions::{Context, Partition, Topic, Topics, chain_view};
use crate::producer_ids::ProducerIds;
use crate::scrub::{DamageTable, ScrubSettings, Scrubber};
use crate::topic_config::TopicConfig;

/// Assignments in one proposal when a node takes up its partitions.
const ASSIGN_BATCH: usize = 1_000;

/// The id of a cluster's first node, unless the configuration says another.
const FIRST_NODE: i32 = 1;

/// How often ages, idleness and free space are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long copies that nothing refers to are kept before they are removed.
const ORPHANS_KEPT_MS: i64 = 24 * 3_600_000;

/// What a node is started with; made from the configuration file or the command line.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The data folder; made when missing.
    pub data: PathBuf,
    /// The id to take when the folder is new, and to insist on when it is not.
    pub node_id: Option<i32>,
    /// Where clients reach it.
    pub advertised_host: String,
    /// And the port.
    pub advertised_port: u16,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `num.partitions`.
    pub default_partitions: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: u64,
    /// A segment that nothing was written to for this long is sealed.
    pub segment_idle: Duration,
    /// `producer.id.expiration.ms`.
    pub producer_expiry: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention_check: Duration,
    /// Server-wide defaults of topic settings, by their server keys, checked.
    pub topic_defaults: BTreeMap<String, String>,
    /// What DescribeConfigs tells of the broker itself.
    pub broker_settings: Vec<BrokerSetting>,
    /// Settings of the store.
    pub store: StoreOptions,
    /// How sealed segments are scrubbed.
    pub scrub: ScrubSettings,
}

/// See the module's head.
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The cluster's id.
    pub cluster_id: String,
    /// Where clients reach it.
    pub advertised_host: String,
    /// And the port.
    pub advertised_port: i32,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `num.partitions`.
    pub default_partitions: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: u64,
    /// Server-wide defaults of topic settings.
    pub server_configs: BTreeMap<String, String>,
    /// What DescribeConfigs tells of the broker itself.
    pub broker_settings: Vec<BrokerSetting>,
    /// The data folder.
    pub data: PathBuf,
    /// The metadata.
    pub consensus: Arc<dyn Consensus>,
    /// What partitions share.
    pub context: Arc<Context>,
    /// The topics by name and id.
    pub topics: ArcSwap<Topics>,
    /// Fetch sessions.
    pub sessions: FetchSessions,
    /// Producer ids.
    pub producer_ids: ProducerIds,
    /// Consumer groups.
    pub groups: Groups,
    /// Where tasks and blocking work run.
    pub runtime: tokio::runtime::Handle,
    raft: Arc<RaftConsensus>,
    syncer: Mutex<Option<Syncer>>,
    scrubber: Mutex<Option<Scrubber>>,
    writable: AtomicBool,
    stopping: AtomicBool,
    following: Mutex<Arc<Image>>,
    retention_check: Duration,
    _data: DataDir,
}

impl Node {
    /// Opens the data folder and takes up every partition that is this node's. Returns when requests can be served;
    /// partitions recover meanwhile, and what is produced to them waits.
    pub async fn start(settings: NodeSettings, scrub_metrics: ScrubMetrics) -> anyhow::Result<Arc<Node>> {
        let runtime = tokio::runtime::Handle::current();
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let clock = Clock::default();
        let wanted = Wanted { cluster_id: None, node_id: settings.node_id.map(NodeId) };
        let data = DataDir::open(&fs, &settings.data, &wanted, || Identity {
            cluster_id: uuid::Uuid::new_v4().simple().to_string(),
            node_id: NodeId(settings.node_id.unwrap_or(FIRST_NODE)),
        })?;
        let identity = data.identity().clone();
        let (store, report) = Store::open(fs.clone(), &settings.data, settings.store.clone(), &boot_id()?)?;
        if report.machine_crash {
            tracing::warn!(
                segments = report.not_whole.len(),
                "the machine stopped without a clean stop: open segments may miss their last second and are recovered"
            );
        }
        if let Some(cut) = &report.journal_cut {
            tracing::warn!(?cut, "a torn end of the store journal was dropped");
        }
        let syncer = Syncer::start(&store, SyncerOptions::default(), |round| {
            if let Err(error) = round {
                tracing::error!(%error, "background sync failed");
            }
        })
        .context("cannot start the threads that sync")?;
        let raft = RaftConsensus::open(fs, &settings.data, identity.node_id).await?;
        let consensus: Arc<dyn Consensus> = raft.clone();
        let id = identity.node_id;
        let context = Arc::new(Context {
            me: id,
            store,
            consensus: consensus.clone(),
            clock,
            damage: DamageTable::default(),
            runtime: runtime.clone(),
            segment_idle_ms: settings.segment_idle.as_millis() as i64,
            producer_expiry_ms: settings.producer_expiry.as_millis() as i64,
        });
        let now_ms = context.clock.now_ms();
        let node = Arc::new(Node {
            id,
            data: settings.data.clone(),
            cluster_id: identity.cluster_id,
            advertised_host: settings.advertised_host.clone(),
            advertised_port: i32::from(settings.advertised_port),
            auto_create_topics: settings.auto_create_topics,
            default_partitions: settings.default_partitions,
            fetch_max_bytes: settings.fetch_max_bytes,
            server_configs: settings.topic_defaults,
            broker_settings: settings.broker_settings,
            following: Mutex::new(Arc::new(Image::default())),
            consensus,
            context,
            topics: ArcSwap::default(),
            sessions: FetchSessions::default(),
            producer_ids: ProducerIds::default(),
            groups: Groups::new(buslane_group::Config::default(), now_ms),
            runtime,
            raft,
            syncer: Mutex::new(Some(syncer)),
            scrubber: Mutex::new(None),
            writable: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            retention_check: settings.retention_check,
            _data: data,
        });
        node.take_up(report.incarnation, settings.advertised_port).await?;
        node.groups.take_up(&node);
        *node.scrubber.lock() = Scrubber::start(&node.context, settings.scrub, scrub_metrics);
        let ticking = node.clone();
        node.runtime.spawn(async move { ticking.tick().await });
        Ok(node)
    }

    /// Registers this run, clears the disk of what the chain does not know, and gets a new epoch for each partition.
    async fn take_up(self: &Arc<Self>, incarnation: u64, port: u16) -> anyhow::Result<()> {
        let image = NodeImage { host: self.advertised_host.clone(), port, rack: None, incarnation };
        self.commit(vec![Command::RegisterNode { node: self.id, image }])
            .await
            .map_err(|code| anyhow::anyhow!("the metadata cannot be written ({code}); see the log above"))?;
        let image = self.consensus.image();
        let now_ms = self.context.clock.now_ms();
        let known: HashSet<SegmentRef> = image
            .partitions()
            .flat_map(|(partition, p)| {
                p.chain.iter().map(move |s| SegmentRef { partition, segment: s.id }).collect::<Vec<_>>()
            })
            .collect();
        let moved = self
            .context
            .store
            .orphan_unknown(|s| known.contains(s), now_ms)
            .context("cannot sort out orphans")?;
        for copy in &moved {
            tracing::warn!(segment = %copy.segment, "a copy that the chain does not know was moved to orphans/");
        }
        self.context.store.remove_orphans(now_ms - ORPHANS_KEPT_MS).context("cannot remove old orphans")?;
        let mine: Vec<Command> = image
            .partitions()
            .filter(|(_, p)| p.owner == Some(self.id))
            .map(|(partition, p)| Command::Assign { partition, expected_epoch: p.epoch, owner: self.id })
            .collect();
        for commands in mine.chunks(ASSIGN_BATCH) {
            self.commit(commands.to_vec()).await.map_err(|code| {
                anyhow::anyhow!("the partitions cannot be taken up ({code}); see the log above")
            })?;
        }
        // One commit for all promises; each recovery then finds its own made.
        let image = self.consensus.image();
        let promises: Vec<(TopicPartition, _)> = image
            .partitions()
            .filter(|(_, p)| p.open_segment().is_some())
            .map(|(id, p)| (id, p.epoch))
            .collect();
        let context = self.context.clone();
        self.runtime
            .spawn_blocking(move || context.store.promise(&promises))
            .await?
            .context("cannot write promises")?;
        self.follow();
        Ok(())
    }

    /// Brings the topics up to the image: new ones appear, changed ones are reconfigured, deleted ones go.
    pub fn follow(self: &Arc<Self>) {
        let mut seen = self.following.lock();
        let image = self.consensus.image();
        let mut topics = None;
        for topic in image.topics.values() {
            let same = seen.topic(topic.id).is_some_and(|old| {
                old.config == topic.config && old.partitions.len() == topic.partitions.len()
            });
            if !same {
                let topics = topics.get_or_insert_with(|| Topics::clone(&self.topics.load()));
                let entered = self.enter(topic, topics.with_id(topic.id).cloned());
                topics.insert(entered);
            }
        }
        let gone: Vec<Arc<TopicImage>> =
            seen.topics.values().filter(|t| image.topic(t.id).is_none()).cloned().collect();
        for topic in &gone {
            let topics = topics.get_or_insert_with(|| Topics::clone(&self.topics.load()));
            if let Some(removed) = topics.remove(topic.id) {
                self.remove_files(&removed, topic);
            }
        }
        if let Some(topics) = topics {
            self.topics.store(Arc::new(topics));
        }
        *seen = image;
        if !gone.is_empty() {
            let gone: Vec<_> = gone.iter().map(|topic| (topic.name.as_str().into(), topic.id)).collect();
            self.groups.topics_deleted(&gone);
        }
    }

    /// A topic for the table; partitions that are there already go on.
    fn enter(self: &Arc<Self>, image: &TopicImage, old: Option<Arc<Topic>>) -> Arc<Topic> {
        let config = Arc::new(TopicConfig::resolve(&image.config, &self.server_configs));
        let name: Arc<str> = old.as_ref().map_or_else(|| image.name.as_str().into(), |t| t.name.clone());
        let mut partitions = old.map_or_else(Vec::new, |t| t.partitions.clone());
        for partition in &partitions {
            partition.reconfigure(config.clone());
        }
        for (index, p) in image.partitions.iter().enumerate().skip(partitions.len()) {
            let id = TopicPartition { topic: image.id, partition: index as i32 };
            let partition = Partition::new(id, name.clone(), self.context.clone(), config.clone());
            if p.owner == Some(self.id) {
                partition.start(chain_view(p), p.plan.clone(), p.log_start_offset);
            }
            partitions.push(partition);
        }
        Arc::new(Topic { id: image.id, name, config, partitions })
    }

    /// Fences a deleted topic's partitions and removes their copies.
    fn remove_files(&self, topic: &Topic, image: &TopicImage) {
        for partition in &topic.partitions {
            partition.fence();
        }
        let context = self.context.clone();
        let (id, count) = (topic.id, image.partitions.len() as i32);
        drop(self.runtime.spawn_blocking(move || {
            let found = match context.store.list() {
                Ok(found) => found,
                Err(error) => {
                    return tracing::warn!(%error, "a deleted topic's files stay until the next start");
                }
            };
            for copy in found.iter().filter(|c| c.segment.partition.topic == id) {
                if let Err(error) = context.store.delete(&copy.segment, copy.base_offset) {
                    tracing::warn!(%error, segment = %copy.segment, "file not removed");
                }
            }
            for partition in 0..count {
                let partition = TopicPartition { topic: id, partition };
                if let Err(error) = context.store.forget_partition(partition) {
                    tracing::warn!(%error, %partition, "promise not forgotten");
                }
            }
        }));
    }

    /// Proposes commands and follows the image they make. An answer that is lost is UNKNOWN_SERVER_ERROR to the client,
    /// who looks and asks again.
    pub async fn propose_all(
        self: &Arc<Self>,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Event, Refused>>, ErrorCode> {
        let outcomes = self.commit(commands).await?;
        if outcomes.iter().any(Result::is_ok) {
            self.follow();
        }
        Ok(outcomes)
    }

    async fn commit(&self, commands: Vec<Command>) -> Result<Vec<Result<Event, Refused>>, ErrorCode> {
        self.consensus.propose(commands).await.map_err(|error| {
            tracing::error!(%error, "no answer from the metadata");
            ErrorCode::UNKNOWN_SERVER_ERROR
        })
    }

    /// Proposes one command.
    pub async fn propose(self: &Arc<Self>, command: Command) -> Result<Event, ErrorCode> {
        let outcome = self.propose_all(vec![command]).await?.into_iter().next();
        outcome.expect("one outcome for one command").map_err(|refused| match refused {
            Refused::Unknown => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Refused::NameTaken(_) | Refused::IdTaken => ErrorCode::TOPIC_ALREADY_EXISTS,
            Refused::Count { .. } => ErrorCode::INVALID_PARTITIONS,
            Refused::BeyondEnd { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            Refused::Epoch { .. } | Refused::Chain(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            Refused::NoStore => ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        })
    }

    /// Moves a partition's log start, and removes what lies below it.
    pub async fn advance_log_start(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        offset: i64,
    ) -> Result<(), ErrorCode> {
        let event = self.propose(Command::AdvanceLogStart { partition: partition.id, offset }).await?;
        partition.set_log_start_offset(offset);
        if let Event::Dropped(dropped) = event {
            self.context.remove_dropped(partition.id, dropped);
        }
        Ok(())
    }

    /// A topic id that was never used (KIP-516: random).
    pub fn new_topic_id(&self) -> TopicId {
        TopicId(*uuid::Uuid::new_v4().as_bytes())
    }

    /// True when a client that means `node_id` is right here. Coordinator connections count down from the greatest
    /// number in Kafka's Java client.
    pub fn answers_to(&self, node_id: i32) -> bool {
        node_id == self.id.0 || node_id == i32::MAX - self.id.0
    }

    /// Bytes of a partition's log files.
    pub fn log_bytes(&self, partition: &Partition) -> u64 {
        let image = self.consensus.image();
        let sealed = image.partition(partition.id).map_or(0, |p| p.sealed_bytes());
        sealed + partition.open_bytes()
    }

    /// Partitions whose end is not known yet.
    pub fn recovering(&self) -> usize {
        let topics = self.topics.load();
        topics.iter().flat_map(|t| &t.partitions).filter(|p| p.phase() == Phase::Recovering).count()
    }

    /// False while the disk is nearly full: produce is refused, everything else goes on.
    pub fn accepts_writes(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    fn look_at_space(&self) {
        match self.context.store.space_state() {
            Ok(SpaceState::Ok) => {
                if !self.writable.swap(true, Ordering::Relaxed) {
                    tracing::info!("there is space on the disk again; writes are accepted");
                }
            }
            Ok(SpaceState::NearlyFull { available_bytes, needed_bytes }) => {
                if self.writable.swap(false, Ordering::Relaxed) {
                    tracing::error!(
                        available_bytes,
                        needed_bytes,
                        "the disk is nearly full: writes are refused"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "free space is not known"),
        }
    }

    async fn tick(self: Arc<Self>) {
        let mut since_retention = Duration::ZERO;
        self.look_at_space();
        loop {
            tokio::time::sleep(TICK.min(self.retention_check)).await;
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            self.look_at_space();
            let topics = self.topics.load_full();
            for partition in topics.iter().flat_map(|t| &t.partitions) {
                partition.tick();
            }
            since_retention += TICK.min(self.retention_check);
            if since_retention >= self.retention_check {
                since_retention = Duration::ZERO;
                crate::retention::run(&self).await;
            }
        }
    }

    /// The clean stop: seals every open segment, syncs, writes the clean-stop marker. No request may be in flight.
    pub async fn stop(self: &Arc<Self>) -> anyhow::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.groups.stop();
        let scrubber = self.scrubber.lock().take();
        if let Some(scrubber) = scrubber {
            scrubber.stop().await;
        }
        let topics = self.topics.load_full();
        let mut leaving = JoinSet::new();
        for partition in topics.iter().flat_map(|t| &t.partitions) {
            let partition = partition.clone();
            leaving.spawn(async move { partition.step_down().await });
        }
        while leaving.join_next().await.is_some() {}
        self.raft.stop().await;
        let node = self.clone();
        self.runtime
            .spawn_blocking(move || {
                if let Some(syncer) = node.syncer.lock().take() {
                    syncer.stop();
                }
                // The store is shared with partitions that are still referred to; nothing is appended any more.
                node.context.store.close()
            })
            .await??;
        Ok(())
    }
}

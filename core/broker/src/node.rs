//! The node: opens store and metadata, takes up its partitions, changes the metadata, watches over disk and time, stops
//! in order.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use buslane_log::disk::{Disk, boot_id};
use buslane_log::fs::Fs;
use buslane_log::{
    DataDir, Identity, SpaceState, Store, StoreOptions, Syncer, SyncerOptions, Wanted, check_journal,
};
use buslane_meta::{Command, Consensus, Event, Image, NodeImage, RaftConsensus, Refused};
use buslane_partition::Phase;
use buslane_wire::ErrorCode;
use buslane_wire::ids::{LeaderEpoch, NodeId, SegmentRef, TopicId, TopicPartition};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker_settings::{self, BrokerSetting};
use crate::clock::Clock;
use crate::compaction::{CompactionSettings, Compactor};
use crate::fetch_sessions::FetchSessions;
use crate::fits;
use crate::groups::Groups;
use crate::metrics::BackgroundMetrics;
use crate::partitions::{Context, OwnerPool, Partition, Topics, Waiting};
use crate::producer_ids::ProducerIds;
use crate::quotas::Quotas;
use crate::retention;
use crate::scrub::{DamageTable, ScrubSettings, Scrubber};
use crate::server_values::ServerValues;

/// Assignments in one proposal when a node takes up its partitions.
const ASSIGN_BATCH: usize = 1_000;

/// The id of a cluster's first node, unless the configuration says another.
const FIRST_NODE: i32 = 1;

/// The feature by which groups of the consumer protocol are served (KIP-848), at level 1.
pub const GROUP_VERSION: &str = "group.version";

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
    /// How partitions are compacted.
    pub compaction: CompactionSettings,
    /// Consumer groups.
    pub groups: buslane_group::Config,
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
    /// The broker's values of settings that can be changed while it runs.
    pub server_values: ArcSwap<ServerValues>,
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
    /// Client quotas.
    pub quotas: Arc<Quotas>,
    /// Where tasks and blocking work run.
    pub runtime: tokio::runtime::Handle,
    raft: Arc<RaftConsensus>,
    syncer: Mutex<Option<Syncer>>,
    scrubber: Mutex<Option<Scrubber>>,
    compactor: Mutex<Option<Compactor>>,
    /// The partition that is being compacted.
    compacting: Mutex<Option<TopicPartition>>,
    /// Held by retention from its look to its commit, and to begin a pass of compaction.
    pub(crate) log_starts: tokio::sync::Mutex<()>,
    writable: AtomicBool,
    stopping: AtomicBool,
    failure: watch::Sender<Option<String>>,
    /// The image that the topics are made from.
    pub(crate) following: Mutex<Arc<Image>>,
    _data: DataDir,
}

/// See [`Node::compacting`].
pub(crate) struct Compacting<'n>(&'n Node);

impl Drop for Compacting<'_> {
    fn drop(&mut self) {
        *self.0.compacting.lock() = None;
    }
}

impl Node {
    /// Opens the data folder and takes up every partition that is this node's. Returns when requests can be served;
    /// partitions recover meanwhile, and what is produced to them waits.
    pub async fn start(settings: NodeSettings, metrics: BackgroundMetrics) -> anyhow::Result<Arc<Node>> {
        let runtime = tokio::runtime::Handle::current();
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let clock = Clock::start();
        let wanted = Wanted { cluster_id: None, node_id: settings.node_id.map(NodeId) };
        let data = DataDir::open(&fs, &settings.data, &wanted, || Identity {
            cluster_id: uuid::Uuid::new_v4().simple().to_string(),
            node_id: NodeId(settings.node_id.unwrap_or(FIRST_NODE)),
        })?;
        let identity = data.identity().clone();
        let boot_id = boot_id()?;
        fits::refuse_without_metadata(&*fs, &settings.data)?;
        check_journal(&*fs, &settings.data, &boot_id)?;
        let raft = RaftConsensus::open(fs.clone(), &settings.data, identity.node_id).await?;
        let image = raft.image();
        let options = StoreOptions {
            runs_before: image.nodes.get(&identity.node_id).map_or(0, |node| node.incarnation),
            ..settings.store.clone()
        };
        let (store, report) = Store::open(fs, &settings.data, options, &boot_id)?;
        fits::refuse_foreign_metadata(&settings.data, &identity.cluster_id, &image, &store)?;
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
        let consensus: Arc<dyn Consensus> = raft.clone();
        let id = identity.node_id;
        let context = Arc::new(Context {
            me: id,
            store,
            consensus: consensus.clone(),
            clock,
            damage: DamageTable::default(),
            runtime: runtime.clone(),
            owners: OwnerPool::new().context("cannot start the owners' threads")?,
            waiting: Waiting::default(),
            losses: Counter::default(),
            segment_idle_ms: settings.segment_idle.as_millis() as i64,
            producer_expiry_ms: settings.producer_expiry.as_millis() as i64,
        });
        let node = Arc::new(Node {
            id,
            data: settings.data.clone(),
            cluster_id: identity.cluster_id,
            advertised_host: settings.advertised_host.clone(),
            advertised_port: i32::from(settings.advertised_port),
            auto_create_topics: settings.auto_create_topics,
            default_partitions: settings.default_partitions,
            fetch_max_bytes: settings.fetch_max_bytes,
            server_values: ArcSwap::from_pointee(ServerValues::of_file(settings.topic_defaults)),
            broker_settings: broker_settings::with_node_id(settings.broker_settings, id),
            following: Mutex::new(Arc::new(Image::default())),
            consensus,
            context,
            topics: ArcSwap::default(),
            sessions: FetchSessions::default(),
            producer_ids: ProducerIds::default(),
            groups: Groups::new(settings.groups, clock),
            quotas: Quotas::new(clock),
            runtime,
            raft,
            syncer: Mutex::new(Some(syncer)),
            scrubber: Mutex::new(None),
            compactor: Mutex::new(None),
            compacting: Mutex::new(None),
            log_starts: tokio::sync::Mutex::default(),
            writable: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            failure: watch::Sender::new(None),
            _data: data,
        });
        node.take_up(report.incarnation, settings.advertised_port).await?;
        for (setting, file, now) in node.server_values.load().overridden() {
            tracing::warn!(
                setting,
                file,
                now,
                "the configuration file says one thing, and a change made while the broker ran another, which holds"
            );
        }
        node.groups.take_up(&node);
        *node.scrubber.lock() = Scrubber::start(&node.context, settings.scrub, metrics.scrub);
        node.look_at_space();
        let ticking = node.clone();
        node.runtime.spawn(async move { ticking.tick().await });
        let retaining = node.clone();
        node.runtime.spawn(async move { retention::run(&retaining, settings.retention_check).await });
        *node.compactor.lock() = Some(Compactor::start(&node, settings.compaction, metrics.compaction));
        Ok(node)
    }

    /// Registers this run, clears the disk of what the chain does not know, and gets a new epoch for each partition.
    async fn take_up(self: &Arc<Self>, incarnation: u64, port: u16) -> anyhow::Result<()> {
        let image = NodeImage { host: self.advertised_host.clone(), port, rack: None, incarnation };
        let mut commands = vec![Command::RegisterNode { node: self.id, image }];
        if self.consensus.image().cluster_id.is_none() {
            commands.push(Command::SetClusterId { cluster_id: self.cluster_id.clone() });
        }
        // As in a new cluster of Kafka's.
        if self.consensus.image().feature(GROUP_VERSION) == 0 {
            commands.push(Command::SetFeature { name: GROUP_VERSION.to_owned(), expected: 0, level: 1 });
        }
        let outcomes = self
            .commit(commands)
            .await
            .map_err(|code| anyhow::anyhow!("the metadata cannot be written ({code}); see the log above"))?;
        for outcome in outcomes {
            outcome.context("the metadata does not take up this node")?;
        }
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
        let promised = self
            .runtime
            .spawn_blocking(move || context.store.promise(&promises))
            .await?
            .context("cannot write promises")?;
        for promise in promised {
            // Each epoch was just drawn above all that were promised.
            promise.context("the metadata is older than the store")?;
        }
        self.follow();
        Ok(())
    }

    /// Proposes commands, follows the image they make, and removes the copies that left their chains. An answer that is
    /// lost is UNKNOWN_SERVER_ERROR to the client, who looks and asks again.
    pub async fn propose_all(
        self: &Arc<Self>,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Event, Refused>>, ErrorCode> {
        self.propose_holding(commands, ()).await
    }

    /// As [`Self::propose_all`], and drops `held` when all has happened, or is known not to happen.
    pub async fn propose_holding(
        self: &Arc<Self>,
        commands: Vec<Command>,
        held: impl Send + 'static,
    ) -> Result<Vec<Result<Event, Refused>>, ErrorCode> {
        let node = self.clone();
        // A task of its own: the change happens though nobody waits for the answer any more (a request's future is
        // dropped with its connection), and so must all that follows from it.
        let change = self.runtime.spawn(async move {
            let _held = held;
            let starts: Vec<Option<TopicPartition>> = commands.iter().map(drops_segments).collect();
            let outcomes = node.commit(commands).await?;
            if outcomes.iter().any(Result::is_ok) {
                node.follow();
            }
            for (partition, outcome) in starts.into_iter().zip(&outcomes) {
                if let (Some(partition), Ok(Event::Dropped(dropped))) = (partition, outcome) {
                    node.context.remove_dropped(partition, dropped.clone());
                }
            }
            Ok(outcomes)
        });
        change.await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        })
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
        outcome.expect("one outcome for one command").map_err(|refused| error_code(&refused))
    }

    /// Moves the log starts of partitions, and removes what lies below them; an outcome for each. With each offset the
    /// epoch in which it was found.
    pub async fn advance_log_starts(
        self: &Arc<Self>,
        starts: &[(TopicPartition, i64, LeaderEpoch)],
    ) -> Vec<Result<(), ErrorCode>> {
        let command = |(partition, offset, epoch): &(_, _, _)| Command::AdvanceLogStart {
            partition: *partition,
            offset: *offset,
            epoch: *epoch,
        };
        match self.propose_all(starts.iter().map(command).collect()).await {
            Ok(outcomes) => outcomes.into_iter().map(|o| o.map(drop).map_err(|r| error_code(&r))).collect(),
            Err(code) => vec![Err(code); starts.len()],
        }
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

    /// Why the node cannot go on, once that is so: its metadata or its store can write nothing more.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Notes which partition is being compacted, until what is returned is dropped. One at a time is.
    pub(crate) async fn compacting(&self, partition: TopicPartition) -> Compacting<'_> {
        let _not_meanwhile = self.log_starts.lock().await;
        *self.compacting.lock() = Some(partition);
        Compacting(self)
    }

    /// Whether a partition is being compacted. Retention leaves it alone meanwhile, as the pass would be for nothing once a
    /// segment is gone that takes part.
    pub(crate) fn is_compacting(&self, partition: TopicPartition) -> bool {
        *self.compacting.lock() == Some(partition)
    }

    /// Returns when there is a [`Node::failure`].
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await.expect("the node has the sender");
        failed.clone().expect("waited for")
    }

    /// Both failures are for good: what is on the disk is whole, and only a new start can say how far it goes.
    fn look_for_failure(&self) {
        let metadata = || self.consensus.failure().map(|why| format!("the metadata log failed: {why}"));
        let store = || self.context.store.failure().map(|why| format!("the store's journal failed: {why}"));
        if let Some(why) = metadata().or_else(store)
            && self.failure.send_if_modified(|failure| failure.replace(why.clone()).is_none())
        {
            tracing::error!(why, "nothing more can be made durable; the node stops");
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    async fn tick(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            if self.is_stopping() {
                return;
            }
            self.look_at_space();
            self.look_for_failure();
            self.quotas.drop_idle();
            let topics = self.topics.load_full();
            for partition in topics.iter().flat_map(|t| &t.partitions) {
                partition.tick();
            }
        }
    }

    /// The clean stop: seals every open segment, syncs, writes the clean-stop marker. No request may be in flight. A
    /// node that failed is left as a kill would leave it: the next start recovers.
    pub async fn stop(self: &Arc<Self>) -> anyhow::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.groups.stop();
        let scrubber = self.scrubber.lock().take();
        if let Some(scrubber) = scrubber {
            scrubber.stop().await;
        }
        let compactor = self.compactor.lock().take();
        if let Some(compactor) = compactor {
            compactor.stop().await;
        }
        if self.failure().is_none() {
            let topics = self.topics.load_full();
            let mut leaving = JoinSet::new();
            for partition in topics.iter().flat_map(|t| &t.partitions) {
                let partition = partition.clone();
                leaving.spawn(async move { partition.step_down().await });
            }
            while leaving.join_next().await.is_some() {}
            // Sealing may have found out.
            self.look_for_failure();
        }
        self.raft.stop().await;
        let node = self.clone();
        self.runtime
            .spawn_blocking(move || {
                if let Some(syncer) = node.syncer.lock().take() {
                    syncer.stop();
                }
                match node.failure() {
                    Some(failure) => Err(anyhow::anyhow!(failure)),
                    // The store is shared with partitions that are still referred to; nothing is appended any more.
                    None => Ok(node.context.store.close()?),
                }
            })
            .await?
    }
}

/// The partition whose segments a command of nobody who removes them takes out of the chain.
fn drops_segments(command: &Command) -> Option<TopicPartition> {
    match command {
        Command::AdvanceLogStart { partition, .. } | Command::ReplaceSegments { partition, .. } => {
            Some(*partition)
        }
        _ => None,
    }
}

/// What a client is told of a refusal.
pub(crate) fn error_code(refused: &Refused) -> ErrorCode {
    match refused {
        Refused::Unknown => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Refused::NameTaken(_) | Refused::IdTaken => ErrorCode::TOPIC_ALREADY_EXISTS,
        Refused::Count { .. } => ErrorCode::INVALID_PARTITIONS,
        Refused::BeyondEnd { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        Refused::Epoch { .. } | Refused::Chain(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        Refused::NoStore => ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        Refused::Broken => ErrorCode::UNKNOWN_SERVER_ERROR,
        Refused::Quota(_) => ErrorCode::INVALID_REQUEST,
    }
}

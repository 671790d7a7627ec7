//! One shard's task: it replays the log, serves requests in their order, writes what they change, and keeps the time.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use buslane_group::api::{AppendId, Effects, Event, Reply, Request, RequestId};
use buslane_group::{Config, Shard};
use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::TopicsSeen;
use super::log::{self, LoadError};
use super::metrics::Seen;
use crate::clock::Clock;
use crate::node::Node;
use crate::partitions::Partition;

/// Requests that may wait for a shard; more are held back at their connections.
const QUEUE: usize = 1_024;

/// How long a shard waits before it tries again to load from a partition that is not served yet, or is damaged.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_DAMAGED: Duration = Duration::from_secs(5);

/// Requests wait this long for a shard that loads; later ones are refused until it is loaded. Most loads end sooner than a
/// refused client comes back, and ListGroups has one error for all shards.
const LOAD_PATIENCE: Duration = Duration::from_millis(500);

type Deleted = Arc<[(Arc<str>, TopicId)]>;

enum Command {
    Request(Box<Request>, oneshot::Sender<Reply>),
    Deleted(Deleted),
    Look(oneshot::Sender<Seen>),
    Stop,
}

/// The way to a shard.
#[derive(Clone)]
pub(super) struct ShardHandle {
    partition: Arc<Partition>,
    commands: mpsc::Sender<Command>,
}

impl ShardHandle {
    /// True when it is this partition's and still runs.
    pub(super) fn serves(&self, partition: &Arc<Partition>) -> bool {
        Arc::ptr_eq(&self.partition, partition) && !self.commands.is_closed()
    }

    pub(super) async fn ask(&self, request: Request) -> Reply {
        let refusal = request.refuse(ErrorCode::NOT_COORDINATOR);
        let (reply, replied) = oneshot::channel();
        if self.commands.send(Command::Request(Box::new(request), reply)).await.is_err() {
            return refusal;
        }
        replied.await.unwrap_or(refusal)
    }

    /// What the shard has; nothing while it is loaded.
    pub(super) async fn look(&self) -> Option<Seen> {
        let (reply, seen) = oneshot::channel();
        self.commands.send(Command::Look(reply)).await.ok()?;
        seen.await.ok()
    }

    pub(super) fn topics_deleted(&self, deleted: Deleted) {
        let commands = self.commands.clone();
        tokio::spawn(async move { commands.send(Command::Deleted(deleted)).await });
    }

    pub(super) fn stop(self) {
        tokio::spawn(async move { self.commands.send(Command::Stop).await });
    }
}

/// Starts a shard's task. It ends with [`ShardHandle::stop`], or when the partition is gone.
pub(super) fn start(
    node: &Arc<Node>,
    partition: Arc<Partition>,
    config: Config,
    clock: Clock,
) -> ShardHandle {
    let (commands, inbox) = mpsc::channel(QUEUE);
    let task = Task { node: node.clone(), partition: partition.clone(), config, clock, inbox };
    node.runtime.spawn(task.run());
    ShardHandle { partition, commands }
}

struct Task {
    node: Arc<Node>,
    partition: Arc<Partition>,
    config: Config,
    clock: Clock,
    inbox: mpsc::Receiver<Command>,
}

/// Why a shard no longer serves.
enum End {
    /// An append failed, or the partition started over: what is in memory may be wrong.
    Reload,
    /// For good.
    Stop,
}

impl Task {
    async fn run(mut self) {
        while let Some(shard) = self.load().await {
            let serving = Serving {
                node: self.node.clone(),
                partition: self.partition.clone(),
                clock: self.clock,
                shard,
                replies: HashMap::new(),
                next_id: 0,
                appends: VecDeque::new(),
            };
            match serving.run(&mut self.inbox).await {
                End::Reload => {}
                End::Stop => return,
            }
        }
    }

    /// The shard, once its partition is served here; nothing when it never will be. Requests wait for a moment, and are
    /// refused from then on.
    async fn load(&mut self) -> Option<Shard> {
        let mut told = false;
        let mut refuse_from = Instant::now() + LOAD_PATIENCE;
        loop {
            let (partition, config) = (self.partition.clone(), self.config.clone());
            let mut loading = self.node.runtime.spawn_blocking(move || log::load(&partition, config));
            let loaded = loop {
                tokio::select! {
                    loaded = &mut loading => break loaded,
                    command = receive_from(refuse_from, &mut self.inbox) => {
                        if !refuse(command?, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) {
                            return None;
                        }
                    }
                }
            };
            let (wait, code) = match loaded {
                Ok(Ok(shard)) => return Some(shard),
                Ok(Err(LoadError::NotHere)) => {
                    if self.is_gone() {
                        return None;
                    }
                    (RETRY, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
                }
                Ok(Err(LoadError::Damaged(reason))) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(partition = ?self.partition, reason, "groups cannot be loaded");
                    }
                    refuse_from = Instant::now();
                    (RETRY_DAMAGED, ErrorCode::COORDINATOR_NOT_AVAILABLE)
                }
                // The runtime stops.
                Err(_) => return None,
            };
            let retry = tokio::time::sleep(wait);
            tokio::pin!(retry);
            loop {
                tokio::select! {
                    () = &mut retry => break,
                    command = receive_from(refuse_from, &mut self.inbox) => {
                        if !refuse(command?, code) {
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// True when the partition left this node for good.
    fn is_gone(&self) -> bool {
        let topics = self.node.topics.load();
        let partition =
            topics.with_id(self.partition.id.topic).and_then(|t| t.partition(self.partition.id.partition));
        !partition.is_some_and(|current| Arc::ptr_eq(current, &self.partition))
    }
}

/// The next command, from `at` on. Loses none when it is dropped.
async fn receive_from(at: Instant, inbox: &mut mpsc::Receiver<Command>) -> Option<Command> {
    tokio::time::sleep_until(at).await;
    inbox.recv().await
}

/// Answers a command that cannot be served now. False when it ends the task.
fn refuse(command: Command, code: ErrorCode) -> bool {
    match command {
        Command::Request(request, reply) => {
            let _ = reply.send(request.refuse(code));
            true
        }
        // A shard that is replayed later finds what was deleted in its log, and drops it when it expires.
        Command::Deleted(_) | Command::Look(_) => true,
        Command::Stop => false,
    }
}

type Settled = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A loaded shard at work.
struct Serving {
    node: Arc<Node>,
    partition: Arc<Partition>,
    clock: Clock,
    shard: Shard,
    replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    next_id: u64,
    /// In the order of the log.
    appends: VecDeque<(AppendId, Settled)>,
}

impl Serving {
    async fn run(mut self, inbox: &mut mpsc::Receiver<Command>) -> End {
        let mut effects = self.shard.loaded(self.clock.now_ms());
        let mut was_time = false;
        loop {
            if !self.carry_out(effects) {
                return self.reload(inbox).await;
            }
            let deadline = self.shard.next_deadline();
            // Between any two commands: however many come, nobody who is silent stays for ever.
            was_time = !was_time && deadline.is_some_and(|at_ms| at_ms <= self.clock.now_ms());
            if was_time {
                effects = self.on_time();
                continue;
            }
            let deadline = deadline.map(|at_ms| self.clock.instant(at_ms));
            let appends = &mut self.appends;
            effects = tokio::select! {
                biased;
                committed = oldest(appends) => match (committed, appends.pop_front()) {
                    (true, Some((id, _))) => self.shard.committed(self.clock.now_ms(), id),
                    _ => return self.reload(inbox).await,
                },
                command = inbox.recv() => match command {
                    Some(Command::Request(request, reply)) => self.handle(*request, reply),
                    Some(Command::Deleted(deleted)) => {
                        let deleted: Vec<_> = deleted.iter().map(|(name, id)| (&**name, *id)).collect();
                        self.shard.topics_deleted(self.clock.now_ms(), &deleted)
                    }
                    Some(Command::Look(reply)) => {
                        let _ = reply.send(self.seen());
                        Effects::default()
                    }
                    Some(Command::Stop) | None => {
                        self.end(ErrorCode::NOT_COORDINATOR);
                        return End::Stop;
                    }
                },
                () = until(deadline) => self.on_time(),
            };
        }
    }

    fn on_time(&mut self) -> Effects {
        let topics = TopicsSeen(self.node.topics.load_full());
        self.shard.on_time(self.clock.now_ms(), &topics)
    }

    /// After an append that failed. Those behind it may still come into the log: they are waited for, so that whoever
    /// replays it sees them.
    async fn reload(mut self, inbox: &mut mpsc::Receiver<Command>) -> End {
        let code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
        self.end(code);
        while !self.appends.is_empty() {
            tokio::select! {
                _ = oldest(&mut self.appends) => drop(self.appends.pop_front()),
                command = inbox.recv() => {
                    if !command.is_some_and(|command| refuse(command, code)) {
                        return End::Stop;
                    }
                }
            }
        }
        End::Reload
    }

    fn handle(&mut self, request: Request, reply: oneshot::Sender<Reply>) -> Effects {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        self.replies.insert(id, reply);
        let topics = TopicsSeen(self.node.topics.load_full());
        self.shard.handle(self.clock.now_ms(), id, request, &topics)
    }

    fn seen(&self) -> Seen {
        let groups = self.shard.groups().map(|g| (g.group.into(), g.group_type, g.state, g.members));
        let offsets =
            self.shard.offsets().map(|(group, topic, p, o)| (group.into(), topic.into(), p, o.offset));
        Seen { groups: groups.collect(), offsets: offsets.collect() }
    }

    /// False when it is known at once that the records do not come into the log: nothing may be written behind that.
    fn carry_out(&mut self, effects: Effects) -> bool {
        let mut written = true;
        if let Some(append) = effects.append {
            let tickets = log::append(&self.partition, &append.records, self.clock.now_ms());
            written = !tickets.last().is_some_and(log::is_refused);
            let settled = async move {
                for ticket in tickets {
                    if !log::settled(ticket).await {
                        return false;
                    }
                }
                true
            };
            self.appends.push_back((append.id, Box::pin(settled)));
        }
        self.answer(effects.replies);
        for event in effects.events {
            tell(&event);
        }
        written
    }

    fn answer(&mut self, replies: Vec<(RequestId, Reply)>) {
        for (id, reply) in replies {
            if let Some(waiting) = self.replies.remove(&id) {
                // A client that is gone needs no answer.
                let _ = waiting.send(reply);
            }
        }
    }

    /// Answers everything that still waits.
    fn end(&mut self, code: ErrorCode) {
        let replies = self.shard.unload(code);
        self.answer(replies);
    }
}

/// Waits for the oldest append; for ever when there is none.
async fn oldest(appends: &mut VecDeque<(AppendId, Settled)>) -> bool {
    match appends.front_mut() {
        Some((_, settled)) => settled.await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn tell(event: &Event) {
    match event {
        Event::Rebalancing { group, generation, reason } => {
            tracing::info!(%group, generation, reason, "group rebalances");
        }
        Event::Generation { group, generation, members } => {
            tracing::info!(%group, generation, members, "group has a new generation");
        }
        Event::Stable { group, generation } => tracing::debug!(%group, generation, "group is stable"),
        Event::MemberRemoved { group, member_id, cause } => {
            tracing::info!(%group, %member_id, ?cause, "member removed from its group");
        }
    }
}

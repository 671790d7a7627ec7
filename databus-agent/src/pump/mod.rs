//! The shell of a channel's drain: reads the spool, builds and sends batches, asks brokers, and tells the state machine
//! ([`crate::drain`]) what came of it.
//!
//! One task for a channel. Whatever takes time runs beside it and comes back as a [`Done`]; state changes only between two
//! of them. What a broker says is never a reason to end: it is shown, and tried again.

mod batcher;
mod build;
mod look_up;
mod outcome;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use buslane_client::{
    Acks, Append, Client, Connection, Error, Metadata, Produced, ProducerId, Purpose, is_stale_leader,
};
use buslane_wire::batch::{BatchBuilder, BatchOptions, BatchRecords, NewRecord, RecordHeader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::channel::Channel;
use crate::drain::{Action, Drain, Found, Limits, Outcome, Place, Reassignment, Target};
use crate::settings::ChannelSettings;
use crate::spool::{Chain, ChainError, Ledger, Route};

use batcher::Batcher;
use build::{Built, Sizes, build};

/// Plans that are built and not confirmed, at most, and bytes of their batches.
const PLANS_MAX: usize = 16;
const BUILT_BYTES_MAX: usize = 48 << 20;

/// Bytes of one produce request, about; a single batch may be larger.
const REQUEST_BYTES: usize = 4 << 20;

/// How long a broker may wait for its replicas.
const REPLICATION_TIMEOUT: Duration = Duration::from_secs(30);

/// From one look at the topic to the next, for partitions that were added.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// From one try to the next, of what a person or a cluster has to mend.
const RETRY: Duration = Duration::from_secs(1);

/// Confirmations are written down so often, for the next start.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// Where a channel's events go: its settings, and clients of all clusters that are configured.
#[derive(Clone)]
pub struct Destination {
    /// The channel's.
    pub settings: Arc<ChannelSettings>,
    /// By name; they have not necessarily connected.
    pub clients: Arc<HashMap<String, Client>>,
}

impl Destination {
    fn client(&self) -> &Client {
        self.clients.get(&self.settings.cluster).expect("a checked configuration has the clusters it names")
    }
}

/// What came back.
enum Done {
    Resolved(u64, Result<(Arc<Metadata>, Destination), Error>),
    Built(Result<Option<Built>, ChainError>, Target, i64),
    Rebuilt(u64, Result<Option<Built>, ChainError>),
    Durable(u64, Result<i64, ChainError>),
    Producer(u64, Result<ProducerId, Error>),
    Connected(u64, NodeKey, Result<Connection, Error>),
    Produced(Vec<Item>, Result<Produced, Error>),
    LookedUp(Place, Result<Found, Error>),
    Reassigned(Place, Result<(), ChainError>),
    Refreshed(Result<(), Error>),
    Noted(i64, Result<i64, ChainError>),
    Parked(Item, Result<(), ChainError>),
}

/// A batch that is on its way: its plan, its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    plan: u64,
    place: Place,
}

/// A broker: its cluster's name, its id there.
type NodeKey = (String, i32);

/// A produce request that waits for its connection.
#[derive(Default)]
struct Request {
    items: Vec<Item>,
    batches: Vec<Append>,
    bytes: usize,
}

#[derive(Default)]
struct Node {
    queue: VecDeque<Request>,
    connection: Option<Connection>,
    connecting: bool,
}

/// The drain of a channel, at work.
pub struct Pump {
    channel: Arc<Channel>,
    ledger: Ledger,
    parked: Arc<Chain>,
    destination: watch::Receiver<Destination>,
    drain: Drain,
    batcher: Batcher,
    routes: HashMap<Target, Route>,
    /// What was resolved last: the newest target's sizes.
    sizes: Option<Sizes>,
    /// Rises with each configuration; what is resolved for an older one is of no use.
    version: u64,
    resolving: bool,
    look_at: Instant,
    /// Batches of plans that are not confirmed.
    built: HashMap<u64, Built>,
    building: bool,
    rebuilding: HashSet<u64>,
    /// Batches that wait for their plan to be built again.
    unbuilt: HashMap<u64, Vec<Place>>,
    look_ups: Vec<(Place, ProducerId, u64)>,
    /// Plans that could not be written down yet.
    unwritten: VecDeque<u64>,
    unwritten_names: Vec<Reassignment>,
    retry_at: Instant,
    nodes: BTreeMap<NodeKey, Node>,
    refreshing: bool,
    refresh_at: Instant,
    wants_refresh: bool,
    noted: i64,
    noting: bool,
    note_at: Instant,
    tasks: JoinSet<Done>,
    began: Instant,
    told: i64,
    stopping: bool,
}

impl Pump {
    /// Goes on where the ledger says an earlier run was.
    pub fn new(
        channel: Arc<Channel>,
        mut ledger: Ledger,
        parked: Arc<Chain>,
        destination: watch::Receiver<Destination>,
    ) -> Result<Pump, ChainError> {
        let end = channel.events().end();
        // Events that were not synced when the machine stopped: their plan was never sent.
        let lost = ledger.state().plans.iter().find(|plan| plan.to > end).map(|plan| plan.number);
        if let Some(number) = lost.filter(|_| end > ledger.state().confirmed) {
            ledger.dropped(number)?;
        }
        let state = ledger.state();
        let newest = state.targets.last().map_or(Target(0), |(target, _)| *target);
        let confirmed = state.confirmed.max(channel.events().start());
        let limits = Limits { plans_max: PLANS_MAX, ..Limits::default() };
        let drain = Drain::restore(limits, newest, confirmed, state.plans.clone(), &state.reassignments);
        let routes = state.targets.iter().cloned().collect();
        let now = Instant::now();
        let mut destination = destination;
        destination.mark_changed();
        Ok(Pump {
            channel,
            parked,
            destination,
            drain,
            batcher: Batcher::default(),
            routes,
            sizes: None,
            version: 0,
            resolving: false,
            look_at: now,
            built: HashMap::new(),
            building: false,
            rebuilding: HashSet::new(),
            unbuilt: HashMap::new(),
            look_ups: Vec::new(),
            unwritten: VecDeque::new(),
            unwritten_names: Vec::new(),
            retry_at: now,
            nodes: BTreeMap::new(),
            refreshing: false,
            refresh_at: now,
            wants_refresh: false,
            noted: confirmed,
            noting: false,
            note_at: now,
            tasks: JoinSet::new(),
            began: now,
            told: confirmed,
            ledger,
            stopping: false,
        })
    }

    /// Works until `stop` says so; then waits for what is under way, for `patience` at most, and notes how far it came.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, patience: Duration) {
        let mut written = self.channel.written();
        let mut ends = None;
        loop {
            self.step();
            if self.stopping && (self.under_way() == 0 || ends.is_some_and(|ends| Instant::now() >= ends)) {
                break;
            }
            let (wakes, at) = self.next_wake();
            let at = ends.map_or(at, |ends: Instant| at.min(ends));
            tokio::select! {
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.on(done.expect("tasks of a drain do not panic"));
                }
                _ = written.changed(), if wakes => {}
                _ = self.destination.changed(), if !self.stopping => self.reconfigure(),
                _ = stop.wait_for(|stop| *stop), if !self.stopping => {
                    self.stopping = true;
                    ends = Some(Instant::now() + patience);
                }
                () = tokio::time::sleep_until(at) => {}
            }
        }
        if let Err(error) = self.ledger.confirmed(self.drain.trim_to()) {
            tracing::warn!(channel = self.channel.name, %error, "what is confirmed could not be noted");
        }
    }

    /// Requests whose answers would be in doubt.
    fn under_way(&self) -> usize {
        self.nodes.values().map(|node| node.queue.len()).sum::<usize>()
            + self.tasks.len().saturating_sub(usize::from(self.resolving) + usize::from(self.refreshing))
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn at(&self, ms: i64) -> Instant {
        self.began + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// Whether a new event is a reason to wake, and when there is another.
    fn next_wake(&mut self) -> (bool, Instant) {
        let now = Instant::now();
        let mut at = now + Duration::from_secs(1);
        if let Some(deadline) = self.drain.next_deadline() {
            at = at.min(self.at(deadline));
        }
        if self.wants_refresh && !self.refreshing {
            at = at.min(self.refresh_at);
        }
        if !self.unwritten.is_empty() || !self.unwritten_names.is_empty() {
            at = at.min(self.retry_at);
        }
        let mut wakes = self.may_plan();
        if wakes {
            let (cursor, end) = (self.drain.cursor(), self.channel.events().end());
            let linger = self.linger();
            if let Some(due) = self.batcher.due_ms(self.now_ms(), cursor, end, linger) {
                // What comes meanwhile goes with it.
                wakes = false;
                at = at.min(self.at(due));
            }
        }
        // A deadline that has passed and changed nothing is not worth a loop without rest.
        (wakes, at.max(now + Duration::from_millis(1)))
    }

    fn linger(&self) -> Duration {
        self.destination.borrow().settings.linger_max
    }

    fn may_plan(&self) -> bool {
        let bytes: usize = self.built.values().map(|built| built.bytes).sum();
        !self.stopping
            && !self.building
            && self.sizes.is_some()
            && self.unwritten.is_empty()
            && bytes < BUILT_BYTES_MAX
            && self.drain.may_plan()
    }

    /// Everything that can be done now.
    fn step(&mut self) {
        let now = Instant::now();
        if !self.resolving && now >= self.look_at && !self.stopping {
            self.resolve();
        }
        if now >= self.retry_at {
            self.write_down();
        }
        if self.may_plan() {
            let (cursor, end) = (self.drain.cursor(), self.channel.events().end());
            let (now_ms, linger) = (self.now_ms(), self.linger());
            if self.batcher.due_ms(now_ms, cursor, end, linger).is_some_and(|due| due <= now_ms) {
                self.build(cursor, end);
            }
        }
        let actions = self.drain.due(self.now_ms());
        let mut sends = Vec::new();
        for action in actions {
            match action {
                Action::Send { plan, place } => sends.push(Item { plan, place }),
                Action::LookUp { place, producer, plan } => self.look_up(place, producer, plan),
                Action::NewProducer => self.new_producer(),
                Action::Reassign(new) => {
                    self.unwritten_names.push(new);
                    self.write_down();
                }
            }
        }
        self.send(sends);
        if self.wants_refresh && !self.refreshing && now >= self.refresh_at {
            self.refresh();
        }
        self.note(now);
    }

    fn on(&mut self, done: Done) {
        match done {
            Done::Resolved(version, result) => self.resolved(version, result),
            Done::Built(result, target, from) => self.planned(result, target, from),
            Done::Rebuilt(number, result) => self.rebuilt(number, result),
            Done::Durable(number, Ok(end)) => {
                self.channel.is_durable(end);
                self.drain.plan_is_durable(number);
            }
            Done::Durable(number, Err(error)) => {
                self.trouble(format!("the spool cannot be synced: {error}"));
                self.unwritten.push_back(number);
                self.retry_at = Instant::now() + RETRY;
            }
            // Of another cluster, perhaps, where the id is somebody else's.
            Done::Producer(version, Ok(_)) if version != self.version => self.drain.no_producer(),
            Done::Producer(_, Ok(producer)) => self.drain.producer_given(producer),
            Done::Producer(_, Err(error)) => {
                self.trouble(error.to_string());
                self.drain.no_producer();
            }
            Done::Connected(version, node, result) => self.connected(version, &node, result),
            Done::Produced(items, result) => self.produced(&items, result),
            Done::LookedUp(place, Ok(found)) => {
                self.drain.looked_up(place, found);
                self.settle();
            }
            Done::LookedUp(place, Err(error)) => {
                self.trouble(error.to_string());
                self.drain.look_up_failed(place, self.now_ms());
            }
            Done::Reassigned(place, Ok(())) => self.drain.reassignment_is_durable(place),
            Done::Reassigned(place, Err(error)) => {
                self.trouble(format!("the spool cannot be synced: {error}"));
                let chain = self.ledger.chain().clone();
                self.tasks.spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    Done::Reassigned(place, chain.sync().await.map(drop))
                });
            }
            Done::Refreshed(result) => {
                self.refreshing = false;
                if let Err(error) = result {
                    self.trouble(error.to_string());
                    self.wants_refresh = true;
                }
            }
            Done::Noted(to, result) => {
                self.noting = false;
                match result {
                    // A start after a power cut finds them confirmed: their events can go.
                    Ok(_) => {
                        self.noted = to;
                        self.channel.trim(to);
                    }
                    Err(error) => self.trouble(format!("the spool cannot be synced: {error}")),
                }
            }
            Done::Parked(item, Ok(())) => self.answer(item, Outcome::Parked, None),
            Done::Parked(item, Err(error)) => {
                self.trouble(format!("events that no broker takes cannot be put aside: {error}"));
                self.answer(item, Outcome::NotAppended, None);
            }
        }
    }

    /// Says why nothing moves.
    fn trouble(&self, reason: String) {
        let mut trouble = self.channel.trouble.lock();
        if trouble.as_ref() != Some(&reason) {
            tracing::warn!(channel = self.channel.name, reason, "events wait in the spool");
            *trouble = Some(reason);
        }
    }

    // --- the route ---

    fn reconfigure(&mut self) {
        self.version += 1;
        self.look_at = Instant::now();
        self.resolving = false;
        // A cluster of the same name may be another one, or be spoken to as somebody else. What is under way there is awaited.
        for node in self.nodes.values_mut() {
            node.connection = None;
        }
    }

    fn resolve(&mut self) {
        let destination = self.destination.borrow_and_update().clone();
        let version = self.version;
        self.resolving = true;
        self.tasks.spawn(async move {
            let topic = destination.settings.topic.clone();
            let result = destination.client().refresh(&[&topic]).await;
            Done::Resolved(version, result.map(|metadata| (metadata, destination)))
        });
    }

    fn resolved(&mut self, version: u64, result: Result<(Arc<Metadata>, Destination), Error>) {
        if version != self.version {
            return;
        }
        self.resolving = false;
        let (metadata, destination) = match result {
            Ok(found) => found,
            Err(error) => {
                self.look_at = Instant::now() + RETRY;
                return self.trouble(error.to_string());
            }
        };
        self.look_at = Instant::now() + LOOK_INTERVAL;
        let settings = &destination.settings;
        let partitions = metadata.topics.get(&settings.topic).map_or(0, |topic| topic.partitions.len());
        if partitions == 0 {
            self.look_at = Instant::now() + RETRY;
            return self.trouble(format!("topic {:?} has no partitions", settings.topic));
        }
        let route = Route {
            cluster: settings.cluster.clone(),
            topic: settings.topic.clone(),
            partitions: partitions as i32,
            partitioner: settings.partitioner,
        };
        let newest = self.routes.keys().max().copied();
        if newest.and_then(|newest| self.routes.get(&newest)) != Some(&route) {
            let target = Target(newest.map_or(1, |newest| newest.0 + 1));
            if let Err(error) = self.ledger.target(target, &route) {
                self.look_at = Instant::now() + RETRY;
                return self.trouble(error.to_string());
            }
            self.routes.insert(target, route);
            self.retarget(target);
        }
        let sizes = Sizes {
            batch_bytes: settings.batch_bytes,
            plan_bytes: (settings.batch_bytes.saturating_mul(partitions)).min(BUILT_BYTES_MAX / 4),
        };
        self.sizes = Some(sizes);
    }

    fn retarget(&mut self, target: Target) {
        let dropped = self.drain.retarget(target);
        if dropped > 0 {
            let next =
                self.built.keys().filter(|number| self.drain.plan_of(**number).is_none()).min().copied();
            self.built.retain(|number, _| self.drain.plan_of(*number).is_some());
            self.unwritten.retain(|number| self.drain.plan_of(*number).is_some());
            if let Some(next) = next
                && let Err(error) = self.ledger.dropped(next)
            {
                // The next plan has their number, and writes over them all the same.
                self.trouble(error.to_string());
            }
        }
    }

    /// A client of the cluster of a target. None while the configuration has no such cluster.
    fn client(&self, target: Target) -> Option<(Client, &Route)> {
        let route = self.routes.get(&target)?;
        Some((self.destination.borrow().clients.get(&route.cluster)?.clone(), route))
    }

    // --- plans ---

    fn build(&mut self, from: i64, below: i64) {
        let Some(target) = self.routes.keys().max().copied() else { return };
        let (route, sizes) = (self.routes[&target].clone(), self.sizes.expect("it was resolved"));
        let events = self.channel.events().clone();
        let compression = self.destination.borrow().settings.compression;
        self.building = true;
        self.tasks.spawn_blocking(move || {
            Done::Built(build(&events, (from, below), &route, compression, sizes), target, from)
        });
    }

    fn planned(&mut self, result: Result<Option<Built>, ChainError>, target: Target, from: i64) {
        self.building = false;
        let built = match result {
            Ok(Some(built)) => built,
            Ok(None) => return,
            Err(error) => {
                self.batcher = Batcher::default();
                return self.trouble(error.to_string());
            }
        };
        // Another route was taken meanwhile, which may have taken plans back.
        let newest = self.routes.keys().max().copied();
        if newest != Some(target) || from != self.drain.cursor() || !self.drain.may_plan() {
            return;
        }
        if built.lost > 0 {
            tracing::error!(
                channel = self.channel.name,
                from,
                to = built.to,
                events = built.lost,
                "events of the spool are lost: their bytes on the disk are damaged"
            );
            self.channel.counters.lost.fetch_add(built.lost as u64, Ordering::Relaxed);
        }
        if built.batches.is_empty() {
            self.drain.skip(built.to);
            return;
        }
        let counts: Vec<(i32, i32)> =
            built.batches.iter().map(|(partition, batch)| (*partition, batch.count)).collect();
        let number = self.drain.plan(built.to, &counts).number;
        self.built.insert(number, built);
        self.unwritten.push_back(number);
        self.write_down();
    }

    /// Writes down plans and new names, and has them made durable.
    fn write_down(&mut self) {
        while let Some(number) = self.unwritten.front().copied() {
            let Some(plan) = self.drain.plan_of(number) else {
                self.unwritten.pop_front();
                continue;
            };
            if let Err(error) = self.ledger.plan(plan, self.drain.trim_to()) {
                self.retry_at = Instant::now() + RETRY;
                return self.trouble(format!("plans cannot be written: {error}"));
            }
            self.unwritten.pop_front();
            let (events, ledger) = (self.channel.events().clone(), self.ledger.chain().clone());
            self.tasks.spawn(async move {
                let (events, ledger) = tokio::join!(events.sync(), ledger.sync());
                Done::Durable(number, ledger.and(events))
            });
        }
        while let Some(new) = self.unwritten_names.first() {
            if let Err(error) = self.ledger.reassignment(new) {
                self.retry_at = Instant::now() + RETRY;
                return self.trouble(format!("plans cannot be written: {error}"));
            }
            let place = self.unwritten_names.remove(0).place;
            let ledger = self.ledger.chain().clone();
            self.tasks.spawn(async move { Done::Reassigned(place, ledger.sync().await.map(drop)) });
        }
    }

    /// Builds a plan's batches again, for a plan of an earlier run.
    fn rebuild(&mut self, number: u64) {
        let Some(plan) = self.drain.plan_of(number) else { return };
        if !self.rebuilding.insert(number) {
            return;
        }
        let (from, to) = (plan.from, plan.to);
        let route = self.routes.get(&plan.target).expect("the ledger has the targets of its plans").clone();
        let events = self.channel.events().clone();
        let compression = self.destination.borrow().settings.compression;
        // As large as it was then.
        let sizes = Sizes { batch_bytes: usize::MAX >> 1, plan_bytes: usize::MAX >> 1 };
        self.tasks.spawn_blocking(move || {
            Done::Rebuilt(number, build(&events, (from, to), &route, compression, sizes))
        });
    }

    fn rebuilt(&mut self, number: u64, result: Result<Option<Built>, ChainError>) {
        self.rebuilding.remove(&number);
        let waiting = self.unbuilt.remove(&number).unwrap_or_default();
        let look_ups = std::mem::take(&mut self.look_ups);
        let built = match result {
            Ok(built) => built.unwrap_or_default(),
            Err(error) => {
                self.trouble(error.to_string());
                let now_ms = self.now_ms();
                for place in waiting {
                    self.answer(Item { plan: number, place }, Outcome::NotAppended, None);
                }
                for (place, producer, plan) in look_ups {
                    if plan == number {
                        self.drain.look_up_failed(place, now_ms);
                    } else {
                        self.look_ups.push((place, producer, plan));
                    }
                }
                return;
            }
        };
        if self.drain.plan_of(number).is_none() {
            return;
        }
        self.built.insert(number, built);
        for (place, producer, plan) in look_ups {
            self.look_up(place, producer, plan);
        }
        self.send(waiting.into_iter().map(|place| Item { plan: number, place }).collect());
    }

    fn new_producer(&mut self) {
        let client = self.destination.borrow().client().clone();
        let version = self.version;
        self.tasks.spawn(async move {
            let result = client.new_producer_id().await;
            if result.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            Done::Producer(version, result)
        });
    }

    // --- sending ---

    fn send(&mut self, items: Vec<Item>) {
        let mut requests: BTreeMap<NodeKey, VecDeque<Request>> = BTreeMap::new();
        for item in items {
            let Item { plan: number, place } = item;
            let plan = self.drain.plan_of(number).expect("what is sent is planned");
            let part = *plan.part(place.partition).expect("a plan has what is sent of it");
            let Some(built) = self.built.get(&number) else {
                self.unbuilt.entry(number).or_default().push(place);
                self.rebuild(number);
                continue;
            };
            let batch = match built.batches.get(&place.partition) {
                Some(unnamed) if unnamed.count == part.count => unnamed.named(&part),
                // Its events are gone from the disk, or some of them, and the partition does not have them.
                found => {
                    let lost = part.count - found.map_or(0, |found| found.count);
                    tracing::error!(
                        channel = self.channel.name,
                        plan = number,
                        partition = place.partition,
                        events = part.count,
                        lost,
                        "events of the spool are lost: their bytes on the disk are damaged"
                    );
                    self.channel
                        .counters
                        .lost
                        .fetch_add(u64::from(part.count.unsigned_abs()), Ordering::Relaxed);
                    self.answer(item, Outcome::Parked, None);
                    continue;
                }
            };
            let leader = self.client(place.target).and_then(|(client, route)| {
                let leader = client.metadata().partition(&route.topic, place.partition)?.leader?;
                Some(((route.cluster.clone(), leader), route.topic.clone()))
            });
            let Some((node, topic)) = leader else {
                self.wants_refresh = true;
                self.answer(item, Outcome::NotAppended, None);
                continue;
            };
            let queue = requests.entry(node).or_default();
            let bytes = batch.len();
            // A partition once in a request, and in the order of its plans.
            let last_with =
                queue.iter().rposition(|request| request.items.iter().any(|other| other.place == place));
            let first = last_with.map_or(0, |at| at + 1);
            let room = (first..queue.len())
                .find(|at| queue[*at].bytes == 0 || queue[*at].bytes + bytes <= REQUEST_BYTES);
            let at = room.unwrap_or_else(|| {
                queue.push_back(Request::default());
                queue.len() - 1
            });
            let request = &mut queue[at];
            request.items.push(item);
            request.bytes += bytes;
            request.batches.push(Append { topic, partition: place.partition, batch });
        }
        for (node, requests) in requests {
            self.nodes.entry(node.clone()).or_default().queue.extend(requests);
            self.flush(&node);
        }
    }

    /// Sends what waits for a node, or connects to it.
    fn flush(&mut self, key: &NodeKey) {
        let Some(target) = self.nodes[key].queue.front().and_then(|request| request.items.first()) else {
            return;
        };
        let Some((client, _)) = self.client(target.place.target) else { return };
        let node = self.nodes.get_mut(key).expect("it was just seen");
        let Some(connection) = node.connection.clone().filter(Connection::is_usable) else {
            if !node.connecting {
                node.connecting = true;
                let (version, key) = (self.version, key.clone());
                self.tasks.spawn(async move {
                    let result = client.node(key.1, Purpose::Produce).await;
                    Done::Connected(version, key, result)
                });
            }
            return;
        };
        let counters = &self.channel.counters;
        let mut failed = Vec::new();
        for request in std::mem::take(&mut node.queue) {
            counters.requests.fetch_add(1, Ordering::Relaxed);
            counters.batches.fetch_add(request.batches.len() as u64, Ordering::Relaxed);
            counters.sent_bytes.fetch_add(request.bytes as u64, Ordering::Relaxed);
            let Request { items, batches, .. } = request;
            match client.send_batches(&connection, Acks::All, REPLICATION_TIMEOUT, &batches) {
                Ok(producing) => {
                    let limit = REPLICATION_TIMEOUT + client.config().request_timeout;
                    self.tasks.spawn(async move { Done::Produced(items, producing.answer(limit).await) });
                }
                Err(error) => failed.push((items, error)),
            }
        }
        for (items, error) in failed {
            self.produced(&items, Err(error));
        }
    }

    fn connected(&mut self, version: u64, key: &NodeKey, result: Result<Connection, Error>) {
        let node = self.nodes.entry(key.clone()).or_default();
        node.connecting = false;
        if version != self.version {
            // Made by a client that may be another now.
            return self.flush(key);
        }
        match result {
            Ok(connection) => {
                node.connection = Some(connection);
                self.flush(key);
            }
            Err(error) => {
                let requests = std::mem::take(&mut node.queue);
                self.wants_refresh = true;
                self.trouble(error.to_string());
                for item in requests.into_iter().flat_map(|request| request.items) {
                    self.answer(item, Outcome::NotAppended, None);
                }
            }
        }
    }

    fn produced(&mut self, items: &[Item], result: Result<Produced, Error>) {
        let produced = match result {
            Ok(produced) => produced,
            Err(error) => {
                let outcome = if error.is_in_doubt() { Outcome::InDoubt } else { Outcome::NotAppended };
                self.wants_refresh = true;
                self.trouble(error.to_string());
                for item in items {
                    self.answer(*item, outcome, None);
                }
                return;
            }
        };
        let mut all_well = true;
        for (item, result) in items.iter().zip(&produced.results) {
            let (outcome, offset) = outcome::outcome(result);
            if let Err(refused) = result
                && outcome != Outcome::Appended
            {
                all_well = false;
                self.wants_refresh |= is_stale_leader(refused.code);
                self.trouble(refused.to_string());
                if outcome == Outcome::Parked {
                    self.park(*item, refused.to_string());
                    continue;
                }
            }
            self.answer(*item, outcome, offset);
        }
        if all_well {
            *self.channel.trouble.lock() = None;
        }
    }

    /// Tells the drain, and those who wait for the events.
    fn answer(&mut self, item: Item, outcome: Outcome, base_offset: Option<i64>) {
        let Item { plan: number, place } = item;
        if outcome == Outcome::Appended
            && let Some((plan, built)) = self.drain.plan_of(number).zip(self.built.get(&number))
        {
            let mut followers = self.channel.followers.lock();
            if followers.any_in(plan.from, plan.to) {
                let at = |index: usize| base_offset.map(|base| (place.partition, base + index as i64));
                let events = built.events_of(plan.from, place.partition).enumerate();
                let events: Vec<_> = events.map(|(index, offset)| (offset, at(index))).collect();
                followers.arrived(&events);
            }
        }
        let resent = self.drain.counts().resent;
        self.channel.counters.resent.store(resent, Ordering::Relaxed);
        self.drain.answered(number, place, outcome, self.now_ms());
        self.settle();
    }

    /// Takes over what is confirmed.
    fn settle(&mut self) {
        let confirmed = self.drain.trim_to();
        if confirmed > self.told {
            self.told = confirmed;
            self.channel.confirm(confirmed);
            self.built.retain(|number, _| self.drain.plan_of(*number).is_some());
        }
    }

    /// Puts a batch aside that no broker takes, durably and with the reason, before the drain goes on.
    fn park(&mut self, item: Item, reason: String) {
        let unnamed = self.built.get(&item.plan).and_then(|built| built.batches.get(&item.place.partition));
        let Some(unnamed) = unnamed else { return self.answer(item, Outcome::NotAppended, None) };
        let (bytes, count) = (unnamed.bytes().to_vec(), unnamed.count);
        self.channel.counters.parked.fetch_add(u64::from(count.unsigned_abs()), Ordering::Relaxed);
        tracing::error!(
            channel = self.channel.name,
            events = count,
            reason,
            "events are put aside: no broker takes them"
        );
        let parked = self.parked.clone();
        self.tasks.spawn(async move {
            let result = match park(&parked, &bytes, &reason) {
                Ok(()) => parked.sync().await.map(drop),
                Err(error) => Err(error),
            };
            if result.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            Done::Parked(item, result)
        });
    }

    // --- asking ---

    fn look_up(&mut self, place: Place, producer: ProducerId, plan: u64) {
        let Some(built) = self.built.get(&plan) else {
            self.look_ups.push((place, producer, plan));
            return self.rebuild(plan);
        };
        let since_ms = built.batches.get(&place.partition).map_or(0, |batch| batch.min_timestamp_ms);
        let Some((client, route)) = self.client(place.target) else {
            let cluster = self.routes.get(&place.target).map(|route| route.cluster.clone());
            self.trouble(format!(
                "cluster {cluster:?}, which has events in doubt, is not configured any more"
            ));
            return self.drain.look_up_failed(place, self.now_ms());
        };
        let topic = route.topic.clone();
        self.tasks.spawn(async move {
            let found = look_up::look_up(&client, &topic, place.partition, producer, since_ms).await;
            Done::LookedUp(place, found)
        });
    }

    fn refresh(&mut self) {
        (self.refreshing, self.wants_refresh) = (true, false);
        self.refresh_at = Instant::now() + Duration::from_millis(100);
        let clients: Vec<_> = self
            .routes
            .keys()
            .filter_map(|target| self.client(*target).map(|(client, route)| (client, route.topic.clone())))
            .collect();
        self.tasks.spawn(async move {
            let mut result = Ok(());
            for (client, topic) in clients {
                if let Err(error) = client.refresh(&[&topic]).await {
                    result = Err(error);
                }
            }
            Done::Refreshed(result)
        });
    }

    /// Writes down how far all is confirmed, now and then: a start then has little to ask, and segments can go.
    fn note(&mut self, now: Instant) {
        if self.noting || now < self.note_at || self.told <= self.noted {
            return;
        }
        self.note_at = now + NOTE_INTERVAL;
        let to = self.told;
        if let Err(error) = self.ledger.confirmed(to) {
            return self.trouble(error.to_string());
        }
        self.noting = true;
        let ledger = self.ledger.chain().clone();
        self.tasks.spawn(async move { Done::Noted(to, ledger.sync().await) });
    }
}

/// Appends the records of a batch to the events that were put aside, each with the reason.
fn park(parked: &Chain, batch: &[u8], reason: &str) -> Result<(), ChainError> {
    let bad = |e: buslane_wire::batch::RecordError| ChainError::Io(e.to_string());
    let records = BatchRecords::open(batch, usize::MAX >> 1).map_err(bad)?;
    let mut builder = BatchBuilder::default();
    for record in records.iter() {
        let record = record.map_err(bad)?;
        let mut headers: Vec<RecordHeader<'_>> = record.headers.iter().collect();
        headers.push(RecordHeader { key: b"buslane-parked-because", value: Some(reason.as_bytes()) });
        let (timestamp, key, value) = (record.timestamp, record.key, record.value);
        builder.push(&NewRecord { timestamp, key, value, headers: &headers });
    }
    let mut out = Vec::new();
    builder.build(&BatchOptions::default(), &mut out).map_err(|e| ChainError::Io(e.to_string()))?;
    parked.append(&out).map(drop)
}

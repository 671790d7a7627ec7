//! No limit: members of consumer groups, each with a connection and a thread of its own, that join at once; then one of a
//! group is killed. Told is how long it takes until every group is settled: until all its members are in one generation (or
//! at one epoch) and have all partitions between them.
//!
//! Members do what the protocols ask of them and nothing else: they heartbeat in the usual interval, rejoin when they are
//! told to, give up partitions at once. No client library's own pauses are measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;
use buslane_wire::messages::consumer_group_heartbeat::TopicPartitions;
use buslane_wire::messages::find_coordinator::FindCoordinatorRequest;
use buslane_wire::messages::heartbeat::HeartbeatRequest;
use buslane_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use buslane_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use buslane_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use crate::client::Connection;
use crate::pin;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Load {
    pub bootstrap: String,
    pub load_core: usize,
    /// An existing topic, and how many partitions it has.
    pub topic: String,
    pub partitions: usize,
    pub groups: usize,
    /// Of each group.
    pub members: usize,
    /// By KIP-848 instead of JoinGroup and SyncGroup.
    pub consumer_protocol: bool,
    /// Kill one member of each group once all are settled, and wait until the rest is.
    pub kill: bool,
    /// Of a classic member; one of the consumer protocol lives by the broker's setting.
    pub session_timeout_ms: i32,
}

/// `heartbeat.interval.ms` of Kafka's clients.
const HEARTBEAT: Duration = Duration::from_secs(3);
const GIVE_UP: Duration = Duration::from_secs(180);
const STACK_BYTES: usize = 256 << 10;

/// Where a member stands.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Generation or epoch; 0 before the first.
    epoch: i32,
    /// Partitions that it has.
    partitions: usize,
    /// Since when.
    since: Option<Instant>,
}

struct Group {
    name: String,
    places: Mutex<Vec<Option<Place>>>,
    /// When a member first heard that the group rebalances, after the kill.
    noticed: Mutex<Option<Instant>>,
}

impl Group {
    fn put(&self, member: usize, epoch: i32, partitions: usize) {
        let mut places = lock(&self.places);
        if let Some(place) = &mut places[member] {
            let changed = place.epoch != epoch || place.partitions != partitions;
            if changed || place.since.is_none() {
                *place = Place { epoch, partitions, since: Some(Instant::now()) };
            }
        }
    }

    fn notice(&self) {
        lock(&self.noticed).get_or_insert_with(Instant::now);
    }

    /// Since when all members are in one epoch and have `partitions` between them.
    fn settled(&self, partitions: usize) -> Option<Instant> {
        let places = lock(&self.places);
        let live: Vec<Place> = places.iter().flatten().copied().collect();
        let one = live.windows(2).all(|pair| pair[0].epoch == pair[1].epoch);
        let all = live.iter().map(|place| place.partitions).sum::<usize>() == partitions;
        let since = live.iter().map(|place| place.since).max()?;
        since.filter(|_| one && all && live.iter().all(|place| place.since.is_some()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the load and tells its times.
pub fn run(load: &Load) -> anyhow::Result<serde_json::Value> {
    pin::to_core(load.load_core)?;
    let groups: Vec<Arc<Group>> = (0..load.groups)
        .map(|number| {
            let places = Mutex::new(vec![Some(Place::default()); load.members]);
            Arc::new(Group {
                name: format!("{}-group-{number}", load.topic),
                places,
                noticed: Mutex::default(),
            })
        })
        .collect();
    await_coordinators(load, &groups)?;
    let (stop, killed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let failures = Arc::new(Mutex::new(Vec::<String>::new()));
    let began = Instant::now();
    let mut threads = Vec::new();
    for group in &groups {
        for member in 0..load.members {
            let (load, group, stop) = (load.clone(), group.clone(), stop.clone());
            let (killed, failures) = (killed.clone(), failures.clone());
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
                let victim = load.kill && member == 0;
                let ended = || stop.load(Ordering::Relaxed) || victim && killed.load(Ordering::Relaxed);
                let done = match load.consumer_protocol {
                    true => consumer_member(&load, &group, member, &ended),
                    false => classic_member(&load, &group, member, &ended),
                };
                if let Err(error) = done {
                    lock(&failures).push(format!("{}, member {member}: {error:#}", group.name));
                }
            });
            threads.push(thread?);
        }
    }
    let joined = await_settled(load, &groups, &failures)?.duration_since(began);
    let mut result = serde_json::json!({
        "groups": load.groups,
        "members": load.groups * load.members,
        "joined_seconds": joined.as_secs_f64(),
    });
    if load.kill {
        // Everybody has heard of the last generation and only heartbeats by now.
        std::thread::sleep(HEARTBEAT);
        for group in &groups {
            lock(&group.places)[0] = None;
            lock(&group.noticed).take();
        }
        let killed_at = Instant::now();
        killed.store(true, Ordering::Relaxed);
        let settled = await_settled(load, &groups, &failures)?;
        let noticed = groups.iter().filter_map(|group| *lock(&group.noticed)).min();
        result["settled_after_kill_seconds"] = settled.duration_since(killed_at).as_secs_f64().into();
        if let Some(noticed) = noticed {
            result["settled_after_notice_seconds"] = settled.duration_since(noticed).as_secs_f64().into();
        }
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let _ = thread.join();
    }
    Ok(result)
}

fn await_coordinators(load: &Load, groups: &[Arc<Group>]) -> anyhow::Result<()> {
    let mut connection = Connection::open(&load.bootstrap)?;
    let end = Instant::now() + GIVE_UP;
    for group in groups {
        let request = FindCoordinatorRequest { key: &group.name, ..Default::default() };
        while connection.ask(2, &request)?.error_code.is_err() {
            if Instant::now() > end {
                bail!("no coordinator for {}", group.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn await_settled(
    load: &Load,
    groups: &[Arc<Group>],
    failures: &Mutex<Vec<String>>,
) -> anyhow::Result<Instant> {
    let end = Instant::now() + GIVE_UP;
    loop {
        if let Some(failure) = lock(failures).first() {
            bail!("{failure}");
        }
        let settled: Option<Vec<Instant>> = groups.iter().map(|g| g.settled(load.partitions)).collect();
        if let Some(last) = settled.and_then(|all| all.into_iter().max()) {
            return Ok(last);
        }
        if Instant::now() > end {
            bail!("not settled after {} s", GIVE_UP.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sleeps until the next heartbeat, or until the member is ended.
fn pause(heartbeat: Duration, ended: &dyn Fn() -> bool) {
    let end = Instant::now() + heartbeat;
    while !ended() && Instant::now() < end {
        std::thread::sleep((end - Instant::now()).min(Duration::from_millis(100)));
    }
}

fn classic_member(load: &Load, group: &Group, member: usize, ended: &dyn Fn() -> bool) -> anyhow::Result<()> {
    let mut connection = Connection::open(&load.bootstrap)?;
    let mut id = String::new();
    let subscription = subscription(&load.topic);
    while !ended() {
        let request = JoinGroupRequest {
            group_id: &group.name,
            session_timeout_ms: load.session_timeout_ms,
            rebalance_timeout_ms: 60_000,
            member_id: &id,
            group_instance_id: None,
            protocol_type: "consumer",
            protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: &subscription }],
            reason: None,
        };
        let joined = connection.ask(5, &request)?;
        let (error, generation) = (joined.error_code, joined.generation_id);
        if error == ErrorCode::MEMBER_ID_REQUIRED {
            let new = joined.member_id.to_owned();
            id = new;
            continue;
        }
        if is_not_now(error) {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        if error.is_err() {
            bail!("JoinGroup: {error}");
        }
        let own = joined.member_id.to_owned();
        // The leader gives each member as many as another.
        let members: Vec<String> = match joined.leader == own {
            true => joined.members.iter().map(|m| m.member_id.to_owned()).collect(),
            false => Vec::new(),
        };
        id = own;
        let shares: Vec<Vec<u8>> = (0..members.len())
            .map(|i| assignment(&load.topic, (i..load.partitions).step_by(members.len())))
            .collect();
        let request = SyncGroupRequest {
            group_id: &group.name,
            generation_id: generation,
            member_id: &id,
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: members
                .iter()
                .zip(&shares)
                .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment })
                .collect(),
        };
        let synced = connection.ask(3, &request)?;
        match synced.error_code {
            ErrorCode::NONE => group.put(member, generation, count(synced.assignment)),
            ErrorCode::REBALANCE_IN_PROGRESS => continue,
            error => bail!("SyncGroup: {error}"),
        }
        loop {
            pause(HEARTBEAT, ended);
            if ended() {
                return Ok(());
            }
            let request = HeartbeatRequest {
                group_id: &group.name,
                generation_id: generation,
                member_id: &id,
                group_instance_id: None,
            };
            match connection.ask(3, &request)?.error_code {
                ErrorCode::NONE => {}
                ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => break,
                error => bail!("Heartbeat: {error}"),
            }
        }
        group.notice();
    }
    Ok(())
}

fn is_not_now(error: ErrorCode) -> bool {
    [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::REBALANCE_IN_PROGRESS,
    ]
    .contains(&error)
}

/// Version 0 of a subscription to one topic (Kafka's ConsumerProtocolSubscription).
fn subscription(topic: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend((topic.len() as i16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend((-1i32).to_be_bytes());
    bytes
}

/// Version 0 of an assignment of partitions of one topic (Kafka's ConsumerProtocolAssignment).
fn assignment(topic: &str, partitions: impl Iterator<Item = usize>) -> Vec<u8> {
    let partitions: Vec<usize> = partitions.collect();
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend((topic.len() as i16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend((partitions.len() as i32).to_be_bytes());
    for partition in partitions {
        bytes.extend((partition as i32).to_be_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes
}

/// How many partitions are in an assignment that [`assignment`] made.
fn count(assignment: &[u8]) -> usize {
    let topic = assignment.get(6..8).map_or(0, |len| i16::from_be_bytes([len[0], len[1]]) as usize);
    let number = assignment.get(8 + topic..12 + topic).and_then(|n| n.first_chunk().copied());
    number.map_or(0, |n| i32::from_be_bytes(n) as usize)
}

fn consumer_member(
    load: &Load,
    group: &Group,
    member: usize,
    ended: &dyn Fn() -> bool,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(&load.bootstrap)?;
    let id = format!("{}-{member}", group.name);
    let mut epoch = 0;
    let mut owned: Vec<(TopicId, Vec<i32>)> = Vec::new();
    let mut tell_owned = true;
    while !ended() {
        let joining = epoch == 0;
        let partitions = owned.iter().map(|(topic_id, partitions)| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.clone(),
        });
        let request = ConsumerGroupHeartbeatRequest {
            group_id: &group.name,
            member_id: &id,
            member_epoch: epoch,
            rebalance_timeout_ms: if joining { 60_000 } else { -1 },
            subscribed_topic_names: joining.then(|| vec![load.topic.as_str()]),
            topic_partitions: tell_owned.then(|| partitions.collect()),
            ..Default::default()
        };
        let answer: ConsumerGroupHeartbeatResponse<'_> = connection.ask(1, &request)?;
        if is_not_now(answer.error_code) {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        if answer.error_code.is_err() {
            bail!(
                "ConsumerGroupHeartbeat: {} {}",
                answer.error_code,
                answer.error_message.unwrap_or_default()
            );
        }
        if !joining && epoch != answer.member_epoch {
            group.notice();
        }
        epoch = answer.member_epoch;
        let heartbeat = Duration::from_millis(answer.heartbeat_interval_ms.max(1) as u64);
        tell_owned = false;
        if let Some(assignment) = answer.assignment {
            owned = assignment.topic_partitions.into_iter().map(|t| (t.topic_id, t.partitions)).collect();
            // What was taken is given up at once, and said so.
            tell_owned = true;
        }
        group.put(member, epoch, owned.iter().map(|(_, partitions)| partitions.len()).sum());
        if !tell_owned {
            pause(heartbeat, ended);
        }
    }
    Ok(())
}

//! Seeded runs of a group with members that join, leave, crash, come back, lose answers and change their minds, while
//! topics come, grow and go and the coordinator is restarted.
//!
//! A client holds what it was given until it drops it and says so: that is what must never be held twice. Clients obey
//! the protocol as Kafka's do; in particular they take up an assignment before they tell what they hold.
//! `BUSLANE_SIM_SEEDS=n` runs n seeds instead of the usual number, `BUSLANE_SIM_SEED=s` only that one.

use std::collections::{BTreeMap, BTreeSet};

use super::super::protocol::{self, ConsumerProtocolSubscription, NamedPartitions};
use super::*;

const SESSION_MS: i64 = 45_000;
const REBALANCE_MS: i64 = 30_000;
const TOPICS: [&str; 5] = ["ta", "tb", "tc", "ua", "ub"];
const REGEXES: [&str; 4] = ["t.*", ".a", "(ta|ub)", "none"];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Consumer,
    /// Gives up only what it must.
    Cooperative,
    /// Gives up everything before it joins.
    Eager,
}

#[derive(Clone, Debug)]
struct Client {
    speaks: Speaks,
    id: String,
    name: Option<String>,
    names: BTreeSet<String>,
    regex: String,
    assignor: Option<String>,
    epoch: i32,
    /// What it holds.
    owned: Partitions,
    /// What it was told to hold and has not taken up yet.
    told: Option<Partitions>,
    /// What it last said it holds, as far as it knows that it was heard.
    said: Option<Partitions>,
    /// It does not know what was heard, or has never spoken.
    unsure: bool,
    /// Its subscription changed since it last spoke.
    changed: bool,
    /// It never takes up what it was told.
    stuck: bool,
    told_at_ms: i64,
    heard_at_ms: i64,
    /// A classic client that has joined and has to sync.
    syncing: bool,
    /// A classic client that was told to rejoin.
    rejoining: bool,
}

struct Sim {
    random: Random,
    now_ms: i64,
    group: ConsumerGroup,
    topics: TopicTable,
    sizes: BTreeMap<&'static str, i32>,
    created: u8,
    config: ConsumerGroupConfig,
    log: Vec<Fact>,
    clients: Vec<Client>,
    made: usize,
    lossy: bool,
    /// The coordinator went down while it handled the last request.
    crashed: bool,
    crashes: usize,
    moved: usize,
    fenced: usize,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random(seed);
        let config = ConsumerGroupConfig {
            assignment_interval_ms: [0, 1_000][random.below(2) as usize],
            migration_policy: MigrationPolicy::Upgrade,
            ..ConsumerGroupConfig::default()
        };
        let mut sim = Sim {
            random,
            now_ms: 1_000_000,
            group: ConsumerGroup::new("g"),
            topics: TopicTable::new(),
            sizes: BTreeMap::new(),
            created: 0,
            config,
            log: Vec::new(),
            clients: Vec::new(),
            made: 0,
            lossy: true,
            crashed: false,
            crashes: 0,
            moved: 0,
            fenced: 0,
        };
        for topic in TOPICS.iter().take(3) {
            sim.grow(topic);
        }
        sim
    }

    fn grow(&mut self, topic: &'static str) {
        let size = match self.sizes.get(topic) {
            Some(size) => size + 1 + self.random.below(3) as i32,
            None => {
                self.created += 1;
                1 + self.random.below(6) as i32
            }
        };
        let id = match self.topics.by_name(topic) {
            Some(known) => known.id,
            None => TopicId([self.created; 16]),
        };
        self.sizes.insert(topic, size);
        self.topics.set(topic, id, size);
    }

    fn pick(&mut self) -> Option<usize> {
        match self.clients.len() as u64 {
            0 => None,
            count => Some(self.random.below(count) as usize),
        }
    }

    fn subscribe(&mut self, client: &mut Client) {
        client.names.clear();
        client.regex.clear();
        let consumer = client.speaks == Speaks::Consumer;
        if !consumer || self.random.percent(60) {
            // Mostly all the same, so that both uniform paths are taken.
            for topic in TOPICS {
                if self.random.percent(if topic.starts_with('t') { 90 } else { 30 }) {
                    client.names.insert(topic.to_string());
                }
            }
        }
        if consumer && self.random.percent(40) {
            client.regex = REGEXES[self.random.below(REGEXES.len() as u64) as usize].to_string();
        }
        client.changed = true;
    }

    fn spawn(&mut self, name: Option<String>) {
        self.made += 1;
        let speaks = match self.random.below(10) {
            0 => Speaks::Cooperative,
            1 => Speaks::Eager,
            _ => Speaks::Consumer,
        };
        let mut client = Client {
            speaks,
            id: format!("m{:03}", self.made),
            name,
            names: BTreeSet::new(),
            regex: String::new(),
            assignor: [None, None, Some("uniform".to_string()), Some("range".to_string())]
                [self.random.below(4) as usize]
                .clone(),
            epoch: 0,
            owned: Partitions::new(),
            told: None,
            said: None,
            unsure: true,
            changed: true,
            stuck: false,
            told_at_ms: 0,
            heard_at_ms: self.now_ms,
            syncing: false,
            rejoining: true,
        };
        self.subscribe(&mut client);
        self.clients.push(client);
    }

    fn lost(&mut self, index: usize) -> bool {
        if std::mem::take(&mut self.crashed) {
            return true;
        }
        self.lossy && !self.clients[index].stuck && self.random.percent(12)
    }

    /// One exchange of a client with the coordinator.
    fn talk(&mut self, index: usize) {
        if self.lost(index) {
            self.clients[index].unsure = true;
            return; // The request never arrived.
        }
        if self.clients[index].speaks == Speaks::Consumer {
            self.heartbeat(index);
        } else {
            self.classic(index);
        }
    }

    fn heartbeat(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let full = client.epoch == 0 || client.unsure;
        if full && client.epoch != 0 && !client.stuck {
            client.take_up(&mut self.moved); // It tells what it holds: nothing may be half taken up then.
        }
        let ready = client.told.is_none() || client.stuck;
        let request = Heartbeat {
            member_id: client.id.clone(),
            member_epoch: client.epoch,
            instance_id: client.name.clone(),
            rack_id: None,
            rebalance_timeout_ms: if full { REBALANCE_MS as i32 } else { -1 },
            subscribed_topic_names: (full || client.changed).then(|| client.names.iter().cloned().collect()),
            subscribed_topic_regex: (full || client.changed).then(|| client.regex.clone()),
            server_assignor: if full { client.assignor.clone() } else { None },
            owned: (full || (ready && client.said.as_ref() != Some(&client.owned)))
                .then(|| client.owned.clone()),
            client_id: "sim".into(),
            client_host: "/sim".into(),
        };
        request.check("g", 1, &self.config).unwrap();
        let result = self
            .serve(|group, now, topics, config, facts| group.heartbeat(now, &request, topics, config, facts));
        let lost = self.lost(index);
        let client = &mut self.clients[index];
        if lost {
            client.unsure = true;
            if client.epoch != 0 && result.is_ok() {
                client.heard_at_ms = self.now_ms; // It counts for the coordinator.
            }
            return;
        }
        match result {
            Ok(reply) => {
                assert!(reply.member_epoch >= client.epoch, "{} went back to {reply:?}", client.id);
                client.epoch = reply.member_epoch;
                client.heard_at_ms = self.now_ms;
                client.unsure = false;
                client.changed = false;
                if let Some(owned) = request.owned {
                    client.said = Some(owned);
                }
                if let Some(assignment) = reply.assignment {
                    client.told = Some(assignment);
                    client.told_at_ms = self.now_ms;
                }
            }
            Err(GroupError::UnreleasedInstanceId { .. }) => client.unsure = true,
            Err(GroupError::FencedMemberEpoch { .. } | GroupError::UnknownMemberId { .. }) => {
                self.fenced += 1;
                client.drop_everything();
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn classic(&mut self, index: usize) {
        let client = self.clients[index].clone();
        let sender = ClassicSender { member_id: &client.id, instance_id: client.name.as_deref() };
        if client.rejoining || client.unsure || client.changed {
            self.classic_join(index);
        } else if client.syncing {
            let result = self.serve(|group, now, topics, _, _| {
                group.classic_sync(now, sender, client.epoch, Some("consumer"), Some("p"), topics)
            });
            if self.lost(index) {
                self.clients[index].unsure = true;
                return;
            }
            match result {
                Ok(bytes) => {
                    let assignment = read_assignment(&bytes).unwrap();
                    let told = protocol::to_partitions(&assignment.assigned_partitions, &self.topics);
                    let client = &mut self.clients[index];
                    client.heard_at_ms = self.now_ms;
                    client.syncing = false;
                    // What it has to give up it gives up at once, and rejoins to say so.
                    client.rejoining =
                        client.owned.iter().any(|(topic, partition)| !told.contains(topic, partition));
                    client.told = Some(told);
                    client.take_up(&mut self.moved);
                }
                Err(error) => self.classic_error(index, error),
            }
        } else {
            let result = self.serve(|group, now, topics, config, facts| {
                group.classic_heartbeat(now, sender, client.epoch, topics, config, facts)
            });
            if self.lost(index) {
                self.clients[index].unsure = true;
                return;
            }
            match result {
                Ok(reply) => {
                    let client = &mut self.clients[index];
                    client.heard_at_ms = self.now_ms;
                    client.rejoining = reply == ClassicHeartbeatReply::Rejoin;
                }
                Err(error) => self.classic_error(index, error),
            }
        }
    }

    fn classic_join(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.speaks == Speaks::Eager {
            client.owned = Partitions::new();
        }
        let topics = &self.topics;
        let owned_partitions = client
            .owned
            .topics()
            .filter_map(|(id, set)| {
                Some(NamedPartitions {
                    topic: topics.name_of(id)?,
                    partitions: set.iter().copied().collect(),
                })
            })
            .collect();
        let subscription = ConsumerProtocolSubscription {
            topics: client.names.iter().map(String::as_str).collect(),
            user_data: None,
            owned_partitions,
            generation_id: -1,
            rack_id: None,
        };
        let version = if client.speaks == Speaks::Eager { 0 } else { 1 };
        let metadata = protocol::write(&subscription, version);
        let request = ClassicJoin {
            member_id: client.id.clone(),
            is_new_id: client.epoch == 0 && client.name.is_some(),
            must_know_id: false,
            instance_id: client.name.clone(),
            client_id: "sim".into(),
            client_host: "/sim".into(),
            session_timeout_ms: SESSION_MS as i32,
            rebalance_timeout_ms: REBALANCE_MS as i32,
            protocol_type: CONSUMER_PROTOCOL_TYPE.into(),
            protocols: vec![ClassicProtocol { name: "p".into(), metadata }],
        };
        let result = self.serve(|group, now, topics, config, facts| {
            group.classic_join(now, &request, topics, config, facts)
        });
        let lost = self.lost(index);
        let client = &mut self.clients[index];
        if lost {
            client.unsure = true;
            client.heard_at_ms = self.now_ms;
            return;
        }
        match result {
            Ok(ClassicJoinReply::Joined { member_id, generation_id, protocol_name }) => {
                assert_eq!((&member_id, protocol_name.as_str()), (&client.id, "p"));
                client.epoch = generation_id;
                client.heard_at_ms = self.now_ms;
                (client.unsure, client.changed, client.rejoining, client.syncing) =
                    (false, false, false, true);
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => self.classic_error(index, error),
        }
    }

    fn classic_error(&mut self, index: usize, error: GroupError) {
        let client = &mut self.clients[index];
        match error {
            GroupError::RebalanceInProgress { .. } => {
                client.heard_at_ms = self.now_ms;
                (client.rejoining, client.syncing) = (true, false);
            }
            GroupError::IllegalGeneration { .. } | GroupError::UnknownMemberId { .. } => {
                client.drop_everything()
            }
            error => panic!("{error}"),
        }
    }

    /// Calls the group and does with the facts what a coordinator does.
    fn serve<T>(
        &mut self,
        call: impl FnOnce(
            &mut ConsumerGroup,
            i64,
            &TopicTable,
            &ConsumerGroupConfig,
            &mut Vec<Fact>,
        ) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        let mut facts = Vec::new();
        let before = (self.group.epoch(), self.group.target_epoch());
        let result = call(&mut self.group, self.now_ms, &self.topics, &self.config, &mut facts);
        assert!(result.is_ok() || facts.is_empty(), "a refusal writes nothing");
        assert!(before <= (self.group.epoch(), self.group.target_epoch()), "epochs rise");
        assert!(self.group.target_epoch() <= self.group.epoch());
        let crashes = self.lossy && self.random.percent(2) && self.clients.iter().all(|client| !client.stuck);
        if crashes {
            // A part of the facts reached the log, and the answer reached nobody.
            facts.truncate(self.random.below(facts.len() as u64 + 1) as usize);
        }
        self.log.extend(facts);
        if crashes {
            self.group = replayed(self.log.iter());
            self.group.loaded(self.now_ms, &self.config);
            self.crashed = true;
            self.crashes += 1;
        }
        result
    }

    /// Time passes. Clients that had to be done by now are; then the coordinator's deadlines.
    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let classic = client.speaks != Speaks::Consumer;
            let late = self.now_ms - client.told_at_ms > REBALANCE_MS / 3 && !client.stuck;
            if late {
                client.take_up(&mut self.moved);
            }
            let urgent = client.unsure
                || if classic {
                    client.rejoining || client.syncing
                } else {
                    late && client.said.as_ref() != Some(&client.owned)
                };
            if client.epoch > 0 && (urgent || self.now_ms - client.heard_at_ms > SESSION_MS / 3) {
                self.talk(index);
            }
        }
        let now = self.now_ms;
        // One that could not take up its assignment in time stops, as consumers do that do not poll.
        self.clients.retain(|client| {
            !(client.stuck && client.told.is_some() && now - client.told_at_ms >= REBALANCE_MS)
        });
        while self.group.next_timeout(&self.config).is_some_and(|at| at <= self.now_ms) {
            let mut facts = Vec::new();
            self.group.on_timeout(self.now_ms, &self.topics, &self.config, &mut facts);
            self.log.extend(facts);
        }
    }

    fn reload(&mut self) {
        let whole = replayed(self.log.iter());
        assert!(whole.same_as(&self.group), "replay is the live group");
        let compacted = compact(&self.log);
        assert!(replayed(compacted.iter().copied()).same_as(&self.group), "of a compacted log, too");
        self.group = whole;
        self.group.loaded(self.now_ms, &self.config);
    }

    fn event(&mut self) {
        let ms = self.random.below(2_000) as i64;
        self.pass(ms);
        let Some(index) = self.pick() else {
            return self.spawn(None);
        };
        match self.random.below(100) {
            0..=2 if self.clients.len() < 8 => self.spawn(None),
            3..=5 if self.clients.len() < 8 => {
                let name = format!("i{}", self.random.below(3));
                if self.clients.iter().all(|client| client.name.as_deref() != Some(&name)) {
                    self.spawn(Some(name));
                }
            }
            6..=7 => self.leave(index),
            8 => {
                // It dies; what it held is held by nobody.
                self.clients.remove(index);
            }
            9..=10 => {
                let mut client = self.clients[index].clone();
                self.subscribe(&mut client);
                self.clients[index] = client;
            }
            11..=12 => {
                let topic = TOPICS[self.random.below(TOPICS.len() as u64) as usize];
                self.grow(topic);
            }
            13 => {
                let topic = TOPICS[self.random.below(TOPICS.len() as u64) as usize];
                self.topics.remove(topic);
                self.sizes.remove(topic);
            }
            14 => self.reload(),
            15 => {
                let client = &mut self.clients[index];
                let settled = client.told.is_none() && !client.unsure && client.epoch > 0;
                client.stuck |= client.speaks == Speaks::Consumer && settled;
            }
            16..=45 => {
                let client = &mut self.clients[index];
                if !client.stuck {
                    client.take_up(&mut self.moved);
                }
            }
            _ => self.talk(index),
        }
    }

    fn leave(&mut self, index: usize) {
        let mut client = self.clients.remove(index);
        client.owned = Partitions::new();
        self.crashed = false;
        let for_a_while =
            client.name.is_some() && client.speaks == Speaks::Consumer && self.random.percent(70);
        if client.epoch > 0 && !self.random.percent(20) {
            let sender = ClassicSender { member_id: &client.id, instance_id: client.name.as_deref() };
            if client.speaks == Speaks::Consumer {
                let request = Heartbeat {
                    member_id: client.id.clone(),
                    member_epoch: if for_a_while { LEAVE_STATIC_EPOCH } else { LEAVE_EPOCH },
                    instance_id: client.name.clone(),
                    ..Heartbeat::default()
                };
                let _ = self.serve(|group, now, topics, config, facts| {
                    group.heartbeat(now, &request, topics, config, facts)
                });
            } else {
                let _ = self.serve(|group, now, topics, config, facts| {
                    group.classic_leave(now, &[sender], topics, config, facts);
                    Ok(())
                });
            }
            self.crashed = false;
        }
        if for_a_while {
            self.spawn(client.name);
        }
    }

    /// Nobody holds what another holds, and what anybody holds is known to the coordinator as that member's.
    fn check(&self) {
        let mut holders: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for client in &self.clients {
            for (topic, partition) in client.owned.iter() {
                if client.speaks != Speaks::Consumer && self.topics.name_of(topic).is_none() {
                    continue; // A deleted topic has no name by which a classic client could say that it holds it.
                }
                let other = holders.insert((topic, partition), &client.id);
                assert_eq!(other, None, "{topic}/{partition} is held by {}, too", client.id);
                let owner = self.group.owner_of(topic, partition);
                assert_eq!(owner, Some(client.id.as_str()), "{topic}/{partition} in the coordinator's eyes");
            }
        }
    }

    /// No more chaos: the group must settle, and then be silent.
    fn settle(&mut self) {
        self.lossy = false;
        self.clients.retain(|client| !client.stuck);
        // Long enough for those that died, for patterns and for delayed targets.
        for _ in 0..60 {
            self.pass(1_000);
            self.check();
        }
        let mut rounds = 0;
        while !self.is_settled() {
            rounds += 1;
            assert!(
                rounds <= 12,
                "{:?}\nafter {rounds} rounds: {:?}",
                self.clients,
                self.group.describe(&self.config)
            );
            for index in 0..self.clients.len() {
                self.talk(index);
                self.check();
                self.clients[index].take_up(&mut self.moved);
                self.check();
            }
            self.pass(1_000);
        }
        let written = self.log.len();
        for index in 0..self.clients.len() {
            self.talk(index);
        }
        assert_eq!(self.log.len(), written, "a settled group writes nothing: {:?}", &self.log[written..]);
        self.check_target();
        self.reload();
    }

    fn is_settled(&self) -> bool {
        let target = self.group.target();
        self.group.members().len() == self.clients.len()
            && matches!(self.group.state(), GroupState::Stable | GroupState::Empty)
            && self
                .clients
                .iter()
                .all(|client| *target.get(&client.id).unwrap_or(&Partitions::new()) == client.owned)
            && self
                .clients
                .iter()
                .all(|client| !client.syncing && !client.rejoining || client.speaks == Speaks::Consumer)
    }

    /// Each partition of a wanted topic is with one member that wants it.
    fn check_target(&self) {
        let mut given: BTreeSet<(TopicId, i32)> = BTreeSet::new();
        for client in &self.clients {
            for (topic, partition) in client.owned.iter() {
                let name = self.topics.name_of(topic).expect("a topic that exists");
                assert!(client.wants(name), "{} does not want {name}", client.id);
                given.insert((topic, partition));
            }
        }
        for (topic, size) in &self.sizes {
            let wanted = self.clients.iter().any(|client| client.wants(topic));
            let id = self.topics.by_name(topic).unwrap().id;
            for partition in 0..*size {
                assert_eq!(given.contains(&(id, partition)), wanted, "{topic}/{partition}");
            }
        }
    }
}

impl Client {
    /// Drops what it was told to drop and takes what it was given.
    fn take_up(&mut self, moved: &mut usize) {
        if let Some(told) = self.told.take() {
            *moved += usize::from(told != self.owned);
            self.owned = told;
            self.said = None; // Whatever it said before: each assignment is acknowledged (KAFKA-16185).
        }
    }

    /// It was put out, and starts anew.
    fn drop_everything(&mut self) {
        self.owned = Partitions::new();
        (self.told, self.said) = (None, None);
        self.epoch = 0;
        (self.unsure, self.rejoining, self.syncing) = (true, true, false);
    }

    fn wants(&self, topic: &str) -> bool {
        self.names.contains(topic)
            || (!self.regex.is_empty() && TopicPattern::compile(&self.regex).unwrap().matches(topic))
    }
}

fn replayed<'a>(log: impl Iterator<Item = &'a Fact>) -> ConsumerGroup {
    let mut group = ConsumerGroup::new("g");
    log.for_each(|fact| group.replay(read_back("g", fact)));
    group
}

/// The last fact of each key, in order, without tombstones.
fn compact(log: &[Fact]) -> Vec<&Fact> {
    let mut last: BTreeMap<(u8, &str), usize> = BTreeMap::new();
    let mut tombstones = BTreeSet::new();
    for (index, fact) in log.iter().enumerate() {
        let (key, tombstone) = match fact {
            Fact::GroupEpoch { .. } => ((3, ""), false),
            Fact::GroupRemoved => ((3, ""), true),
            Fact::MemberMetadata { member_id, .. } => ((5, member_id.as_str()), false),
            Fact::MemberRemoved { member_id } => ((5, member_id.as_str()), true),
            Fact::TargetEpoch { .. } => ((6, ""), false),
            Fact::TargetEpochRemoved => ((6, ""), true),
            Fact::Target { member_id, .. } => ((7, member_id.as_str()), false),
            Fact::TargetRemoved { member_id } => ((7, member_id.as_str()), true),
            Fact::CurrentAssignment { member_id, .. } => ((8, member_id.as_str()), false),
            Fact::CurrentAssignmentRemoved { member_id } => ((8, member_id.as_str()), true),
            Fact::Regex { regex, .. } => ((16, regex.as_str()), false),
            Fact::RegexRemoved { regex } => ((16, regex.as_str()), true),
        };
        last.insert(key, index);
        if tombstone {
            tombstones.insert(index);
        }
    }
    let mut kept: Vec<usize> = last.into_values().filter(|index| !tombstones.contains(index)).collect();
    kept.sort_unstable();
    kept.into_iter().map(|index| &log[index]).collect()
}

#[test]
fn nobody_holds_what_another_holds_and_every_group_settles() {
    let (mut moved, mut fenced, mut crashes, mut facts) = (0, 0, 0, 0);
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds = match number("BUSLANE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BUSLANE_SIM_SEEDS").unwrap_or(300),
    };
    let usual = seeds.end - seeds.start >= 300;
    for seed in seeds {
        println!("seed {seed}");
        let mut sim = Sim::new(seed);
        for _ in 0..400 {
            sim.event();
            sim.check();
        }
        sim.settle();
        moved += sim.moved;
        fenced += sim.fenced;
        crashes += sim.crashes;
        facts += sim.log.len();
    }
    println!("{moved} assignments taken up, {fenced} times fenced, {crashes} crashes, {facts} facts");
    assert!(!usual || moved > 1_000 && fenced > 10 && crashes > 100, "too quiet: {moved} {fenced} {crashes}");
}

#[test]
fn the_same_seed_runs_the_same() {
    let run = |seed| {
        let mut sim = Sim::new(seed);
        (0..200).for_each(|_| sim.event());
        sim.log
    };
    assert_eq!(run(7), run(7));
}

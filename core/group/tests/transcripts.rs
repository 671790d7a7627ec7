//! Plays to a shard what was played to Kafka 4.4's own (`golden/PlayGroups.java`), and compares answer by answer, record by
//! record, state by state.
//!
//! ```text
//! scenario 3 delay=3000 max=2
//! > 7 join member=m2 instance=null ...        a request
//! < 5 error=0 member=m1 ...                   an answer, to this request or to one before
//! + group 1 consumer range leader=m1 ...      a record
//! = CompletingRebalance 1 consumer m1,m2      the group after it
//! ```
//!
//! `BUSLANE_GROUP_TRANSCRIPT` names another file, for a longer run. Of 1,500 scenarios one differs: two sessions end in the
//! same millisecond, and Kafka ends them in the order of a hash map.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use buslane_group::api::*;
use buslane_group::consumer::TopicTable;
use buslane_group::records::{self, Known, Parsed};
use buslane_group::{Config, Shard};
use buslane_wire::ids::TopicId;

/// `key=value` words.
struct Words<'t>(HashMap<&'t str, &'t str>);

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Words<'t> {
        Words(text.split(' ').filter_map(|word| word.split_once('=')).collect())
    }

    fn get(&self, key: &str) -> &'t str {
        self.0.get(key).unwrap_or_else(|| panic!("{key} is missing"))
    }

    fn text(&self, key: &str) -> Option<Arc<str>> {
        Some(self.get(key)).filter(|text| *text != "null").map(Into::into)
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> T {
        self.get(key).parse().unwrap()
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &'t str> {
        self.get(key).split(',').filter(|item| !item.is_empty() && *item != "-")
    }
}

struct Player {
    shard: Shard,
    topics: TopicTable,
    now: i64,
    /// Members by their names in the transcript, and back.
    ids: HashMap<String, Arc<str>>,
    names: HashMap<Arc<str>, String>,
    suffixes: u64,
    replies: BTreeMap<u64, Reply>,
    records: Vec<String>,
    /// Requests that Kafka answers in this scenario; it forgets some, which are not compared.
    answered: BTreeSet<u64>,
}

impl Player {
    fn new(header: &str, answered: BTreeSet<u64>) -> Player {
        let words = Words::of(header);
        let config = Config {
            initial_rebalance_delay_ms: words.number("delay"),
            group_max_size: words.number("max"),
            offset_metadata_max: 8,
            // Kafka's look for expired groups is not part of the transcripts.
            offsets_retention_check_interval_ms: i64::MAX,
            ..Config::default()
        };
        let mut topics = TopicTable::new();
        topics.set("t", TopicId([1; 16]), 1);
        topics.set("u", TopicId([2; 16]), 1);
        let mut shard = Shard::new(config);
        assert!(shard.loaded(1_000_000).is_empty());
        let (ids, names) = Default::default();
        let (replies, records) = Default::default();
        Player { shard, topics, now: 1_000_000, ids, names, suffixes: 0, replies, records, answered }
    }

    fn id(&self, name: &str) -> Arc<str> {
        match name {
            "-" => "".into(),
            "stranger" => name.into(),
            _ => self.ids.get(name).unwrap_or_else(|| panic!("{name} has no id yet")).clone(),
        }
    }

    fn name(&self, id: &Arc<str>) -> String {
        match &**id {
            "" => "-".into(),
            "stranger" => "stranger".into(),
            _ => self.names.get(id).cloned().unwrap_or_else(|| format!("<{id}>")),
        }
    }

    fn take(&mut self, effects: Effects) {
        for (to, reply) in effects.replies {
            assert!(self.replies.insert(to.0, reply).is_none());
        }
        if let Some(append) = effects.append {
            for record in &append.records {
                let text = self.record(record);
                self.records.push(text);
            }
            let effects = self.shard.committed(self.now, append.id);
            self.take(effects);
        }
    }

    fn request(&mut self, line: &str) {
        let mut parts = line.splitn(3, ' ');
        let (number, kind) = (parts.next().unwrap().parse().unwrap(), parts.next().unwrap());
        let words = Words::of(parts.next().unwrap_or(""));
        let group: Arc<str> = "g".into();
        let request = match kind {
            "pass" => return self.pass(words.number("ms")),
            "join" => {
                self.suffixes += 1;
                let protocol = |name: &str| Protocol { name: name.into(), metadata: name.to_string().into() };
                Request::JoinGroup(JoinGroup {
                    version: words.number("version"),
                    caller: Caller { client_id: "c".into(), client_host: "/127.0.0.1".into() },
                    new_member_suffix: self.suffixes.to_string().into(),
                    group,
                    member_id: self.id(words.get("member")),
                    instance_id: words.text("instance"),
                    session_timeout_ms: words.number("session"),
                    rebalance_timeout_ms: words.number("rebalance"),
                    protocol_type: words.get("type").into(),
                    protocols: words.list("protocols").map(protocol).collect(),
                    reason: None,
                })
            }
            "sync" => Request::SyncGroup(SyncGroup {
                version: if words.text("type").is_some() { 5 } else { 3 },
                group,
                generation: words.number("generation"),
                member_id: self.id(words.get("member")),
                instance_id: words.text("instance"),
                protocol_type: words.text("type"),
                protocol: words.text("protocol"),
                assignments: words
                    .list("given")
                    .map(|name| (self.id(name), format!("{number}/{name}").into()))
                    .collect(),
            }),
            "heartbeat" => Request::Heartbeat(Heartbeat {
                group,
                generation: words.number("generation"),
                member_id: self.id(words.get("member")),
                instance_id: words.text("instance"),
            }),
            "leave" => {
                let member = |text: &str| {
                    let (name, instance) = text.split_once(':').unwrap();
                    let instance_id = Some(instance).filter(|name| *name != "null").map(Into::into);
                    LeavingMember { member_id: self.id(name), instance_id, reason: None }
                };
                // Not `list`: an empty id is written as `-`.
                let members = words.get("members").split(',').map(member).collect();
                Request::LeaveGroup(LeaveGroup { group, members })
            }
            "commit" => {
                let partition = CommitPartition {
                    index: 0,
                    offset: number as i64,
                    leader_epoch: -1,
                    metadata: Some(words.get("metadata").into()),
                };
                let (name, id) = (words.get("topic").into(), TopicId::ZERO);
                Request::OffsetCommit(OffsetCommit {
                    version: words.number("version"),
                    group,
                    generation_or_epoch: words.number("generation"),
                    member_id: self.id(words.get("member")),
                    instance_id: words.text("instance"),
                    retention_ms: -1,
                    topics: vec![CommitTopic { name, id, partitions: vec![partition] }],
                })
            }
            "fetch" => Request::OffsetFetch(OffsetFetch {
                version: 7,
                group,
                member_id: None,
                member_epoch: -1,
                topics: Some(vec![FetchTopic {
                    name: words.get("topic").into(),
                    id: TopicId::ZERO,
                    partitions: vec![0],
                }]),
                require_stable: false,
            }),
            "offset-delete" => {
                let topics = vec![DeleteTopic { name: words.get("topic").into(), partitions: vec![0] }];
                Request::OffsetDelete(OffsetDelete { group, topics })
            }
            "delete" => Request::DeleteGroups(DeleteGroups { groups: vec![group] }),
            other => panic!("{other} is no request"),
        };
        let effects = self.shard.handle(self.now, RequestId(number), request, &self.topics);
        self.take(effects);
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            let effects = self.shard.on_time(self.now, &self.topics);
            self.take(effects);
        }
        self.now = until;
    }

    /// Learns what the members that are told their ids in this step are called.
    fn learn(&mut self, answers: &[&str]) {
        for answer in answers {
            let number: u64 = answer.split(' ').next().unwrap().parse().unwrap();
            if let Some(Reply::JoinGroup(reply)) = self.replies.get(&number) {
                let name = Words::of(answer).get("member").to_string();
                if !matches!(&*name, "-" | "stranger") && !self.ids.contains_key(&name) {
                    self.ids.insert(name.clone(), reply.member_id.clone());
                    self.names.insert(reply.member_id.clone(), name);
                }
            }
        }
    }

    /// The same of a member whose JoinGroup waits: each step brings at most one.
    fn learn_member(&mut self, state: &str) {
        let theirs = state.rsplit(' ').next().unwrap().split(',').filter(|name| name.starts_with('m'));
        let theirs: Vec<_> = theirs.filter(|name| !self.ids.contains_key(*name)).collect();
        let ours = self.describe().members.into_iter().map(|member| member.member_id);
        let ours: Vec<_> = ours.filter(|id| !self.names.contains_key(id)).collect();
        if let ([name], [id]) = (&theirs[..], &ours[..]) {
            self.ids.insert(name.to_string(), id.clone());
            self.names.insert(id.clone(), name.to_string());
        }
    }

    fn step(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, reply) in std::mem::take(&mut self.replies) {
            if self.answered.contains(&number) {
                lines.push(format!("< {number} {}", self.reply(&reply)));
            }
        }
        for record in std::mem::take(&mut self.records) {
            // Names may have come after the record was made.
            lines.push(self.named(&record));
        }
        let summary = self.shard.groups().next().map(|summary| (summary.state, summary.generation));
        lines.push(match summary {
            None => "= Dead".to_string(),
            Some((state, generation)) => {
                let described = self.describe();
                let mut members: Vec<_> =
                    described.members.iter().map(|member| self.name(&member.member_id)).collect();
                members.sort();
                assert_eq!(described.state, state);
                let protocol_type = or_dash(Some(&described.protocol_type));
                format!("= {} {generation} {protocol_type} {}", state, members.join(","))
            }
        });
        lines
    }

    fn describe(&mut self) -> DescribedGroup {
        let request = Request::DescribeGroups(DescribeGroups { version: 5, groups: vec!["g".into()] });
        let effects = self.shard.handle(self.now, RequestId(u64::MAX), request, &self.topics);
        let [(_, Reply::DescribeGroups(reply))] = &effects.replies[..] else { panic!("{effects:?}") };
        reply.groups[0].clone()
    }

    fn reply(&self, reply: &Reply) -> String {
        let codes = |codes: Vec<i16>| codes.iter().map(i16::to_string).collect::<Vec<_>>().join(",");
        match reply {
            Reply::JoinGroup(reply) => {
                let member = |member: &JoinedMember| {
                    let instance = member.instance_id.as_deref().unwrap_or("null");
                    format!("{}:{instance}:{}", self.name(&member.member_id), utf8(&member.metadata))
                };
                let mut members: Vec<_> = reply.members.iter().map(member).collect();
                members.sort();
                format!(
                    "error={} member={} generation={} type={} protocol={} leader={} skip={} members={}",
                    reply.error_code.0,
                    self.name(&reply.member_id),
                    reply.generation,
                    or_dash(reply.protocol_type.as_ref()),
                    or_dash(reply.protocol.as_ref()),
                    self.name(&reply.leader),
                    reply.skip_assignment,
                    members.join(",")
                )
            }
            Reply::SyncGroup(reply) => format!(
                "error={} type={} protocol={} assignment={}",
                reply.error_code.0,
                or_dash(reply.protocol_type.as_ref()),
                or_dash(reply.protocol.as_ref()),
                utf8(&reply.assignment)
            ),
            Reply::Heartbeat(reply) => format!("error={}", reply.error_code.0),
            Reply::LeaveGroup(reply) => {
                let members = codes(reply.members.iter().map(|member| member.error_code.0).collect());
                format!("error={} members={members}", reply.error_code.0)
            }
            Reply::OffsetCommit(reply) => format!("error={}", reply.topics[0].partitions[0].1.0),
            Reply::OffsetFetch(reply) => {
                let partition = &reply.topics[0].partitions[0];
                format!("error={} offset={}", partition.error_code.0, partition.offset)
            }
            Reply::OffsetDelete(reply) => match reply.topics.first() {
                Some(topic) => format!("error={} partition={}", reply.error_code.0, topic.partitions[0].1.0),
                None => format!("error={}", reply.error_code.0),
            },
            Reply::DeleteGroups(reply) => format!("error={}", reply.groups[0].1.0),
            other => panic!("{other:?}"),
        }
    }

    /// A record with ids in angle brackets, to be named later.
    fn record(&self, record: &records::Record) -> String {
        match records::parse(&record.key, record.value.as_deref()).unwrap() {
            Parsed::Known(Known::GroupMetadata(_, None)) => "+ group null".to_string(),
            Parsed::Known(Known::GroupMetadata(_, Some(value))) => {
                let dash = |text: Option<&str>| match text {
                    None | Some("") => "-".to_string(),
                    Some(text) => text.to_string(),
                };
                let member = |member: &records::MemberMetadata<'_>| {
                    format!(
                        "<{}>:{}:{}:{}:{}",
                        member.member_id,
                        dash(member.group_instance_id),
                        member.session_timeout,
                        member.rebalance_timeout,
                        utf8(member.assignment)
                    )
                };
                let leader = value.leader.map_or("null".to_string(), |leader| format!("<{leader}>"));
                format!(
                    "+ group {} {} {} leader={leader} members={}",
                    value.generation,
                    dash(Some(value.protocol_type)),
                    dash(value.protocol),
                    value.members.iter().map(member).collect::<Vec<_>>().join(",")
                )
            }
            Parsed::Known(Known::OffsetCommit(key, None)) => {
                format!("+ offset {} {} null", key.topic, key.partition)
            }
            Parsed::Known(Known::OffsetCommit(key, Some(value))) => {
                let version = record.value.as_ref().unwrap()[1];
                format!("+ offset {} {} {} v{version}", key.topic, key.partition, value.offset)
            }
            other => panic!("{other:?}"),
        }
    }

    fn named(&self, record: &str) -> String {
        let mut text = record.to_string();
        for (id, name) in &self.names {
            text = text.replace(&format!("<{id}>"), name);
        }
        let Some((head, members)) = text.split_once(" members=") else { return text };
        let mut members: Vec<_> = members.split(',').collect();
        members.sort();
        format!("{head} members={}", members.join(","))
    }
}

fn utf8(bytes: &[u8]) -> &str {
    if bytes.is_empty() { "-" } else { std::str::from_utf8(bytes).unwrap() }
}

fn or_dash(text: Option<&Arc<str>>) -> &str {
    text.map(|text| &**text).filter(|text| !text.is_empty()).unwrap_or("-")
}

fn play(scenario: &[&str]) -> usize {
    let answered =
        scenario.iter().filter_map(|line| line.strip_prefix("< ")?.split(' ').next()?.parse().ok()).collect();
    let mut player = Player::new(scenario[0], answered);
    let mut steps = 0;
    let mut at = 1;
    while at < scenario.len() {
        let request = scenario[at].strip_prefix("> ").unwrap();
        let len = scenario[at + 1..].iter().take_while(|line| !line.starts_with('>')).count();
        let expected = &scenario[at + 1..at + 1 + len];
        player.request(request);
        let answers: Vec<&str> = expected.iter().filter_map(|line| line.strip_prefix("< ")).collect();
        player.learn(&answers);
        player.learn_member(expected.last().unwrap());
        let ours = player.step();
        assert_eq!(ours, expected, "{} after\n{request}", scenario[0]);
        at += 1 + len;
        steps += 1;
    }
    steps
}

#[test]
fn a_shard_answers_as_kafkas() {
    let committed = include_str!("golden/groups.transcript");
    let text = match std::env::var_os("BUSLANE_GROUP_TRANSCRIPT") {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => committed.to_string(),
    };
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at].starts_with("scenario ")).chain([lines.len()]).collect();
    let mut failures = Vec::new();
    let mut steps = 0;
    for bounds in starts.windows(2) {
        let scenario = &lines[bounds[0]..bounds[1]];
        match std::panic::catch_unwind(|| play(scenario)) {
            Ok(played) => steps += played,
            Err(_) => failures.push(scenario[0]),
        }
    }
    assert!(failures.is_empty(), "{} of {}: {failures:#?}", failures.len(), starts.len() - 1);
    assert!(steps > 1_000, "{steps} steps");
}

//! Creating topics and partitions: what is checked, and the commands that come of it. Shared by CreateTopics,
//! CreatePartitions and the auto-creation of Metadata.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use buslane_meta::Command;
use buslane_wire::ErrorCode;
use buslane_wire::ids::{NodeId, TopicId};

use crate::node::{Node, error_code};
use crate::quotas::{Exceeded, Mutations};
use crate::topic_config;

/// Longest topic name, in bytes (Kafka).
const NAME_MAX: usize = 249;

/// Partitions created by one request at most: what a mistyped number may cost.
const PARTITIONS_MAX: i32 = 100_000;

/// Partitions of all topics of this node, at most. Each takes some 2 KiB of memory (measured with 15,000 that nothing was
/// written to) and is opened at each start: with a number that does not fit, the data folder could not be opened again.
/// Kafka has no such limit, only one of 10,000 a request, which it answers with the same POLICY_VIOLATION.
const NODE_PARTITIONS_MAX: usize = 100_000;

/// Topics created by one request at most: what is told of each takes some kilobytes.
const TOPICS_MAX: usize = 10_000;

/// A topic that somebody wants.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Partitions; none for the broker's default.
    pub partitions: Option<i32>,
    /// Replicas; none for the broker's default.
    pub replicas: Option<i16>,
    /// Brokers of each partition by index; empty to let the broker choose.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Settings. A null value is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was created (or could be, when only validated).
#[derive(Clone, Copy, Debug)]
pub struct Created {
    /// Its id; zero when only validated.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replicas: i16,
}

/// Why not.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Kafka's code.
    pub code: ErrorCode,
    /// What was wrong, and what would be right.
    pub message: String,
}

impl Refused {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into() }
    }
}

/// What is wrong with a topic's name, if anything (Kafka's rules).
pub fn is_bad_name(name: &str) -> Option<String> {
    if name.is_empty() || name == "." || name == ".." {
        return Some(format!("'{name}' cannot be a topic's name"));
    }
    if name.len() > NAME_MAX {
        return Some(format!("a topic's name has at most {NAME_MAX} characters, this one {}", name.len()));
    }
    let bad = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))?;
    Some(format!("'{name}' contains '{bad}'; a topic's name is made of letters, digits, '.', '_' and '-'"))
}

/// Where Kafka's controllers keep the metadata; no topic has this name.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Topics that the brokers keep their own state in.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state")
}

/// Those that stand there more than once.
pub fn repeated<T: Hash + Eq + Copy>(items: impl Iterator<Item = T>) -> HashSet<T> {
    let mut seen = HashSet::new();
    items.filter(|item| !seen.insert(*item)).collect()
}

/// The settings that a new topic sets itself.
pub fn explicit_configs(topic: &NewTopic) -> BTreeMap<String, String> {
    topic.configs.iter().filter_map(|(k, v)| v.as_ref().map(|v| (k.clone(), v.trim().to_owned()))).collect()
}

/// Partitions that requests are creating right now: those of several connections count together.
static BEING_CREATED: AtomicUsize = AtomicUsize::new(0);

/// Partitions that a request is creating, counted against what one request and the node may have, until it is dropped:
/// when they are in the table of topics, or will not be.
struct Count {
    limit: usize,
    /// Partitions that the node has already.
    have: usize,
    /// Partitions of this request that were let through.
    added: usize,
    /// Those of all requests.
    of_all: &'static AtomicUsize,
}

impl Count {
    fn new(node: &Node) -> Count {
        let have = node.topics.load().iter().map(|topic| topic.partitions.len()).sum();
        Count { limit: NODE_PARTITIONS_MAX, have, added: 0, of_all: &BEING_CREATED }
    }

    /// Lets `more` partitions through, or says which limit they are above. What is refused is not counted.
    fn add(&mut self, more: usize) -> Result<(), Refused> {
        let refused = |message| Err(Refused::new(ErrorCode::POLICY_VIOLATION, message));
        if self.added.saturating_add(more) > PARTITIONS_MAX as usize {
            return refused(format!(
                "{more} partitions, where one request creates at most {PARTITIONS_MAX} in all"
            ));
        }
        let have = self.have + self.of_all.fetch_add(more, Ordering::SeqCst);
        if have + more > self.limit {
            self.of_all.fetch_sub(more, Ordering::SeqCst);
            let limit = self.limit;
            return refused(format!(
                "{more} partitions beside the {have} that are there; this node has at most {limit}"
            ));
        }
        self.added += more;
        Ok(())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.added, Ordering::SeqCst);
    }
}

/// Creates topics, each for itself. With `validate_only` nothing changes.
pub async fn create(
    node: &Arc<Node>,
    wanted: &[NewTopic],
    validate_only: bool,
) -> Vec<Result<Created, Refused>> {
    create_within(node, wanted, validate_only, Mutations::unlimited()).await
}

/// As [`create`], for a client.
pub async fn create_within(
    node: &Arc<Node>,
    wanted: &[NewTopic],
    validate_only: bool,
    mutations: Mutations<'_>,
) -> Vec<Result<Created, Refused>> {
    if wanted.len() > TOPICS_MAX {
        let message = format!("at most {TOPICS_MAX} topics in one request, not {}", wanted.len());
        let refused = Refused::new(ErrorCode::POLICY_VIOLATION, message);
        return wanted.iter().map(|_| Err(refused.clone())).collect();
    }
    let twice = repeated(wanted.iter().map(|topic| &topic.name));
    let mut outcomes = Vec::with_capacity(wanted.len());
    let mut commands = Vec::new();
    let mut count = Count::new(node);
    for (i, topic) in wanted.iter().enumerate() {
        let planned = if twice.contains(&topic.name) {
            let message = format!("topic '{}' stands twice in the request", topic.name);
            Err(Refused::new(ErrorCode::INVALID_REQUEST, message))
        } else {
            plan(node, topic, &mut count).and_then(|plans| {
                take(mutations, plans.len())?;
                Ok(plans)
            })
        };
        outcomes.push(planned.map(|plans| {
            let id = if validate_only { TopicId::ZERO } else { node.new_topic_id() };
            let created = Created { id, partitions: plans.len() as i32, replicas: plans[0].len() as i16 };
            if !validate_only {
                let config = explicit_configs(topic);
                let create =
                    Command::CreateTopic { id, name: topic.name.clone(), plans: plans.clone(), config };
                commands.push((i, create));
            }
            created
        }));
    }
    let (indexes, commands): (Vec<usize>, Vec<Command>) = commands.into_iter().unzip();
    if commands.is_empty() {
        return outcomes;
    }
    match node.propose_holding(commands, count).await {
        Ok(results) => {
            for (i, result) in indexes.into_iter().zip(results) {
                if let Err(refused) = result {
                    let code = ErrorCode::TOPIC_ALREADY_EXISTS;
                    outcomes[i] = Err(Refused::new(code, format!("topic '{}': {refused}", wanted[i].name)));
                }
            }
        }
        Err(code) => {
            for i in indexes {
                outcomes[i] = Err(Refused::new(code, "the metadata did not take the topic; try again"));
            }
        }
    }
    outcomes
}

/// Counts partitions that are to be created or deleted against the client's quota (KIP-599); those that are only
/// validated, too, as in Kafka.
pub fn take(mutations: Mutations<'_>, partitions: usize) -> Result<(), Refused> {
    mutations.take(partitions).map_err(|Exceeded| {
        let message = "The throttling quota has been exceeded.";
        Refused::new(ErrorCode::THROTTLING_QUOTA_EXCEEDED, message)
    })
}

/// The stores of each partition of a new topic.
fn plan(node: &Node, topic: &NewTopic, count: &mut Count) -> Result<Vec<Vec<NodeId>>, Refused> {
    if let Some(message) = is_bad_name(&topic.name) {
        return Err(Refused::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    }
    if topic.name == CLUSTER_METADATA {
        let message = format!("'{CLUSTER_METADATA}' is a name that clients take for the cluster's metadata");
        return Err(Refused::new(ErrorCode::INVALID_REQUEST, message));
    }
    if node.topics.load().named(&topic.name).is_some() {
        return Err(Refused::new(
            ErrorCode::TOPIC_ALREADY_EXISTS,
            format!("topic '{}' exists already", topic.name),
        ));
    }
    for (name, value) in &topic.configs {
        let Some(value) = value else {
            topic_config::known(name).map_err(|e| Refused::new(ErrorCode::INVALID_CONFIG, e.to_string()))?;
            let message = format!("{name} has no value; leave it out for the default");
            return Err(Refused::new(ErrorCode::INVALID_CONFIG, message));
        };
        topic_config::check(name, value)
            .map_err(|e| Refused::new(ErrorCode::INVALID_CONFIG, e.to_string()))?;
    }
    topic_config::check_together(&explicit_configs(topic), &node.server_values.load())
        .map_err(|e| Refused::new(ErrorCode::INVALID_CONFIG, e.to_string()))?;
    if topic.assignments.is_empty() {
        let partitions = topic.partitions.unwrap_or(node.default_partitions);
        if partitions < 1 {
            let message = format!("a topic has 1 to {PARTITIONS_MAX} partitions, not {partitions}");
            return Err(Refused::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        let replicas = topic.replicas.unwrap_or(1);
        count.add(partitions as usize)?;
        let plan = stores(node, replicas)?;
        return Ok(vec![plan; partitions as usize]);
    }
    if topic.partitions.is_some() || topic.replicas.is_some() {
        let message = "give either assignments, or numbers of partitions and replicas; the other is -1";
        return Err(Refused::new(ErrorCode::INVALID_REQUEST, message));
    }
    count.add(topic.assignments.len())?;
    let mut assignments = topic.assignments.clone();
    assignments.sort_by_key(|(index, _)| *index);
    if assignments.iter().enumerate().any(|(i, (index, _))| *index != i as i32) {
        let message = "assignments name each partition once, from 0 on";
        return Err(Refused::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    }
    assignments.iter().map(|(_, brokers)| assigned(node, brokers)).collect()
}

/// R live stores for a new partition.
fn stores(node: &Node, replicas: i16) -> Result<Vec<NodeId>, Refused> {
    if replicas != 1 {
        let message = format!("replication factor {replicas}: 1 store is alive, so only 1 is possible");
        return Err(Refused::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
    }
    Ok(vec![node.id])
}

fn assigned(node: &Node, brokers: &[i32]) -> Result<Vec<NodeId>, Refused> {
    if brokers == [node.id.0] {
        return Ok(vec![node.id]);
    }
    let message = format!("brokers {brokers:?} are assigned; alive is {}", node.id);
    Err(Refused::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message))
}

/// Adds partitions to a topic until it has `count`.
pub async fn add_partitions(
    node: &Arc<Node>,
    name: &str,
    count: i32,
    assignments: Option<Vec<Vec<i32>>>,
    validate_only: bool,
    mutations: Mutations<'_>,
) -> Result<(), Refused> {
    let table = node.topics.load_full();
    let Some(topic) = table.named(name) else {
        let message = format!("there is no topic '{name}'");
        return Err(Refused::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
    };
    if is_internal(name) {
        // Which partition a group is in goes by their number.
        let message = format!("the partitions of '{name}' are counted on, and stay as many as they are");
        return Err(Refused::new(ErrorCode::INVALID_REQUEST, message));
    }
    let have = topic.partitions.len() as i32;
    if count <= have {
        let message = format!(
            "topic '{name}' has {have} partitions; it can get more, up to {PARTITIONS_MAX}, not {count}"
        );
        return Err(Refused::new(ErrorCode::INVALID_PARTITIONS, message));
    }
    let added = (count - have) as usize;
    let mut counted = Count::new(node);
    counted.add(added)?;
    let plans = match assignments {
        None => vec![stores(node, 1)?; added],
        Some(given) if given.len() != added => {
            let message = format!("{added} partitions are added, {} are assigned", given.len());
            return Err(Refused::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        Some(given) => given.iter().map(|brokers| assigned(node, brokers)).collect::<Result<_, _>>()?,
    };
    take(mutations, added)?;
    if validate_only {
        return Ok(());
    }
    let command = Command::CreatePartitions { topic: topic.id, expected_count: have, plans };
    match node.propose_holding(vec![command], counted).await {
        Ok(outcomes) => outcomes
            .into_iter()
            .try_for_each(|outcome| outcome.map(drop))
            .map_err(|refused| Refused::new(error_code(&refused), format!("topic '{name}': {refused}"))),
        Err(code) => Err(Refused::new(code, "the metadata did not take the partitions; try again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_counted_over_the_request_and_the_node() {
        static OF_ALL: AtomicUsize = AtomicUsize::new(0);
        let count = |have| Count { limit: 250_000, have, added: 0, of_all: &OF_ALL };
        let mut one = count(100_000);
        assert!(one.add(60_000).is_ok());
        let refused = one.add(40_001).unwrap_err();
        assert_eq!(refused.code, ErrorCode::POLICY_VIOLATION);
        assert!(refused.message.contains("at most 100000"), "{}", refused.message);
        assert!(one.add(usize::MAX).is_err(), "the sum does not wrap around");
        assert!(one.add(40_000).is_ok(), "what was refused is not counted");

        let mut other = count(100_000);
        let refused = other.add(50_001).unwrap_err();
        assert!(refused.message.contains("the 200000 that are there"), "{}", refused.message);
        assert!(refused.message.contains("this node has at most 250000"), "{}", refused.message);
        assert!(other.add(50_000).is_ok());
        assert!(other.add(1).is_err());
        drop(one);
        assert!(other.add(1).is_ok(), "what a request did not create is free again");
        drop(other);
        assert_eq!(OF_ALL.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "orders.v1", "A_b-9", &"x".repeat(NAME_MAX)] {
            assert_eq!(is_bad_name(good), None);
        }
        for bad in ["", ".", "..", "a b", "a/b", "ü", &"x".repeat(NAME_MAX + 1)] {
            assert!(is_bad_name(bad).is_some(), "{bad}");
        }
    }
}

//! The cluster as its metadata shows it: nodes, topics, and where partitions start and end.

use std::collections::BTreeMap;
use std::fmt;

use buslane_wire::ErrorCode;
use buslane_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use buslane_wire::messages::{ListOffsetsRequest, MetadataRequest};

use super::{Admin, Node, Refusal, Trouble, refused};
use crate::connection::no_topic;
use crate::exit::Failure;
use crate::units::TimestampMs;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[derive(Debug, Default)]
pub struct Cluster {
    pub nodes: BTreeMap<i32, Node>,
    pub topics: BTreeMap<String, BTreeMap<i32, Partition>>,
}

#[derive(Debug)]
pub struct Partition {
    /// The owner; none while there is none.
    pub leader: Option<i32>,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first offset that can be read.
    Start,
    /// The offset that the next record gets.
    End,
    /// The first record of this time or later.
    Time(TimestampMs),
}

impl Place {
    fn timestamp(self) -> i64 {
        match self {
            Self::End => -1,
            Self::Start => -2,
            Self::Time(time) => time,
        }
    }
}

/// An offset for each partition asked for, or why there is none. For a time after the last record it is -1.
pub type Offsets = BTreeMap<TopicPartition, Result<i64, Refusal>>;

impl Cluster {
    /// The partitions of a topic.
    pub fn topic(&self, name: &str) -> Result<&BTreeMap<i32, Partition>, Failure> {
        self.topics.get(name).ok_or_else(|| no_topic(name))
    }

    fn leader(&self, of: &TopicPartition) -> Result<&Node, Refusal> {
        let no = |code| Err(Refusal { code, message: None });
        let Some(partition) = self.topics.get(&of.topic).and_then(|topic| topic.get(&of.partition)) else {
            return no(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        match partition.leader.and_then(|leader| self.nodes.get(&leader)) {
            Some(node) => Ok(node),
            None => no(ErrorCode::LEADER_NOT_AVAILABLE),
        }
    }
}

impl Admin {
    /// All nodes and topics. All topics are asked for even where one matters: naming one may create it.
    pub fn cluster(&mut self) -> Result<Cluster, Failure> {
        let request = MetadataRequest { topics: None, ..Default::default() };
        let answer = self.ask(&self.any(), 1..=13, &request)?;
        let response = answer.read()?;
        let nodes = response.brokers.iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            let node = Node { id: Some(broker.node_id), host: broker.host.to_owned(), port };
            Some((broker.node_id, node))
        });
        let mut cluster = Cluster { nodes: nodes.collect(), topics: BTreeMap::new() };
        for topic in response.topics {
            let Some(name) = topic.name.filter(|_| !topic.error_code.is_err()) else { continue };
            let partitions = topic.partitions.into_iter().map(|partition| {
                let leader = Some(partition.leader_id).filter(|leader| *leader >= 0);
                (partition.partition_index, Partition { leader })
            });
            cluster.topics.insert(name.to_owned(), partitions.collect());
        }
        Ok(cluster)
    }

    /// Where these partitions start or end, or have the first record of a time.
    ///
    /// Partitions that change hands are asked for again within the time limit; one without an owner is told at once.
    pub fn offsets(&mut self, wanted: &[TopicPartition], place: Place) -> Result<Offsets, Failure> {
        let mut found = Offsets::new();
        let settled = self.patiently(|admin| {
            let cluster = admin.cluster()?;
            let mut by_leader: BTreeMap<i32, Vec<&TopicPartition>> = BTreeMap::new();
            for partition in wanted {
                if matches!(found.get(partition), Some(Ok(_))) {
                    continue;
                }
                match cluster.leader(partition) {
                    Ok(node) => by_leader.entry(node.id.unwrap_or(-1)).or_default().push(partition),
                    Err(refusal) => drop(found.insert(partition.clone(), Err(refusal))),
                }
            }
            let mut again = None;
            for (leader, partitions) in by_leader {
                for (partition, offset) in
                    admin.offsets_of_leader(&cluster.nodes[&leader], &partitions, place)?
                {
                    again = again.or(offset.as_ref().err().filter(|refusal| refusal.is_not_now()).cloned());
                    found.insert(partition, offset);
                }
            }
            again.map_or(Ok(()), |refusal| Err(Trouble::Refused(refusal)))
        });
        match settled {
            // What is still refused stands beside its partition.
            Ok(()) | Err(Trouble::Refused(_)) => Ok(found),
            Err(Trouble::Failed(failure)) => Err(failure),
        }
    }

    fn offsets_of_leader(
        &mut self,
        leader: &Node,
        partitions: &[&TopicPartition],
        place: Place,
    ) -> Result<Offsets, Failure> {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for wanted in partitions {
            topics.entry(&wanted.topic).or_default().push(ListOffsetsPartition {
                partition_index: wanted.partition,
                timestamp: place.timestamp(),
                ..Default::default()
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name, partitions });
        let request = ListOffsetsRequest { replica_id: -1, topics: topics.collect(), ..Default::default() };
        let answer = self.ask(leader, 2..=11, &request)?;
        let mut found = Offsets::new();
        for topic in answer.read()?.topics {
            for partition in topic.partitions {
                let name =
                    TopicPartition { topic: topic.name.to_owned(), partition: partition.partition_index };
                found.insert(name, refused(partition.error_code, None).map(|()| partition.offset));
            }
        }
        Ok(found)
    }
}

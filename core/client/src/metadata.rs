//! Who leads what, and where: what a client knows of a cluster, made anew from each answer.
//!
//! Two rules keep an old answer from undoing a newer one (KIP-320, KIP-516): of a topic with the same id a partition's
//! leader is taken only with an epoch that is not older; another id is another topic, of which nothing was known.

use std::collections::{BTreeMap, HashMap};

use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;
use buslane_wire::messages::MetadataResponse;

use crate::config::Address;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The node that leads it; none while there is none.
    pub leader: Option<i32>,
    /// That leader's epoch; -1 when the brokers do not tell.
    pub leader_epoch: i32,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id; zero when the brokers do not tell.
    pub id: TopicId,
    /// Its partitions by their number, from 0 on.
    pub partitions: Vec<Partition>,
}

/// A cluster, as far as this client has asked. Immutable: [`Metadata::merged`] makes the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The node that takes changes of topics and settings.
    pub controller: Option<i32>,
    /// Every node that is there.
    pub nodes: BTreeMap<i32, Address>,
    /// The topics that were asked for and exist, by name.
    pub topics: HashMap<String, Topic>,
}

/// A topic that was asked for and cannot be used, by name.
pub type Refused = HashMap<String, ErrorCode>;

impl Metadata {
    /// What is known after an answer that lists the topics `asked` for, and which of them cannot be used.
    ///
    /// # Errors
    /// What makes no sense in it.
    pub fn merged(
        &self,
        response: &MetadataResponse<'_>,
        asked: &[&str],
    ) -> Result<(Metadata, Refused), String> {
        let mut next = self.clone();
        next.cluster_id = response.cluster_id.map(str::to_owned).or(next.cluster_id);
        next.controller = Some(response.controller_id).filter(|id| *id >= 0);
        next.nodes.clear();
        for broker in &response.brokers {
            let port = u16::try_from(broker.port)
                .map_err(|_| format!("node {} is at port {}", broker.node_id, broker.port))?;
            next.nodes.insert(broker.node_id, Address { host: broker.host.to_owned(), port });
        }
        let mut refused = Refused::new();
        for found in &response.topics {
            let Some(name) = found.name else { continue };
            if found.error_code.is_err() {
                // Its partitions are forgotten only when it is gone: for a while it may have no leaders at all.
                if found.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                    next.topics.remove(name);
                }
                refused.insert(name.to_owned(), found.error_code);
                continue;
            }
            let known = self.topics.get(name).filter(|known| known.id == found.topic_id);
            let mut partitions: Vec<Option<Partition>> = vec![None; found.partitions.len()];
            for partition in &found.partitions {
                let index = partition.partition_index;
                let place = usize::try_from(index)
                    .ok()
                    .and_then(|index| partitions.get_mut(index))
                    .ok_or_else(|| {
                        format!("partition {index} of topic {name:?}, which has {}", found.partitions.len())
                    })?;
                let told = Partition {
                    leader: Some(partition.leader_id).filter(|id| *id >= 0),
                    leader_epoch: partition.leader_epoch,
                };
                let older = known
                    .and_then(|known| known.partitions.get(index as usize))
                    .filter(|known| told.leader_epoch >= 0 && known.leader_epoch > told.leader_epoch);
                if place.replace(older.cloned().unwrap_or(told)).is_some() {
                    return Err(format!("partition {index} of topic {name:?} twice"));
                }
            }
            let partitions = partitions.into_iter().flatten().collect();
            next.topics.insert(name.to_owned(), Topic { id: found.topic_id, partitions });
        }
        for name in asked {
            if !refused.contains_key(*name) && !response.topics.iter().any(|found| found.name == Some(*name))
            {
                return Err(format!("nothing of topic {name:?}"));
            }
        }
        Ok((next, refused))
    }

    /// What is known after a broker said who leads a partition instead of it (KIP-951). None when that is nothing new.
    pub fn with_leader(
        &self,
        topic: &str,
        id: TopicId,
        index: i32,
        leader: i32,
        epoch: i32,
    ) -> Option<Metadata> {
        let known = self.topics.get(topic).filter(|known| known.id == id)?;
        let index = usize::try_from(index).ok()?;
        let partition = known.partitions.get(index)?;
        if leader < 0 || epoch <= partition.leader_epoch || !self.nodes.contains_key(&leader) {
            return None;
        }
        let mut next = self.clone();
        let topic = next.topics.get_mut(topic)?;
        topic.partitions[index] = Partition { leader: Some(leader), leader_epoch: epoch };
        Some(next)
    }

    /// A partition.
    pub fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::messages::metadata::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::*;

    const ONE: TopicId = TopicId([1; 16]);
    const TWO: TopicId = TopicId([2; 16]);

    /// Partitions as (leader, epoch).
    fn answer(name: &'static str, id: TopicId, partitions: &[(i32, i32)]) -> MetadataResponse<'static> {
        let partition =
            |(index, (leader_id, leader_epoch)): (usize, &(i32, i32))| MetadataResponsePartition {
                partition_index: index as i32,
                leader_id: *leader_id,
                leader_epoch: *leader_epoch,
                ..Default::default()
            };
        MetadataResponse {
            cluster_id: Some("bus"),
            controller_id: 1,
            brokers: (1..=3)
                .map(|node_id| MetadataResponseBroker { node_id, host: "there", port: 9092, rack: None })
                .collect(),
            topics: vec![MetadataResponseTopic {
                name: Some(name),
                topic_id: id,
                partitions: partitions.iter().enumerate().map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn leaders(metadata: &Metadata) -> Vec<(Option<i32>, i32)> {
        metadata.topics["t"].partitions.iter().map(|p| (p.leader, p.leader_epoch)).collect()
    }

    #[test]
    fn an_older_answer_undoes_nothing_and_another_topic_is_another() {
        let (first, refused) =
            Metadata::default().merged(&answer("t", ONE, &[(1, 5), (2, 7)]), &["t"]).unwrap();
        assert!(refused.is_empty());
        assert_eq!(leaders(&first), [(Some(1), 5), (Some(2), 7)]);
        let (second, _) = first.merged(&answer("t", ONE, &[(2, 6), (3, 6), (-1, 0)]), &["t"]).unwrap();
        assert_eq!(leaders(&second), [(Some(2), 6), (Some(2), 7), (None, 0)], "of each the newer one");
        let (third, _) = second.merged(&answer("t", TWO, &[(3, 0)]), &["t"]).unwrap();
        assert_eq!((third.topics["t"].id, leaders(&third)), (TWO, vec![(Some(3), 0)]));
        assert_eq!(third.partition("t", 0).unwrap().leader, Some(3));
        assert_eq!(
            (third.partition("t", 1), third.partition("t", -1), third.partition("u", 0)),
            (None, None, None)
        );
    }

    #[test]
    fn brokers_that_tell_no_epochs_are_believed() {
        let (first, _) = Metadata::default().merged(&answer("t", ONE, &[(1, 5)]), &["t"]).unwrap();
        let (second, _) = first.merged(&answer("t", ONE, &[(2, -1)]), &["t"]).unwrap();
        assert_eq!(leaders(&second), [(Some(2), -1)]);
    }

    #[test]
    fn a_leader_that_is_told_beside_an_error_is_taken_when_it_is_newer() {
        let (known, _) = Metadata::default().merged(&answer("t", ONE, &[(1, 5)]), &["t"]).unwrap();
        let next = known.with_leader("t", ONE, 0, 2, 6).unwrap();
        assert_eq!(leaders(&next), [(Some(2), 6)]);
        for (topic, id, index, leader, epoch) in [
            ("t", ONE, 0, 2, 5),
            ("t", TWO, 0, 2, 6),
            ("u", ONE, 0, 2, 6),
            ("t", ONE, 1, 2, 6),
            ("t", ONE, 0, -1, 6),
            ("t", ONE, 0, 9, 6),
        ] {
            assert_eq!(known.with_leader(topic, id, index, leader, epoch), None);
        }
    }

    #[test]
    fn a_topic_that_is_gone_is_forgotten_and_one_in_trouble_is_not() {
        let (known, _) = Metadata::default().merged(&answer("t", ONE, &[(1, 5)]), &["t"]).unwrap();
        for (code, stays) in
            [(ErrorCode::LEADER_NOT_AVAILABLE, true), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, false)]
        {
            let mut told = answer("t", ONE, &[]);
            told.topics[0].error_code = code;
            let (next, refused) = known.merged(&told, &["t"]).unwrap();
            assert_eq!((next.topics.contains_key("t"), refused["t"]), (stays, code));
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let nothing = MetadataResponse { topics: Vec::new(), ..answer("t", ONE, &[]) };
        assert!(Metadata::default().merged(&nothing, &["t"]).unwrap_err().contains("nothing of topic \"t\""));
        let mut twice = answer("t", ONE, &[(1, 0), (1, 0)]);
        twice.topics[0].partitions[1].partition_index = 0;
        assert!(Metadata::default().merged(&twice, &["t"]).unwrap_err().contains("twice"));
        twice.topics[0].partitions[1].partition_index = 9;
        assert!(Metadata::default().merged(&twice, &["t"]).unwrap_err().contains("partition 9"));
    }
}

//! A data folder without its server: the lock, the metadata, and topics by name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use buslane_log::disk::Disk;
use buslane_log::fs::Fs;
use buslane_log::offline::Access;
use buslane_log::verify::{Chain, ChainSegment, SealedEnd};
use buslane_log::{DataDirError, FoundCopy, Offline};
use buslane_meta::{MetaLogError, OfflineMeta, SegmentStatus};
use buslane_wire::ids::{NodeId, SegmentRef, TopicId, TopicPartition};

use crate::exit::{Failure, Status};

/// An open data folder.
pub struct Folder {
    pub offline: Offline,
    pub meta: OfflineMeta,
    node: Option<NodeId>,
}

impl Folder {
    /// Refuses a folder that a newer program wrote, one whose metadata cannot be read, and with [`Access::Exclusive`] one
    /// that a server uses.
    pub fn open(data: &Path, access: Access) -> Result<Self, Failure> {
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let offline = Offline::open(&fs, data, access).map_err(|error| refused(&error))?;
        let node = match offline.identity() {
            Err(error @ DataDirError::Newer { .. }) => return Err(refused(&error)),
            // What is wrong with it is for verify to tell; nothing else here needs it.
            identity => identity.ok().flatten().map(|identity| identity.node_id),
        };
        let meta = OfflineMeta::read(&fs, data);
        // A file that cannot be read (permissions, a failing disk) is not known to be damaged.
        if let Some(error @ (MetaLogError::Newer { .. } | MetaLogError::Io { .. })) = &meta.damage {
            return Err(Failure::failed(error.to_string()));
        }
        Ok(Self { offline, meta, node })
    }

    /// The topic of that name, or else of that id: a topic that the metadata no longer has may still have files.
    pub fn topic(&self, text: &str) -> Result<TopicId, Failure> {
        if let Some(topic) = self.meta.image.topic_named(text) {
            return Ok(topic.id);
        }
        TopicId::parse(text).ok_or_else(|| {
            let data = self.offline.root().display();
            let mut names: Vec<_> =
                self.meta.image.topics.values().map(|topic| topic.name.as_str()).collect();
            names.sort_unstable();
            let there = match names.len() {
                0 => "it has none".to_owned(),
                1..=20 => format!("it has {}", names.join(", ")),
                more => format!("it has {more} others"),
            };
            Failure::new(Status::Existence, format!("{data}: there is no topic '{text}'; {there}"))
        })
    }

    /// Refuses a topic, or a partition of it, that neither the metadata nor the folder knows. `name` is what the user wrote.
    pub fn expect_partition(
        &self,
        topic: TopicId,
        name: &str,
        partition: Option<i32>,
    ) -> Result<(), Failure> {
        let known = self.meta.image.topic(topic).map(|topic| topic.partitions.len());
        let in_metadata = known.is_some_and(|count| partition.is_none_or(|number| (number as usize) < count));
        let has_files = |copy: &FoundCopy| {
            let found = copy.segment.partition;
            found.topic == topic && partition.is_none_or(|number| number == found.partition)
        };
        if in_metadata || self.offline.copies()?.iter().any(has_files) {
            return Ok(());
        }
        let data = self.offline.root().display();
        let message = match (partition, known) {
            (Some(number), Some(count)) => {
                format!("{data}: topic '{name}' has no partition {number}; it has {count}")
            }
            (Some(number), None) => {
                format!("{data}: there is nothing of partition {number} of topic '{name}'")
            }
            (None, _) => format!("{data}: there is nothing of topic '{name}'"),
        };
        Err(Failure::new(Status::Existence, message))
    }

    /// The topic's name, or its id where the metadata has none.
    pub fn topic_name(&self, topic: TopicId) -> String {
        self.meta.image.topic(topic).map_or_else(|| topic.to_string(), |topic| topic.name.clone())
    }

    /// What the metadata says of the copies in this folder; nothing when it cannot be trusted.
    pub fn chain(&self) -> Option<Chain> {
        let node = self.node.filter(|_| self.meta.damage.is_none())?;
        let mut chain = Chain::new();
        for (partition, image) in self.meta.image.partitions() {
            for segment in &image.chain {
                let sealed = match segment.status {
                    SegmentStatus::Open => None,
                    SegmentStatus::Sealed { end_offset, bytes, .. } => Some(SealedEnd { end_offset, bytes }),
                };
                let known = ChainSegment {
                    base_offset: segment.base_offset,
                    first_epoch: image.first_epoch_of(segment),
                    epoch: segment.epoch,
                    durability: segment.durability,
                    sealed,
                    here: segment.stores.contains(&node),
                };
                chain.insert(SegmentRef { partition, segment: segment.id }, known);
            }
        }
        Some(chain)
    }
}

/// Why the folder cannot be looked at.
fn refused(error: &DataDirError) -> Failure {
    match error {
        DataDirError::InUse { dir, lock } => Failure::failed(format!(
            "{dir} is in use by a server, which holds {lock}; stop it first, or look at what it has written with --read-only"
        )),
        DataDirError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Failure::new(Status::Existence, error.to_string())
        }
        _ => Failure::failed(error.to_string()),
    }
}

/// The partition whose folder a path lies in: `…/<topic uuid>/<partition>/<file>`, or that folder itself.
pub fn partition_of(path: &Path) -> Option<TopicPartition> {
    let parse = |folder: &Path| {
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let topic = TopicId::parse(&name(folder.parent()?)?)?;
        Some(TopicPartition { topic, partition: name(folder)?.parse().ok()? })
    };
    parse(path.parent()?).or_else(|| parse(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_partition() {
        let topic = TopicId([3; 16]);
        let folder = Path::new("data/log").join(topic.to_string()).join("7");
        let expected = Some(TopicPartition { topic, partition: 7 });
        assert_eq!(partition_of(&folder), expected);
        assert_eq!(partition_of(&folder.join("00000000000000000000-1.log")), expected);
        assert_eq!(partition_of(Path::new("data/store.journal")), None);
    }
}

//! What the members of a group want, counted, and the hash by which a change of the wanted topics is noticed.

use std::collections::{BTreeMap, BTreeSet};

use super::assignor::AssignorKind;
use super::fact::MemberMetadata;
use super::topics::TopicsView;

/// How many members want what. Kept beside the members so that a heartbeat need not look at all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscriptions {
    names: BTreeMap<String, usize>,
    regexes: BTreeMap<String, usize>,
    assignors: BTreeMap<String, usize>,
    classic_protocols: BTreeMap<String, usize>,
    classic_members: usize,
}

impl Subscriptions {
    pub fn add(&mut self, member: &MemberMetadata) {
        for name in &member.subscribed_topic_names {
            count_up(&mut self.names, name);
        }
        if let Some(regex) = &member.subscribed_topic_regex {
            count_up(&mut self.regexes, regex);
        }
        if let Some(assignor) = &member.server_assignor {
            count_up(&mut self.assignors, assignor);
        }
        if let Some(classic) = &member.classic {
            self.classic_members += 1;
            for name in distinct(classic.protocols.iter().map(|protocol| protocol.name.as_str())) {
                count_up(&mut self.classic_protocols, name);
            }
        }
    }

    pub fn remove(&mut self, member: &MemberMetadata) {
        for name in &member.subscribed_topic_names {
            count_down(&mut self.names, name);
        }
        if let Some(regex) = &member.subscribed_topic_regex {
            count_down(&mut self.regexes, regex);
        }
        if let Some(assignor) = &member.server_assignor {
            count_down(&mut self.assignors, assignor);
        }
        if let Some(classic) = &member.classic {
            self.classic_members -= 1;
            for name in distinct(classic.protocols.iter().map(|protocol| protocol.name.as_str())) {
                count_down(&mut self.classic_protocols, name);
            }
        }
    }

    /// The names that members want by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The patterns that members have.
    pub fn regexes(&self) -> impl Iterator<Item = &str> {
        self.regexes.keys().map(String::as_str)
    }

    /// How many members have this pattern.
    pub fn with_regex(&self, regex: &str) -> usize {
        self.regexes.get(regex).copied().unwrap_or(0)
    }

    /// How many members speak the classic protocol.
    pub fn classic_members(&self) -> usize {
        self.classic_members
    }

    /// True when every classic member knows this protocol.
    pub fn all_classic_know(&self, protocol: &str) -> bool {
        self.classic_protocols.get(protocol).copied().unwrap_or(0) == self.classic_members
    }

    /// The assignor that most members ask for; the earliest among `offered` where as many ask for two; the first of them
    /// where nobody asks. What is not offered (any more) is not counted.
    pub fn preferred_assignor(&self, offered: &[AssignorKind]) -> AssignorKind {
        let votes = |kind: &AssignorKind| self.assignors.get(kind.name()).copied().unwrap_or(0);
        let mut best = offered.first().copied().unwrap_or(AssignorKind::Uniform);
        for kind in offered {
            if votes(kind) > votes(&best) {
                best = *kind;
            }
        }
        best
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    names.collect()
}

fn count_up(counts: &mut BTreeMap<String, usize>, key: &str) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_string(), 1);
        }
    }
}

fn count_down(counts: &mut BTreeMap<String, usize>, key: &str) {
    let count = counts.get_mut(key).expect("only what was counted up is counted down");
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

/// The hash of the topics among `names` that exist: their names, ids and partition counts. 0 where none exists. It is
/// stored (KIP-1101) and compared with itself only: FNV-1a with 64 bits, in the order of the names.
///
/// Kafka hashes the racks of the replicas, too; no assignor here looks at racks, so a moved replica is no reason to
/// rebalance.
pub(super) fn metadata_hash<'a>(names: impl Iterator<Item = &'a str>, topics: &dyn TopicsView) -> i64 {
    let ordered: BTreeSet<&str> = names.collect();
    let mut hash = FNV_OFFSET;
    let mut any = false;
    for name in ordered {
        let Some(topic) = topics.by_name(name) else { continue };
        any = true;
        hash = fnv(hash, &(name.len() as u32).to_be_bytes());
        hash = fnv(hash, name.as_bytes());
        hash = fnv(hash, &topic.id.0);
        hash = fnv(hash, &topic.partitions.to_be_bytes());
    }
    match hash as i64 {
        _ if !any => 0,
        0 => 1,
        hash => hash,
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use buslane_wire::ids::TopicId;

    use super::super::topics::TopicTable;
    use super::*;

    #[test]
    fn the_hash_changes_with_what_matters() {
        let mut topics = TopicTable::new();
        topics.set("a", TopicId([1; 16]), 2);
        topics.set("b", TopicId([2; 16]), 2);
        let hash = |topics: &TopicTable, names: &[&str]| metadata_hash(names.iter().copied(), topics);
        let both = hash(&topics, &["a", "b"]);
        assert_eq!(both, hash(&topics, &["b", "a", "gone"]), "neither order nor missing topics matter");
        assert_ne!(both, hash(&topics, &["a"]));
        assert_eq!(hash(&topics, &["gone"]), 0);
        topics.set("b", TopicId([2; 16]), 3);
        let grown = hash(&topics, &["a", "b"]);
        assert_ne!(both, grown);
        topics.set("b", TopicId([3; 16]), 3);
        assert_ne!(grown, hash(&topics, &["a", "b"]), "created again");
    }

    #[test]
    fn most_votes_choose_the_assignor() {
        let offered = [AssignorKind::Uniform, AssignorKind::Range];
        let member = |assignor: &str| MemberMetadata {
            server_assignor: Some(assignor.to_string()),
            ..Default::default()
        };
        let mut counts = Subscriptions::default();
        assert_eq!(counts.preferred_assignor(&offered), AssignorKind::Uniform);
        counts.add(&member("range"));
        assert_eq!(counts.preferred_assignor(&offered), AssignorKind::Range);
        counts.add(&member("uniform"));
        assert_eq!(
            counts.preferred_assignor(&offered),
            AssignorKind::Uniform,
            "the first offered wins a tie"
        );
        assert_eq!(counts.preferred_assignor(&[AssignorKind::Range]), AssignorKind::Range);
        counts.remove(&member("range"));
        counts.remove(&member("uniform"));
        assert_eq!(counts, Subscriptions::default());
    }
}

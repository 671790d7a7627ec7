//! Tests of whole groups: heartbeats in, answers and facts out.

mod classic;
mod group;
mod sim;

use buslane_wire::ids::TopicId;

use super::*;

/// The id of the topic `name`, as all tests make it.
pub(super) fn topic_id(name: &str) -> TopicId {
    let mut bytes = [0; 16];
    for (slot, byte) in bytes.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    TopicId(bytes)
}

pub(super) fn table(topics: &[(&str, i32)]) -> TopicTable {
    let mut table = TopicTable::new();
    for (name, partitions) in topics {
        table.set(name, topic_id(name), *partitions);
    }
    table
}

pub(super) fn parts(topic: &str, partitions: &[i32]) -> Partitions {
    partitions.iter().map(|partition| (topic_id(topic), *partition)).collect()
}

/// The fact after it was a record.
pub(super) fn read_back(group_id: &str, fact: &Fact) -> Fact {
    let record = fact.to_record(group_id).unwrap();
    let parsed = crate::records::parse(&record.key, record.value.as_deref()).unwrap();
    let crate::records::Parsed::Known(known) = parsed else { panic!("{parsed:?}") };
    let (group, read) = Fact::from_record(&known).unwrap();
    assert_eq!(group, group_id);
    read
}

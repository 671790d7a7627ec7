//! What a group may know about topics.

use std::collections::BTreeMap;

use buslane_wire::ids::TopicId;

/// One topic as a group sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id; another one after the name was deleted and created again.
    pub id: TopicId,
    /// How many partitions it has, from index 0.
    pub partitions: i32,
}

/// The cluster's topics at one moment. The coordinator hands one to each call that may look at topics.
///
/// For a request of a member that may not describe every topic, [`TopicsView::names`] yields only those it may: a
/// pattern never tells of the others. The other methods see every topic.
pub trait TopicsView {
    /// Rises whenever a topic is created, deleted or grown. Groups look again only when it has changed.
    fn version(&self) -> u64;

    /// The topic of this name, when there is one.
    fn by_name(&self, name: &str) -> Option<TopicInfo>;

    /// The name of the topic with this id, when it still exists.
    fn name_of(&self, id: TopicId) -> Option<&str>;

    /// Every topic name that a pattern may match, in any order.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// A [`TopicsView`] in maps, for tests and small callers.
#[derive(Clone, Debug, Default)]
pub struct TopicTable {
    version: u64,
    topics: BTreeMap<String, TopicInfo>,
    names: BTreeMap<TopicId, String>,
}

impl TopicTable {
    /// No topics, version 0.
    pub fn new() -> TopicTable {
        TopicTable::default()
    }

    /// Creates the topic, or makes it have this id and this many partitions.
    pub fn set(&mut self, name: &str, id: TopicId, partitions: i32) {
        self.version += 1;
        if let Some(old) = self.topics.insert(name.to_string(), TopicInfo { id, partitions }) {
            self.names.remove(&old.id);
        }
        self.names.insert(id, name.to_string());
    }

    /// Deletes the topic, when there is one.
    pub fn remove(&mut self, name: &str) {
        if let Some(old) = self.topics.remove(name) {
            self.version += 1;
            self.names.remove(&old.id);
        }
    }
}

impl TopicsView for TopicTable {
    fn version(&self) -> u64 {
        self.version
    }

    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.topics.get(name).copied()
    }

    fn name_of(&self, id: TopicId) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.topics.keys().map(String::as_str))
    }
}

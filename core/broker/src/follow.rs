//! From the image to the topics that requests find: new ones appear, changed ones are reconfigured, deleted ones go.

use std::sync::Arc;

use buslane_log::Store;
use buslane_meta::TopicImage;
use buslane_wire::ids::TopicPartition;

use crate::node::Node;
use crate::partitions::{Partition, Topic, Topics, chain_view};
use crate::topic_config::TopicConfig;

impl Node {
    /// Brings the topics and quotas up to the newest image.
    pub fn follow(self: &Arc<Self>) {
        let mut seen = self.following.lock();
        let image = self.consensus.image();
        let mut topics = None;
        // They are what topics have that do not say otherwise.
        let changed = seen.broker_configs != image.broker_configs;
        if changed {
            let values = self.server_values.load().changed(&image, self.id);
            self.server_values.store(Arc::new(values));
        }
        for topic in image.topics.values() {
            let old = seen.topic(topic.id);
            // What an image shares with its predecessor is the same.
            if !changed && old.is_some_and(|old| Arc::ptr_eq(old, topic)) {
                continue;
            }
            if old.is_none_or(|old| {
                changed || old.config != topic.config || old.partitions.len() != topic.partitions.len()
            }) {
                let topics = topics.get_or_insert_with(|| Topics::clone(&self.topics.load()));
                let entered = self.enter(topic, topics.with_id(topic.id).cloned());
                topics.insert(entered);
            }
            if let Some(old) = old {
                self.follow_log_starts(old, topic);
            }
        }
        let gone: Vec<Arc<TopicImage>> =
            seen.topics.values().filter(|t| image.topic(t.id).is_none()).cloned().collect();
        for topic in &gone {
            let topics = topics.get_or_insert_with(|| Topics::clone(&self.topics.load()));
            if let Some(removed) = topics.remove(topic.id) {
                self.remove_files(removed);
            }
        }
        if let Some(topics) = topics {
            self.topics.store(Arc::new(topics));
        }
        if !seen.quotas.ptr_eq(&image.quotas) {
            self.quotas.follow(&image.quotas);
        }
        *seen = image;
        if !gone.is_empty() {
            let gone: Vec<_> = gone.iter().map(|topic| (topic.name.as_str().into(), topic.id)).collect();
            self.groups.topics_deleted(&gone);
        }
    }

    /// A topic for the table; partitions that are there already go on.
    fn enter(self: &Arc<Self>, image: &TopicImage, old: Option<Arc<Topic>>) -> Arc<Topic> {
        let config = Arc::new(TopicConfig::resolve(&image.config, &self.server_values.load()));
        let name: Arc<str> = old.as_ref().map_or_else(|| image.name.as_str().into(), |t| t.name.clone());
        let mut partitions = old.map_or_else(Vec::new, |t| t.partitions.clone());
        for partition in &partitions {
            partition.reconfigure(config.clone());
        }
        for (index, p) in image.partitions.iter().enumerate().skip(partitions.len()) {
            let id = TopicPartition { topic: image.id, partition: index as i32 };
            let partition = Partition::new(id, name.clone(), self.context.clone(), config.clone());
            if p.owner == Some(self.id) {
                partition.start(chain_view(p), p.plan.clone(), p.log_start_offset);
            }
            partitions.push(partition);
        }
        Arc::new(Topic { id: image.id, name, config, partitions })
    }

    fn follow_log_starts(&self, old: &TopicImage, new: &TopicImage) {
        let topics = self.topics.load();
        let Some(topic) = topics.with_id(new.id) else { return };
        for ((was, is), partition) in old.partitions.iter().zip(&new.partitions).zip(&topic.partitions) {
            if is.log_start_offset > was.log_start_offset {
                partition.set_log_start_offset(is.log_start_offset);
            }
        }
    }

    /// Fences a deleted topic's partitions and removes their copies.
    fn remove_files(&self, topic: Arc<Topic>) {
        for partition in &topic.partitions {
            partition.fence();
        }
        let context = self.context.clone();
        drop(self.runtime.spawn_blocking(move || {
            for partition in &topic.partitions {
                remove_partition(&context.store, partition.id);
            }
        }));
    }
}

/// Removes all copies of a partition that was deleted. What fails stays until the next start, which moves it to the
/// orphans.
fn remove_partition(store: &Store, partition: TopicPartition) {
    let found = match store.list_partition(partition) {
        Ok(found) => found,
        Err(error) => {
            return tracing::warn!(%error, %partition, "a deleted partition's files stay until the next start");
        }
    };
    for copy in found {
        if let Err(error) = store.delete(&copy.segment, copy.base_offset) {
            tracing::warn!(%error, segment = %copy.segment, "file not removed");
        }
    }
    if let Err(error) = store.forget_partition(partition) {
        tracing::warn!(%error, %partition, "promise not forgotten");
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use buslane_meta::Command;

    use super::*;
    use crate::config::{ByteSize, ServerConfig};
    use crate::metrics::BackgroundMetrics;
    use crate::topics::{self, NewTopic};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_is_followed_though_nobody_waits_for_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::default();
        config.server.data = dir.path().into();
        config.server.disk_reserve = ByteSize(0);
        let settings = crate::server::node_settings(&config, "127.0.0.1:9092".parse().unwrap());
        let node = Node::start(settings, BackgroundMetrics::default()).await.unwrap();
        let name = "short".into();
        let topic =
            NewTopic { name, partitions: Some(1), replicas: None, assignments: vec![], configs: vec![] };
        topics::create(&node, &[topic], false).await.remove(0).unwrap();
        let id = node.topics.load().named("short").unwrap().id;
        {
            // A request whose connection breaks while the metadata is written.
            let deletion = pin!(node.propose(Command::DeleteTopic { topic: id }));
            let polled = deletion.poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "{polled:?}: the answer takes a sync");
        }
        let folder = dir.path().join("log").join(id.to_string());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while node.topics.load().named("short").is_some() || folder.exists() {
            assert!(tokio::time::Instant::now() < deadline, "the deletion was not followed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        node.stop().await.unwrap();
    }
}

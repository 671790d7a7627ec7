use std::sync::Arc;

use buslane_partition::Phase;
use buslane_wire::batch::{BatchBuilder, BatchOptions, NewRecord};
use tempfile::TempDir;

use super::*;
use crate::config::{ByteSize, ServerConfig};
use crate::metrics::BackgroundMetrics;
use crate::node::Node;
use crate::topics::{self, NewTopic};

/// A node with one partition in which a batch waits for its sync before it is acknowledged.
async fn synced() -> (Arc<Node>, Arc<Partition>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::default();
    config.server.data = dir.path().into();
    config.server.disk_reserve = ByteSize(0);
    let settings = crate::server::node_settings(&config, "127.0.0.1:9092".parse().unwrap());
    let node = Node::start(settings, BackgroundMetrics::default()).await.unwrap();
    let configs = vec![("buslane.durability".to_owned(), Some("synced".to_owned()))];
    let (partitions, replicas) = (Some(1), Some(1));
    let topic = NewTopic { name: "one".into(), partitions, replicas, assignments: vec![], configs };
    topics::create(&node, &[topic], false).await.remove(0).unwrap();
    let partition = node.topics.load().named("one").unwrap().partition(0).unwrap().clone();
    (node, partition, dir)
}

async fn produce(partition: &Arc<Partition>) {
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::default();
    builder.push(&NewRecord { timestamp: 1_000, value: Some(b"v"), ..NewRecord::default() });
    let header = builder.build(&BatchOptions::default(), &mut bytes).unwrap();
    let mut ticket = partition.append(Batch { header, max_timestamp: None, bytes: bytes.into() }, Acks::All);
    loop {
        ticket = match ticket {
            Ticket::Done(result) => {
                result.unwrap();
                return;
            }
            Ticket::Confirming(receiver) => Ticket::Done(Ok(receiver.await.unwrap())),
            Ticket::Waiting(receiver) => receiver.await.unwrap(),
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pause_before_a_restart_is_short_again_once_something_was_committed() {
    let (node, partition, _dir) = synced().await;
    partition.lock().restarts = 7;
    produce(&partition).await;
    assert_eq!(partition.lock().restarts, 0);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_started_again_that_was_told_to_step_down() {
    let (node, partition, _dir) = synced().await;
    produce(&partition).await;
    let image = node.consensus.image();
    let before = image.partition(partition.id).unwrap();
    // As after a pause that began before the stop.
    partition.step_down().await;
    assert_eq!(partition.phase(), Phase::Stopped);
    partition.start(chain_view(before), before.plan.clone(), 0);
    assert_eq!(partition.phase(), Phase::Stopped);
    node.stop().await.unwrap();
}

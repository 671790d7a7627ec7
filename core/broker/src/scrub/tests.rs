use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use buslane_wire::batch::{BatchBuilder, BatchOptions, NewRecord};

use super::*;
use crate::config::{ByteSize, ServerConfig};
use crate::metrics::BackgroundMetrics;
use crate::node::Node;
use crate::partitions::{Acks, Batch, NotReadable, Partition, ReadRefused, Ticket};
use crate::topics::{self, NewTopic};

/// Records of the first segment: each is a batch of its own, and two more seal it.
const RECORDS: i64 = 6;

struct Running {
    node: Arc<Node>,
    metrics: ScrubMetrics,
    partition: Arc<Partition>,
    dir: tempfile::TempDir,
}

impl Running {
    /// A node whose one partition has a sealed segment of at least [`RECORDS`] batches, and an open one.
    async fn start(interval: Duration, rate: u64) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::default();
        config.server.data = dir.path().into();
        config.scrub.interval = interval;
        config.scrub.rate = ByteSize(rate);
        config.server.disk_reserve = ByteSize(0);
        let metrics = ScrubMetrics::default();
        let settings = crate::server::node_settings(&config, "127.0.0.1:9092".parse().unwrap());
        let counted = BackgroundMetrics { scrub: metrics.clone(), ..BackgroundMetrics::default() };
        let node = Node::start(settings, counted).await.unwrap();
        let configs = vec![("segment.bytes".to_owned(), Some("1024".to_owned()))];
        let (partitions, replicas) = (Some(1), Some(1));
        let topic = NewTopic { name: "scrubbed".into(), partitions, replicas, assignments: vec![], configs };
        let created = topics::create(&node, &[topic], false).await;
        assert!(created[0].is_ok(), "{created:?}");
        let partition = node.topics.load().named("scrubbed").unwrap().partition(0).unwrap().clone();
        let running = Running { node, metrics, partition, dir };
        while running.sealed().is_empty() {
            running.produce().await;
        }
        assert!(running.sealed()[0].end_offset > RECORDS);
        running
    }

    async fn produce(&self) -> i64 {
        let mut bytes = Vec::new();
        let mut builder = BatchBuilder::default();
        builder.push(&NewRecord { timestamp: 1_000, value: Some(&[7; 60]), ..NewRecord::default() });
        let header = builder.build(&BatchOptions::default(), &mut bytes).unwrap();
        let mut ticket =
            self.partition.append(Batch { header, max_timestamp: None, bytes: bytes.into() }, Acks::All);
        loop {
            ticket = match ticket {
                Ticket::Done(result) => return result.unwrap().base_offset,
                Ticket::Confirming(receiver) => Ticket::Done(Ok(receiver.await.unwrap())),
                Ticket::Waiting(receiver) => receiver.await.unwrap(),
            };
        }
    }

    fn sealed(&self) -> Vec<SealedSegment> {
        let image = self.node.consensus.image();
        let me = self.node.id;
        sealed_here(&image, me).map(|segment| sealed(&image, &segment, me).unwrap()).collect()
    }

    /// The first segment's log.
    fn log(&self) -> PathBuf {
        let folder = self.dir.path().join("log").join(self.partition.id.topic.to_string()).join("0");
        let mut logs: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "log"))
            .collect();
        logs.sort();
        logs.remove(0)
    }

    /// Whether a fetch at each offset of the first segment gets records, and never those at or beyond `refused`.
    fn served(&self, offset: i64) -> Result<std::ops::Range<i64>, ReadRefused> {
        let slice = self.partition.read(offset, 1 << 20, true)?.slice.unwrap();
        Ok(slice.base_offset..slice.end_offset)
    }
}

/// Changes a byte in place; done twice, it is as before.
fn flip(log: &Path, at: u64, bits: u8) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(log).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// Where the batches of a log start.
fn positions(log: &Path) -> Vec<u64> {
    let bytes = std::fs::read(log).unwrap();
    let (mut all, mut at) = (vec![], 0);
    while at < bytes.len() {
        all.push(at as u64);
        at += 12 + u32::from_be_bytes(*bytes[at + 8..].first_chunk().unwrap()) as usize;
    }
    all
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_refused_and_forgotten_when_the_file_is_whole_again() {
    let running = Running::start(Duration::from_millis(100), 1 << 30).await;
    let metrics = &running.metrics;
    until("a sound segment is scrubbed", || metrics.segments.get() >= 1).await;
    assert_eq!(metrics.damaged_segments.get(), 0);
    let end = running.sealed()[0].end_offset;
    assert_eq!(running.served(0).unwrap(), 0..end);
    let log = running.log();
    let starts = positions(&log);
    // A record's byte, then the leader epoch that no checksum covers.
    for (at, bits) in [(starts[3] + 70, 1), (starts[3] + 15, 2), (starts[3] + 12, 0x40)] {
        flip(&log, at, bits);
        until("the damage is found", || metrics.damaged_segments.get() == 1).await;
        assert_eq!(running.served(0).unwrap(), 0..3, "what lies before it is served, and ends there");
        assert_eq!(running.served(2).unwrap(), 2..3);
        let refused = running.served(3).unwrap_err();
        let ReadRefused::NotReadable(NotReadable::Storage(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains(&format!("{}: damaged at byte {}", log.display(), starts[3])), "{text}");
        assert_eq!(running.served(4).unwrap(), 4..end, "and what lies behind it");
        let produced = running.produce().await;
        assert!(running.served(produced).unwrap().contains(&produced));
        flip(&log, at, bits);
        until("the damage is forgotten", || metrics.damaged_segments.get() == 0).await;
        assert_eq!(running.served(0).unwrap(), 0..end);
    }
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_segment_is_no_damage_and_takes_its_damage_along() {
    let running = Running::start(Duration::from_millis(100), 1 << 30).await;
    let metrics = &running.metrics;
    let log = running.log();
    flip(&log, positions(&log)[2] + 20, 1);
    until("the damage is found", || metrics.damaged_segments.get() == 1).await;
    let end_offset = running.sealed()[0].end_offset;
    let epoch = running.partition.offsets().unwrap().leader_epoch;
    running.node.advance_log_starts(&[(running.partition.id, end_offset, epoch)]).await.remove(0).unwrap();
    until("its file is gone", || !log.exists()).await;
    until("its damage is gone", || metrics.damaged_segments.get() == 0).await;
    // One that is gone without the chain's knowing is damage.
    while running.sealed().is_empty() {
        running.produce().await;
    }
    std::fs::remove_file(running.log()).unwrap();
    until("the loss is found", || metrics.damaged_segments.get() == 1).await;
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_of_zero_scrubs_nothing_and_a_stop_does_not_wait_for_the_pace() {
    let off = Running::start(Duration::ZERO, 1 << 30).await;
    let slow = Running::start(Duration::from_millis(50), 1).await;
    until("the slow one has begun", || slow.metrics.bytes.get() > 0).await;
    let stopping = tokio::time::Instant::now();
    slow.node.stop().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(10), "a kilobyte at a byte a second takes longer");
    assert_eq!((off.metrics.bytes.get(), off.metrics.segments.get()), (0, 0));
    off.node.stop().await.unwrap();
}

//! Tests: requests that wait, for bytes or for a segment.

use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use buslane_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, NewRecord};
use buslane_wire::frame::{decode_response_header, encode_request};
use buslane_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use buslane_wire::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use buslane_wire::{ErrorCode, Records};
use tokio::sync::oneshot;

use super::*;
use crate::config::{ByteSize, ServerConfig};
use crate::metrics::BackgroundMetrics;
use crate::net::Budget;
use crate::partitions::{Acks, AppendRefused, Batch, Partition, Ticket};
use crate::topics::{self, NewTopic};

/// Long beyond every deadline of a test.
const LONG_MS: i32 = 3_600_000;

struct Running {
    node: Arc<Node>,
    _dir: tempfile::TempDir,
}

impl Running {
    async fn start() -> Running {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::default();
        config.server.data = dir.path().into();
        config.server.disk_reserve = ByteSize(0);
        let settings = crate::server::node_settings(&config, "127.0.0.1:9092".parse().unwrap());
        let node = Node::start(settings, BackgroundMetrics::default()).await.unwrap();
        let topic = NewTopic {
            name: "t".into(),
            partitions: Some(2),
            replicas: None,
            assignments: vec![],
            configs: vec![],
        };
        topics::create(&node, &[topic], false).await.remove(0).unwrap();
        let running = Running { node, _dir: dir };
        // What has not found its end yet is answered with an error at once.
        while (0..2).any(|index| running.partition(index).offsets().is_err()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        running
    }

    fn partition(&self, index: i32) -> Arc<Partition> {
        self.node.topics.load().named("t").unwrap().partition(index).unwrap().clone()
    }

    /// Keeps every thread of the owners busy until the sender is dropped: no segment is made or sealed meanwhile.
    fn hold_owners(&self) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(parking_lot::Mutex::new(held));
        for _ in 0..64 {
            let held = held.clone();
            self.node.context.owners.run(move || while held.lock().recv().is_ok() {});
        }
        release
    }

    /// The answer to a request, and a count that is 1 once nothing of the request's bytes is held.
    fn ask<M: Message>(
        &self,
        version: i16,
        request: &M,
    ) -> (Pin<Box<impl Future<Output = Answer> + Send + use<M>>>, Arc<()>) {
        struct Owned {
            bytes: Vec<u8>,
            _held: Arc<()>,
        }
        impl AsRef<[u8]> for Owned {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }
        let mut encoder = Encoder::new();
        encode_request(&mut encoder, 7, None, version, request).unwrap();
        let held = Arc::new(());
        let bytes = encoder.to_vec().unwrap()[4..].to_vec();
        let frame = Bytes::from_owner(Owned { bytes, _held: held.clone() });
        let peer = "127.0.0.1".parse().unwrap();
        let node = self.node.clone();
        let answer = async move {
            let budget = Budget::new(256 << 20, 100 << 20);
            let usage = node.quotas.begin();
            handle(node.clone(), peer, frame, &Memory::new(&budget, None), &usage).await
        };
        (Box::pin(answer), held)
    }
}

fn fetch(max_wait_ms: i32) -> FetchRequest<'static> {
    let partition =
        |partition| FetchPartition { partition, partition_max_bytes: 1_000, ..Default::default() };
    let partitions = vec![partition(0), partition(1)];
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 10_000,
        topics: vec![FetchTopic { topic: "t", partitions, ..Default::default() }],
        ..Default::default()
    }
}

fn built(value: &[u8]) -> (BatchHeader, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::default();
    builder.push(&NewRecord { timestamp: 1_000, value: Some(value), ..NewRecord::default() });
    let header = builder.build(&BatchOptions::default(), &mut bytes).unwrap();
    (header, bytes)
}

fn polled<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

fn sent(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Send { encoder, .. } => encoder.to_vec().unwrap()[4..].to_vec(),
        Answer::Nothing => panic!("no answer"),
        Answer::Close(reason) => panic!("{reason}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_fetch_holds_nothing_of_its_request_and_ends_with_the_server() {
    let running = Running::start().await;
    let (mut waiting, held) = running.ask(11, &fetch(LONG_MS));
    assert!(polled(&mut waiting).is_pending());
    assert_eq!(Arc::strong_count(&held), 1, "its bytes are free while it waits");
    let waiting = tokio::spawn(waiting);
    end_long_polls(&running.node);
    sent(soon(waiting).await.unwrap());
    // Nobody waits from then on.
    let (late, _) = running.ask(11, &fetch(LONG_MS));
    sent(soon(late).await);
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_produce_request_that_waits_for_a_segment_holds_nothing_of_its_bytes() {
    let running = Running::start().await;
    let release = running.hold_owners();
    let (header, bytes) = built(b"value");
    let records = Some(Records::Slice(&bytes));
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: LONG_MS,
        topic_data: vec![TopicProduceData {
            name: "t",
            topic_id: Default::default(),
            partition_data: vec![PartitionProduceData { index: 1, records }],
        }],
    };
    let (mut produce, held) = running.ask(9, &request);
    assert!(polled(&mut produce).is_pending());
    assert_eq!(Arc::strong_count(&held), 1, "what waits is a copy");
    assert_eq!(running.node.context.waiting.bytes(), header.total_len());
    drop(release);
    let answer = sent(soon(produce).await);
    let (_, body) = decode_response_header(&answer, ApiKey::Produce, 9).unwrap();
    let response: ProduceResponse<'_> = buslane_wire::decode_prefix(body, 9).unwrap();
    let topic = &response.responses[0];
    assert_eq!((topic.name, topic.partition_responses[0].index), ("t", 1));
    assert_eq!(topic.partition_responses[0].error_code, ErrorCode::NONE);
    assert_eq!(running.node.context.waiting.bytes(), 0);
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_segments_is_bounded_and_nothing_overtakes_what_was_refused() {
    let running = Running::start().await;
    let release = running.hold_owners();
    let append = |partition: &Arc<Partition>, value: &[u8]| {
        let (header, bytes) = built(value);
        partition.append(Batch { header, max_timestamp: None, bytes: bytes.into() }, Acks::All)
    };
    let large = vec![7; 1 << 20];
    // As much as one partition may have; then also a small batch is refused, which would fit.
    let (one, other) = (running.partition(0), running.partition(1));
    let mut waiting: Vec<oneshot::Receiver<Ticket>> = Vec::new();
    for partition in [&one, &other] {
        loop {
            match append(partition, &large) {
                Ticket::Waiting(receiver) => waiting.push(receiver),
                Ticket::Done(Err(AppendRefused::Busy)) => break,
                ticket => panic!("{ticket:?}"),
            }
        }
        let small = append(partition, b"small");
        assert!(matches!(small, Ticket::Done(Err(AppendRefused::Busy))), "{small:?}");
    }
    let held = running.node.context.waiting.bytes();
    assert!((60 << 20..=64 << 20).contains(&held), "{held}");
    drop(release);
    for receiver in waiting {
        let ticket = soon(receiver).await.unwrap();
        assert!(matches!(&ticket, Ticket::Done(Ok(_)) | Ticket::Confirming(_)), "{ticket:?}");
    }
    assert_eq!(running.node.context.waiting.bytes(), 0);
    // They are taken again.
    let small = append(&one, b"small");
    assert!(matches!(&small, Ticket::Done(Ok(_))), "{small:?}");
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_produce_request_names_a_bounded_number_of_partitions() {
    let running = Running::start().await;
    let partition = |index| PartitionProduceData { index, records: Some(Records::Slice(&[7; 61])) };
    let request = |count| ProduceRequest {
        transactional_id: None,
        acks: 1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            name: "t",
            topic_id: Default::default(),
            partition_data: (0..count).map(partition).collect(),
        }],
    };
    let answer = pin!(running.ask(9, &request(1 << 16)).0).await;
    assert!(!sent(answer).is_empty());
    let answer = pin!(running.ask(9, &request((1 << 16) + 1)).0).await;
    assert!(matches!(answer, Answer::Close(_)));
    running.node.stop().await.unwrap();
}

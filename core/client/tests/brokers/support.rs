//! Real brokers, and what every one of them must do for a client.

use std::time::Duration;

use buslane_broker::ServerConfig;
use buslane_broker::config::Override;
use buslane_client::{
    ANY_VERSION, Acks, Address, Append, At, Client, Config, Error, FetchFrom, FetchLimits, ProducerId,
    Purpose,
};
use buslane_wire::ErrorCode;
use buslane_wire::batch::{BatchBuilder, BatchOptions, BatchProducer, BatchRecords, Batches, NewRecord};
use buslane_wire::messages::create_topics::CreatableTopic;
use buslane_wire::messages::delete_topics::DeleteTopicState;
use buslane_wire::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use bytes::Bytes;
use tokio::sync::oneshot;

pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Buslane, in this process.
pub struct Bus {
    pub address: Address,
    stop: Option<oneshot::Sender<()>>,
    running: std::thread::JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Bus {
    pub async fn start() -> Bus {
        Bus::start_in(tempfile::tempdir().unwrap(), 0).await
    }

    pub async fn start_in(folder: tempfile::TempDir, port: u16) -> Bus {
        let set = |key, value: String| Override { option: format!("--{key}"), key, value };
        let settings = [
            set("server.data", folder.path().join("data").display().to_string()),
            set("server.listen", format!("127.0.0.1:{port}")),
            set("http.enabled", "false".to_owned()),
        ];
        let config = ServerConfig::load(None, &settings).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (started, starts) = oneshot::channel();
        // A runtime of its own: what the broker leaves behind ends with it, as with its process.
        let running = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let started = move |told: &buslane_broker::Started| started.send(told.kafka).unwrap();
            runtime.block_on(buslane_broker::run(config, started, async { drop(stopped.await) })).unwrap();
        });
        let address = starts.await.unwrap().to_string().parse().unwrap();
        Bus { address, stop: Some(stop), running, folder }
    }

    /// Returns its folder and port, for the next one.
    pub async fn stop(mut self) -> (tempfile::TempDir, u16) {
        let _ = self.stop.take().unwrap().send(());
        tokio::task::spawn_blocking(|| self.running.join()).await.unwrap().unwrap();
        (self.folder, self.address.port)
    }

    pub fn config(&self) -> Config {
        Config::new(vec![self.address.clone()], "test")
    }
}

pub fn batch(values: &[&[u8]], timestamp: i64, producer: Option<(ProducerId, i32)>) -> Bytes {
    let mut builder = BatchBuilder::default();
    for value in values {
        builder.add(&NewRecord { timestamp, key: None, value: Some(value), headers: &[] }).unwrap();
    }
    let producer =
        producer.map(|(who, base_sequence)| BatchProducer { id: who.id, epoch: who.epoch, base_sequence });
    let mut out = Vec::new();
    builder.build(&BatchOptions { producer, ..Default::default() }, &mut out).unwrap();
    out.into()
}

pub fn append(topic: &str, partition: i32, batch: &Bytes) -> Append {
    Append { topic: topic.to_owned(), partition, batch: batch.clone() }
}

pub async fn create(client: &Client, name: &str, num_partitions: i32) {
    let topic = CreatableTopic { name, num_partitions, replication_factor: -1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let answer = client.ask(ANY_VERSION, &request).await.unwrap();
    assert_eq!(answer.read().unwrap().topics[0].error_code, ErrorCode::NONE);
    led(client, name, num_partitions).await;
}

/// Waits until every partition has a leader that knows it is one.
pub async fn led(client: &Client, name: &str, partitions: i32) {
    let end = tokio::time::Instant::now() + TIMEOUT;
    for partition in 0..partitions {
        while let Err(error) = client.offset(name, partition, At::Latest).await {
            assert!(error.is_retriable() && tokio::time::Instant::now() < end, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = client.refresh(&[name]).await;
        }
    }
}

pub async fn delete(client: &Client, name: &str) {
    let topic = DeleteTopicState { name: Some(name), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], topic_names: vec![name], timeout_ms: 10_000 };
    let answer = client.ask(ANY_VERSION, &request).await.unwrap();
    assert_eq!(answer.read().unwrap().responses[0].error_code, ErrorCode::NONE);
}

async fn read(client: &Client, topic: &str, partition: i32, offset: i64) -> Vec<(i64, Vec<u8>)> {
    let node = client.leader(topic, partition).await.unwrap();
    let from = FetchFrom { topic: topic.to_owned(), partition, offset, bytes_max: 1 << 20 };
    let fetched = client.fetch(node, FetchLimits::default(), &[from]).await.unwrap();
    let fetched = fetched.results[0].as_ref().unwrap();
    let mut records = Vec::new();
    for batch in Batches::new(&fetched.batches) {
        let (_, header, bytes) = batch.unwrap();
        for record in BatchRecords::open(bytes, 1 << 20).unwrap().iter() {
            let record = record.unwrap();
            let offset = header.base_offset + i64::from(record.offset_delta);
            records.push((offset, record.value.unwrap().to_vec()));
        }
    }
    records
}

/// What a client is for, with any broker.
pub async fn everything(config: Config) {
    let client = Client::new(config).unwrap();
    create(&client, "one", 3).await;
    create(&client, "two", 1).await;
    metadata(&client).await;
    many_partitions_in_one_request(&client).await;
    batches_of_a_producer(&client).await;
    reading(&client).await;
    a_topic_made_anew(&client).await;
}

async fn metadata(client: &Client) {
    let known = client.refresh(&["one", "two"]).await.unwrap();
    assert!(known.cluster_id.is_some() && !known.nodes.is_empty());
    assert_eq!((known.topics["one"].partitions.len(), known.topics["two"].partitions.len()), (3, 1));
    assert!(!known.topics["one"].id.is_zero() && known.topics["one"].id != known.topics["two"].id);
    assert!(known.partition("one", 2).unwrap().leader_epoch >= 0);
    let error = client.refresh(&["no-such-topic", "one"]).await.unwrap_err();
    assert!(error.to_string().contains("UNKNOWN_TOPIC_OR_PARTITION (topic \"no-such-topic\")"), "{error}");
    assert!(error.is_retriable() && !error.is_in_doubt());
    client.forget("no-such-topic");
    client.refresh(&["one"]).await.unwrap();
    let error = client.leader("one", 3).await.unwrap_err().to_string();
    assert!(error.contains("partition 3 of topic \"one\", which has 3"), "{error}");
}

async fn many_partitions_in_one_request(client: &Client) {
    let node = client.leader("one", 0).await.unwrap();
    let (a, b) = (batch(&[b"a1", b"a2"], 1_000, None), batch(&[b"b"], 2_000, None));
    let batches = [append("one", 0, &a), append("two", 0, &b), append("one", 9, &b), append("one", 2, &b)];
    let produced = client.produce(node, Acks::All, TIMEOUT, &batches).await.unwrap();
    let offsets: Vec<Result<i64, ErrorCode>> = produced
        .results
        .iter()
        .map(|result| result.as_ref().map(|appended| appended.base_offset).map_err(|refused| refused.code))
        .collect();
    assert_eq!(offsets, [Ok(0), Ok(0), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Ok(0)]);
    let refused = produced.results[2].as_ref().unwrap_err();
    assert!(refused.to_string().contains("partition 9 of topic \"one\""), "{refused}");
    let mut broken = b.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let broken = [append("one", 1, &broken.into())];
    let produced = client.produce(node, Acks::Leader, TIMEOUT, &broken).await.unwrap();
    assert_eq!(produced.results[0].as_ref().unwrap_err().code, ErrorCode::CORRUPT_MESSAGE);
}

/// A broker that has just started may not have any yet.
async fn producer_id(client: &Client) -> ProducerId {
    let end = tokio::time::Instant::now() + TIMEOUT;
    loop {
        match client.new_producer_id().await {
            Ok(given) => return given,
            Err(error) => assert!(error.is_retriable() && tokio::time::Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sequences decide what is appended, many requests at once, in their order.
async fn batches_of_a_producer(client: &Client) {
    let node = client.leader("one", 1).await.unwrap();
    let (who, other) = (producer_id(client).await, producer_id(client).await);
    assert_ne!(who, other);
    let connection = client.node(node, Purpose::Produce).await.unwrap();
    let sent: Vec<_> = (0..200)
        .map(|n: i32| {
            let batch = batch(&[n.to_string().as_bytes()], 3_000, Some((who, n)));
            client.send_batches(&connection, Acks::All, TIMEOUT, &[append("one", 1, &batch)]).unwrap()
        })
        .collect();
    for (n, sent) in sent.into_iter().enumerate() {
        let produced = sent.answer(TIMEOUT).await.unwrap();
        assert_eq!(produced.results[0].as_ref().unwrap().base_offset, n as i64);
    }
    let again = batch(&[b"199"], 3_000, Some((who, 199)));
    let produced = client.produce(node, Acks::All, TIMEOUT, &[append("one", 1, &again)]).await.unwrap();
    assert_eq!(produced.results[0].as_ref().unwrap().base_offset, 199, "it is there already");
    let gap = batch(&[b"x"], 3_000, Some((who, 201)));
    let produced = client.produce(node, Acks::All, TIMEOUT, &[append("one", 1, &gap)]).await.unwrap();
    assert_eq!(produced.results[0].as_ref().unwrap_err().code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(client.offset("one", 1, At::Latest).await.unwrap(), Some(200));
}

async fn reading(client: &Client) {
    assert_eq!(read(client, "one", 0, 0).await, [(0, b"a1".to_vec()), (1, b"a2".to_vec())]);
    let all = read(client, "one", 1, 0).await;
    assert_eq!(all, (0..200).map(|n| (n, n.to_string().into_bytes())).collect::<Vec<_>>());
    for (at, expected) in [
        (At::Earliest, Some(0)),
        (At::Latest, Some(2)),
        (At::Timestamp(0), Some(0)),
        (At::Timestamp(1_001), None),
    ] {
        assert_eq!(client.offset("one", 0, at).await.unwrap(), expected, "{at:?}");
    }
    // Several partitions at once: one with records, one at its end, one beyond it, one that is not there.
    let node = client.leader("one", 0).await.unwrap();
    let from = |topic: &str, partition, offset| FetchFrom {
        topic: topic.to_owned(),
        partition,
        offset,
        bytes_max: 1 << 20,
    };
    let wanted = [from("two", 0, 0), from("one", 0, 2), from("one", 0, 99), from("one", 7, 0)];
    // One partition is asked for once in a request.
    let limits = FetchLimits { committed_only: true, ..FetchLimits::default() };
    let first = client.fetch(node, limits, &wanted[..2]).await.unwrap();
    let [two, end] = &first.results[..] else { panic!("two were asked for") };
    let two = two.as_ref().unwrap();
    assert_eq!((two.high_watermark, two.last_stable_offset, two.log_start_offset), (1, 1, 0));
    assert!(!two.batches.is_empty() && two.aborted.is_empty());
    assert!(end.as_ref().unwrap().batches.is_empty());
    let second = client.fetch(node, limits, &wanted[2..]).await.unwrap();
    let codes: Vec<ErrorCode> =
        second.results.iter().map(|result| result.as_ref().unwrap_err().code).collect();
    assert_eq!(codes, [ErrorCode::OFFSET_OUT_OF_RANGE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
}

/// A batch for the topic that was is not appended to the one of the same name.
async fn a_topic_made_anew(client: &Client) {
    create(client, "again", 1).await;
    let node = client.leader("again", 0).await.unwrap();
    let id = client.metadata().topics["again"].id;
    delete(client, "again").await;
    // Another client, so that this one knows nothing of it.
    let other = Client::new(client.config().clone()).unwrap();
    let end = tokio::time::Instant::now() + TIMEOUT;
    while other.refresh(&["again"]).await.is_ok() {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    create(&other, "again", 1).await;
    let batches = [append("again", 0, &batch(&[b"x"], 1, None))];
    let refused = client.produce(node, Acks::All, TIMEOUT, &batches).await.unwrap();
    let refused = refused.results[0].as_ref().unwrap_err();
    assert_eq!(refused.code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert!(buslane_client::is_stale_leader(refused.code));
    let now = client.refresh(&["again"]).await.unwrap();
    assert_ne!(now.topics["again"].id, id);
    let appended = client.produce(node, Acks::All, TIMEOUT, &batches).await.unwrap();
    assert_eq!(appended.results[0].as_ref().unwrap().base_offset, 0);
}

/// The error that a client of this configuration ends with.
pub async fn refusal(config: Config) -> Error {
    Client::new(config).unwrap().refresh(&[]).await.unwrap_err()
}

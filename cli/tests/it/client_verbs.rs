//! The client verbs against a running broker.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::broker::{Server, signal, wait};
use crate::fixture::{buslane, buslane_with};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A broker to test against: the one that BUSLANE_TEST_BOOTSTRAP names (a real Apache Kafka, in scripts/test), or else
/// one of our own, which ends with the test.
enum Broker {
    Ours { server: Server, _folder: TempDir },
    Named(String),
}

impl Broker {
    fn start() -> Self {
        if let Ok(bootstrap) = std::env::var("BUSLANE_TEST_BOOTSTRAP") {
            return Self::Named(bootstrap);
        }
        let folder = TempDir::new().expect("a temporary folder can be made");
        Self::Ours { server: Server::start(&folder.path().join("data")), _folder: folder }
    }

    fn bootstrap(&self) -> &str {
        match self {
            Self::Ours { server, .. } => server.bootstrap(),
            Self::Named(bootstrap) => bootstrap,
        }
    }
}

/// Every line of a command's stdout as JSON.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn a_topics_life() {
    let broker = Broker::start();
    let topic = |args: &[&str]| buslane(&[&["topic"], args, &["-b", broker.bootstrap()]].concat());
    topic(&["create", "life", "--partitions", "3", "--config", "retention.ms=3600000"]).expect(0);
    let again = topic(&["create", "life"]).expect(4);
    assert!(again.stderr.contains("cannot create topic 'life'"), "{}", again.stderr);
    let again = topic(&["create", "life", "--if-not-exists", "--json"]).expect(0);
    assert_eq!(json_lines(&again.stdout), [json!({"topic": "life", "created": false})]);

    let list = topic(&["list", "--json"]).expect(0);
    assert!(
        json_lines(&list.stdout)
            .contains(&json!({"topic": "life", "partitions": 3, "replication_factor": 1}))
    );
    assert!(topic(&["list"]).expect(0).stdout.lines().any(|line| line.starts_with("life ")));

    let description = &json_lines(&topic(&["describe", "life", "--json"]).expect(0).stdout)[0];
    let partitions = description["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    for partition in partitions {
        assert_eq!(
            (&partition["start_offset"], &partition["end_offset"]),
            (&json!(0), &json!(0)),
            "{partition}"
        );
        assert_eq!(partition["in_sync_replicas"], partition["replicas"], "{partition}");
    }
    let retention = json!({"name": "retention.ms", "value": "3600000", "default": false});
    assert!(description["config"].as_array().unwrap().contains(&retention), "{description}");

    topic(&["delete", "life"]).expect(0);
    topic(&["delete", "life"]).expect(4);
    topic(&["delete", "life", "--if-exists"]).expect(0);
    topic(&["describe", "life"]).expect(4);
}

#[test]
fn what_is_produced_is_consumed_byte_for_byte() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    buslane(&["topic", "create", "bytes", "--partitions", "1", "-b", b]).expect(0);
    let every_byte: String = (0..=255_u8).map(|byte| format!("{byte:02x}")).collect();
    let records = [
        json!({"key": "k", "value": "v", "headers": [{"key": "h", "value": "1"}, {"key": "h", "value": "2"}], "timestamp": 1_700_000_000_000_i64}),
        json!({"key_hex": "ff00", "value_hex": every_byte, "headers": [{"key": "h", "value_hex": "80"}]}),
        json!({"key": "tombstone", "value": null}),
        json!({"value": ""}),
        json!({"key": "", "value": "ü\n\t\"", "headers": [{"key": "none", "value": null}]}),
    ];
    let input: String = records.iter().map(|record| format!("{record}\n")).collect();
    for (run, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        let done = buslane_with(
            &["produce", "bytes", "--input", "json", "--json", "--idempotent", "-z", codec, "-b", b],
            input.as_bytes(),
        )
        .expect(0);
        let base = run * records.len();
        let stored: Vec<_> = (0..records.len())
            .map(|at| json!({"line": at + 1, "topic": "bytes", "partition": 0, "offset": base + at, "error": null}))
            .collect();
        assert_eq!(json_lines(&done.stdout), stored, "{codec}");

        let from = base.to_string();
        let read =
            buslane(&["consume", "bytes", "--offset", &from, "--exit-at-end", "--json", "-b", b]).expect(0);
        let read = json_lines(&read.stdout);
        assert_eq!(read.len(), records.len(), "{codec}");
        for (read, record) in read.iter().zip(&records) {
            for field in ["key", "key_hex", "value", "value_hex"] {
                assert_eq!(read[field], record[field], "{codec}: {field} of {read}");
            }
            assert_eq!(
                read["headers"],
                record.get("headers").cloned().unwrap_or(json!([])),
                "{codec}: {read}"
            );
            if !record["timestamp"].is_null() {
                assert_eq!(read["timestamp"], record["timestamp"], "{codec}: {read}");
            }
        }
    }
}

#[test]
fn reading_starts_and_ends_where_it_was_told_to() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    buslane(&["topic", "create", "places", "--partitions", "2", "-b", b]).expect(0);
    let timed: String =
        (0..10).map(|at| format!("{{\"value\": \"{at}\", \"timestamp\": {}}}\n", 1_000 + at * 100)).collect();
    buslane_with(&["produce", "places", "--partition", "0", "--input", "json", "-b", b], timed.as_bytes())
        .expect(0);
    buslane_with(&["produce", "places", "--partition", "1", "-b", b], b"other\n").expect(0);

    let consume = |args: &[&str]| {
        let all = [&["consume", "places", "--partition", "0", "-b", b], args].concat();
        buslane(&all).expect(0).stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let end = "--exit-at-end";
    assert_eq!(consume(&[end]).len(), 10);
    assert_eq!(consume(&["--offset", "7", end]), ["7", "8", "9"]);
    assert_eq!(consume(&["--offset", "-2", end]), ["8", "9"]);
    assert_eq!(consume(&["--tail", "3", end]), ["7", "8", "9"]);
    assert_eq!(consume(&["--tail", "100", end]).len(), 10);
    assert_eq!(consume(&["--offset", "3", "-n", "2"]), ["3", "4"]);
    assert_eq!(consume(&["--offset", "end", end]), [""; 0]);
    assert_eq!(consume(&["--offset", "10", end]), [""; 0]);
    assert_eq!(consume(&["-n", "0"]), [""; 0]);
    assert_eq!(consume(&["--since", "1500", end]), ["5", "6", "7", "8", "9"]);
    assert_eq!(consume(&["--since", "1501", "-n", "1"]), ["6"]);
    assert_eq!(consume(&["--since", "1901", end]), [""; 0]);
    assert_eq!(
        consume(&["--since", "0", "-n", "1", "--show", "timestamp,offset"]),
        ["1970-01-01T00:00:01.000Z\t0\t0"]
    );
    assert_eq!(buslane(&["consume", "places", end, "-b", b]).expect(0).stdout.lines().count(), 11);

    let outside = buslane(&["consume", "places", "-p", "0", "--offset", "11", "-b", b]).expect(1);
    assert!(outside.stderr.contains("holds offsets 0 to 9"), "{}", outside.stderr);
    buslane(&["consume", "places", "-p", "2", "-b", b]).expect(4);
    buslane(&["consume", "absent", "-b", b]).expect(4);
}

#[test]
fn a_record_that_fails_is_told_and_the_others_are_stored() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    buslane(&["topic", "create", "mixed", "--partitions", "1", "-b", b]).expect(0);
    let input = b"{\"value\": \"a\"}\nnonsense\n{\"value\": \"b\", \"partition\": 7}\n{\"value\": \"c\"}\n";
    let done = buslane_with(&["produce", "mixed", "--input", "json", "-b", b], input).expect(1);
    assert!(
        done.stderr.contains("line 2: topic mixed, partition -: not a record in JSON"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("line 3: topic mixed, partition 7: UnknownPartition"), "{}", done.stderr);
    assert!(done.stderr.contains("2 of 4 records were not stored"), "{}", done.stderr);
    assert_eq!(buslane(&["consume", "mixed", "-e", "-b", b]).expect(0).stdout, "a\nc\n");
}

#[test]
fn a_follower_sees_new_records_and_ctrl_c_ends_it_well() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    buslane(&["topic", "create", "live", "--partitions", "1", "-b", b]).expect(0);
    buslane_with(&["produce", "live", "-b", b], b"old\n").expect(0);
    let mut follower =
        crate::fixture::command(&["consume", "live", "-b", b]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "old");
    // It stands at the end now, waiting.
    buslane_with(&["produce", "live", "-b", b], b"new\n").expect(0);
    assert_eq!(lines.next().unwrap().unwrap(), "new");
    signal(&follower, "INT");
    assert_eq!(wait(&mut follower).code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_consume_quietly() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    buslane(&["topic", "create", "pipe", "--partitions", "1", "-b", b]).expect(0);
    let many = "some text to fill more than a pipe holds\n".repeat(20_000);
    buslane_with(&["produce", "pipe", "-b", b], many.as_bytes()).expect(0);
    let mut consumer = crate::fixture::command(&["consume", "pipe", "-e", "-b", b])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    drop(lines);
    let output = consumer.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_reader_that_goes_away_does_not_stop_produce() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    buslane(&["topic", "create", "head", "--partitions", "1", "-b", b]).expect(0);
    for form in ["--verbose", "--json"] {
        let mut producer = crate::fixture::command(&["produce", "head", form, "-b", b])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = producer.stdin.take().unwrap();
        input.write_all(b"0\n").unwrap();
        let mut lines = BufReader::new(producer.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        drop(lines);
        // Many reports find the pipe closed.
        for number in 1..5_000 {
            writeln!(input, "{number}").unwrap();
        }
        drop(input);
        let output = producer.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(0), ""),
            "{form}"
        );
    }
    let stored = buslane(&["consume", "head", "-e", "-b", b]).expect(0).stdout;
    let all: Vec<String> = (0..5_000).chain(0..5_000).map(|number| number.to_string()).collect();
    assert_eq!(stored.lines().collect::<Vec<_>>(), all);
}

#[test]
fn consume_that_is_interrupted_before_it_has_its_records_says_so() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    buslane(&["topic", "create", "few", "--partitions", "1", "-b", b]).expect(0);
    buslane_with(&["produce", "few", "-b", b], b"one\ntwo\n").expect(0);
    let mut consumer = crate::fixture::command(&["consume", "few", "-n", "3", "-b", b])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    signal(&consumer, "INT");
    let output = consumer.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), stderr.trim_end()),
        (Some(130), "buslane: interrupted after 2 of 3 records")
    );
}

#[test]
fn the_bench_counts_what_it_sent_and_reads_it_back() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    let sent = buslane(&[
        "bench",
        "produce",
        "counted",
        "--partitions",
        "3",
        "--records",
        "5000",
        "--record-size",
        "100",
        "--keys",
        "50",
        "--producers",
        "2",
        "--compression",
        "lz4",
        "--json",
        "--quiet",
        "-b",
        b,
    ])
    .expect(0);
    let sent = &json_lines(&sent.stdout)[0];
    assert_eq!(
        (&sent["records"], &sent["failed"], &sent["interrupted"]),
        (&json!(5000), &json!(0), &json!(false))
    );
    assert!(sent["bytes"].as_u64().unwrap() > 500_000, "{sent}");
    let latency = &sent["latency_ms"];
    let ordered = ["p50", "p95", "p99", "p99.9", "max"].map(|name| latency[name].as_f64().unwrap());
    assert!(ordered.is_sorted() && ordered[0] > 0.0, "{latency}");

    let read =
        buslane(&["bench", "consume", "counted", "--consumers", "2", "--json", "-q", "-b", b]).expect(0);
    let read = &json_lines(&read.stdout)[0];
    assert_eq!((&read["records"], &read["bytes"]), (&sent["records"], &sent["bytes"]));
}

#[test]
fn an_open_loop_keeps_its_rate_and_its_duration() {
    let broker = Broker::start();
    let b = broker.bootstrap();
    let start = Instant::now();
    let done = buslane(&[
        "bench",
        "produce",
        "rate",
        "--rate",
        "500",
        "--duration",
        "2s",
        "-P",
        "2",
        "--json",
        "-q",
        "-b",
        b,
    ]);
    let summary = &json_lines(&done.expect(0).stdout)[0];
    assert_eq!(summary["records"], json!(1000));
    assert!(start.elapsed() >= Duration::from_secs(2));
}

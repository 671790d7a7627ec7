//! `buslane produce`: records from lines of text or JSON.
//!
//! A thread of its own reads the input, so that a quiet terminal neither delays deliveries nor Ctrl-C. Each record's
//! fate comes back from librdkafka with the number of its input line ([`Deliveries`]).

mod input;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use serde::Serialize;

use crate::connection::{self, ClientArgs, Listener};
use crate::exit::{Failure, Outcome, Status};
use crate::interrupt::Interrupt;
use crate::output::{self, Stdout};
use crate::record_json::InputRecord;
use crate::units::{parse_duration, parse_pair};
use input::{Input, InputForm};

/// Produce records from lines of text or JSON
///
/// Reads standard input, or a file. Each line is one record. A record that fails is reported with its line number,
/// topic and partition; the others go on, and the exit code is 1.
#[derive(Args)]
#[command(after_help = "\
Examples:
  echo hello | buslane produce greetings
  buslane produce orders --key-separator : < orders.txt
  buslane produce orders --input json --acks all --idempotent --verbose <<'END'
  {\"key\": \"o-1\", \"value\": {\"total\": 12}, \"headers\": {\"trace\": \"7f\"}}
  END
  buslane consume orders --exit-at-end --json | buslane produce orders-copy --input json")]
pub struct ProduceArgs {
    /// Topic to produce to; the broker creates it where it allows that
    topic: String,
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What a line is: a value, or an object with key, value, headers, partition and timestamp (key_hex and value_hex
    /// for bytes that are not UTF-8)
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    input: InputForm,
    /// Each text line is KEY SEPARATOR VALUE
    #[arg(short = 'K', long, value_name = "SEPARATOR")]
    key_separator: Option<String>,
    /// Key of every record that brings none itself
    #[arg(short, long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// A header on every record; may be repeated
    #[arg(short = 'H', long, value_parser = parse_pair, value_name = "NAME=VALUE")]
    header: Vec<(String, String)>,
    /// Produce to this partition; without it the key decides (murmur2, as the Java client does)
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// An empty value is a tombstone: no value at all, which deletes its key in a compacted topic
    #[arg(long)]
    empty_is_null: bool,
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Give up on a record that is not acknowledged after this long
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
    delivery_timeout: Duration,
    /// Print where each record went
    #[arg(short, long)]
    verbose: bool,
    /// Print where each record went, a line of JSON for each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Records sent between two looks at what became of earlier ones, as long as input keeps coming.
const POLL_EVERY: u32 = 100;

/// How records are sent; shared with `bench produce`.
#[derive(Args, Clone, Debug)]
pub struct DeliveryArgs {
    /// Who must have a record before it counts: nobody, the first copy, all copies
    #[arg(long, value_enum, default_value = "all")]
    pub acks: Acks,
    /// Compression of record batches
    #[arg(short = 'z', long, value_enum, default_value = "none", value_name = "CODEC")]
    pub compression: Compression,
    /// Let the log recognise records that are sent twice, so that each is stored once and in order
    #[arg(long)]
    pub idempotent: bool,
    /// How long to wait for a batch to fill
    #[arg(long, default_value = "5ms", value_parser = parse_duration, value_name = "DURATION")]
    pub linger: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    First,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl DeliveryArgs {
    /// Adds these choices to a producer's settings.
    ///
    /// # Errors
    /// Usage, for combinations that cannot be.
    pub fn apply(&self, config: &mut ClientConfig) -> Result<(), Failure> {
        if self.idempotent && self.acks != Acks::All {
            return Err(Failure::usage("--idempotent needs --acks all"));
        }
        let acks = match self.acks {
            Acks::None => "0",
            Acks::First => "1",
            Acks::All => "all",
        };
        let compression = match self.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        config
            .set("acks", acks)
            .set("compression.codec", compression)
            .set("enable.idempotence", self.idempotent.to_string())
            .set("linger.ms", (self.linger.as_micros() as f64 / 1000.0).to_string())
            // The Java client's choice, so that a key's records stay together whatever client wrote them.
            .set("partitioner", "murmur2_random");
        Ok(())
    }
}

/// What became of one record.
#[derive(Serialize)]
struct Delivery {
    line: usize,
    topic: String,
    /// None when the record failed before a partition was chosen.
    partition: Option<i32>,
    /// None when it failed, or with acks=0, where nobody says.
    offset: Option<i64>,
    error: Option<String>,
}

/// Collects fates. librdkafka calls it from within `poll` and `flush`, on the thread that called those.
#[derive(Clone, Default)]
struct Deliveries {
    listener: Listener,
    waiting: Arc<Mutex<Vec<Delivery>>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.listener.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    /// Number of the input line, from 1.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, line: usize) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(self.explain(error))),
        };
        self.push(Delivery {
            line,
            topic: message.topic().to_owned(),
            partition: Some(message.partition()).filter(|partition| *partition >= 0),
            offset: Some(message.offset()).filter(|offset| *offset >= 0 && error.is_none()),
            error,
        });
    }
}

impl Deliveries {
    fn push(&self, delivery: Delivery) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
    }

    fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn explain(&self, error: &KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(code @ RDKafkaErrorCode::MessageTimedOut) => self.listener.explain(code),
            Some(code) => code.to_string(),
            None => error.to_string(),
        }
    }
}

pub fn run(args: ProduceArgs) -> Outcome {
    if args.key_separator.as_deref() == Some("") {
        return Err(Failure::usage(
            "--key-separator is empty; write the text that stands between key and value",
        ));
    }
    if args.key_separator.is_some() && args.input == InputForm::Json {
        return Err(Failure::usage(
            "--key-separator is for text; with --input json the object's 'key' is the key",
        ));
    }
    let mut config = args.client.config();
    args.delivery.apply(&mut config)?;
    config
        .set("message.timeout.ms", args.delivery_timeout.as_millis().max(1).to_string())
        // The broker's limit decides, not ours.
        .set("message.max.bytes", (2 * input::MAX_LINE_BYTES).to_string())
        .set("queue.buffering.max.kbytes", "65536");
    let input = Input::open(args.file.as_deref(), args.input, args.key_separator.clone())?;
    args.client.reach()?;
    let interrupt = Interrupt::listen()?;
    let deliveries = Deliveries::default();
    let producer = BaseProducer::from_config_and_context(&args.client.finish(config), deliveries.clone())
        .map_err(|error| Failure::usage(error.to_string()))?;
    connection::cluster(producer.client(), &deliveries.listener, &args.client)?;
    Session { args: &args, producer, deliveries, out: Some(output::stdout()), stored: 0, failed: 0 }
        .run(input, &interrupt)
}

struct Session<'a> {
    args: &'a ProduceArgs,
    producer: BaseProducer<Deliveries>,
    deliveries: Deliveries,
    /// None once whoever read it has gone (`| head`): the records go on being stored.
    out: Option<Stdout>,
    stored: u64,
    failed: u64,
}

impl Session<'_> {
    fn run(mut self, input: Input, interrupt: &Interrupt) -> Outcome {
        let mut cut_short = None;
        let mut unpolled = 0;
        loop {
            if interrupt.requested() {
                cut_short = Some(Failure::new(Status::Interrupted, "interrupted; what was read is stored"));
                break;
            }
            match input.lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => {
                    match line.record {
                        Ok(record) => self.send(line.number, record, interrupt),
                        Err(reason) => self.refuse(line.number, reason),
                    }
                    unpolled += 1;
                    if unpolled < POLL_EVERY {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            unpolled = 0;
            self.producer.poll(Duration::ZERO);
            self.report()?;
        }
        // Every record has its own time limit, so this ends; the extra second is for librdkafka's bookkeeping.
        let flushed = self.producer.flush(self.args.delivery_timeout + Duration::from_secs(1));
        self.report()?;
        if let Err(error) = flushed {
            let left = self.producer.in_flight_count();
            return Err(Failure::failed(format!("{left} records are not acknowledged: {error}")));
        }
        if let Some(error) = input.finish() {
            return Err(Failure::failed(error));
        }
        if self.failed > 0 {
            let (failed, stored) = (self.failed, self.stored);
            return Err(Failure::failed(format!("{failed} of {} records were not stored", failed + stored)));
        }
        tracing::info!(records = self.stored, topic = self.args.topic, "produced");
        match cut_short {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn send(&mut self, line: usize, record: InputRecord, interrupt: &Interrupt) {
        let key = record.key.as_deref().or(self.args.key.as_deref().map(str::as_bytes));
        let value = record.value.as_deref().filter(|value| !(self.args.empty_is_null && value.is_empty()));
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.args.topic, line);
        message.key = key;
        message.payload = value;
        message.timestamp = record.timestamp;
        message.partition = self.args.partition.or(record.partition);
        let headers = self.args.header.iter().map(|(name, value)| (name, Some(value.as_bytes())));
        let headers = headers.chain(record.headers.iter().map(|(name, value)| (name, value.as_deref())));
        for (key, value) in headers {
            message.headers = Some(message.headers.unwrap_or_default().insert(Header { key, value }));
        }
        let partition = message.partition;
        let topic = self.args.topic.clone();
        loop {
            match self.producer.send(message) {
                Ok(()) => return,
                // Back-pressure: make room by hearing of deliveries, then try the same record again.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused))
                    if !interrupt.requested() =>
                {
                    message = refused;
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => {
                    let error = Some(self.deliveries.explain(&error));
                    self.deliveries.push(Delivery { line, topic, partition, offset: None, error });
                    return;
                }
            }
        }
    }

    fn refuse(&mut self, line: usize, reason: String) {
        let topic = self.args.topic.clone();
        self.deliveries.push(Delivery { line, topic, partition: None, offset: None, error: Some(reason) });
    }

    /// Counts the fates that have become known, and prints them as long as somebody reads.
    fn report(&mut self) -> io::Result<()> {
        let deliveries = self.deliveries.take();
        for delivery in &deliveries {
            let (line, topic, partition) = (delivery.line, &delivery.topic, or_dash(delivery.partition));
            match &delivery.error {
                None => self.stored += 1,
                Some(error) => {
                    self.failed += 1;
                    eprintln!("buslane: line {line}: topic {topic}, partition {partition}: {error}");
                }
            }
        }
        let Some(out) = &mut self.out else { return Ok(()) };
        match print(out, self.args, &deliveries) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.out = None;
                Ok(())
            }
            printed => printed,
        }
    }
}

fn print(out: &mut Stdout, args: &ProduceArgs, deliveries: &[Delivery]) -> io::Result<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    for delivery in deliveries {
        if args.json {
            output::json_line(out, delivery)?;
        } else if args.verbose && delivery.error.is_none() {
            let (line, topic) = (delivery.line, &delivery.topic);
            let (partition, offset) = (or_dash(delivery.partition), or_dash(delivery.offset));
            writeln!(out, "line {line}: topic {topic}, partition {partition}, offset {offset}")?;
        }
    }
    out.flush()
}

fn or_dash(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

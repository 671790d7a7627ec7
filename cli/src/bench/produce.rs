//! `buslane bench produce`.
//!
//! With `--rate` the load is open loop: each record has its due time, and its latency counts from there, so that a
//! broker that stalls is charged for every record that had to wait. Without it records are sent as fast as the client's
//! queue takes them, and the latency is mostly that queue's.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::progress::Progress;
use super::stamp;
use super::summary::Summary;
use super::tally::Tally;
use crate::connection::{self, ClientArgs, Listener, status_of};
use crate::exit::{Failure, Outcome, Status};
use crate::interrupt::Interrupt;
use crate::output;
use crate::produce::DeliveryArgs;
use crate::units::{parse_duration, parse_size};

/// Different values a producer draws from, so that neither compression nor the CPU's caches see one value only.
const DISTINCT_VALUES: usize = 512;

/// Produce generated records and measure
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane bench produce load --duration 30s --record-size 1KiB
  buslane bench produce load --rate 5000 --duration 60s --warm-up 10s --json
  buslane bench produce load --records 1000000 --record-size 100 --keys 10000 --producers 4 --compression lz4
  buslane bench produce load --partitions 16 --idempotent -X batch.size=65536")]
pub struct BenchProduceArgs {
    /// Topic to produce to
    topic: String,
    /// Create the topic with this many partitions when it is not there
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Stop after this many records; without it --duration decides
    #[arg(short = 'n', long, value_name = "N")]
    records: Option<u64>,
    /// Stop after this long [default: 10s without --records]
    #[arg(short, long, value_parser = parse_duration, value_name = "DURATION")]
    duration: Option<Duration>,
    /// Leave the first part of the run out of the figures
    #[arg(short, long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    warm_up: Duration,
    /// Records a second of all producers together, at due times that do not wait for the broker; without it as fast as
    /// it goes
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Bytes of each value
    #[arg(short = 's', long, default_value = "1KiB", value_parser = parse_size, value_name = "SIZE")]
    record_size: u64,
    /// What values are made of: random bytes do not compress, text does, about 4 to 1
    #[arg(long, value_enum, default_value = "random")]
    payload: Payload,
    /// Give records one of N keys; without it they have none
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// Producers, each with a connection and a thread of its own
    #[arg(short = 'P', long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    producers: u32,
    /// Seed of keys and values: the same seed sends the same records
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Give up on a record that is not acknowledged after this long
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
    delivery_timeout: Duration,
    /// Print the result as a line of JSON
    #[arg(long)]
    json: bool,
    /// No progress line
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Payload {
    Random,
    Text,
}

/// Counts deliveries. librdkafka calls it from the producer's own poll thread.
struct Meter {
    tally: Arc<Tally>,
    listener: Listener,
    start: Instant,
    warm_up: Duration,
}

impl ClientContext for Meter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.listener.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext for Meter {
    /// When the record was due: nanoseconds since the run's start.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due_ns: usize) {
        match result {
            Ok(message) => {
                let now = self.start.elapsed();
                let due = Duration::from_nanos(due_ns as u64);
                if due >= self.warm_up {
                    let bytes = message.key_len() + message.payload_len();
                    self.tally.record(bytes, now, Some(now.saturating_sub(due)));
                }
            }
            Err((error, _)) => self.tally.error(self.explain(error)),
        }
    }
}

impl Meter {
    fn explain(&self, error: &KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(code @ RDKafkaErrorCode::MessageTimedOut) => self.listener.explain(code),
            Some(code) => code.to_string(),
            None => error.to_string(),
        }
    }
}

pub fn run(args: &BenchProduceArgs) -> Outcome {
    let mut config = args.client.config();
    args.delivery.apply(&mut config)?;
    config
        .set("message.timeout.ms", args.delivery_timeout.as_millis().max(1).to_string())
        .set(
            "message.max.bytes",
            args.record_size.saturating_add(1 << 20).clamp(1 << 20, 1_000_000_000).to_string(),
        )
        .set("queue.buffering.max.kbytes", "32768");
    let config = args.client.finish(config);
    if args.record_size > 512 << 20 {
        return Err(Failure::usage("--record-size is above 512MiB, more than any broker takes"));
    }
    args.client.reach()?;
    prepare_topic(args, &config)?;
    let interrupt = Interrupt::listen()?;

    let tallies: Vec<_> = (0..args.producers).map(|_| Arc::new(Tally::new())).collect();
    let start = Instant::now();
    let mut producers = Vec::new();
    for tally in &tallies {
        let meter =
            Meter { tally: tally.clone(), listener: Listener::default(), start, warm_up: args.warm_up };
        let producer = ThreadedProducer::from_config_and_context(&config, meter)
            .map_err(|error| Failure::usage(error.to_string()))?;
        producers.push(producer);
    }
    let claimed = AtomicU64::new(0);
    {
        let _progress = Progress::start("acknowledged", tallies.clone(), args.quiet);
        std::thread::scope(|scope| {
            for (index, producer) in producers.iter().enumerate() {
                let load =
                    Load { args, index: index as u64, start, claimed: &claimed, interrupt: &interrupt };
                scope.spawn(move || load.run(producer));
            }
        });
    }
    let summary = Summary::of(&tallies, args.warm_up, interrupt.requested());
    let mut out = output::stdout();
    if args.json {
        output::json_line(&mut out, &summary)?;
    } else {
        summary.print(&mut out)?;
    }
    out.flush()?;
    if summary.interrupted {
        return Err(Failure::new(Status::Interrupted, "interrupted; the figures are of what was done"));
    }
    if summary.failed > 0 {
        return Err(Failure::failed(format!("{} records were not acknowledged", summary.failed)));
    }
    Ok(())
}

/// Creates the topic where the user wants that and it is not there.
fn prepare_topic(args: &BenchProduceArgs, config: &ClientConfig) -> Result<(), Failure> {
    let listener = Listener::default();
    let admin = AdminClient::from_config_and_context(config, listener.clone())
        .map_err(|error| Failure::usage(error.to_string()))?;
    let metadata = connection::cluster(admin.inner(), &listener, &args.client)?;
    let Some(partitions) = args.partitions else { return Ok(()) };
    if connection::topic(&metadata, &args.topic).is_ok() {
        return Ok(());
    }
    let topic = NewTopic::new(&args.topic, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new()
        .request_timeout(Some(args.client.timeout))
        .operation_timeout(Some(args.client.timeout));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let what = format!("cannot create topic '{}'", args.topic);
    let results = runtime
        .block_on(admin.create_topics([&topic], &options))
        .map_err(|error| listener.failure(&what, &error))?;
    for result in results {
        if let Err((_, code)) = result {
            return Err(Failure::new(status_of(code), format!("{what}: {code}")));
        }
    }
    Ok(())
}

/// One producer's share of the load.
struct Load<'a> {
    args: &'a BenchProduceArgs,
    index: u64,
    start: Instant,
    /// Records begun by all producers together.
    claimed: &'a AtomicU64,
    interrupt: &'a Interrupt,
}

impl Load<'_> {
    fn run(&self, producer: &ThreadedProducer<Meter>) {
        let mut random =
            SmallRng::seed_from_u64(self.args.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.index);
        let mut values = values(&mut random, self.args.payload, self.args.record_size as usize);
        let mut key = String::new();
        let limit = match (self.args.duration, self.args.records) {
            (None, None) => Some(Duration::from_secs(10)),
            (duration, _) => duration,
        };
        // Each producer takes every n-th due time, so that together they keep the rate.
        let step =
            self.args.rate.map(|rate| Duration::from_secs_f64(f64::from(self.args.producers) / rate as f64));
        let offset = step.unwrap_or_default().mul_f64(self.index as f64 / f64::from(self.args.producers));
        for turn in 0_u64.. {
            let due = match step {
                Some(step) => offset + Duration::from_secs_f64(step.as_secs_f64() * turn as f64),
                None => self.start.elapsed(),
            };
            if limit.is_some_and(|limit| due >= limit + self.args.warm_up) || !self.claim() {
                break;
            }
            if !self.wait_until(due) {
                break;
            }
            let choice = turn as usize % values.len();
            let value = &mut values[choice];
            stamp::put(value, SystemTime::now());
            if let Some(keys) = self.args.keys {
                key.clear();
                // Infallible: a String grows.
                let _ = std::fmt::Write::write_fmt(
                    &mut key,
                    format_args!("key-{}", random.random_range(0..keys)),
                );
            }
            let due_ns = due.as_nanos() as usize;
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.args.topic, due_ns);
            record.payload = Some(value);
            record.key = self.args.keys.map(|_| key.as_bytes());
            loop {
                match producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                        if self.interrupt.requested() {
                            break;
                        }
                        record = refused;
                        std::thread::sleep(Duration::from_micros(500));
                    }
                    Err((error, _)) => {
                        let meter = producer.client().context();
                        meter.tally.error(meter.explain(&error));
                        break;
                    }
                }
            }
        }
        let patience = self.args.delivery_timeout + Duration::from_secs(1);
        if let Err(error) = producer.flush(patience) {
            producer.client().context().tally.error(format!("not acknowledged at the end: {error}"));
        }
    }

    /// Whether one more record is to be sent.
    fn claim(&self) -> bool {
        let Some(records) = self.args.records else { return !self.interrupt.requested() };
        !self.interrupt.requested() && self.claimed.fetch_add(1, Ordering::Relaxed) < records
    }

    /// Sleeps until `due`; false when the user interrupted.
    fn wait_until(&self, due: Duration) -> bool {
        loop {
            let now = self.start.elapsed();
            if now >= due {
                return true;
            }
            if self.interrupt.requested() {
                return false;
            }
            std::thread::sleep((due - now).min(Duration::from_millis(100)));
        }
    }
}

fn values(random: &mut SmallRng, payload: Payload, size: usize) -> Vec<Vec<u8>> {
    const WORDS: [&str; 16] = [
        "order",
        "customer",
        "created",
        "amount",
        "currency",
        "item",
        "shipped",
        "warehouse",
        "true",
        "false",
        "null",
        "status",
        "payment",
        "address",
        "2026",
        "region",
    ];
    // Large values are few, so that the pool stays below 64 MiB.
    let distinct = (64 << 20) / size.max(1);
    (0..distinct.clamp(1, DISTINCT_VALUES))
        .map(|_| match payload {
            Payload::Random => {
                let mut value = vec![0; size];
                random.fill_bytes(&mut value);
                value
            }
            Payload::Text => {
                let mut value = Vec::with_capacity(size + 16);
                while value.len() < size {
                    value.extend_from_slice(WORDS[random.random_range(0..WORDS.len())].as_bytes());
                    value.push(b' ');
                }
                value.truncate(size);
                value
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_values() {
        for payload in [Payload::Random, Payload::Text] {
            let make = |seed| values(&mut SmallRng::seed_from_u64(seed), payload, 100);
            assert_eq!(make(1), make(1));
            assert_ne!(make(1), make(2));
            assert!(make(1).iter().all(|value| value.len() == 100));
        }
    }

    #[test]
    fn the_pool_of_values_stays_small() {
        let size_of = |size| values(&mut SmallRng::seed_from_u64(1), Payload::Random, size).len();
        assert_eq!((size_of(0), size_of(1024), size_of(32 << 20)), (DISTINCT_VALUES, DISTINCT_VALUES, 2));
    }
}

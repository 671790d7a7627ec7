//! `buslane consume`: the records of a topic on stdout.
//!
//! Partitions are assigned, not subscribed to: no group takes part and nothing is committed.

mod format;
mod start;

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message, Timestamp};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::connection::{self, ClientArgs, Listener};
use crate::exit::{Failure, Outcome, Status};
use crate::interrupt::Interrupt;
use crate::output;
use crate::record_json::OutputRecord;
use crate::units::{TimestampMs, parse_time};
use format::{Field, Form, Format};
use start::{Start, StartAt};

/// Print the records of a topic
///
/// Starts at the beginning, and goes on waiting for new records until Ctrl-C, unless told otherwise. Records of one
/// partition come in order; partitions are mixed as they arrive.
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane consume orders --exit-at-end
  buslane consume orders --tail 10
  buslane consume orders --offset end --show timestamp,key
  buslane consume orders --partition 0 --offset 120 -n 1 --json
  buslane consume orders --since 15m --exit-at-end | wc -l
  buslane consume orders --since 2026-11-23T10:00:00Z --format hex")]
pub struct ConsumeArgs {
    /// Topic to read
    topic: String,
    /// Read only this partition; may be repeated
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Where to start in each partition: beginning, end, an offset, or -N for N records before the end
    #[arg(short, long, group = "start", allow_hyphen_values = true, value_parser = start::parse_offset, value_name = "OFFSET")]
    offset: Option<StartAt>,
    /// Start at the first record of this time or later: milliseconds since 1970, 2026-11-23T10:00:00Z, or how long ago
    /// (15m, 2h)
    #[arg(short, long, group = "start", value_parser = parse_time, value_name = "TIME")]
    since: Option<TimestampMs>,
    /// Start N records before the end of each partition
    #[arg(short, long, group = "start", value_name = "N")]
    tail: Option<u32>,
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Stop at the end of each partition, as it was when the command started
    #[arg(short, long)]
    exit_at_end: bool,
    /// How keys, values and headers are printed
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    format: Form,
    /// The same as --format json: a line of JSON for each record
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// What to print before the value, separated by tabs
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIELDS")]
    show: Vec<Field>,
    /// What stands for a key or value that is not there
    #[arg(long, default_value = "(null)", value_name = "TEXT")]
    null: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(args: ConsumeArgs) -> Outcome {
    let start = match (args.offset, args.since, args.tail) {
        (Some(at), _, _) => at,
        (_, Some(time), _) => StartAt::Time(time),
        (_, _, Some(records)) => StartAt::BeforeEnd(i64::from(records)),
        _ => StartAt::Beginning,
    };
    let form = if args.json { Form::Json } else { args.format };
    if form == Form::Json && !args.show.is_empty() {
        return Err(Failure::usage("--show is for text and hex; JSON has every field"));
    }
    args.client.reach()?;
    let interrupt = Interrupt::listen()?;
    let listener = Listener::default();
    let mut config = args.client.config();
    config
        // Required by the client library; assigned partitions use no group.
        .set("group.id", "buslane-cli")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // An offset that is gone is an error to be told, not a place to jump from.
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "200")
        .set("queued.max.messages.kbytes", "65536")
        // When its queue is full librdkafka pauses fetching, by default for a whole second.
        .set("fetch.queue.backoff.ms", "5");
    let consumer = BaseConsumer::from_config_and_context(&args.client.finish(config), listener.clone())
        .map_err(|error| Failure::usage(error.to_string()))?;
    let starts = find_starts(&consumer, &listener, &args, start)?;

    let mut assignment = TopicPartitionList::new();
    for start in &starts {
        assignment
            .add_partition_offset(&args.topic, start.partition, Offset::Offset(start.offset))
            .map_err(|error| Failure::failed(error.to_string()))?;
    }
    consumer.assign(&assignment).map_err(|error| listener.failure("cannot assign partitions", &error))?;

    let format = Format { form, show: args.show.clone(), null: args.null.clone() };
    let mut reading = Reading::new(&args, &starts);
    let mut out = output::stdout();
    while !reading.done() && !interrupt.requested() {
        // Only when nothing is at hand is there time to hand over what was printed.
        let polled = match consumer.poll(Duration::ZERO) {
            Some(polled) => polled,
            None => {
                out.flush()?;
                match consumer.poll(Duration::from_millis(100)) {
                    Some(polled) => polled,
                    None => continue,
                }
            }
        };
        match polled {
            Ok(message) => {
                if reading.wants(&message) {
                    print(&mut out, &format, &message)?;
                }
            }
            Err(KafkaError::PartitionEOF(partition)) => reading.reached_end(partition),
            Err(error) => {
                out.flush()?;
                reading.trouble(&listener, &error)?;
            }
        }
    }
    out.flush()?;
    reading.finish()
}

fn find_starts(
    consumer: &BaseConsumer<Listener>,
    listener: &Listener,
    args: &ConsumeArgs,
    start: StartAt,
) -> Result<Vec<Start>, Failure> {
    let metadata = connection::cluster(consumer.client(), listener, &args.client)?;
    let topic = connection::topic(&metadata, &args.topic)?;
    let mut partitions: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
    partitions.sort_unstable();
    if let Some(absent) = args.partition.iter().find(|partition| !partitions.contains(partition)) {
        let last = partitions.len().saturating_sub(1);
        return Err(Failure::new(
            Status::Existence,
            format!("topic '{}' has no partition {absent}; it has 0 to {last}", args.topic),
        ));
    }
    if !args.partition.is_empty() {
        partitions.retain(|partition| args.partition.contains(partition));
    }
    start::find(consumer, listener, &args.topic, &partitions, start, args.client.timeout)
}

/// How far along each partition is, and when it is enough.
struct Reading<'a> {
    args: &'a ConsumeArgs,
    /// Partitions still to be read, with the end offset they had at the start.
    ends: HashMap<i32, i64>,
    printed: u64,
}

impl<'a> Reading<'a> {
    fn new(args: &'a ConsumeArgs, starts: &[Start]) -> Self {
        let ends = starts
            .iter()
            .filter(|start| !args.exit_at_end || start.offset < start.end)
            .map(|start| (start.partition, start.end))
            .collect();
        Self { args, ends, printed: 0 }
    }

    fn done(&self) -> bool {
        self.args.count == Some(self.printed) || (self.args.exit_at_end && self.ends.is_empty())
    }

    /// Whether it was enough. Without a count or an end to reach, an interrupt is how the command ends.
    fn finish(&self) -> Outcome {
        let bounded = self.args.count.is_some() || self.args.exit_at_end;
        if !bounded || self.done() {
            return Ok(());
        }
        let printed = self.printed;
        let message = match self.args.count {
            Some(count) => format!("interrupted after {printed} of {count} records"),
            None => format!("interrupted after {printed} records, before the end"),
        };
        Err(Failure::new(Status::Interrupted, message))
    }

    /// Whether this record is to be printed; counts it if so.
    fn wants(&mut self, message: &BorrowedMessage<'_>) -> bool {
        if self.args.exit_at_end {
            let Some(end) = self.ends.get(&message.partition()).copied() else { return false };
            if message.offset() + 1 >= end {
                self.ends.remove(&message.partition());
            }
            if message.offset() >= end {
                return false;
            }
        }
        self.printed += 1;
        true
    }

    /// Also ends a partition whose last offsets hold no records (compacted away, or transaction markers).
    fn reached_end(&mut self, partition: i32) {
        if self.args.exit_at_end {
            self.ends.remove(&partition);
        }
    }

    /// An error while reading: fatal ones end the command, the others librdkafka retries by itself.
    fn trouble(&self, listener: &Listener, error: &KafkaError) -> Outcome {
        use rdkafka::error::RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(
                Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut,
            ) => {
                // The listener has logged the reason.
                Ok(())
            }
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Err(Failure::failed(format!(
                "topic '{}': the records at the position reached are gone (retention, or the topic was deleted); \
                 start again further on",
                self.args.topic
            ))),
            _ => Err(listener.failure(&format!("topic '{}'", self.args.topic), error)),
        }
    }
}

fn print(out: &mut impl Write, format: &Format, message: &BorrowedMessage<'_>) -> std::io::Result<()> {
    let headers: Vec<_> = match message.headers() {
        Some(headers) => headers.iter().map(|header| (header.key, header.value)).collect(),
        None => Vec::new(),
    };
    let (timestamp, timestamp_type) = match message.timestamp() {
        Timestamp::NotAvailable => (None, None),
        Timestamp::CreateTime(time) => (Some(time), Some("create")),
        Timestamp::LogAppendTime(time) => (Some(time), Some("append")),
    };
    let record = OutputRecord {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp,
        timestamp_type,
        key: message.key(),
        value: message.payload(),
        headers: &headers,
    };
    format.write(out, &record)
}

//! `buslane bench consume`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::progress::Progress;
use super::stamp;
use super::summary::Summary;
use super::tally::Tally;
use crate::connection::{self, ClientArgs, Listener, patiently, status_of};
use crate::exit::{Failure, Outcome, Status};
use crate::interrupt::Interrupt;
use crate::output;
use crate::units::parse_duration;

/// Consume records and measure
///
/// Reads each partition from its beginning to the end it had at the start, or goes on with --follow. Latency is measured
/// for records that `bench produce` wrote (16 bytes or more), with --follow, and on one machine's clock.
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane bench consume load
  buslane bench consume load --consumers 4 --json
  buslane bench consume load --from end --follow --duration 60s   # end-to-end latency beside a running bench produce")]
pub struct BenchConsumeArgs {
    /// Topic to read
    topic: String,
    /// Where to start in each partition
    #[arg(long, value_enum, default_value = "beginning")]
    from: From,
    /// Do not stop at the end; needs --records, --duration or Ctrl-C to end
    #[arg(short, long)]
    follow: bool,
    /// Stop after this many records of all consumers together
    #[arg(short = 'n', long, value_name = "N")]
    records: Option<u64>,
    /// Stop after this long
    #[arg(short, long, value_parser = parse_duration, value_name = "DURATION")]
    duration: Option<Duration>,
    /// Leave the first part of the run out of the figures
    #[arg(short, long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    warm_up: Duration,
    /// Consumers, each with a connection and a thread of its own; they share the partitions
    #[arg(short = 'C', long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    consumers: u32,
    /// Every consumer reads every partition
    #[arg(long)]
    fan_out: bool,
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
enum From {
    Beginning,
    End,
}

/// A partition's range as it was at the start.
#[derive(Clone, Copy, Debug)]
struct Range {
    partition: i32,
    start: i64,
    end: i64,
}

pub fn run(args: &BenchConsumeArgs) -> Outcome {
    args.client.reach()?;
    let mut config = args.client.config();
    config
        .set("group.id", "buslane-bench")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("queued.max.messages.kbytes", "65536")
        // When its queue is full librdkafka pauses fetching, by default for a whole second.
        .set("fetch.queue.backoff.ms", "5");
    let config = args.client.finish(config);
    let ranges = ranges(args, &config)?;
    let shares = share(&ranges, args.consumers as usize, args.fan_out);
    let interrupt = Interrupt::listen()?;
    let tallies: Vec<_> = shares.iter().map(|_| Arc::new(Tally::new())).collect();
    let counted = AtomicU64::new(0);
    let start = Instant::now();
    let results: Vec<Outcome> = {
        let _progress = Progress::start("consumed", tallies.clone(), args.quiet);
        std::thread::scope(|scope| {
            let threads: Vec<_> = shares
                .iter()
                .zip(&tallies)
                .map(|(share, tally)| {
                    let reader =
                        Reader { args, share, tally, start, counted: &counted, interrupt: &interrupt };
                    let config = &config;
                    scope.spawn(move || reader.run(config))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    };
    results.into_iter().collect::<Outcome>()?;
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
        return Err(Failure::failed(format!("{} errors while reading", summary.failed)));
    }
    Ok(())
}

fn ranges(args: &BenchConsumeArgs, config: &ClientConfig) -> Result<Vec<Range>, Failure> {
    let listener = Listener::default();
    let consumer = BaseConsumer::from_config_and_context(config, listener.clone())
        .map_err(|error| Failure::usage(error.to_string()))?;
    let metadata = connection::cluster(consumer.client(), &listener, &args.client)?;
    let topic = connection::topic(&metadata, &args.topic)?;
    let mut ranges = Vec::new();
    for partition in topic.partitions().iter().map(|partition| partition.id()) {
        let limit = args.client.timeout;
        let asked = patiently(limit, || consumer.fetch_watermarks(&args.topic, partition, limit));
        let (first, end) = asked.map_err(|error| {
            let what = format!("cannot read the offsets of topic '{}', partition {partition}", args.topic);
            listener.failure(&what, &error)
        })?;
        let start = if args.from == From::End { end } else { first };
        if args.follow || start < end {
            ranges.push(Range { partition, start, end });
        }
    }
    Ok(ranges)
}

/// Which consumer reads what. Consumers without a partition are left out.
fn share(ranges: &[Range], consumers: usize, fan_out: bool) -> Vec<Vec<Range>> {
    let mut shares = vec![Vec::new(); consumers];
    for (index, range) in ranges.iter().enumerate() {
        for (consumer, share) in shares.iter_mut().enumerate() {
            if fan_out || index % consumers == consumer {
                share.push(*range);
            }
        }
    }
    shares.retain(|share| !share.is_empty());
    shares
}

/// One consumer and the partitions it reads.
struct Reader<'a> {
    args: &'a BenchConsumeArgs,
    share: &'a [Range],
    tally: &'a Tally,
    start: Instant,
    /// Records read by all consumers together.
    counted: &'a AtomicU64,
    interrupt: &'a Interrupt,
}

impl Reader<'_> {
    fn run(&self, config: &ClientConfig) -> Outcome {
        let listener = Listener::default();
        let consumer = BaseConsumer::from_config_and_context(config, listener.clone())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut assignment = TopicPartitionList::new();
        for range in self.share {
            assignment
                .add_partition_offset(&self.args.topic, range.partition, Offset::Offset(range.start))
                .map_err(|error| Failure::failed(error.to_string()))?;
        }
        consumer.assign(&assignment).map_err(|error| listener.failure("cannot assign partitions", &error))?;
        let mut ends: HashMap<i32, i64> =
            self.share.iter().map(|range| (range.partition, range.end)).collect();
        let limit = self.args.duration.map(|duration| duration + self.args.warm_up);
        while !self.interrupt.requested() && (self.args.follow || !ends.is_empty()) {
            if limit.is_some_and(|limit| self.start.elapsed() >= limit) {
                break;
            }
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => {
                    let now = self.start.elapsed();
                    if now >= self.args.warm_up {
                        let before = self.counted.fetch_add(1, Ordering::Relaxed);
                        if self.args.records.is_some_and(|records| before >= records) {
                            break;
                        }
                        let value = message.payload().unwrap_or_default();
                        let latency =
                            self.args.follow.then(|| stamp::age(value, SystemTime::now())).flatten();
                        self.tally.record(message.key_len() + value.len(), now, latency);
                    }
                    if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                        ends.remove(&message.partition());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ends.remove(&partition);
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    // librdkafka connects again by itself; the listener has logged the reason.
                    Some(code) if status_of(code) == Status::Unreachable => {}
                    Some(code) => {
                        self.tally.error(code.to_string());
                        break;
                    }
                    None => return Err(Failure::failed(error.to_string())),
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(count: i32) -> Vec<Range> {
        (0..count).map(|partition| Range { partition, start: 0, end: 10 }).collect()
    }

    fn partitions(shares: &[Vec<Range>]) -> Vec<Vec<i32>> {
        shares.iter().map(|share| share.iter().map(|range| range.partition).collect()).collect()
    }

    #[test]
    fn partitions_are_shared_out_and_idle_consumers_left_out() {
        assert_eq!(partitions(&share(&ranges(5), 2, false)), vec![vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(partitions(&share(&ranges(1), 3, false)), vec![vec![0]]);
        assert_eq!(partitions(&share(&ranges(2), 2, true)), vec![vec![0, 1], vec![0, 1]]);
        assert!(share(&[], 2, false).is_empty());
    }
}

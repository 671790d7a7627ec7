//! `buslane bench`: load from ordinary Kafka clients, measured.
//!
//! * [`tally`]: what one client thread counts. * [`progress`]: the live line. * [`summary`]: the result.
//! * [`stamp`]: the send time inside a record, by which `bench consume` measures end to end.

mod consume;
mod produce;
mod progress;
mod stamp;
mod summary;
mod tally;

use clap::Subcommand;

use crate::exit::Outcome;

/// Measure throughput and latency
#[derive(Subcommand)]
pub enum BenchVerb {
    Produce(produce::BenchProduceArgs),
    Consume(consume::BenchConsumeArgs),
}

pub fn run(verb: BenchVerb) -> Outcome {
    match verb {
        BenchVerb::Produce(args) => produce::run(&args),
        BenchVerb::Consume(args) => consume::run(&args),
    }
}

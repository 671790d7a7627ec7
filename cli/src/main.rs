//! The `buslane` binary: flags, configuration, start and stop. It owns no logic of the log: the server is
//! `buslane-broker`, offline reading is `buslane-log` (and `buslane-meta` for the names of topics), and every client verb
//! is an ordinary Kafka client, so each of them works against Apache Kafka too: on librdkafka what moves records, on
//! [`admin`] what administrates.
//!
//! One file per verb; what they share:
//! * [`exit`]: the exit codes and the error that carries one.
//! * [`connection`]: reaching a broker, and saying clearly why not.
//! * [`output`]: data on stdout, a closed pipe is no error. Everything else goes to stderr.
//! * [`interrupt`]: Ctrl-C and SIGTERM as a flag that loops look at.

mod admin;
mod agent;
mod bench;
mod completion;
mod config;
mod connection;
mod consume;
mod exit;
mod group;
mod interrupt;
mod log;
mod logging;
mod output;
mod produce;
mod record_json;
mod server;
mod topic;
mod units;

use clap::{Parser, Subcommand};

/// A durable log that speaks the Kafka protocol.
///
/// `buslane topic`, `group`, `config`, `produce`, `consume` and `bench` are Kafka clients: they work against any Kafka-compatible broker.
#[derive(Parser)]
#[command(name = "buslane", version, max_term_width = 110, after_long_help = exit::HELP)]
struct Cli {
    #[command(flatten)]
    logging: logging::LoggingArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Server(server::ServerArgs),
    Agent(agent::AgentArgs),
    #[command(subcommand)]
    Topic(topic::TopicVerb),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    #[command(subcommand)]
    Group(group::GroupVerb),
    #[command(subcommand)]
    Config(config::ConfigVerb),
    #[command(subcommand)]
    Bench(bench::BenchVerb),
    #[command(subcommand)]
    Log(log::LogVerb),
    Completion(completion::CompletionArgs),
}

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::report_usage(&error),
    };
    logging::start(
        &cli.logging,
        if matches!(cli.verb, Verb::Server(_) | Verb::Agent(_)) { "info,openraft=warn" } else { "warn" },
    );
    let result = match cli.verb {
        Verb::Server(args) => server::run(&args),
        Verb::Agent(args) => agent::run(&args),
        Verb::Topic(verb) => topic::run(verb),
        Verb::Produce(args) => produce::run(args),
        Verb::Consume(args) => consume::run(args),
        Verb::Group(verb) => group::run(verb),
        Verb::Config(verb) => config::run(verb),
        Verb::Bench(verb) => bench::run(verb),
        Verb::Log(verb) => log::run(verb),
        Verb::Completion(args) => completion::run(&args),
    };
    exit::report(result)
}

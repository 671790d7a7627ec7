//! `buslane topic create`.

use std::io::Write;

use clap::Args;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use serde_json::json;

use super::{Admin, wait};
use crate::connection::{ClientArgs, status_of};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::units::parse_pair;

/// Create a topic
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane topic create orders
  buslane topic create orders --partitions 12 --config retention.ms=86400000
  buslane topic create orders --if-not-exists")]
pub struct CreateArgs {
    /// Name of the topic
    name: String,
    /// Number of partitions; without it the broker's default
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Copies of each partition; without it the broker's default
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..=32767))]
    replication_factor: Option<i32>,
    /// A setting of the topic; may be repeated
    #[arg(short, long, value_parser = parse_pair, value_name = "KEY=VALUE")]
    config: Vec<(String, String)>,
    /// Succeed when the topic is there already (as it is: nothing about it is changed)
    #[arg(long)]
    if_not_exists: bool,
    /// Print what was done as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(args: &CreateArgs) -> Outcome {
    let admin = Admin::connect(&args.client)?;
    let replication = TopicReplication::Fixed(args.replication_factor.unwrap_or(-1));
    let mut topic = NewTopic::new(&args.name, args.partitions.unwrap_or(-1), replication);
    for (key, value) in &args.config {
        topic = topic.set(key, value);
    }
    let what = format!("cannot create topic '{}'", args.name);
    let results = wait(admin.client.create_topics([&topic], &admin.options))?
        .map_err(|error| admin.listener.failure(&what, &error))?;
    let created = match results.into_iter().next() {
        Some(Ok(_)) => true,
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) if args.if_not_exists => false,
        Some(Err((_, RDKafkaErrorCode::InvalidConfig))) => {
            let settings: Vec<_> = args.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
            return Err(Failure::failed(format!(
                "{what}: the broker refuses one of the settings {}",
                settings.join(", ")
            )));
        }
        Some(Err((_, code))) => return Err(Failure::new(status_of(code), format!("{what}: {code}"))),
        None => return Err(Failure::failed(format!("{what}: the broker's answer does not mention it"))),
    };
    let mut out = output::stdout();
    if args.json {
        output::json_line(&mut out, &json!({"topic": args.name, "created": created}))?;
    } else if created {
        writeln!(out, "created topic {}", args.name)?;
    } else {
        writeln!(out, "topic {} exists already", args.name)?;
    }
    out.flush()?;
    Ok(())
}

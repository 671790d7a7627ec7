//! `buslane topic alter`: more partitions, other settings.

use std::io::Write;

use clap::{ArgGroup, Args};

use crate::admin::Admin;
use crate::admin::settings::{Change, Kind};
use crate::connection::BrokerArgs;
use crate::exit::Outcome;
use crate::output;
use crate::units::parse_pair;

/// Add partitions to a topic, and change its settings
///
/// A topic never gets fewer partitions. Records that are there stay where they are; keys go to other partitions from then on.
#[derive(Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(true),
    after_help = "\
Examples:
  buslane topic alter orders --partitions 12
  buslane topic alter orders --config retention.ms=86400000 --delete-config cleanup.policy"
)]
pub struct AlterArgs {
    /// Name of the topic
    name: String,
    /// How many partitions it is to have
    #[arg(short, long, value_name = "N", group = "what", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// A setting; may be repeated
    #[arg(short, long, value_parser = parse_pair, value_name = "KEY=VALUE", group = "what")]
    config: Vec<(String, String)>,
    /// A setting to take back; may be repeated
    #[arg(long, value_name = "KEY", group = "what")]
    delete_config: Vec<String>,
    #[command(flatten)]
    brokers: BrokerArgs,
}

pub fn run(args: &AlterArgs) -> Outcome {
    let mut admin = Admin::connect(&args.brokers)?;
    let name = &args.name;
    let set = args.config.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    let changes: Vec<Change> = set.chain(args.delete_config.iter().map(|key| (key.clone(), None))).collect();
    // What would be refused is found before anything is changed.
    if !changes.is_empty() {
        admin
            .change_settings(Kind::Topic, name, &changes, true)
            .map_err(|trouble| trouble.failure(&format!("topic '{name}' was not changed")))?;
    }
    let mut out = output::stdout();
    if let Some(count) = args.partitions {
        admin
            .add_partitions(name, count, false)
            .map_err(|trouble| trouble.failure(&format!("topic '{name}' was not changed")))?;
        writeln!(out, "topic {name} has {count} partitions")?;
    }
    if !changes.is_empty() {
        admin.change_settings(Kind::Topic, name, &changes, false).map_err(|trouble| {
            trouble.failure(&format!("the settings of topic '{name}' were not changed"))
        })?;
        for (key, value) in &changes {
            match value {
                Some(value) => writeln!(out, "topic {name}: {key} set to {value}")?,
                None => writeln!(out, "topic {name}: {key} taken back")?,
            }
        }
    }
    Ok(out.flush()?)
}

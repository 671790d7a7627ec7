//! `buslane topic describe`: partitions with their nodes and offsets, and the settings.

use std::io::Write;

use clap::Args;
use rdkafka::admin::{ConfigEntry, ResourceSpecifier};
use rdkafka::metadata::MetadataTopic;
use serde::Serialize;

use super::{Admin, wait};
use crate::connection::{self, ClientArgs, patiently};
use crate::exit::{Failure, Outcome};
use crate::output;

/// Show a topic's partitions, offsets and settings
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane topic describe orders
  buslane topic describe orders --json | jq '[.partitions[] | .end_offset - .start_offset] | add'")]
pub struct DescribeArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// All settings, not only those that differ from the default
    #[arg(short, long)]
    all: bool,
    /// A line of JSON for each topic
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Description {
    topic: String,
    partitions: Vec<Partition>,
    config: Vec<Setting>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    /// The owner; none while there is none.
    leader: Option<i32>,
    replicas: Vec<i32>,
    in_sync_replicas: Vec<i32>,
    /// First offset that can be read.
    start_offset: Option<i64>,
    /// Offset that the next record gets.
    end_offset: Option<i64>,
    /// Why the offsets are missing.
    error: Option<String>,
}

#[derive(Serialize)]
struct Setting {
    name: String,
    value: Option<String>,
    default: bool,
}

pub fn run(args: &DescribeArgs) -> Outcome {
    let admin = Admin::connect(&args.client)?;
    let metadata = connection::cluster(admin.client.inner(), &admin.listener, &args.client)?;
    let mut out = output::stdout();
    for (position, name) in args.names.iter().enumerate() {
        let topic = connection::topic(&metadata, name)?;
        let description = Description {
            topic: name.clone(),
            partitions: partitions(&admin, topic, &args.client),
            config: settings(&admin, name, args.all)?,
        };
        if args.json {
            output::json_line(&mut out, &description)?;
        } else {
            if position > 0 {
                writeln!(out)?;
            }
            print(&mut out, &description)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn partitions(admin: &Admin, topic: &MetadataTopic, args: &ClientArgs) -> Vec<Partition> {
    let mut partitions: Vec<_> = topic
        .partitions()
        .iter()
        .map(|partition| {
            let leader = Some(partition.leader()).filter(|leader| *leader >= 0);
            // Without an owner nobody can be asked, and asking would wait for the whole time limit.
            let (offsets, error) = match leader {
                None => (None, Some("the partition has no owner".to_owned())),
                Some(_) => {
                    let (client, limit) = (admin.client.inner(), args.timeout);
                    match patiently(limit, || client.fetch_watermarks(topic.name(), partition.id(), limit)) {
                        Ok(offsets) => (Some(offsets), None),
                        Err(error) => (None, Some(error.to_string())),
                    }
                }
            };
            Partition {
                partition: partition.id(),
                leader,
                replicas: partition.replicas().to_vec(),
                in_sync_replicas: partition.isr().to_vec(),
                start_offset: offsets.map(|(start, _)| start),
                end_offset: offsets.map(|(_, end)| end),
                error,
            }
        })
        .collect();
    partitions.sort_unstable_by_key(|partition| partition.partition);
    partitions
}

fn settings(admin: &Admin, name: &str, all: bool) -> Result<Vec<Setting>, Failure> {
    let what = format!("cannot read the settings of topic '{name}'");
    let results = wait(admin.client.describe_configs(&[ResourceSpecifier::Topic(name)], &admin.options))?
        .map_err(|error| admin.listener.failure(&what, &error))?;
    let resource = match results.into_iter().next() {
        Some(Ok(resource)) => resource,
        Some(Err(code)) => return Err(Failure::new(connection::status_of(code), format!("{what}: {code}"))),
        None => return Err(Failure::failed(format!("{what}: the broker's answer does not mention it"))),
    };
    let setting =
        |entry: ConfigEntry| Setting { name: entry.name, value: entry.value, default: entry.is_default };
    let mut settings: Vec<_> =
        resource.entries.into_iter().filter(|entry| all || !entry.is_default).map(setting).collect();
    settings.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(settings)
}

fn print(out: &mut impl Write, description: &Description) -> std::io::Result<()> {
    writeln!(out, "topic {}", description.topic)?;
    for setting in &description.config {
        let mark = if setting.default { "  (default)" } else { "" };
        writeln!(out, "  {}={}{mark}", setting.name, setting.value.as_deref().unwrap_or(""))?;
    }
    let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let nodes = |nodes: &[i32]| nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let rows: Vec<_> = description
        .partitions
        .iter()
        .map(|partition| {
            [
                partition.partition.to_string(),
                number(partition.leader.map(i64::from)),
                nodes(&partition.replicas),
                nodes(&partition.in_sync_replicas),
                number(partition.start_offset),
                number(partition.end_offset),
                partition.error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::table(out, ["PARTITION", "OWNER", "REPLICAS", "IN SYNC", "START", "END", ""], &rows)
}

//! `buslane topic list`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::Admin;
use crate::connection::{self, ClientArgs};
use crate::exit::Outcome;
use crate::output;

/// List topics
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane topic list
  buslane topic list --json | jq -r .topic")]
pub struct ListArgs {
    /// Also those that the cluster keeps for itself (their names start with two underscores)
    #[arg(short, long)]
    all: bool,
    /// A line of JSON for each topic
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(args: &ListArgs) -> Outcome {
    let admin = Admin::connect(&args.client)?;
    let metadata = connection::cluster(admin.client.inner(), &admin.listener, &args.client)?;
    let mut topics: Vec<_> =
        metadata.topics().iter().filter(|topic| args.all || !topic.name().starts_with("__")).collect();
    topics.sort_unstable_by_key(|topic| topic.name());
    let mut out = output::stdout();
    let mut rows = Vec::new();
    for topic in topics {
        let partitions = topic.partitions().len();
        let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).max().unwrap_or(0);
        if args.json {
            let line = json!({"topic": topic.name(), "partitions": partitions, "replication_factor": copies});
            output::json_line(&mut out, &line)?;
        } else {
            rows.push([topic.name().to_owned(), partitions.to_string(), copies.to_string()]);
        }
    }
    if !args.json {
        output::table(&mut out, ["TOPIC", "PARTITIONS", "COPIES"], &rows)?;
    }
    out.flush()?;
    Ok(())
}

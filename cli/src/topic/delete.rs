//! `buslane topic delete`.

use std::io::Write;

use clap::Args;
use rdkafka::error::RDKafkaErrorCode;
use serde_json::json;

use super::{Admin, wait};
use crate::connection::{ClientArgs, status_of};
use crate::exit::{Failure, Outcome, Status};
use crate::output;

/// Delete topics and everything in them
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane topic delete orders
  buslane topic delete orders payments --if-exists")]
pub struct DeleteArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Succeed when a topic is not there
    #[arg(long)]
    if_exists: bool,
    /// Print what was done, a line of JSON for each topic
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(args: &DeleteArgs) -> Outcome {
    let admin = Admin::connect(&args.client)?;
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let results = wait(admin.client.delete_topics(&names, &admin.options))?
        .map_err(|error| admin.listener.failure("cannot delete topics", &error))?;
    let mut out = output::stdout();
    let mut first_refusal: Option<(Status, String)> = None;
    for result in results {
        let (name, error) = match result {
            Ok(name) => (name, None),
            Err((name, code)) => (name, Some(code)),
        };
        let absent = error == Some(RDKafkaErrorCode::UnknownTopicOrPartition);
        if args.json {
            let reason = error.map(|code| code.to_string());
            output::json_line(
                &mut out,
                &json!({"topic": name, "deleted": error.is_none(), "error": reason}),
            )?;
        } else if error.is_none() {
            writeln!(out, "deleted topic {name}")?;
        } else if absent && args.if_exists {
            writeln!(out, "topic {name} does not exist")?;
        }
        if let Some(code) = error
            && !(absent && args.if_exists)
        {
            out.flush()?;
            let refusal = format!("cannot delete topic '{name}': {code}");
            match first_refusal {
                None => first_refusal = Some((status_of(code), refusal)),
                Some(_) => eprintln!("buslane: {refusal}"),
            }
        }
    }
    out.flush()?;
    match first_refusal {
        None => Ok(()),
        Some((status, refusal)) => Err(Failure::new(status, refusal)),
    }
}

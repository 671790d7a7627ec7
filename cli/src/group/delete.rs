//! `buslane group delete`: groups, or what they have committed of a topic.

use std::io::Write;

use buslane_wire::ErrorCode;
use clap::Args;
use serde_json::json;

use super::{TopicChoice, find, in_the_way, parse_choice};
use crate::admin::cluster::TopicPartition;
use crate::admin::{Admin, Trouble};
use crate::connection::BrokerArgs;
use crate::exit::{Failure, Outcome, Status};
use crate::output;

/// Delete groups with their offsets, or the offsets of some topics only
///
/// A group with members is not deleted, nor are the offsets of topics that its members read.
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane group delete billing
  buslane group delete billing shipping --if-exists
  buslane group delete billing --offsets-of orders        # only what it committed of this topic
  buslane group delete billing --offsets-of orders:0,1")]
pub struct DeleteArgs {
    /// Names of the groups
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Delete only the committed offsets of this topic, or of some of its partitions; may be repeated
    #[arg(long, value_parser = parse_choice, value_name = "TOPIC[:PARTITIONS]")]
    offsets_of: Vec<TopicChoice>,
    /// Succeed when a group is not there
    #[arg(long)]
    if_exists: bool,
    /// Print what was done, a line of JSON for each group
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    brokers: BrokerArgs,
}

pub fn run(args: &DeleteArgs) -> Outcome {
    let mut admin = Admin::connect(&args.brokers)?;
    let mut out = output::stdout();
    let mut first_failure: Option<Failure> = None;
    for name in &args.names {
        let deleted = match args.offsets_of.is_empty() {
            true => delete(&mut admin, name).map(|()| Vec::new()),
            false => delete_offsets(&mut admin, name, &args.offsets_of),
        };
        let absent = args.if_exists
            && matches!(&deleted, Err(failure) if failure.status == Status::Existence)
            && args.offsets_of.is_empty();
        if args.json {
            let error = deleted.as_ref().err().map(|failure| format!("{:#}", failure.error));
            let line = match args.offsets_of.is_empty() {
                true => json!({"group": name, "deleted": deleted.is_ok(), "error": error}),
                false => {
                    let offsets: Vec<_> = deleted.iter().flatten().map(ToString::to_string).collect();
                    json!({"group": name, "deleted_offsets": offsets, "error": error})
                }
            };
            output::json_line(&mut out, &line)?;
        }
        match deleted {
            Ok(_) if args.json => {}
            Ok(offsets) if args.offsets_of.is_empty() => {
                debug_assert!(offsets.is_empty());
                writeln!(out, "deleted group {name}")?;
            }
            Ok(offsets) => {
                for partition in offsets {
                    writeln!(out, "deleted the offset of {partition} in group {name}")?;
                }
            }
            Err(_) if absent && args.json => {}
            Err(_) if absent => writeln!(out, "group {name} does not exist")?,
            Err(failure) => {
                out.flush()?;
                match first_failure {
                    None => first_failure = Some(failure),
                    Some(_) => eprintln!("buslane: {:#}", failure.error),
                }
            }
        }
    }
    out.flush()?;
    first_failure.map_or(Ok(()), Err)
}

fn delete(admin: &mut Admin, name: &str) -> Result<(), Failure> {
    let what = format!("cannot delete group '{name}'");
    match admin.delete_group(name) {
        Ok(()) => Ok(()),
        Err(trouble) if trouble.is(ErrorCode::NON_EMPTY_GROUP) => {
            Err(members_in_the_way(admin, name, trouble, &what))
        }
        Err(trouble) => Err(trouble.failure(&what)),
    }
}

/// The refusal, with the members that cause it where they can be told.
fn members_in_the_way(admin: &mut Admin, name: &str, refused: Trouble, what: &str) -> Failure {
    match find(admin, name).ok().and_then(Result::ok).and_then(|(group, _)| in_the_way(&group)) {
        Some(reason) => Failure::failed(format!("{what}: {reason}")),
        None => refused.failure(what),
    }
}

/// Deletes what is committed of these topics; gives the partitions.
fn delete_offsets(
    admin: &mut Admin,
    name: &str,
    choices: &[TopicChoice],
) -> Result<Vec<TopicPartition>, Failure> {
    let what = format!("cannot delete offsets of group '{name}'");
    find(admin, name)??;
    let committed = admin.committed(name).map_err(|trouble| trouble.failure(&what))?;
    let mut partitions = Vec::new();
    for TopicChoice { topic, partitions: chosen } in choices {
        let before = partitions.len();
        let wanted = |partition: &&TopicPartition| {
            partition.topic == *topic
                && chosen.as_ref().is_none_or(|chosen| chosen.contains(&partition.partition))
        };
        partitions.extend(committed.keys().filter(wanted).cloned());
        if partitions.len() == before {
            return Err(Failure::new(
                Status::Existence,
                format!(
                    "{what}: it has committed nothing of topic '{topic}'{}; `buslane group describe {name}` shows \
                     what it has",
                    if chosen.is_some() { " in these partitions" } else { "" }
                ),
            ));
        }
    }
    let refused = match admin.delete_offsets(name, &partitions) {
        Ok(refused) => refused,
        Err(trouble) if trouble.is(ErrorCode::NON_EMPTY_GROUP) => {
            return Err(members_in_the_way(admin, name, trouble, &what));
        }
        Err(trouble) => return Err(trouble.failure(&what)),
    };
    match refused.iter().next() {
        None => Ok(partitions),
        Some((partition, refusal)) if refusal.code == ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => {
            let refused = Trouble::Refused(refusal.clone());
            Err(members_in_the_way(
                admin,
                name,
                refused,
                &format!("{what} in {partition}, which its members read"),
            ))
        }
        Some((partition, refusal)) => Err(refusal.failure(&format!("{what} in {partition}"))),
    }
}

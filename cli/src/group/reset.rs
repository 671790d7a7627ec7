//! `buslane group reset`: moves a group's committed offsets. Shows what it would do; `--execute` does it.

mod file;
mod plan;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args};
use serde_json::json;

use super::{TopicChoice, find, in_the_way, parse_choice};
use crate::admin::Admin;
use crate::admin::cluster::{Cluster, Offsets, Place, TopicPartition};
use crate::admin::groups::Committed;
use crate::connection::BrokerArgs;
use crate::exit::{Failure, Outcome, Status};
use crate::output;
use crate::units::{TimestampMs, parse_period, parse_time, timestamp_ms};
use plan::{Log, Move, Target};

/// Move a group's committed offsets
///
/// Shows what would change and changes nothing, until --execute is given. The group must have no members then: stop its
/// consumers first. An offset outside of a partition's log becomes its start or its end, and is marked.
#[derive(Args)]
#[command(
    group = ArgGroup::new("to").required(true),
    group = ArgGroup::new("what"),
    after_help = "\
Examples:
  buslane group reset billing --topic orders --to-earliest              # what would it do?
  buslane group reset billing --topic orders --to-earliest --execute
  buslane group reset billing --topic orders:0,3 --shift-by -100 --execute
  buslane group reset billing --all-topics --to-datetime 2026-01-02T03:04:05Z
  buslane group reset billing --all-topics --by-duration PT1H           # to where it was an hour ago
  buslane group reset billing --all-topics --to-current --export > before.csv
  buslane group reset billing --from-file before.csv --execute"
)]
pub struct ResetArgs {
    /// Name of the group
    name: String,
    /// A topic, or some of its partitions; may be repeated
    #[arg(short, long, value_parser = parse_choice, group = "what", value_name = "TOPIC[:PARTITIONS]")]
    topic: Vec<TopicChoice>,
    /// All partitions that the group has committed an offset of
    #[arg(long, group = "what")]
    all_topics: bool,

    /// To the first record there is
    #[arg(long, group = "to", help_heading = "Where to")]
    to_earliest: bool,
    /// To the end: only records that come from now on
    #[arg(long, group = "to", help_heading = "Where to")]
    to_latest: bool,
    /// To this offset
    #[arg(long, group = "to", help_heading = "Where to", value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// By so many offsets forward, or back with a minus
    #[arg(long, group = "to", help_heading = "Where to", value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record of this time or later: 2026-01-02T03:04:05Z (UTC), milliseconds since 1970
    #[arg(long, group = "to", help_heading = "Where to", value_name = "TIME", value_parser = parse_time)]
    to_datetime: Option<TimestampMs>,
    /// To the first record that is not older than this: PT1H30M, P2D, 90m
    #[arg(long, group = "to", help_heading = "Where to", value_name = "DURATION", value_parser = parse_period)]
    by_duration: Option<Duration>,
    /// To what is committed now; the end where nothing is (to save it with --export)
    #[arg(long, group = "to", help_heading = "Where to")]
    to_current: bool,
    /// To the offsets of a file with lines TOPIC,PARTITION,OFFSET; - for standard input
    #[arg(long, group = "to", help_heading = "Where to", value_name = "FILE", conflicts_with = "what")]
    from_file: Option<PathBuf>,

    /// Do it
    #[arg(short, long)]
    execute: bool,
    /// Print the new offsets as --from-file reads them
    #[arg(long, conflicts_with = "json")]
    export: bool,
    /// A line of JSON for each partition
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    brokers: BrokerArgs,
}

pub fn run(args: &ResetArgs) -> Outcome {
    let file = args.from_file.as_deref().map(|path| file::read(path, &args.name)).transpose()?;
    if file.is_none() && args.topic.is_empty() && !args.all_topics {
        return Err(Failure::usage(
            "which partitions? --topic TOPIC, --topic TOPIC:0,1, or --all-topics for those the group has offsets of",
        ));
    }
    let mut admin = Admin::connect(&args.brokers)?;
    let name = &args.name;
    let group = find(&mut admin, name)?;
    let in_the_way = group.as_ref().ok().and_then(|(group, _)| in_the_way(group));
    if let Some(reason) = in_the_way.as_ref().filter(|_| args.execute) {
        return Err(Failure::failed(format!("cannot reset offsets: {reason}")));
    }
    let committed = admin
        .committed(name)
        .map_err(|trouble| trouble.failure(&format!("cannot read the offsets of group '{name}'")))?;
    let chosen = match &file {
        Some(offsets) => offsets.keys().cloned().collect(),
        // A group that is not there has no topics; with topics named, it comes to be.
        None if args.all_topics => match (group, committed.is_empty()) {
            (Err(absent), _) => return Err(absent),
            (Ok(_), true) => {
                return Err(Failure::new(
                    Status::Existence,
                    format!("group '{name}' has committed nothing; name its topics with --topic"),
                ));
            }
            (Ok(_), false) => committed.keys().cloned().collect(),
        },
        None => {
            if group.is_err() {
                eprintln!("buslane: note: there is no group '{name}' yet; committing offsets creates it");
            }
            choose(&admin.cluster()?, &args.topic)?
        }
    };
    let moves = plan(&mut admin, args, &chosen, &committed, file.as_ref())?;
    let refused = match args.execute {
        true => {
            let new = moves.iter().map(|step| (step.partition.clone(), step.new)).collect();
            let what = format!("cannot reset the offsets of group '{name}'; nothing was changed");
            admin.commit(name, &new).map_err(|trouble| trouble.failure(&what))?
        }
        false => BTreeMap::new(),
    };

    let mut out = output::stdout();
    if args.json {
        for step in &moves {
            let error = refused.get(&step.partition).map(ToString::to_string);
            let line = json!({
                "group": name, "topic": step.partition.topic, "partition": step.partition.partition,
                "old": step.old, "new": step.new, "note": step.note,
                "executed": args.execute && error.is_none(), "error": error,
            });
            output::json_line(&mut out, &line)?;
        }
    } else if args.export {
        file::write(&mut out, &moves)?;
    } else {
        print(&mut out, &moves)?;
    }
    out.flush()?;
    if !args.execute {
        if !args.export {
            eprintln!("buslane: nothing was changed; --execute does it");
        }
        if let Some(reason) = in_the_way {
            eprintln!("buslane: warning: --execute would be refused: {reason}");
        }
    }
    let mut refused = refused.iter();
    let Some((partition, refusal)) = refused.next() else { return Ok(()) };
    for (partition, refusal) in refused {
        eprintln!("buslane: {partition} was not reset: {refusal}");
    }
    Err(refusal.failure(&format!("{partition} was not reset")))
}

/// The partitions of the topics named.
fn choose(cluster: &Cluster, choices: &[TopicChoice]) -> Result<Vec<TopicPartition>, Failure> {
    let mut chosen = Vec::new();
    for TopicChoice { topic, partitions } in choices {
        let there = cluster.topic(topic)?;
        for partition in partitions.clone().unwrap_or_else(|| there.keys().copied().collect()) {
            if !there.contains_key(&partition) {
                return Err(Failure::new(
                    Status::Existence,
                    format!(
                        "topic '{topic}' has no partition {partition}; it has 0 to {}",
                        there.len().saturating_sub(1)
                    ),
                ));
            }
            chosen.push(TopicPartition { topic: topic.clone(), partition });
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

/// Where each partition goes. Fails when one of them cannot be told, before anything is changed.
fn plan(
    admin: &mut Admin,
    args: &ResetArgs,
    chosen: &[TopicPartition],
    committed: &Committed,
    file: Option<&Committed>,
) -> Result<Vec<Move>, Failure> {
    let ago = |ago| SystemTime::now().checked_sub(ago).map_or(0, timestamp_ms);
    let time = args.to_datetime.or_else(|| args.by_duration.map(ago));
    let starts = admin.offsets(chosen, Place::Start)?;
    let ends = admin.offsets(chosen, Place::End)?;
    let at_time = time.map(|time| admin.offsets(chosen, Place::Time(time))).transpose()?;
    let mut moves = Vec::new();
    for partition in chosen {
        let target = if args.to_earliest {
            Target::Start
        } else if args.to_latest {
            Target::End
        } else if let Some(offset) = args.to_offset {
            Target::Offset(offset)
        } else if let Some(offset) = file.and_then(|file| file.get(partition)) {
            Target::Offset(*offset)
        } else if let Some(by) = args.shift_by {
            Target::Shift(by)
        } else if let Some(found) = &at_time {
            Target::Time(offset(found, partition)?)
        } else {
            Target::Current
        };
        let log = Log { start: offset(&starts, partition)?, end: offset(&ends, partition)? };
        let old = committed.get(partition).copied();
        let (new, note) = target
            .resolve(old, log)
            .map_err(|reason| Failure::failed(format!("{partition}: {reason}; nothing was changed")))?;
        moves.push(Move { partition: partition.clone(), old, new, note });
    }
    Ok(moves)
}

fn offset(offsets: &Offsets, partition: &TopicPartition) -> Result<i64, Failure> {
    match offsets.get(partition) {
        Some(Ok(offset)) => Ok(*offset),
        Some(Err(refusal)) => {
            Err(refusal.failure(&format!("cannot tell the offsets of {partition}; nothing was changed")))
        }
        None => Err(Failure::failed(format!("the broker's answer does not mention {partition}"))),
    }
}

fn print(out: &mut impl Write, moves: &[Move]) -> std::io::Result<()> {
    let rows: Vec<_> = moves
        .iter()
        .map(|step| {
            [
                step.partition.topic.clone(),
                step.partition.partition.to_string(),
                step.old.map_or_else(|| "-".to_owned(), |old| old.to_string()),
                "->".to_owned(),
                step.new.to_string(),
                step.old.map_or_else(String::new, |old| format!("{:+}", step.new - old)),
                step.note.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::table(out, ["TOPIC", "PARTITION", "OLD", "", "NEW", "BY", ""], &rows)
}

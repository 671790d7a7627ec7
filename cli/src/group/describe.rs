//! `buslane group describe`: how far a group is, partition by partition, and who is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::{find, host};
use crate::admin::cluster::{Offsets, Place, TopicPartition};
use crate::admin::groups::{Committed, Group, Member};
use crate::admin::{Admin, Node};
use crate::connection::BrokerArgs;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Show how far a group has read and who is in it
///
/// LAG is how many offsets lie between what is committed and the end. A dash stands for what is not there: a partition
/// that nobody has, a partition that nothing was committed for.
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane group describe billing
  buslane group describe billing --members
  buslane group describe billing --json | jq .total_lag
  buslane group describe billing --json | jq -c '.offsets[] | select(.lag > 1000)'")]
pub struct DescribeArgs {
    /// Names of the groups
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Show the members and what each of them has
    #[arg(short, long)]
    members: bool,
    /// Show the offsets; what is shown when nothing else is asked for
    #[arg(short, long)]
    offsets: bool,
    /// A line of JSON for each group, with members and offsets
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    brokers: BrokerArgs,
}

#[derive(Serialize)]
struct Description {
    group: String,
    state: String,
    r#type: &'static str,
    protocol_type: String,
    assignor: Option<String>,
    coordinator: Coordinator,
    /// Only in the consumer protocol.
    group_epoch: Option<i32>,
    assignment_epoch: Option<i32>,
    members: Vec<DescribedMember>,
    offsets: Vec<Row>,
    total_lag: i64,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Coordinator {
    node: Option<i32>,
    host: String,
    port: u16,
}

#[derive(Serialize)]
struct DescribedMember {
    member_id: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    epoch: Option<i32>,
    /// Partitions by topic; none where it is not a consumer.
    owned: Option<BTreeMap<String, Vec<i32>>>,
    /// What it is to own, where that differs.
    target: Option<BTreeMap<String, Vec<i32>>>,
}

/// A partition that the group has committed an offset of, or that one of its members has.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    /// First offset that can be read.
    start: Option<i64>,
    /// Offset that the next record gets.
    end: Option<i64>,
    lag: Option<i64>,
    member_id: Option<String>,
    client_id: Option<String>,
    host: Option<String>,
    /// Why start and end are missing.
    error: Option<String>,
}

pub fn run(args: &DescribeArgs) -> Outcome {
    let mut admin = Admin::connect(&args.brokers)?;
    let mut out = output::stdout();
    for (position, name) in args.names.iter().enumerate() {
        let (group, coordinator) = find(&mut admin, name)??;
        let description = describe(&mut admin, group, coordinator)?;
        if args.json {
            output::json_line(&mut out, &description)?;
            continue;
        }
        if position > 0 {
            writeln!(out)?;
        }
        print_head(&mut out, &description)?;
        if args.members {
            print_members(&mut out, &description)?;
        }
        if args.offsets || !args.members {
            print_offsets(&mut out, &description)?;
        }
        out.flush()?;
        for warning in &description.warnings {
            eprintln!("buslane: warning: {warning}");
        }
    }
    out.flush()?;
    Ok(())
}

fn describe(admin: &mut Admin, group: Group, coordinator: Node) -> Result<Description, Failure> {
    let committed = admin
        .committed(&group.group)
        .map_err(|trouble| trouble.failure(&format!("cannot read the offsets of group '{}'", group.group)))?;
    let owners = owners(&group.members);
    let all: BTreeSet<_> = committed.keys().chain(owners.keys()).cloned().collect();
    let all: Vec<_> = all.into_iter().collect();
    let starts = admin.offsets(&all, Place::Start)?;
    let ends = admin.offsets(&all, Place::End)?;
    let offsets: Vec<_> =
        all.iter().map(|partition| row(partition, &committed, &starts, &ends, &owners)).collect();
    Ok(Description {
        total_lag: offsets.iter().filter_map(|row| row.lag).sum(),
        warnings: offsets.iter().filter_map(warning).collect(),
        offsets,
        members: group.members.iter().map(described_member).collect(),
        state: group.state,
        r#type: group.kind,
        protocol_type: group.protocol_type,
        assignor: Some(group.assignor).filter(|name| !name.is_empty()),
        coordinator: Coordinator { node: coordinator.id, host: coordinator.host, port: coordinator.port },
        group_epoch: group.epochs.map(|(group, _)| group),
        assignment_epoch: group.epochs.map(|(_, assignment)| assignment),
        group: group.group,
    })
}

fn owners(members: &[Member]) -> BTreeMap<TopicPartition, &Member> {
    let mut owners = BTreeMap::new();
    for member in members {
        for (topic, partitions) in member.owned.iter().flatten() {
            for partition in partitions {
                owners.insert(TopicPartition { topic: topic.clone(), partition: *partition }, member);
            }
        }
    }
    owners
}

fn row(
    partition: &TopicPartition,
    committed: &Committed,
    starts: &Offsets,
    ends: &Offsets,
    owners: &BTreeMap<TopicPartition, &Member>,
) -> Row {
    let offset = |offsets: &Offsets| offsets.get(partition).and_then(|found| found.as_ref().ok()).copied();
    let (committed, start, end) = (committed.get(partition).copied(), offset(starts), offset(ends));
    let owner = owners.get(partition);
    let refused =
        ends.get(partition).or_else(|| starts.get(partition)).and_then(|found| found.as_ref().err());
    Row {
        topic: partition.topic.clone(),
        partition: partition.partition,
        committed,
        start,
        end,
        // As Kafka's tool counts it: records that are gone by now are behind, too.
        lag: committed.zip(end).map(|(committed, end)| (end - committed).max(0)),
        member_id: owner.map(|member| member.member_id.clone()),
        client_id: owner.map(|member| member.client_id.clone()),
        host: owner.map(|member| host(&member.host).to_owned()),
        error: refused.map(ToString::to_string),
    }
}

/// What an operator should know about a partition that a number alone does not say.
fn warning(row: &Row) -> Option<String> {
    let name = format!("{}-{}", row.topic, row.partition);
    if let Some(error) = &row.error {
        return Some(format!("{name}: start and end are unknown: {error}"));
    }
    let (committed, start, end) = (row.committed?, row.start?, row.end?);
    let resets = "its consumers go where their auto.offset.reset says";
    if committed < start {
        let gone = start - committed;
        Some(format!(
            "{name}: the committed offset {committed} is below the log start {start}: {gone} offsets were deleted \
             before they were read; {resets}"
        ))
    } else if committed > end {
        Some(format!(
            "{name}: the committed offset {committed} is beyond the end {end}: the topic was created again, or the \
             offset is from another cluster; {resets}"
        ))
    } else {
        None
    }
}

fn described_member(member: &Member) -> DescribedMember {
    DescribedMember {
        member_id: member.member_id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        host: host(&member.host).to_owned(),
        epoch: member.epoch,
        owned: member.owned.clone(),
        target: member.target.clone(),
    }
}

fn print_head(out: &mut impl Write, description: &Description) -> std::io::Result<()> {
    writeln!(out, "group {}", description.group)?;
    let mut facts = vec![format!("state {}", description.state), format!("type {}", description.r#type)];
    if let Some(assignor) = &description.assignor {
        facts.push(format!("assignor {assignor}"));
    }
    if let (Some(group), Some(assignment)) = (description.group_epoch, description.assignment_epoch) {
        facts.push(format!("group epoch {group}, assignment epoch {assignment}"));
    }
    facts.push(match description.members.len() {
        0 => "no members".to_owned(),
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    });
    let Coordinator { node, host, port } = &description.coordinator;
    let node = node.map_or_else(String::new, |node| format!("node {node} at "));
    facts.push(format!("coordinator {node}{host}:{port}"));
    writeln!(out, "  {}", facts.join(", "))
}

fn print_members(out: &mut impl Write, description: &Description) -> std::io::Result<()> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = description
        .members
        .iter()
        .map(|member| {
            let count = member.owned.as_ref().map(|owned| owned.values().map(Vec::len).sum::<usize>());
            let mut has = member.owned.as_ref().map(partitions).unwrap_or_default();
            if let Some(target) = &member.target {
                has = format!("{has} -> {}", partitions(target)).trim_start().to_owned();
            }
            [
                member.client_id.clone(),
                member.host.clone(),
                text(&member.instance_id),
                text(&member.epoch.map(|epoch| epoch.to_string())),
                text(&count.map(|count| count.to_string())),
                member.member_id.clone(),
                has,
            ]
        })
        .collect();
    output::table(out, ["CLIENT", "HOST", "INSTANCE", "EPOCH", "PARTITIONS", "MEMBER", "HAS"], &rows)
}

/// `orders:0,1,2 payments:4`.
fn partitions(owned: &BTreeMap<String, Vec<i32>>) -> String {
    let topic = |(topic, partitions): (&String, &Vec<i32>)| {
        let numbers: Vec<_> = partitions.iter().map(i32::to_string).collect();
        format!("{topic}:{}", numbers.join(","))
    };
    let topics: Vec<_> = owned.iter().map(topic).collect();
    if topics.is_empty() { "nothing".to_owned() } else { topics.join(" ") }
}

fn print_offsets(out: &mut impl Write, description: &Description) -> std::io::Result<()> {
    let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = description
        .offsets
        .iter()
        .map(|row| {
            [
                row.topic.clone(),
                row.partition.to_string(),
                number(row.committed),
                number(row.start),
                number(row.end),
                number(row.lag),
                text(&row.client_id),
                text(&row.host),
                text(&row.member_id),
            ]
        })
        .collect();
    let head = ["TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", "CLIENT", "HOST", "MEMBER"];
    output::table(out, head, &rows)?;
    let without = description.offsets.iter().filter(|row| row.committed.is_none()).count();
    let without = match without {
        0 => String::new(),
        count => format!(", {count} of them without a committed offset"),
    };
    writeln!(out, "total lag {} in {} partitions{without}", description.total_lag, description.offsets.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Refusal;
    use buslane_wire::ErrorCode;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".to_owned(), partition }
    }

    fn row_of(committed: Option<i64>, start: i64, end: i64) -> Row {
        let committed = committed.map(|offset| (at(0), offset)).into_iter().collect();
        let one = |offset| Offsets::from([(at(0), Ok(offset))]);
        row(&at(0), &committed, &one(start), &one(end), &BTreeMap::new())
    }

    #[test]
    fn lag_is_what_lies_between_the_committed_offset_and_the_end() {
        assert_eq!(row_of(Some(7), 0, 10).lag, Some(3));
        assert_eq!(row_of(Some(10), 0, 10).lag, Some(0));
        assert_eq!(row_of(None, 0, 10).lag, None);
        assert_eq!(row_of(Some(2), 5, 10).lag, Some(8));
        assert_eq!(row_of(Some(12), 5, 10).lag, Some(0));
    }

    #[test]
    fn offsets_outside_of_the_log_are_warned_of() {
        for inside in [row_of(Some(5), 5, 10), row_of(Some(10), 5, 10), row_of(None, 5, 10)] {
            assert_eq!(warning(&inside), None);
        }
        assert!(warning(&row_of(Some(2), 5, 10)).unwrap().contains("3 offsets were deleted"));
        assert!(warning(&row_of(Some(11), 5, 10)).unwrap().contains("beyond the end 10"));
    }

    #[test]
    fn a_partition_that_cannot_be_asked_is_told_with_the_reason() {
        let refusal = Refusal { code: ErrorCode::LEADER_NOT_AVAILABLE, message: None };
        let refused = Offsets::from([(at(0), Err(refusal))]);
        let row = row(&at(0), &Committed::from([(at(0), 3)]), &refused, &refused, &BTreeMap::new());
        assert_eq!((row.committed, row.lag), (Some(3), None));
        assert!(warning(&row).unwrap().contains("no owner"));
    }
}

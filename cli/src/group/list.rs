//! `buslane group list`.

use std::collections::HashMap;
use std::io::Write;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::admin::groups::{Group, Listed};
use crate::admin::{Admin, Node};
use crate::connection::BrokerArgs;
use crate::exit::{Failure, Outcome};
use crate::output;

/// List consumer groups with their state, type and members
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane group list
  buslane group list --state Empty,Dead
  buslane group list --json | jq -r 'select(.members == 0) | .group'")]
pub struct ListArgs {
    /// Only groups in these states, separated by commas
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',', value_name = "STATES")]
    state: Vec<State>,
    /// Only groups of these types, separated by commas
    #[arg(long = "type", value_enum, ignore_case = true, value_delimiter = ',', value_name = "TYPES")]
    kind: Vec<Kind>,
    /// A line of JSON for each group
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    brokers: BrokerArgs,
}

/// As brokers call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum State {
    Stable,
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Assigning,
    Reconciling,
    NotReady,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Classic,
    Consumer,
    Share,
    Streams,
}

/// Whether one of the values has this name; no values at all allow every name.
fn allows<V: ValueEnum>(values: &[V], name: &str) -> bool {
    let is = |value: &V| value.to_possible_value().is_some_and(|value| value.matches(name, true));
    values.is_empty() || values.iter().any(is)
}

pub fn run(args: &ListArgs) -> Outcome {
    let mut admin = Admin::connect(&args.brokers)?;
    let mut groups = admin.groups().map_err(|trouble| trouble.failure("cannot list groups"))?;
    groups.retain(|group| allows(&args.state, &group.state) && allows(&args.kind, &group.kind));
    let described = describe(&mut admin, &groups)?;
    let mut out = output::stdout();
    let mut rows = Vec::new();
    for group in &groups {
        let found = described.get(&group.group);
        let protocol = found.map(|found| found.protocol_type.as_str());
        let members = found.map(|found| found.members.len());
        let node = group.coordinator.id;
        if args.json {
            let line = json!({
                "group": group.group, "state": group.state, "type": group.kind, "protocol_type": protocol,
                "members": members, "coordinator": node,
            });
            output::json_line(&mut out, &line)?;
        } else {
            let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            rows.push([
                group.group.clone(),
                group.state.clone(),
                group.kind.clone(),
                number(members.map(|members| members.to_string())),
                number(node.map(|node| node.to_string())),
            ]);
        }
    }
    if !args.json {
        output::table(&mut out, ["GROUP", "STATE", "TYPE", "MEMBERS", "COORDINATOR"], &rows)?;
    }
    out.flush()?;
    Ok(())
}

/// The groups by name, as far as they are still there and of a kind that can be described here: one request for each
/// broker and kind.
fn describe(admin: &mut Admin, groups: &[Listed]) -> Result<HashMap<String, Group>, Failure> {
    let mut asked: HashMap<(&Node, bool), Vec<&str>> = HashMap::new();
    for group in groups.iter().filter(|group| !matches!(group.kind.as_str(), "share" | "streams")) {
        asked.entry((&group.coordinator, group.kind == "consumer")).or_default().push(&group.group);
    }
    let mut described = HashMap::new();
    for ((node, consumer), names) in asked {
        let found = match consumer {
            true => admin.describe_consumer_groups(node, &names)?,
            false => admin.describe_classic_groups(node, &names)?,
        };
        described.extend(found.into_iter().flatten().map(|group| (group.group.clone(), group)));
    }
    Ok(described)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_know_the_names_that_brokers_use() {
        for name in ["Stable", "Empty", "PreparingRebalance", "CompletingRebalance", "NotReady"] {
            assert!(State::from_str(name, true).is_ok_and(|state| allows(&[state], name)), "{name}");
        }
        assert!(allows::<State>(&[], "whatever comes"));
        assert!(!allows(&[State::Empty], "Stable"));
        assert!(allows(&[Kind::Share, Kind::Classic], "classic"));
    }
}

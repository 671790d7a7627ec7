//! `buslane config`: the settings of topics, brokers and groups, shown and changed.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::Admin;
use crate::admin::settings::{Change, Kind, Setting};
use crate::connection::BrokerArgs;
use crate::exit::Outcome;
use crate::output;
use crate::units::parse_pair;

/// Show and change settings of topics, brokers and groups
#[derive(Subcommand)]
pub enum ConfigVerb {
    Show(ShowArgs),
    Set(SetArgs),
    Unset(UnsetArgs),
}

pub fn run(verb: ConfigVerb) -> Outcome {
    match verb {
        ConfigVerb::Show(args) => show(&args),
        ConfigVerb::Set(args) => change(&args.target, args.settings),
        ConfigVerb::Unset(args) => {
            change(&args.target, args.names.into_iter().map(|name| (name, None)).collect())
        }
    }
}

/// Show what is set, where it comes from, and what would hold without it
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane config show topic orders            # what was set for it, or by the broker
  buslane config show topic orders --all      # the defaults, too
  buslane config show broker 1 --all")]
pub struct ShowArgs {
    /// Of what
    #[arg(value_enum)]
    kind: Kind,
    /// Its name; of a broker the node id
    name: String,
    /// Only these settings
    #[arg(value_name = "SETTING")]
    only: Vec<String>,
    /// Also what nobody has set
    #[arg(short, long)]
    all: bool,
    /// A line of JSON for each setting
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    brokers: BrokerArgs,
}

/// What is changed.
#[derive(Args)]
pub struct Target {
    /// Of what
    #[arg(value_enum)]
    kind: Kind,
    /// Its name; of a broker the node id, or `default` for all
    name: String,
    /// Only ask the broker whether it would
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    brokers: BrokerArgs,
}

/// Set settings, all of them or none
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane config set topic orders retention.ms=86400000
  buslane config set topic orders cleanup.policy=compact min.cleanable.dirty.ratio=0.2 --dry-run")]
pub struct SetArgs {
    #[command(flatten)]
    target: Target,
    /// What is to hold
    #[arg(required = true, value_parser = parse_change, value_name = "SETTING=VALUE")]
    settings: Vec<Change>,
}

/// Take settings back: what holds without them holds again
#[derive(Args)]
pub struct UnsetArgs {
    #[command(flatten)]
    target: Target,
    /// Their names
    #[arg(required = true, value_name = "SETTING")]
    names: Vec<String>,
}

fn parse_change(text: &str) -> Result<Change, String> {
    parse_pair(text).map(|(name, value)| (name, Some(value)))
}

fn show(args: &ShowArgs) -> Outcome {
    let mut admin = Admin::connect(&args.brokers)?;
    let what = format!("cannot show the settings of {} '{}'", args.kind.name(), args.name);
    let mut settings = admin.settings(args.kind, &args.name).map_err(|trouble| trouble.failure(&what))?;
    for name in &args.only {
        if !settings.iter().any(|setting| setting.name == *name) {
            return Err(crate::exit::Failure::new(
                crate::exit::Status::Existence,
                format!("{what}: there is no setting '{name}'; --all shows those there are"),
            ));
        }
    }
    let wanted = |setting: &Setting| match args.only.is_empty() {
        true => args.all || !setting.now.source.is_built_in(),
        false => args.only.contains(&setting.name),
    };
    settings.retain(wanted);
    let mut out = output::stdout();
    let shown = |value: &Option<String>, setting: &Setting| match value {
        Some(value) => value.clone(),
        None if setting.sensitive => "(withheld)".to_owned(),
        None => String::new(),
    };
    let mut rows = Vec::new();
    for setting in &settings {
        let without =
            setting.levels.iter().map(|(_, level)| level).find(|level| level.source != setting.now.source);
        if args.json {
            let line = json!({
                "setting": setting.name, "value": setting.now.value, "from": setting.now.source.name(),
                "read_only": setting.read_only, "sensitive": setting.sensitive,
                "without": without.map(|level| json!({"value": level.value, "from": level.source.name()})),
            });
            output::json_line(&mut out, &line)?;
        } else {
            let without = without.map_or_else(String::new, |level| {
                format!("{} ({})", shown(&level.value, setting), level.source.name())
            });
            let value = shown(&setting.now.value, setting);
            rows.push([setting.name.clone(), value, setting.now.source.name().to_owned(), without]);
        }
    }
    if !args.json {
        output::table(&mut out, ["SETTING", "VALUE", "FROM", "WITHOUT IT"], &rows)?;
        out.flush()?;
        if rows.is_empty() {
            eprintln!("buslane: nothing is set; --all shows the defaults");
        }
    }
    Ok(out.flush()?)
}

fn change(target: &Target, changes: Vec<Change>) -> Outcome {
    let mut admin = Admin::connect(&target.brokers)?;
    let (kind, name) = (target.kind.name(), &target.name);
    admin
        .change_settings(target.kind, name, &changes, target.dry_run)
        .map_err(|trouble| trouble.failure(&format!("{kind} '{name}' was not changed")))?;
    let mut out = output::stdout();
    let would = if target.dry_run { "would be " } else { "" };
    for (setting, value) in &changes {
        match value {
            Some(value) => writeln!(out, "{kind} {name}: {setting} {would}set to {value}")?,
            None => writeln!(out, "{kind} {name}: {setting} {would}taken back")?,
        }
    }
    Ok(out.flush()?)
}

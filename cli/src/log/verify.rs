//! `buslane log verify`: findings on stdout as they are made, progress on stderr.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use buslane_log::disk::boot_id;
use buslane_log::offline::Access;
use buslane_log::verify::{Finding, Progress, Severity, VerifyOptions, VerifySummary};
use buslane_meta::MetaLogError;
use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::folder::{Folder, partition_of};
use crate::exit::{Failure, Outcome, Status};
use crate::output::{self, Stdout};

/// Off a terminal a line of progress comes this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Check a data folder: every batch, index, checkpoint and name
///
/// Reads every byte and compares it with its checksums, with the journal and with the metadata. Each finding says which
/// file, where in it, what is wrong and what to do. `note`: nothing is lost and the server mends it by itself. `torn end`:
/// what a crash leaves, the server cuts it. `damage`: something is not what was written; then the exit code is 5.
///
/// --repair cuts the bad end of an open segment, keeps what it cut in orphans/, and rebuilds indexes. It cuts nothing below
/// the point up to which everything was safe on the disk, unless --accept-loss says so, and it never changes a sealed
/// segment: that has to come from another store or a backup.
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane log verify
  buslane log verify --data /var/lib/buslane --repair
  buslane log verify --topic orders --partition 0 --json | jq 'select(.severity == \"damage\")'
  buslane log verify --read-only                        # beside a running server")]
pub struct VerifyArgs {
    /// Folder of all data
    #[arg(short, long, value_name = "DIR", default_value = "./buslane-data")]
    data: PathBuf,
    /// Only this topic, by name or id
    #[arg(short, long, value_name = "NAME")]
    topic: Option<String>,
    /// Only this partition of the topic
    #[arg(short, long, requires = "topic", value_parser = clap::value_parser!(i32).range(0..), value_name = "N")]
    partition: Option<i32>,
    /// Repair what can be
    #[arg(long)]
    repair: bool,
    /// Repair even where it cuts off what was safe on the disk once
    #[arg(long, requires = "repair")]
    accept_loss: bool,
    /// Do not lock the folder, so that a server may be running; what it is just writing is left out
    #[arg(long, conflicts_with = "repair")]
    read_only: bool,
    /// A line of JSON for each finding, and one for the summary
    #[arg(long)]
    json: bool,
}

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Finding {
        topic: Option<String>,
        partition: Option<i32>,
        #[serde(flatten)]
        finding: &'a Finding,
    },
    Summary(&'a VerifySummary),
}

pub fn run(args: &VerifyArgs) -> Outcome {
    let folder = Folder::open(&args.data, if args.read_only { Access::ReadOnly } else { Access::Exclusive })?;
    let topic = args.topic.as_deref().map(|text| folder.topic(text)).transpose()?;
    if let (Some(topic), Some(name)) = (topic, &args.topic) {
        folder.expect_partition(topic, name, args.partition)?;
    }
    let boot_id = boot_id().context("cannot read the kernel's boot id")?;
    let mut report = Report::new(args.json, &folder);
    let of_metadata = metadata_finding(&folder, args.read_only);
    if let Some(finding) = &of_metadata {
        report.finding(finding);
    }
    let severity = of_metadata.map(|finding| finding.severity);
    if severity == Some(Severity::Damage) && args.repair {
        report.end()?;
        let data = args.data.display();
        let message = format!("{data}: the metadata is damaged; without it nothing else is repaired");
        return Err(Failure::new(Status::Damaged, message));
    }
    let options = VerifyOptions {
        repair: args.repair,
        accept_loss: args.accept_loss,
        chain: folder.chain(),
        topic,
        partition: args.partition,
        segment: None,
    };
    let summary = folder.offline.verify(&options, &boot_id, &mut |progress| report.on(&progress));
    let mut summary = summary.map_err(|error| Failure::failed(error.to_string()))?;
    match severity {
        None => {}
        Some(Severity::Note) => summary.notes += 1,
        Some(Severity::TornEnd) => summary.torn_ends += 1,
        Some(Severity::Damage) => summary.damage += 1,
    }
    report.summary(&summary);
    report.end()?;
    if summary.is_damaged() {
        let left = summary.damage - summary.repaired;
        let message =
            format!("{}: damage in {left} {}", args.data.display(), plural(left, "place", "places"));
        return Err(Failure::new(Status::Damaged, message));
    }
    Ok(())
}

/// What is wrong with the metadata itself.
fn metadata_finding(folder: &Folder, live: bool) -> Option<Finding> {
    let log = folder.offline.root().join("meta/log");
    if let Some(error) = &folder.meta.damage {
        let (file, position) = match error {
            MetaLogError::Corrupt { file, position, .. } => (file.clone(), Some(*position)),
            MetaLogError::Encoding { file, .. }
            | MetaLogError::Io { file, .. }
            | MetaLogError::Failed { file }
            | MetaLogError::Newer { file, .. } => (file.clone(), None),
        };
        Some(Finding {
            severity: Severity::Damage,
            file,
            position,
            what: error.to_string(),
            remedy: "bring the folder meta/ back from a copy; the server does not start with it".to_owned(),
            repaired: None,
        })
    } else if folder.meta.torn_bytes > 0 && !live {
        let bytes = folder.meta.torn_bytes;
        let len = std::fs::metadata(&log).map_or(bytes, |meta| meta.len());
        Some(Finding {
            severity: Severity::TornEnd,
            position: Some(len.saturating_sub(bytes)),
            file: log,
            what: format!("the last {bytes} bytes are torn, as a crash leaves it"),
            remedy: "none: they were never answered, and the server cuts them at its next start".to_owned(),
            repaired: None,
        })
    } else {
        None
    }
}

fn plural(count: usize, one: &'static str, more: &'static str) -> &'static str {
    if count == 1 { one } else { more }
}

/// Prints. A reader that goes away ends the printing, not a repair under way.
struct Report<'a> {
    json: bool,
    folder: &'a Folder,
    out: Stdout,
    failed: Option<io::Error>,
    bar: ProgressBar,
    /// Off a terminal: when the last line of progress came.
    told: Option<Instant>,
    start: Instant,
    bytes: u64,
    total: u64,
}

impl<'a> Report<'a> {
    fn new(json: bool, folder: &'a Folder) -> Self {
        let live = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if live {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
        {
            bar.set_style(style);
        }
        let start = Instant::now();
        let told = (!live).then_some(start);
        let out = output::stdout();
        Self { json, folder, out, failed: None, bar, told, start, bytes: 0, total: 0 }
    }

    fn on(&mut self, progress: &Progress) {
        match progress {
            Progress::Total { bytes, .. } => {
                self.total = *bytes;
                self.bar.set_length(*bytes);
            }
            Progress::Copy { bytes, .. } => {
                self.bytes += bytes;
                self.bar.set_position(self.bytes);
                if self.told.is_some_and(|told| told.elapsed() >= PROGRESS_EVERY) {
                    self.told = Some(Instant::now());
                    let rate = self.bytes as f64 / self.start.elapsed().as_secs_f64();
                    let (bytes, total) = (HumanBytes(self.bytes), HumanBytes(self.total));
                    eprintln!("{bytes} of {total} checked, {}/s", HumanBytes(rate as u64));
                }
            }
            Progress::Finding(finding) => self.finding(finding),
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let partition = partition_of(&finding.file);
        let topic = partition.map(|partition| self.folder.topic_name(partition.topic));
        let partition = partition.map(|partition| partition.partition);
        let json = self.json;
        self.print(|out| match json {
            true => output::json_line(out, &Line::Finding { topic, partition, finding }),
            false => write_finding(out, topic.as_deref(), partition, finding),
        });
    }

    fn summary(&mut self, summary: &VerifySummary) {
        let json = self.json;
        self.print(|out| match json {
            true => output::json_line(out, &Line::Summary(summary)),
            false => write_summary(out, summary),
        });
    }

    fn print(&mut self, print: impl FnOnce(&mut Stdout) -> io::Result<()>) {
        if self.failed.is_some() {
            return;
        }
        let out = &mut self.out;
        self.failed = self.bar.suspend(|| print(out).and_then(|()| out.flush())).err();
    }

    fn end(&mut self) -> io::Result<()> {
        self.bar.finish_and_clear();
        self.failed.take().map_or(Ok(()), Err)
    }
}

fn write_finding(
    out: &mut impl Write,
    topic: Option<&str>,
    partition: Option<i32>,
    finding: &Finding,
) -> io::Result<()> {
    let severity = match finding.severity {
        Severity::Note => "note",
        Severity::TornEnd => "torn end",
        Severity::Damage => "damage",
    };
    write!(out, "{severity}: {}", Path::display(&finding.file))?;
    if let Some(position) = finding.position {
        write!(out, ", byte {position}")?;
    }
    if let (Some(topic), Some(partition)) = (topic, partition) {
        write!(out, " (topic {topic}, partition {partition})")?;
    }
    writeln!(out, "\n  {}", finding.what)?;
    match &finding.repaired {
        Some(repaired) => writeln!(out, "  repaired: {repaired}"),
        None => writeln!(out, "  remedy: {}", finding.remedy),
    }
}

fn write_summary(out: &mut impl Write, summary: &VerifySummary) -> io::Result<()> {
    let VerifySummary { copies, batches, bytes, notes, torn_ends, damage, repaired } = summary;
    write!(out, "{copies} {} with ", plural(*copies, "segment", "segments"))?;
    let batch = if *batches == 1 { "batch" } else { "batches" };
    write!(out, "{batches} {batch}, {} checked: ", HumanBytes(*bytes))?;
    match damage {
        0 => write!(out, "no damage")?,
        _ => write!(out, "damage in {damage} {}, {repaired} repaired", plural(*damage, "place", "places"))?,
    }
    if *torn_ends > 0 {
        write!(out, ", {torn_ends} torn {}", plural(*torn_ends, "end", "ends"))?;
    }
    if *notes > 0 {
        write!(out, ", {notes} {}", plural(*notes, "note", "notes"))?;
    }
    writeln!(out)
}

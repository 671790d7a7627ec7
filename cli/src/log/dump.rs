//! `buslane log dump`: what stands in a file of a data folder, as text or as lines of JSON. Reads only, takes no lock.

mod command;
mod text;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buslane_log::disk::Disk;
use buslane_log::dump::{
    DumpError, FileKind, LogDump, LogDumpOptions, RecordDump, dump_index, dump_journal, dump_log,
    dump_producers,
};
use buslane_log::fs::Fs;
use buslane_log::offline::Access;
use buslane_meta::{Image, Loss, MetaLogError, OfflineMeta, PartitionImage, SegmentImage, SegmentStatus};
use buslane_wire::ids::TopicPartition;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use self::command::{Named, Names};
use super::folder::Folder;
use crate::exit::{Failure, Outcome, Status};
use crate::output::{self, Stdout};
use crate::record_json::to_hex;

/// Show what stands in a file of a data folder
///
/// FILE is a segment (.log), its index or producer checkpoints (.index, .producers), the store journal (store.journal), or
/// the metadata (meta/log: the entries; meta/snapshot: the partitions and their chains). With --topic and --partition the
/// segments of that partition are shown one after the other, or with --chain what the metadata says of them.
///
/// Nothing is locked or changed: a server may be running, and what it is just writing may look torn. A damaged file is
/// shown up to the damage, and then the exit code is 5.
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane log dump --topic orders --partition 0 --records --from 120 --limit 10
  buslane log dump --topic orders --partition 0 --chain           # segments, and what was lost
  buslane log dump buslane-data/log/*/0/00000000000000000000-*.log
  buslane log dump --topic orders --partition 0 --records --json | jq -r '.value // empty'
  buslane log dump buslane-data/store.journal
  buslane log dump buslane-data/meta/log --json")]
pub struct DumpArgs {
    /// Files to show
    #[arg(required_unless_present = "topic", conflicts_with_all = ["topic", "data"], value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder of all data [default: ./buslane-data]
    #[arg(short, long, requires = "topic", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Show this topic, by name or id
    #[arg(short, long, requires = "partition", value_name = "NAME")]
    topic: Option<String>,
    /// Show this partition of the topic
    #[arg(short, long, requires = "topic", value_parser = clap::value_parser!(i32).range(0..), value_name = "N")]
    partition: Option<i32>,
    /// Show the partition's chain of segments as the metadata has it, and the losses recorded in it
    #[arg(long, requires = "topic", conflicts_with_all = ["records", "from", "limit"])]
    chain: bool,
    /// Show the records of each batch, too; in JSON what is not UTF-8 stands under key_hex and value_hex
    #[arg(short, long)]
    records: bool,
    /// Start with this offset; in meta/log with the entry of this index
    #[arg(short, long, value_name = "OFFSET")]
    from: Option<i64>,
    /// Stop after N batches (with --records after N records), or N entries
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,
    /// A line of JSON for each batch, record or entry
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DumpArgs) -> Outcome {
    let mut dump = Dump {
        fs: Arc::new(Disk),
        args,
        out: output::stdout(),
        left: args.limit.unwrap_or(u64::MAX),
        damage: Vec::new(),
    };
    let files = match &args.topic {
        Some(topic) => {
            let data = args.data.as_deref().unwrap_or(Path::new("./buslane-data"));
            let folder = Folder::open(data, Access::ReadOnly)?;
            if args.chain {
                return chain(args, &folder, topic);
            }
            segments(args, &folder, topic)?
        }
        None => args.files.clone(),
    };
    for file in &files {
        if dump.left == 0 {
            break;
        }
        dump.file(file, files.len() > 1 || args.topic.is_some())?;
    }
    dump.out.flush()?;
    match dump.damage.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Status::Damaged, dump.damage.join("\nbuslane: "))),
    }
}

/// The log files of the partition, in order of their offsets.
fn segments(args: &DumpArgs, folder: &Folder, topic: &str) -> Result<Vec<PathBuf>, Failure> {
    let id = folder.topic(topic)?;
    folder.expect_partition(id, topic, args.partition)?;
    let copies = folder.offline.copies()?;
    let mut copies: Vec<_> = copies
        .into_iter()
        .filter(|copy| {
            copy.segment.partition.topic == id && Some(copy.segment.partition.partition) == args.partition
        })
        .collect();
    copies.sort_by_key(|copy| (copy.base_offset, copy.segment));
    // A segment that ends below the first offset wanted need not be read: the next one starts where it ends.
    if let Some(from) = args.from {
        let first = copies.iter().rposition(|copy| copy.base_offset <= from).unwrap_or(0);
        copies.drain(..first);
    }
    Ok(copies.into_iter().map(|copy| copy.path).collect())
}

/// What the metadata says of the partition.
fn chain(args: &DumpArgs, folder: &Folder, topic: &str) -> Outcome {
    let number = args.partition.unwrap_or_default();
    let id = TopicPartition { topic: folder.topic(topic)?, partition: number };
    let image = &folder.meta.image;
    if let Some(error) = &folder.meta.damage {
        return Err(Failure::new(Status::Damaged, error.to_string()));
    }
    let Some((_, partition)) = image.partitions().find(|(found, _)| *found == id) else {
        let data = folder.offline.root().display();
        let message = format!("{data}: the metadata knows no partition {number} of topic '{topic}'");
        return Err(Failure::new(Status::Existence, message));
    };
    let (line, mut out) = (PartitionLine::new(image, id, partition), output::stdout());
    match args.json {
        true => output::json_line(&mut out, &typed("partition", &folder.offline.root().join("meta"), &line))?,
        false => text::partition(&mut out, &line)?,
    }
    Ok(out.flush()?)
}

/// Prints file after file.
struct Dump<'a> {
    fs: Arc<dyn Fs>,
    args: &'a DumpArgs,
    out: Stdout,
    /// How many more are wanted.
    left: u64,
    /// A sentence for each.
    damage: Vec<String>,
}

/// Stops a callback at the first error of the output.
fn flow(result: io::Result<ControlFlow<()>>, failed: &mut Option<io::Error>) -> ControlFlow<()> {
    result.unwrap_or_else(|error| {
        *failed = Some(error);
        ControlFlow::Break(())
    })
}

impl Dump<'_> {
    fn file(&mut self, file: &Path, titled: bool) -> Outcome {
        let name = file.file_name().and_then(|name| name.to_str());
        let folder = file.parent().unwrap_or(Path::new(""));
        let in_meta = folder.file_name().is_some_and(|folder| folder == "meta");
        // The system's own words for what is not there or cannot be looked at.
        let there = std::fs::metadata(file);
        let there = there
            .map_err(|source| unreadable(&DumpError::Io { file: file.display().to_string(), source }))?;
        if there.is_dir() {
            return Err(Failure::usage(format!(
                "{}: this is a folder; name files in it, or a partition with --data, --topic and --partition",
                file.display()
            )));
        }
        if titled && !self.args.json {
            writeln!(self.out, "# {}", file.display())?;
        }
        match (name, FileKind::of(file)) {
            (Some("log"), _) if in_meta => self.meta_log(file, folder.parent().unwrap_or(Path::new(""))),
            (Some("snapshot"), _) if in_meta => self.snapshot(file, folder.parent().unwrap_or(Path::new(""))),
            (_, Some(FileKind::Log)) => self.log(file),
            (_, Some(FileKind::Index)) => self.index(file),
            (_, Some(FileKind::Producers)) => self.producers(file),
            (_, Some(FileKind::Journal)) => self.journal(folder),
            _ => Err(Failure::usage(format!(
                "{}: not a file that can be shown; those are *.log, *.index, *.producers, store.journal, meta/log and \
                 meta/snapshot",
                file.display()
            ))),
        }
    }

    /// One item: a line of JSON, or text.
    fn item(&mut self, json: Value, text: impl FnOnce(&mut Stdout) -> io::Result<()>) -> io::Result<()> {
        match self.args.json {
            true => output::json_line(&mut self.out, &json),
            false => text(&mut self.out),
        }
    }

    fn damaged(&mut self, file: &Path, position: u64, reason: &str) -> io::Result<()> {
        self.damage.push(format!("{}: damaged at byte {position}: {reason}", file.display()));
        let line = json!({"type": "damage", "file": file, "position": position, "reason": reason});
        let reason = reason.to_owned();
        self.item(line, |out| writeln!(out, "byte {position}: damage: {reason}"))
    }

    fn log(&mut self, file: &Path) -> Outcome {
        let options = LogDumpOptions { records: self.args.records, from: self.args.from };
        let (fs, mut failed) = (self.fs.clone(), None);
        let done = dump_log(&*fs, file, options, |item| flow(self.batch(file, item), &mut failed));
        ended(done, failed)
    }

    fn batch(&mut self, file: &Path, item: LogDump) -> io::Result<ControlFlow<()>> {
        let mut batch = match item {
            LogDump::Damage { position, reason } => {
                self.damaged(file, position, &reason)?;
                return Ok(ControlFlow::Break(()));
            }
            LogDump::Batch(batch) => batch,
        };
        let records = batch.records.take();
        let unreadable = batch.records_error.clone();
        let line = typed("batch", file, &batch);
        self.item(line, |out| text::batch(out, &batch))?;
        if !batch.crc_ok {
            self.damaged(file, batch.position, "the batch does not match its checksum")?;
        } else if let Some(reason) = unreadable {
            self.damaged(file, batch.position, &format!("its records cannot be read: {reason}"))?;
        }
        if !self.args.records {
            self.left -= 1;
        }
        let from = self.args.from.unwrap_or(i64::MIN);
        for record in records.iter().flatten().filter(|record| record.offset >= from) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.item(record_line(file, record), |out| text::record(out, record))?;
        }
        Ok(if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn index(&mut self, file: &Path) -> Outcome {
        let (fs, mut failed) = (self.fs.clone(), None);
        let from = self.args.from.unwrap_or(i64::MIN);
        let done = dump_index(&*fs, file, |index| {
            let mut print = || -> io::Result<ControlFlow<()>> {
                let Some(entry) = index.entry else {
                    self.damaged(file, index.position, "the entry does not match its checksum")?;
                    return Ok(ControlFlow::Continue(()));
                };
                if entry.base_offset < from {
                    return Ok(ControlFlow::Continue(()));
                }
                self.item(typed("index_entry", file, &entry), |out| {
                    text::index_entry(out, index.number, &entry)
                })?;
                self.left -= 1;
                Ok(if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            };
            flow(print(), &mut failed)
        });
        ended(done, failed)
    }

    fn producers(&mut self, file: &Path) -> Outcome {
        let fs = self.fs.clone();
        let (checkpoints, rest) = dump_producers(&*fs, file).map_err(|error| unreadable(&error))?;
        let from = self.args.from.unwrap_or(i64::MIN);
        for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.end_offset >= from) {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            let line = json!({
                "type": "producers", "file": file, "position": checkpoint.position,
                "end_offset": checkpoint.end_offset,
                "payload_hex": checkpoint.payload.as_deref().map(to_hex),
            });
            self.item(line, |out| text::producers(out, checkpoint))?;
            if checkpoint.payload.is_none() {
                self.damaged(file, checkpoint.position, "the checkpoint does not match its checksum")?;
            }
        }
        if let Some(damage) = rest {
            self.damaged(file, damage.position, &damage.reason)?;
        }
        Ok(())
    }

    fn journal(&mut self, root: &Path) -> Outcome {
        let fs = self.fs.clone();
        let file = root.join("store.journal");
        let journal = dump_journal(&*fs, root).map_err(|error| unreadable(&error))?;
        for record in &journal.records {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            self.item(typed("journal_record", &file, record), |out| text::journal_record(out, record))?;
        }
        if let Some(damage) = &journal.damage {
            self.damaged(&file, damage.position, &damage.reason)?;
        }
        let line = json!({
            "type": "journal", "file": file, "incarnation": journal.incarnation, "boot_id": journal.boot_id,
            "clean_stop": journal.clean_stop, "torn_bytes": journal.torn_bytes,
        });
        self.item(line, |out| text::journal(out, &journal))?;
        Ok(())
    }

    fn meta_log(&mut self, file: &Path, data: &Path) -> Outcome {
        let meta = OfflineMeta::read(&self.fs, data);
        let names = Names::of(&meta);
        let from = self.args.from.and_then(|from| u64::try_from(from).ok()).unwrap_or(0);
        for entry in meta.entries.iter().filter(|entry| entry.index >= from) {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            let commands: Vec<_> = entry.commands.iter().map(|command| Named::new(command, &names)).collect();
            let line = json!({
                "type": "entry", "file": file, "index": entry.index, "term": entry.term,
                "commands": commands.iter().map(Named::json).collect::<Vec<_>>(),
            });
            self.item(line, |out| text::entry(out, entry, &commands))?;
        }
        if meta.torn_bytes > 0 {
            let bytes = meta.torn_bytes;
            self.item(json!({"type": "torn_end", "file": file, "bytes": bytes}), |out| {
                writeln!(out, "{bytes} bytes at the end are torn, as a crash leaves it")
            })?;
        }
        self.meta_damage(&meta)
    }

    fn snapshot(&mut self, file: &Path, data: &Path) -> Outcome {
        let meta = OfflineMeta::read(&self.fs, data);
        let image = meta.snapshot.clone().unwrap_or_default();
        for (id, partition) in image.partitions() {
            let line = PartitionLine::new(&image, id, partition);
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            self.item(typed("partition", file, &line), |out| text::partition(out, &line))?;
        }
        match meta.snapshot {
            // What is wrong with the log says nothing of the snapshot.
            Some(_) => Ok(()),
            None => self.meta_damage(&meta),
        }
    }

    fn meta_damage(&mut self, meta: &OfflineMeta) -> Outcome {
        match &meta.damage {
            None => Ok(()),
            Some(MetaLogError::Corrupt { file, position, reason, .. }) => {
                let file = file.clone();
                Ok(self.damaged(&file, *position, reason)?)
            }
            Some(error @ MetaLogError::Encoding { .. }) => {
                Err(Failure::new(Status::Damaged, error.to_string()))
            }
            Some(error) => Err(Failure::failed(error.to_string())),
        }
    }
}

/// A partition as the metadata has it.
#[derive(Serialize)]
struct PartitionLine {
    topic: String,
    topic_id: String,
    partition: i32,
    owner: Option<i32>,
    epoch: i32,
    log_start_offset: i64,
    /// Where the next segment starts when none is open, exclusive.
    sealed_end_offset: i64,
    segments: Vec<SegmentLine>,
    losses: Vec<LossLine>,
}

/// Something acknowledged in `epoch`, at or beyond `end_offset`, may be gone.
#[derive(Serialize)]
struct LossLine {
    epoch: i32,
    end_offset: i64,
}

#[derive(Serialize)]
struct SegmentLine {
    id: u64,
    base_offset: i64,
    epoch: i32,
    stores: Vec<i32>,
    durability: &'static str,
    /// Exclusive; none while it is open.
    end_offset: Option<i64>,
    bytes: Option<u64>,
}

impl PartitionLine {
    fn new(image: &Image, id: TopicPartition, partition: &PartitionImage) -> PartitionLine {
        let segment = |segment: &Arc<SegmentImage>| SegmentLine {
            id: segment.id.0,
            base_offset: segment.base_offset,
            epoch: segment.epoch.0,
            stores: segment.stores.iter().map(|node| node.0).collect(),
            durability: segment.durability.as_str(),
            end_offset: segment.end_offset(),
            bytes: match segment.status {
                SegmentStatus::Open => None,
                SegmentStatus::Sealed { bytes, .. } => Some(bytes),
            },
        };
        let loss = |loss: &Loss| LossLine { epoch: loss.epoch.0, end_offset: loss.end_offset };
        PartitionLine {
            topic: image.topic(id.topic).map(|topic| topic.name.clone()).unwrap_or_default(),
            topic_id: id.topic.to_string(),
            partition: id.partition,
            owner: partition.owner.map(|node| node.0),
            epoch: partition.epoch.0,
            log_start_offset: partition.log_start_offset,
            sealed_end_offset: partition.sealed_end_offset,
            segments: partition.chain.iter().map(segment).collect(),
            losses: partition.losses.iter().map(loss).collect(),
        }
    }
}

/// A value's fields with its type and its file in front.
fn typed(kind: &str, file: &Path, value: &impl Serialize) -> Value {
    let mut line = json!({"type": kind, "file": file});
    // These are structs of numbers and text: they have fields, and cannot fail.
    if let (Value::Object(line), Ok(Value::Object(fields))) = (&mut line, serde_json::to_value(value)) {
        line.extend(fields);
    }
    line
}

/// A record with the fields that `consume --json` prints.
fn record_line(file: &Path, record: &RecordDump) -> Value {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| {
            let mut line = json!({"key": String::from_utf8_lossy(&header.key)});
            put(&mut line, "value", header.value.as_deref());
            line
        })
        .collect();
    let (offset, timestamp) = (record.offset, record.timestamp);
    let mut line = json!({
        "type": "record", "file": file, "offset": offset, "timestamp": timestamp, "headers": headers,
    });
    put(&mut line, "key", record.key.as_deref());
    put(&mut line, "value", record.value.as_deref());
    line
}

/// Bytes as text, or under `NAME_hex` where they are none.
fn put(line: &mut Value, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => line[name] = Value::Null,
        Some((_, Ok(text))) => line[name] = text.into(),
        Some((bytes, Err(_))) => line[format!("{name}_hex")] = to_hex(bytes).into(),
    }
}

fn ended(done: Result<(), DumpError>, failed: Option<io::Error>) -> Outcome {
    match failed {
        Some(error) => Err(error.into()),
        None => done.map_err(|error| unreadable(&error)),
    }
}

fn unreadable(error: &DumpError) -> Failure {
    let status = match error {
        DumpError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Status::Existence,
        DumpError::Name { .. } => Status::Usage,
        _ => Status::Failed,
    };
    Failure::new(status, error.to_string())
}

//! What a repair changes. Bytes that are cut or set aside are kept in `orphans/`.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::copy::Cut;
use super::{Finding, VerifyError, at};
use crate::fs::{Fs, FsFile, OpenMode, read_exact_at};
use crate::index::{Entry, IndexOf};
use crate::journal::Journal;
use crate::journal::record::Record;
use crate::layout::{self, Part};
use crate::sync_site::{SyncSite, Syncs};

/// Bytes copied at once.
const CHUNK: usize = 1024 * 1024;

/// Cuts the bad ends off. Where something acknowledged may go with them that is a run of the store of its own: first it is
/// durable that these copies are not whole and where they end, then they are cut. A torn end goes as recovery would cut it.
pub(super) fn cut(
    fs: &Arc<dyn Fs>,
    root: &Path,
    boot_id: &str,
    cuts: Vec<Cut>,
) -> Result<Vec<Finding>, VerifyError> {
    let syncs = Syncs::new(fs.clone(), root, None);
    let failed =
        |e: crate::JournalFailed| VerifyError::Io { file: e.file, source: io::Error::other(e.reason) };
    let mut run = None;
    if cuts.iter().any(|cut| !cut.torn) {
        let (journal, replayed) = Journal::open(&syncs, boot_id, 0)?;
        let mut records = Vec::new();
        for cut in cuts.iter().filter(|cut| !cut.torn) {
            let segment = cut.copy.segment;
            let mut copy = journal.with(|s| s.copies.get(&segment).copied()).unwrap_or(cut.state);
            copy.whole = false;
            copy.sealed = false;
            if copy.synced_position > cut.position {
                copy.synced_position = cut.position;
                copy.synced_offset = cut.end_offset;
            }
            records.push(Record::Copy { segment, copy });
        }
        // Survives the power cut: that these copies no longer have all they once confirmed, before the first byte goes.
        journal.commit(SyncSite::JournalNotWhole, &records).map_err(failed)?;
        run = Some((journal, replayed.clean));
    }
    let mut findings = Vec::new();
    for cut in cuts {
        let path = &cut.copy.path;
        if cut.position == 0 {
            // Perhaps it is missing, and given up: an empty one takes its place, now that the journal knows of it.
            make_empty(&**fs, root, path)?;
        }
        let log = fs.open(path, OpenMode::ReadWrite).map_err(at(path))?;
        let len = log.len().map_err(at(path))?;
        let repaired = match len - cut.position {
            0 => "an empty log takes its place".to_owned(),
            bytes => {
                let kept = keep(&**fs, root, path, &*log, cut.position, len)?;
                format!(
                    "cut at byte {}, offset {}; {bytes} bytes kept in {kept}",
                    cut.position, cut.end_offset
                )
            }
        };
        log.set_len(cut.position).map_err(at(path))?;
        syncs.file(SyncSite::SealData, &*log).map_err(at(path))?;
        // Entries beyond the cut would not be used, but they are no longer true.
        let index = layout::part(root, &cut.copy.segment, cut.copy.base_offset, Part::Index);
        remove(&**fs, &index)?;
        findings.push(Finding { repaired: Some(repaired), ..cut.finding });
    }
    if let Some((journal, true)) = run {
        // As it was found: everything this run wrote is synced.
        syncs.everything(SyncSite::CleanStopEverything).map_err(at(root))?;
        journal.commit(SyncSite::JournalCleanStop, &[Record::CleanStop]).map_err(failed)?;
    }
    Ok(findings)
}

/// Copies the end of a file to `orphans/`, durably.
fn keep(
    fs: &dyn Fs,
    root: &Path,
    path: &Path,
    log: &dyn FsFile,
    from: u64,
    to: u64,
) -> Result<String, VerifyError> {
    let target = orphan_path(fs, root, path, &format!(".from-{from}"))?;
    let file = fs.open(&target, OpenMode::CreateNew).map_err(at(&target))?;
    let mut bytes = Vec::new();
    let mut position = from;
    while position < to {
        bytes.resize((to - position).min(CHUNK as u64) as usize, 0);
        read_exact_at(log, &mut bytes, position).map_err(at(path))?;
        file.write_all_at(&mut [IoSlice::new(&bytes)], position - from).map_err(at(&target))?;
        position += bytes.len() as u64;
    }
    file.sync_data().map_err(at(&target))?;
    fs.sync_dir(&root.join(layout::ORPHANS)).map_err(at(&target))?;
    fs.sync_dir(root).map_err(at(root))?;
    Ok(target.display().to_string())
}

/// An empty log in the place of one that is missing, durably.
pub(super) fn make_empty(fs: &dyn Fs, root: &Path, path: &Path) -> Result<(), VerifyError> {
    let Some(partition) = path.parent() else { return Ok(()) };
    fs.create_dir_all(partition).map_err(at(partition))?;
    fs.open(path, OpenMode::OpenOrCreate).map_err(at(path))?;
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        fs.sync_dir(folder).map_err(at(folder))?;
    }
    Ok(())
}

/// Moves a file to `orphans/`; says so.
pub(super) fn set_aside(fs: &dyn Fs, root: &Path, path: &Path) -> Result<String, VerifyError> {
    let target = orphan_path(fs, root, path, "")?;
    fs.rename(path, &target).map_err(at(path))?;
    Ok(format!("moved to {}", target.display()))
}

/// A free name in `orphans/` that tells where the file was: `repair-<topic>-<partition>-<file>`. It does not start with a
/// time, so that the server never removes it.
fn orphan_path(
    fs: &dyn Fs,
    root: &Path,
    path: &Path,
    suffix: &str,
) -> Result<std::path::PathBuf, VerifyError> {
    let folder = root.join(layout::ORPHANS);
    fs.create_dir_all(&folder).map_err(at(&folder))?;
    let names: Vec<&str> = path
        .strip_prefix(layout::log_dir(root))
        .unwrap_or(path)
        .components()
        .filter_map(|c| c.as_os_str().to_str())
        .collect();
    let taken = fs.read_dir(&folder).map_err(at(&folder))?;
    let name = format!("repair-{}{suffix}", names.join("-"));
    let mut names = (0..).map(|n| if n == 0 { name.clone() } else { format!("{name}.{n}") });
    let name = names.find(|n| taken.iter().all(|t| t.name != *n)).expect("some number is free");
    Ok(folder.join(name))
}

/// Puts a new index in place.
pub(super) fn write_index(
    fs: &dyn Fs,
    path: &Path,
    of: &IndexOf,
    entries: &[Entry],
) -> Result<String, VerifyError> {
    remove(fs, path)?;
    let mut bytes = Vec::new();
    entries.iter().enumerate().for_each(|(number, entry)| of.encode(number as u64, entry, &mut bytes));
    let file = fs.open(path, OpenMode::CreateNew).map_err(at(path))?;
    file.write_all_at(&mut [IoSlice::new(&bytes)], 0).map_err(at(path))?;
    Ok(format!("rebuilt with {} entries", entries.len()))
}

fn remove(fs: &dyn Fs, path: &Path) -> Result<(), VerifyError> {
    match fs.remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path)(e)),
        _ => Ok(()),
    }
}

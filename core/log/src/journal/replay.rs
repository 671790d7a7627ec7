//! Reading a journal back, and telling a torn tail from damage.

use std::io;
use std::path::Path;

use crate::fs::{Fs, OpenMode, read_exact_at};
use crate::layout;

use super::record::{BadFrame, Record, frame_at};
use super::state::State;
use super::{FORMAT, HEAD_LEN, JournalError, MAGIC, TITLE_LEN};

/// A torn tail that was dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalCut {
    /// The journal.
    pub file: String,
    /// Where its good part ends.
    pub position: u64,
    /// Bytes dropped.
    pub bytes: u64,
}

/// What a journal says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) state: State,
    pub(crate) cut: Option<JournalCut>,
    /// There was a journal.
    pub(crate) existed: bool,
    /// The records read and where their frames start, for [`crate::dump`].
    pub(crate) records: Vec<(u64, Record)>,
    /// The newest run before this one ended with a clean stop.
    pub(crate) clean: bool,
    /// Boot id of that run.
    pub(crate) last_boot_id: String,
    /// The spare area holds something that is no frame: every copy counts as not whole.
    pub(crate) spare_damaged: bool,
}

/// Reads the journal of a data folder. A missing one is an empty state, unless there are segments. `boot_id` is that of
/// the machine now; `None` takes a torn tail in any case.
pub(crate) fn replay(fs: &dyn Fs, root: &Path, boot_id: Option<&str>) -> Result<Replayed, JournalError> {
    let path = root.join(layout::JOURNAL);
    let name = path.display().to_string();
    let io_error = |source| JournalError::Io { file: name.clone(), source };
    let file = match fs.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let log = layout::log_dir(root);
            return match fs.read_dir(&log) {
                Ok(entries) if !entries.is_empty() => {
                    Err(JournalError::Missing { file: name, log: log.display().to_string() })
                }
                Ok(_) => Ok(Replayed::default()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Replayed::default()),
                Err(e) => Err(io_error(e)),
            };
        }
        Err(e) => return Err(io_error(e)),
    };
    let len = file.len().map_err(io_error)?;
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io_error(io::ErrorKind::FileTooLarge.into()))?];
    read_exact_at(&*file, &mut bytes, 0).map_err(io_error)?;
    parse(&name, &bytes, boot_id)
}

/// What stands in front of damage at `position`, for [`crate::dump`].
pub(crate) fn replay_before(fs: &dyn Fs, root: &Path, position: u64) -> Result<Replayed, JournalError> {
    let path = root.join(layout::JOURNAL);
    let name = path.display().to_string();
    let io_error = |source| JournalError::Io { file: name.clone(), source };
    let file = fs.open(&path, OpenMode::Read).map_err(io_error)?;
    let mut bytes = vec![0; file.len().map_err(io_error)?.min(position) as usize];
    read_exact_at(&*file, &mut bytes, 0).map_err(io_error)?;
    let mut replayed = Replayed { existed: true, ..Replayed::default() };
    let mut position = HEAD_LEN;
    while let Some(Ok((_, mut records, size))) = bytes.get(position..).map(frame_at) {
        while let Ok(record) = Record::decode(&mut records) {
            replayed.state.apply(&record);
            replayed.records.push((position as u64, record));
        }
        position += size;
    }
    Ok(replayed)
}

/// Reads a journal's bytes. `boot_id` of the machine now; `None` accepts a torn tail in any case (offline reading).
pub(crate) fn parse(name: &str, bytes: &[u8], boot_id: Option<&str>) -> Result<Replayed, JournalError> {
    let corrupt = |position: usize, reason: &str| JournalError::Corrupt {
        file: name.to_owned(),
        position: position as u64,
        reason: reason.to_owned(),
    };
    // The head was synced before the file got its name: it is never torn.
    let Some(head) = bytes.first_chunk::<HEAD_LEN>() else {
        return Err(corrupt(0, "it is shorter than its head"));
    };
    if &head[..8] != MAGIC || crc32c::crc32c(&head[..12]).to_be_bytes() != head[12..TITLE_LEN] {
        return Err(corrupt(0, "this is not the head of a store journal"));
    }
    let found = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    if found > FORMAT {
        return Err(JournalError::Newer { file: name.to_owned(), found });
    }
    let mut replayed = Replayed { existed: true, ..Replayed::default() };
    let mut position = HEAD_LEN;
    let mut durable = HEAD_LEN as u64;
    while position < bytes.len() {
        match frame_at(&bytes[position..]) {
            Ok((frame_durable, mut records, size)) => {
                while !records.is_empty() {
                    let record =
                        Record::decode(&mut records).map_err(|bad| corrupt(position, &bad.to_string()))?;
                    replayed.state.apply(&record);
                    replayed.records.push((position as u64, record));
                }
                durable = durable.max(frame_durable);
                position += size;
            }
            Err(bad) => {
                check_torn(&replayed.state, bytes, position, durable, bad, boot_id)
                    .map_err(|r| corrupt(position, r))?;
                replayed.cut = Some(JournalCut {
                    file: name.to_owned(),
                    position: position as u64,
                    bytes: (bytes.len() - position) as u64,
                });
                break;
            }
        }
    }
    if durable > bytes.len() as u64 {
        return Err(corrupt(bytes.len(), "it ends before what was made durable"));
    }
    read_spare(&mut replayed, &head[TITLE_LEN..]);
    if replayed.state.incarnation == 0 {
        return Err(corrupt(HEAD_LEN, "it does not say which run wrote it"));
    }
    replayed.clean = replayed.state.clean;
    replayed.last_boot_id.clone_from(&replayed.state.boot_id);
    Ok(replayed)
}

/// Takes in what was written when the disk was full. Only ever a lost wholeness, so that order does not matter; and what
/// is no frame (a crash stopped the write, or there was no room) may have been about any copy.
fn read_spare(replayed: &mut Replayed, spare: &[u8]) {
    let mut position = 0;
    while spare[position..].iter().any(|byte| *byte != 0) {
        let Ok((_, mut records, size)) = frame_at(&spare[position..]) else {
            replayed.spare_damaged = true;
            replayed.state.copies.values_mut().for_each(|copy| copy.whole = false);
            return;
        };
        while !records.is_empty() {
            let Ok(record) = Record::decode(&mut records) else { break };
            replayed.state.apply(&record);
            replayed.records.push(((TITLE_LEN + position) as u64, record));
        }
        position += size;
    }
}

/// Ok when the bad frame at `position` can be the tail of an unclean stop; else what speaks against it.
///
/// A process crash leaves at most a last frame that is not all there. A machine crash leaves anything beyond what was
/// synced; later frames say how far that was, and some of them may have survived.
fn check_torn(
    state: &State,
    bytes: &[u8],
    position: usize,
    durable: u64,
    bad: BadFrame,
    boot_id: Option<&str>,
) -> Result<(), &'static str> {
    const BELOW: &str = "a record does not match its checksum, and it was durable";
    if (position as u64) < durable {
        return Err(BELOW);
    }
    if state.clean {
        return Err("there is more after a clean stop");
    }
    let machine_crash = boot_id.is_none_or(|now| now != state.boot_id);
    if !machine_crash && bad == BadFrame::Bad {
        return Err("a record does not match its checksum, and the machine has not crashed");
    }
    // A length that was damaged looks like a frame cut short; a later good frame gives it away.
    for later in position + 1..bytes.len() {
        if let Ok((frame_durable, _, _)) = frame_at(&bytes[later..]) {
            if frame_durable > position as u64 && frame_durable <= later as u64 {
                return Err(BELOW);
            }
            if !machine_crash {
                return Err("a record is damaged, good ones follow, and the machine has not crashed");
            }
        }
    }
    Ok(())
}

//! From what the log holds to an image.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use crate::apply::{Outcomes, apply_entry};
use crate::command::Command;
use crate::encoding::{EncodingError, decode_entry, decode_image};
use crate::image::Image;
use crate::meta_log::{LogEntry, MetaLogError, Payload, Snapshot};
use crate::refused::Refused;

/// The image of a snapshot; the empty one without.
pub(crate) fn restore(snapshot: Option<&Snapshot>, folder: &Path) -> Result<Image, MetaLogError> {
    let Some(snapshot) = snapshot else { return Ok(Image::default()) };
    decode_image(&snapshot.image).map_err(|source| MetaLogError::Encoding {
        file: folder.join("snapshot"),
        index: snapshot.index().unwrap_or(0),
        source,
    })
}

/// [`apply_entry`] for entries that are in the log already: one that breaks an invariant is refused as a whole, here and at
/// each later start, since it can neither be applied nor be taken back.
pub(crate) fn apply_logged(image: &Image, index: u64, commands: &[Command]) -> (Image, Outcomes) {
    unless_broken(commands.len(), || apply_entry(image, index, commands)).unwrap_or_else(|reason| {
        tracing::error!(index, reason, "a change of the metadata would break an invariant and is not made");
        let refused = commands.iter().map(|_| Err(Refused::Broken)).collect();
        (Image { version: index, ..image.clone() }, refused)
    })
}

/// Commands only change a copy, so nothing is left of what a panic cut short.
fn unless_broken<T>(commands: usize, apply: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(apply)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("{commands} commands: {}", text.unwrap_or_default())
    })
}

/// The image after one more entry. What was refused then is refused now: applying is the same everywhere.
pub(crate) fn replay_entry(image: &Image, entry: &LogEntry, folder: &Path) -> Result<Image, MetaLogError> {
    let index = entry.at.index;
    match &entry.payload {
        Payload::Commands(bytes) => {
            let commands = decode_entry(bytes).map_err(|source| encoding(folder, index, source))?;
            Ok(apply_logged(image, index, &commands).0)
        }
        Payload::Blank | Payload::Membership(_) => Ok(Image { version: index, ..image.clone() }),
    }
}

pub(crate) fn encoding(folder: &Path, index: u64, source: EncodingError) -> MetaLogError {
    MetaLogError::Encoding { file: folder.join("log"), index, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_while_it_is_applied_is_told_and_ends_nothing() {
        let broken = unless_broken(2, || -> i32 { panic!("ChainContiguous: {}", 7) });
        assert_eq!(broken, Err("2 commands: ChainContiguous: 7".to_owned()));
        assert_eq!(unless_broken(1, || 5), Ok(5));
    }
}

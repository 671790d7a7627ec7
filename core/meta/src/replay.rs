//! From what the log holds to an image.

use std::path::Path;

use crate::apply::apply_entry;
use crate::encoding::{EncodingError, decode_entry, decode_image};
use crate::image::Image;
use crate::meta_log::{LogEntry, MetaLogError, Payload, Snapshot};

/// The image of a snapshot; the empty one without.
pub(crate) fn restore(snapshot: Option<&Snapshot>, folder: &Path) -> Result<Image, MetaLogError> {
    let Some(snapshot) = snapshot else { return Ok(Image::default()) };
    decode_image(&snapshot.image).map_err(|source| MetaLogError::Encoding {
        file: folder.join("snapshot"),
        index: snapshot.index().unwrap_or(0),
        source,
    })
}

/// The image after one more entry. What was refused then is refused now: applying is the same everywhere.
pub(crate) fn replay_entry(image: &Image, entry: &LogEntry, folder: &Path) -> Result<Image, MetaLogError> {
    let index = entry.at.index;
    match &entry.payload {
        Payload::Commands(bytes) => {
            let commands = decode_entry(bytes).map_err(|source| encoding(folder, index, source))?;
            Ok(apply_entry(image, index, &commands).0)
        }
        Payload::Blank | Payload::Membership(_) => Ok(Image { version: index, ..image.clone() }),
    }
}

pub(crate) fn encoding(folder: &Path, index: u64, source: EncodingError) -> MetaLogError {
    MetaLogError::Encoding { file: folder.join("log"), index, source }
}

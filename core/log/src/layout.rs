//! Where things lie in a data folder, and what their names say.
//!
//! `log/<topic uuid>/<partition>/<base offset, 20 digits>-<segment id>.{log,index,producers}`

use std::path::{Path, PathBuf};

use buslane_wire::ids::{SegmentId, SegmentRef, TopicId, TopicPartition};

/// The identity file.
pub(crate) const IDENTITY: &str = "buslane.json";
/// The file whose lock says that a process uses the folder.
pub(crate) const LOCK: &str = "buslane.lock";
/// The store journal.
pub(crate) const JOURNAL: &str = "store.journal";
/// The folder of all segments.
pub(crate) const LOG: &str = "log";
/// The folder of what nothing refers to.
pub(crate) const ORPHANS: &str = "orphans";

/// The three files of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Record batches.
    Log,
    /// The sparse index, derived from the log.
    Index,
    /// Producer checkpoints.
    Producers,
}

impl Part {
    pub(crate) const ALL: [Part; 3] = [Part::Index, Part::Producers, Part::Log];

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Part::Log => "log",
            Part::Index => "index",
            Part::Producers => "producers",
        }
    }
}

/// `<root>/log`
pub(crate) fn log_dir(root: &Path) -> PathBuf {
    root.join(LOG)
}

/// `<root>/log/<topic>`
pub(crate) fn topic_dir(root: &Path, topic: TopicId) -> PathBuf {
    log_dir(root).join(topic.to_string())
}

/// `<root>/log/<topic>/<partition>`
pub(crate) fn partition_dir(root: &Path, partition: TopicPartition) -> PathBuf {
    topic_dir(root, partition.topic).join(partition.partition.to_string())
}

/// A file's name without its extension.
pub(crate) fn stem(base_offset: i64, segment: SegmentId) -> String {
    format!("{base_offset:020}-{segment}")
}

/// The path of one file of a copy.
pub(crate) fn part(root: &Path, reference: &SegmentRef, base_offset: i64, part: Part) -> PathBuf {
    partition_dir(root, reference.partition).join(format!(
        "{}.{}",
        stem(base_offset, reference.segment),
        part.extension()
    ))
}

/// What the name of a segment file says. `None`: not a name this store gives.
pub(crate) fn parse_file_name(name: &str) -> Option<(i64, SegmentId, Part)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let part = Part::ALL.into_iter().find(|p| p.extension() == extension)?;
    let (base, segment) = stem.split_once('-')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if base.len() != 20
        || !digits(base)
        || !digits(segment)
        || (segment.len() > 1 && segment.starts_with('0'))
    {
        return None;
    }
    Some((base.parse().ok()?, SegmentId(segment.parse().ok()?), part))
}

/// A partition's folder name as a number. `None`: not a name this store gives.
pub(crate) fn parse_partition(name: &str) -> Option<i32> {
    let partition: i32 = name.parse().ok()?;
    (partition >= 0 && partition.to_string() == name).then_some(partition)
}

/// A topic's folder name as an id. `None`: not a name this store gives.
pub(crate) fn parse_topic(name: &str) -> Option<TopicId> {
    let topic = TopicId::parse(name)?;
    (topic.to_string() == name).then_some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_are_told_apart() {
        let name = format!("{}.log", stem(42, SegmentId(1 << 33)));
        assert_eq!(name, "00000000000000000042-8589934592.log");
        assert_eq!(parse_file_name(&name), Some((42, SegmentId(1 << 33), Part::Log)));
        for stranger in [
            "",
            ".log",
            "42-1.log",
            "00000000000000000042.log",
            "00000000000000000042-1.txt",
            "00000000000000000042-01.log",
            "00000000000000000042-+1.log",
            "+0000000000000000042-1.log",
            "99999999999999999999-1.log",
            "00000000000000000042-99999999999999999999.log",
            "00000000000000000042-1.log.tmp",
        ] {
            assert_eq!(parse_file_name(stranger), None, "{stranger}");
        }
        assert_eq!(parse_partition("7"), Some(7));
        assert_eq!(parse_partition("07"), None);
        assert_eq!(parse_partition("-1"), None);
        assert_eq!(parse_topic("not-a-topic"), None);
    }
}

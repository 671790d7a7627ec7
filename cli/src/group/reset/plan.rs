//! Where a partition's committed offset goes.

use crate::admin::cluster::TopicPartition;

/// The offsets a partition has: from `start`, up to but not including `end`.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    pub start: i64,
    pub end: i64,
}

/// What the user wants of one partition.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Start,
    End,
    Offset(i64),
    /// By so many from what is committed.
    Shift(i64),
    /// The offset found for a time; -1 where no record is that late.
    Time(i64),
    /// What is committed, or the end.
    Current,
}

/// What is to be done with one partition.
#[derive(Clone, Debug)]
pub struct Move {
    pub partition: TopicPartition,
    pub old: Option<i64>,
    pub new: i64,
    /// Why it is not exactly what was asked for.
    pub note: Option<String>,
}

impl Target {
    /// The new offset, and a note where it is not quite what was asked for: an offset outside of the log becomes its
    /// nearest end, as in Kafka's tool.
    ///
    /// # Errors
    /// A shift of nothing.
    pub fn resolve(self, committed: Option<i64>, log: Log) -> Result<(i64, Option<String>), String> {
        let wanted = match self {
            Self::Start => log.start,
            Self::End => log.end,
            Self::Offset(offset) => offset,
            Self::Shift(by) => {
                let from = committed.ok_or("there is no committed offset to shift")?;
                from.saturating_add(by)
            }
            Self::Time(-1) => return Ok((log.end, Some("no record is that late: the end".to_owned()))),
            Self::Time(offset) => offset,
            Self::Current => match committed {
                Some(offset) => offset,
                None => return Ok((log.end, Some("nothing was committed: the end".to_owned()))),
            },
        };
        let Log { start, end } = log;
        Ok(if wanted < start {
            (start, Some(format!("{wanted} is below the log start {start}")))
        } else if wanted > end {
            (end, Some(format!("{wanted} is beyond the end {end}")))
        } else {
            (wanted, None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_lands_inside_the_log_and_says_when_it_was_bent() {
        let log = Log { start: 10, end: 20 };
        for (target, committed, new, noted) in [
            (Target::Start, None, 10, false),
            (Target::End, Some(12), 20, false),
            (Target::Offset(15), None, 15, false),
            (Target::Offset(20), None, 20, false),
            (Target::Offset(9), None, 10, true),
            (Target::Offset(i64::MAX), None, 20, true),
            (Target::Shift(3), Some(12), 15, false),
            (Target::Shift(-3), Some(12), 10, true),
            (Target::Shift(i64::MIN), Some(12), 10, true),
            (Target::Shift(i64::MAX), Some(12), 20, true),
            (Target::Time(13), None, 13, false),
            (Target::Time(-1), Some(12), 20, true),
            (Target::Current, Some(12), 12, false),
            (Target::Current, Some(2), 10, true),
            (Target::Current, None, 20, true),
        ] {
            let (offset, note) = target.resolve(committed, log).unwrap();
            assert_eq!((offset, note.is_some()), (new, noted), "{target:?} from {committed:?}");
        }
        assert!(Target::Shift(1).resolve(None, log).is_err());
    }
}

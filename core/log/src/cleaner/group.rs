//! Which neighbours become one segment.

use std::ops::Range;

/// What a group is made by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sized {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Exclusive.
    pub end_offset: i64,
    /// Of its log, before it is cleaned.
    pub bytes: u64,
    /// Starts a group whatever its size: it lies on other stores than the one before, or the chain has a hole there.
    pub apart: bool,
}

/// Offsets in one segment, as Kafka limits them: its clients never see more in one file.
const OFFSETS_MAX: i64 = i32::MAX as i64;

/// Ranges of neighbouring segments, each to become one of at most `segment_bytes` or to stay alone. What they shrink by is
/// not counted on: as small as they will be, the next pass sees them.
pub fn group(segments: &[Sized], segment_bytes: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, segment) in segments.iter().enumerate() {
        let joins = groups.last().is_some_and(|group| {
            let first = &segments[group.start];
            !segment.apart
                && segment.end_offset - first.base_offset <= OFFSETS_MAX
                && bytes + segment.bytes <= segment_bytes
        });
        match groups.last_mut().filter(|_| joins) {
            Some(group) => {
                group.end = at + 1;
                bytes += segment.bytes;
            }
            None => {
                groups.push(at..at + 1);
                bytes = segment.bytes;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(base_offset: i64, end_offset: i64, bytes: u64) -> Sized {
        Sized { base_offset, end_offset, bytes, apart: false }
    }

    #[test]
    fn neighbours_join_up_to_the_size_and_every_segment_is_in_one_group() {
        let segments = [
            sized(0, 10, 400),
            sized(10, 20, 600),
            sized(20, 30, 1),
            sized(30, 40, 5_000),
            sized(40, 50, 1),
            Sized { apart: true, ..sized(50, 60, 1) },
            sized(60, 70, 1),
            sized(70, i64::from(i32::MAX) + 51, 1),
        ];
        assert_eq!(group(&segments, 1_000), [0..2, 2..3, 3..4, 4..5, 5..7, 7..8]);
        assert_eq!(group(&segments[..2], 999), [0..1, 1..2]);
        assert_eq!(group(&[], 1_000), []);
    }
}

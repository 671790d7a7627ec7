//! The send time inside a bench record's value: `buslane\0`, then nanoseconds since 1970 as a big-endian i64.
//!
//! Record timestamps are milliseconds, too coarse for the latencies to be measured. The stamp compares clocks of two
//! processes, so the figure means something on one machine only (or with clocks in step).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes a stamp takes. Smaller records carry none.
pub const STAMP_BYTES: usize = 16;
const MARK: &[u8; 8] = b"buslane\0";

/// Writes `time` at the front of `value`, where there is room for it.
pub fn put(value: &mut [u8], time: SystemTime) {
    if let Some(front) = value.first_chunk_mut::<STAMP_BYTES>() {
        let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
        front[..8].copy_from_slice(MARK);
        front[8..].copy_from_slice(&nanos.to_be_bytes());
    }
}

/// How long ago the stamp in `value` was put there; zero when it lies in the future.
pub fn age(value: &[u8], now: SystemTime) -> Option<Duration> {
    let nanos = value.strip_prefix(MARK)?.first_chunk::<8>()?;
    let sent = UNIX_EPOCH + Duration::from_nanos(u64::try_from(i64::from_be_bytes(*nanos)).ok()?);
    Some(now.duration_since(sent).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_its_age() {
        let sent = UNIX_EPOCH + Duration::from_nanos(1_763_892_000_123_456_789);
        let mut value = vec![7; 20];
        put(&mut value, sent);
        assert_eq!(age(&value, sent + Duration::from_micros(250)), Some(Duration::from_micros(250)));
        assert_eq!(age(&value, sent - Duration::from_secs(1)), Some(Duration::ZERO));
        assert_eq!(value[STAMP_BYTES..], [7; 4]);
    }

    #[test]
    fn other_values_have_no_age() {
        let mut short = vec![1; STAMP_BYTES - 1];
        put(&mut short, SystemTime::now());
        assert_eq!(short, vec![1; STAMP_BYTES - 1]);
        for value in [&b""[..], b"buslane\0", b"buslane\0\xff\0\0\0\0\0\0\0", &[0; 40]] {
            assert_eq!(age(value, SystemTime::now()), None);
        }
    }
}

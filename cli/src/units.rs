//! Sizes, durations and points in time as people write them on a command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC, as Kafka counts record timestamps.
pub type TimestampMs = i64;

/// `512`, `64KiB`, `64k`, `1.5MiB`, `2GB`. `k`, `M` and `G` alone and with `iB` are powers of 1024, with `B` powers of 1000.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("'{text}' is not a size; write for example 1024, 64KiB, 1MiB");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err(wrong()),
    };
    let bytes = number * scale;
    // Beyond 2^53 a double no longer holds every integer; nothing here is that large.
    if bytes.fract() != 0.0 || bytes > 9e15 {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// `500ms`, `10s`, `2m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("'{text}' is not a duration; write for example 500ms, 10s, 2m, 1h"))
}

/// As [`parse_duration`], and as ISO 8601 and Kafka's tools write it: `PT1H30M`, `P2D`, `P1DT12H`, `PT0.5S`.
pub fn parse_period(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let Some(period) = text.strip_prefix('P') else { return parse_duration(text) };
    let wrong = || format!("'{text}' is not a duration; write for example PT1H30M, P2D, or 90m");
    let (date, time) = match period.split_once('T') {
        Some((_, "")) => return Err(wrong()),
        Some((date, time)) => (date, time),
        None => (period, ""),
    };
    let in_days = seconds(date, &[('W', 604_800.0), ('D', 86_400.0)]).ok_or_else(wrong)?;
    let in_hours = seconds(time, &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)]).ok_or_else(wrong)?;
    if period.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(in_days + in_hours).map_err(|_| wrong())
}

/// Numbers, each followed by one of the units, in their order.
fn seconds(mut text: &str, mut units: &[(char, f64)]) -> Option<f64> {
    let mut sum = 0.0;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(end);
        let unit = rest.chars().next()?;
        let position = units.iter().position(|(name, _)| *name == unit)?;
        sum += number.parse::<f64>().ok()? * units[position].1;
        units = &units[position + 1..];
        text = &rest[1..];
    }
    Some(sum)
}

/// `1763892000000` (milliseconds since 1970), `2026-11-23T10:00:00Z`, `2026-11-23 10:00:00`, `2026-11-23`, or how long
/// ago: `15m`, `2h`.
pub fn parse_time(text: &str) -> Result<TimestampMs, String> {
    parse_time_at(text, SystemTime::now())
}

fn parse_time_at(text: &str, now: SystemTime) -> Result<TimestampMs, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map_err(|_| format!("'{text}' is too large for a time in milliseconds since 1970"));
    }
    if let Ok(ago) = humantime::parse_duration(text)
        && let Some(time) = now.checked_sub(ago)
    {
        return Ok(timestamp_ms(time));
    }
    let midnight = format!("{text} 00:00:00");
    humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339_weak(&midnight))
        .map(timestamp_ms)
        .map_err(|_| {
            format!(
                "'{text}' is not a point in time; write milliseconds since 1970, 2026-11-23T10:00:00Z, \
                 2026-11-23, or how long ago: 15m, 2h"
            )
        })
}

/// Milliseconds since 1970.
pub fn timestamp_ms(time: SystemTime) -> TimestampMs {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

/// The time as `2026-11-23T10:00:00.000Z`; the bare number where that form has no room for it.
pub fn format_time(timestamp: TimestampMs) -> String {
    const LAST_OF_YEAR_9999: i64 = 253_402_300_799_999;
    match u64::try_from(timestamp) {
        Ok(since) if timestamp <= LAST_OF_YEAR_9999 => {
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(since)).to_string()
        }
        _ => timestamp.to_string(),
    }
}

/// `name=value`, split at the first `=`.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("'{text}' is not of the form NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("64KiB", 65536),
            ("64k", 65536),
            ("1.5MiB", 1_572_864),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5", "1XB", "1e3", "99999999999999999999"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn points_in_time_as_people_write_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (text, expected) in [
            ("1763892000000", 1_763_892_000_000),
            ("1970-01-02", 86_400_000),
            ("1970-01-02T00:00:01Z", 86_401_000),
            ("1970-01-02 00:00:01", 86_401_000),
            ("15m", 1_000_000_000 - 15 * 60 * 1000),
        ] {
            assert_eq!(parse_time_at(text, now), Ok(expected), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "99999999999999999999"] {
            assert!(parse_time_at(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_as_people_and_as_kafkas_tools_write_them() {
        for (text, seconds) in [
            ("PT1H", 3600.0),
            ("PT1H30M", 5400.0),
            ("P2D", 172_800.0),
            ("P1DT12H", 129_600.0),
            ("P1W", 604_800.0),
            ("PT0.5S", 0.5),
            ("90m", 5400.0),
        ] {
            assert_eq!(parse_period(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "P", "PT", "P1DT", "PT1", "PTH", "PT1M1H", "PT1D", "P1H", "PT.S", "PT-1H", "P1Y"] {
            assert!(parse_period(text).is_err(), "{text}");
        }
    }

    #[test]
    fn any_timestamp_can_be_shown() {
        assert_eq!(format_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_time(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        for timestamp in [i64::MIN, -1, 253_402_300_800_000, i64::MAX] {
            assert_eq!(format_time(timestamp), timestamp.to_string());
        }
    }

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_pair("=b").is_err());
        assert!(parse_pair("a").is_err());
    }
}

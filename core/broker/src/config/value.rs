//! Typed values of the configuration, each with its own way to be written.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

/// A value that stands in a configuration file, or on a command line.
pub trait ConfigValue: Sized {
    /// What is right, for messages: `a size with its unit, like "64MiB"`.
    const TAKES: &'static str;

    /// Reads it as it stands on a command line.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads it as it stands in a file. The default takes a string.
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Self::from_text(value.as_str()?)
    }

    /// As it is written in a file.
    fn to_toml(&self) -> String;
}

pub(super) fn quoted(text: impl fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

impl ConfigValue for bool {
    const TAKES: &'static str = "true or false";

    fn from_text(text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<bool> {
        value.as_bool()
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($ty:ty, $takes:literal;)*) => {$(
        impl ConfigValue for $ty {
            const TAKES: &'static str = $takes;

            fn from_text(text: &str) -> Option<$ty> {
                text.parse().ok()
            }

            fn from_toml(value: &DeValue<'_>) -> Option<$ty> {
                let number = value.as_integer()?;
                i128::from_str_radix(number.as_str(), number.radix()).ok()?.try_into().ok()
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_numbers! {
    i32, "a whole number";
    u32, "a whole number from 0 on";
    u64, "a whole number from 0 on";
    usize, "a whole number from 0 on";
}

macro_rules! texts {
    ($($ty:ty, $takes:literal, |$text:ident| $parse:expr, |$value:ident| $show:expr;)*) => {$(
        impl ConfigValue for $ty {
            const TAKES: &'static str = $takes;

            fn from_text($text: &str) -> Option<$ty> {
                $parse
            }

            fn to_toml(&self) -> String {
                let $value = self;
                quoted($show)
            }
        }
    )*};
}
texts! {
    String, "text in quotes", |text| Some(text.to_owned()), |value| value;
    PathBuf, "a path in quotes", |text| (!text.is_empty()).then(|| text.into()), |value| value.display();
    SocketAddr, "an IP address and a port, like \"127.0.0.1:9092\"", |text| text.parse().ok(), |value| value;
    HostPort, "a host name or address and a port, like \"broker-1.example.org:9092\"",
        |text| text.parse().ok(), |value| value;
    ByteSize, "a size with its unit (B, KiB, MiB, GiB, TiB), like \"64MiB\"",
        |text| text.parse().ok(), |value| value;
    Duration, "a time with its unit (ms, s, m, h, d), like \"10s\"",
        |text| duration_from_text(text), |value| duration_text(*value);
}

/// A size in bytes, written with a binary unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl ByteSize {
    /// In the address space; a size beyond it counts as all of it.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ();

    fn from_str(text: &str) -> Result<ByteSize, ()> {
        with_unit(text, &SIZES).map(ByteSize).ok_or(())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_largest_unit(self.0, &SIZES))
    }
}

fn duration_from_text(text: &str) -> Option<Duration> {
    with_unit(text, &TIMES).map(Duration::from_millis)
}

fn duration_text(time: Duration) -> String {
    in_largest_unit(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), &TIMES)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The unit that leaves a whole number. Units are given largest first, the last one is 1.
fn in_largest_unit(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor) && value > 0;
    let (unit, factor) = units.iter().find(fits).unwrap_or(&units[units.len() - 1]);
    format!("{}{unit}", value / factor)
}

/// A host name or address, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Port, not 0.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = ();

    fn from_str(text: &str) -> Result<HostPort, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
            Some(_) => return Err(()),
            None => host,
        };
        let named = bare.is_some() || host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(())?;
        if host.is_empty() || host.len() > 255 || !named {
            return Err(());
        }
        Ok(HostPort { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> HostPort {
        HostPort { host: address.ip().to_string(), port: address.port() }
    }
}

macro_rules! or_word {
    ($(#[$doc:meta])* $name:ident, $word:literal, $($of:ty, $takes:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name<T>(pub Option<T>);

        $(impl ConfigValue for $name<$of> {
            const TAKES: &'static str = $takes;

            fn from_text(text: &str) -> Option<Self> {
                if text == $word { Some($name(None)) } else { <$of>::from_text(text).map(|v| $name(Some(v))) }
            }

            fn from_toml(value: &DeValue<'_>) -> Option<Self> {
                if value.as_str() == Some($word) {
                    return Some($name(None));
                }
                <$of>::from_toml(value).map(|value| $name(Some(value)))
            }

            fn to_toml(&self) -> String {
                self.0.as_ref().map_or(quoted($word), <$of>::to_toml)
            }
        })*
    };
}
or_word! {
    /// A value, or `"auto"` for what the program finds best.
    Auto, "auto",
    i32, "a whole number, or \"auto\"";
    ByteSize, "a size with its unit (B, KiB, MiB, GiB, TiB), like \"64MiB\", or \"auto\"";
    HostPort, "a host name or address and a port, like \"broker-1.example.org:9092\", or \"auto\"";
}
or_word! {
    /// A bound, or `"unlimited"`.
    Bound, "unlimited",
    ByteSize, "a size with its unit (B, KiB, MiB, GiB, TiB), like \"64MiB\", or \"unlimited\"";
    Duration, "a time with its unit (ms, s, m, h, d), like \"10s\", or \"unlimited\"";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_keep_their_units() {
        for (text, bytes) in [("0B", 0), ("1023B", 1023), ("64MiB", 64 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(ByteSize::from_text(text), Some(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).to_toml(), format!("\"{text}\""));
        }
        for wrong in ["", "64", "64MB", "64 Mib", "MiB", "-1B", "1.5GiB", "99999999999TiB", "20000000TiB"] {
            assert_eq!(ByteSize::from_text(wrong), None, "{wrong}");
        }
        for (text, ms) in [("0ms", 0), ("1500ms", 1_500), ("90s", 90_000), ("7d", 604_800_000)] {
            assert_eq!(Duration::from_text(text), Some(Duration::from_millis(ms)));
            assert_eq!(Duration::from_millis(ms).to_toml(), format!("\"{text}\""));
        }
        for wrong in ["10", "10S", "1h30m", "s", "1 week"] {
            assert_eq!(Duration::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hosts_and_ports() {
        for text in ["127.0.0.1:9092", "broker-1.example.org:1", "[::1]:9092"] {
            assert_eq!(HostPort::from_text(text).unwrap().to_string(), text);
        }
        for wrong in
            ["", "host", "host:", "host:0", "host:65536", ":9092", "::1:9092", "[host]:1", "a b:1", "a/b:1"]
        {
            assert_eq!(HostPort::from_text(wrong), None, "{wrong}");
        }
    }
}

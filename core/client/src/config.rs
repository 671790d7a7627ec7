//! Where a cluster is, and how its brokers want to be spoken to.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Kafka's usual port, where none is given.
pub const DEFAULT_PORT: u16 = 9092;

/// A broker's address, as clients name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name or a number; without the brackets of an IPv6 number.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text that is no `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a broker; host:port is wanted, as in kafka-1:9092 or [::1]:9092")]
pub struct BadAddress(pub String);

impl FromStr for Address {
    type Err = BadAddress;

    /// `host`, `host:port`, `[IPv6 number]:port`.
    fn from_str(text: &str) -> Result<Address, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) })
            }
            None => match text.rsplit_once(':') {
                // More than one colon and no brackets: a number of IPv6 without a port.
                Some((host, _)) if host.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?,
            None => DEFAULT_PORT,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(bad());
        }
        Ok(Address { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// TLS (`security.protocol` SSL or SASL_SSL).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that are trusted, as PEM; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate and what leads to an authority, and its private key, both as PEM: where brokers want one.
    pub identity: Option<Identity>,
    /// The name that certificates must be for, instead of the host's.
    pub server_name: Option<String>,
}

/// A client's certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM of the certificate, and of those between it and the authority.
    pub certificate_file: PathBuf,
    /// PEM of its private key, not encrypted.
    pub key_file: PathBuf,
}

/// How a client proves who it is (`sasl.mechanism`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// RFC 4616: the password as it is; over TLS only, if it matters.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// As [`SaslMechanism::ScramSha256`], with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl FromStr for SaslMechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<SaslMechanism, String> {
        [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                format!("{text:?} is no SASL mechanism; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are")
            })
    }
}

/// A user and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How they are proved.
    pub mechanism: SaslMechanism,
    /// The user's name.
    pub username: String,
    /// Its password; never shown.
    pub password: String,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sasl { mechanism, username, .. } = self;
        f.debug_struct("Sasl")
            .field("mechanism", mechanism)
            .field("username", username)
            .finish_non_exhaustive()
    }
}

/// Everything that a [`crate::Client`] is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Brokers to start from (`bootstrap.servers`); one that answers is enough. They are tried in turn.
    pub bootstrap: Vec<Address>,
    /// What the brokers call this client, in quotas and logs (`client.id`).
    pub client_id: String,
    /// Whether connections are encrypted.
    pub tls: Option<Tls>,
    /// Whether the client proves who it is.
    pub sasl: Option<Sasl>,
    /// A connection is there within this time, TLS and authentication included (`socket.connection.setup.timeout.ms`).
    pub connect_timeout: Duration,
    /// A request is answered within this time beyond what it may wait at the broker, or its connection is given up
    /// (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// First and longest pause before a broker that could not be connected to is tried again (`reconnect.backoff.ms`,
    /// `reconnect.backoff.max.ms`).
    pub reconnect_backoff: (Duration, Duration),
    /// An answer is at most so many bytes; a broker that announces more is no broker.
    pub answer_bytes_max: usize,
}

impl Config {
    /// Kafka's defaults, for a cluster that wants neither TLS nor SASL.
    pub fn new(bootstrap: Vec<Address>, client_id: impl Into<String>) -> Config {
        Config {
            bootstrap,
            client_id: client_id.into(),
            tls: None,
            sasl: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            reconnect_backoff: (Duration::from_millis(50), Duration::from_secs(1)),
            answer_bytes_max: 256 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, host, port) in [
            ("kafka-1", "kafka-1", 9092),
            ("kafka-1:19092", "kafka-1", 19092),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:19092", "::1", 19092),
            ("[::1]", "::1", 9092),
            ("fe80::1", "fe80::1", 9092),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
        for text in ["", ":9092", "a:", "a:0", "a:65536", "a:b", "[::1", "[::1]9092", "http://a:1", "a b:1"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("host:port"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let sasl = Sasl {
            mechanism: "scram-sha-512".parse().unwrap(),
            username: "ann".to_owned(),
            password: "secret".to_owned(),
        };
        let shown = format!("{:?}", Config { sasl: Some(sasl), ..Config::new(Vec::new(), "me") });
        assert!(
            shown.contains("ann") && shown.contains("ScramSha512") && !shown.contains("secret"),
            "{shown}"
        );
        assert!("GSSAPI".parse::<SaslMechanism>().unwrap_err().contains("SCRAM-SHA-256"));
    }
}

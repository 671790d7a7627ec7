//! Reaching a broker as a Kafka client, and saying clearly why not.
//!
//! [`BrokerArgs`] says where the brokers are, for every client verb. What only moves records uses librdkafka and adds its
//! settings ([`ClientArgs`]); what administrates uses [`crate::admin`].
//!
//! librdkafka retries silently for ever, so every verb first tries the addresses itself ([`ClientArgs::reach`]) and asks
//! for the cluster's metadata with a time limit ([`cluster`]). What librdkafka reports meanwhile is kept by [`Listener`]
//! and ends up in the error message.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};

use crate::exit::{Failure, Status};
use crate::units::{parse_duration, parse_pair};

const DEFAULT_PORT: u16 = 9092;
/// A host that swallows packets must not eat the whole time limit when others are named beside it.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Where the brokers are. Flags of every client verb.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct BrokerArgs {
    /// Brokers to start from, separated by commas; one that answers is enough
    #[arg(
        short,
        long,
        env = "BUSLANE_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT"
    )]
    pub bootstrap: String,

    /// How long to wait for a broker's answer
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// The flags of verbs that are clients on librdkafka.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ClientArgs {
    #[command(flatten)]
    pub brokers: BrokerArgs,

    /// A librdkafka client setting, such as `fetch.min.bytes=1000`; may be repeated
    #[arg(short = 'X', long = "client-config", value_parser = parse_pair, value_name = "KEY=VALUE")]
    pub client_config: Vec<(String, String)>,
}

/// Whoever has these flags has those of [`BrokerArgs`] too.
impl Deref for ClientArgs {
    type Target = BrokerArgs;

    fn deref(&self) -> &BrokerArgs {
        &self.brokers
    }
}

impl BrokerArgs {
    /// Tries to connect to each address in turn. Ok as soon as one takes the connection.
    ///
    /// # Errors
    /// As [`Self::first`].
    pub fn reach(&self) -> Result<(), Failure> {
        self.first(|host, port, limit| {
            connect(host, port, limit).map(|_| ()).map_err(|reason| format!("{host}:{port}: {reason}"))
        })
    }

    /// The first of the addresses with which `reach` succeeds. It is given a time limit, and answers with the address
    /// and the reason where it does not. The whole limit is for the last address: before it a host that swallows packets
    /// must not use it up.
    ///
    /// # Errors
    /// Usage when an address cannot be read; Unreachable, with a reason per address, when none can be reached.
    pub fn first<T>(&self, reach: impl Fn(&str, u16, Duration) -> Result<T, String>) -> Result<T, Failure> {
        let addresses: Vec<_> =
            self.bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()).collect();
        let Some(last) = addresses.len().checked_sub(1) else {
            return Err(Failure::usage(
                "--bootstrap (or BUSLANE_BOOTSTRAP) names no address; write HOST:PORT",
            ));
        };
        let mut reasons = Vec::new();
        for (position, address) in addresses.into_iter().enumerate() {
            let (host, port) = split_address(address).map_err(Failure::usage)?;
            let limit = if position < last { self.timeout.min(CONNECT_LIMIT) } else { self.timeout };
            match reach(&host, port, limit) {
                Ok(reached) => return Ok(reached),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(Failure::new(
            Status::Unreachable,
            format!(
                "cannot reach a broker: {}\n`scripts/dev` or `buslane server` starts one on 127.0.0.1:9092; \
                 --bootstrap HOST:PORT or BUSLANE_BOOTSTRAP names another",
                reasons.join("; ")
            ),
        ))
    }
}

impl ClientArgs {
    /// The settings common to all our clients. The user's own come last, in [`Self::finish`].
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "buslane-cli")
            .set("socket.timeout.ms", self.timeout.as_millis().clamp(1_000, 300_000).to_string())
            .set(
                "socket.connection.setup.timeout.ms",
                self.timeout.as_millis().clamp(1_000, 30_000).to_string(),
            )
            .set("reconnect.backoff.max.ms", "2000");
        config
    }

    /// Adds the settings of `--client-config`, which thereby win.
    pub fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.client_config {
            config.set(key, value);
        }
        config
    }
}

/// `host`, `host:port`, `[v6]:port`, each optionally with a listener name in front as in `PLAINTEXT://`.
fn split_address(address: &str) -> Result<(String, u16), String> {
    let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
    let wrong = |what: &str| format!("'{address}' in --bootstrap is not an address: {what}; write HOST:PORT");
    let (host, port) = match bare.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']').ok_or_else(|| wrong("']' is missing"))?;
            (host, rest.strip_prefix(':'))
        }
        None => match bare.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return Err(wrong("an IPv6 address needs brackets")),
            Some((host, port)) => (host, Some(port)),
            None => (bare, None),
        },
    };
    if host.is_empty() {
        return Err(wrong("there is no host"));
    }
    let port = match port {
        Some(port) => {
            port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("the port is not 1 to 65535"))?
        }
        None => DEFAULT_PORT,
    };
    Ok((host.to_owned(), port))
}

/// Connects to the first of the host's addresses that takes it, each with this time limit, at most [`CONNECT_LIMIT`].
pub fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the name does not resolve ({error})"))?
        .collect();
    let mut reason = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit.min(CONNECT_LIMIT)) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                reason = "connection refused, nothing listens there".to_owned();
            }
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

/// Hears what librdkafka has to say and remembers the last complaint.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    last: Arc<Mutex<Option<String>>>,
    /// Until the first answer, complaints are only remembered: they become part of the one error message.
    connected: Arc<AtomicBool>,
}

impl Listener {
    fn complaint(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `message`, followed by what librdkafka last complained of, if anything.
    pub fn explain(&self, message: impl std::fmt::Display) -> String {
        match self.complaint() {
            Some(complaint) => format!("{message} (last: {complaint})"),
            None => message.to_string(),
        }
    }

    /// The failure a Kafka error means: its exit code and, where a connection is at fault, the reason for that.
    pub fn failure(&self, what: &str, error: &KafkaError) -> Failure {
        let Some(code) = error.rdkafka_error_code() else {
            return Failure::failed(format!("{what}: {error}"));
        };
        let status = status_of(code);
        let message = match status {
            Status::Unreachable => self.explain(format!("{what}: {code}")),
            _ => format!("{what}: {code}"),
        };
        Failure::new(status, message)
    }
}

/// The exit code that a Kafka error code means.
pub fn status_of(code: RDKafkaErrorCode) -> Status {
    match code {
        RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::AllBrokersDown
        | RDKafkaErrorCode::Resolve
        | RDKafkaErrorCode::OperationTimedOut => Status::Unreachable,
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition
        | RDKafkaErrorCode::TopicAlreadyExists => Status::Existence,
        _ => Status::Failed,
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters arrives in `error` as well.
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // librdkafka reports the end of a partition the same way; whoever asked for that hears of it from `poll`.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        if self.connected.load(Ordering::Relaxed) {
            tracing::warn!(target: "librdkafka", "{reason}");
        } else {
            tracing::debug!(target: "librdkafka", %error, "{reason}");
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl rdkafka::consumer::ConsumerContext for Listener {}

/// The cluster's brokers and topics. Also the proof that what listens there speaks Kafka.
///
/// All topics are asked for even where one matters: naming one in a request may create it (auto-creation).
pub fn cluster<C: ClientContext>(
    client: &Client<C>,
    listener: &Listener,
    args: &ClientArgs,
) -> Result<Metadata, Failure> {
    let metadata = client.fetch_metadata(None, args.timeout).map_err(|error| {
        let what = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OperationTimedOut) => {
                let limit = humantime::format_duration(args.timeout);
                format!("{} took the connection but did not answer within {limit}", args.bootstrap)
            }
            _ => format!("{} took the connection but did not answer as a Kafka broker does", args.bootstrap),
        };
        listener.failure(&what, &error)
    })?;
    listener.connected.store(true, Ordering::Relaxed);
    Ok(metadata)
}

/// Asks again while the answer is "not now": a partition has no owner for a moment when a broker restarts or hands it
/// over. librdkafka does so for records by itself, but not for questions. Gives up after `limit` with the last answer.
pub fn patiently<T>(limit: Duration, ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    const PAUSE: Duration = Duration::from_millis(50);
    let end = Instant::now() + limit;
    loop {
        match ask() {
            Err(error) if is_not_now(&error) && Instant::now() + PAUSE < end => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

fn is_not_now(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::ReplicaNotAvailable
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
        )
    )
}

/// The named topic, or the failure that says it is not there and what is.
pub fn topic<'m>(metadata: &'m Metadata, name: &str) -> Result<&'m MetadataTopic, Failure> {
    metadata.topics().iter().find(|topic| topic.name() == name).ok_or_else(|| no_topic(name))
}

/// There is no such topic; what is, and what to do.
pub fn no_topic(name: &str) -> Failure {
    Failure::new(
        Status::Existence,
        format!(
            "there is no topic '{name}'; `buslane topic list` shows those there are, \
             `buslane topic create {name}` creates it"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_kafka_clients_write_them() {
        for (text, host, port) in [
            ("localhost", "localhost", 9092),
            ("a.example:19092", "a.example", 19092),
            ("PLAINTEXT://a:1", "a", 1),
            ("[::1]:9093", "::1", 9093),
            ("[::1]", "::1", 9092),
        ] {
            assert_eq!(split_address(text), Ok((host.to_owned(), port)), "{text}");
        }
        for text in [":9092", "a:0", "a:65536", "a:b", "::1:9092", "[::1"] {
            assert!(split_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nobody_listening_is_named_as_such() {
        // A port that was free a moment ago; on loopback nobody takes it in between.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let args = BrokerArgs { bootstrap: format!("127.0.0.1:{port}"), timeout: Duration::from_secs(1) };
        let failure = args.reach().unwrap_err();
        assert_eq!(failure.status, Status::Unreachable);
        let message = failure.error.to_string();
        assert!(message.contains(&format!("127.0.0.1:{port}: connection refused")), "{message}");
        assert!(message.contains("scripts/dev"), "{message}");
    }

    #[test]
    fn a_question_is_asked_again_until_the_answer_is_final() {
        let asked = std::cell::Cell::new(0);
        let ask = |last: Result<i32, RDKafkaErrorCode>| {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 | 2 => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::NotLeaderForPartition)),
                _ => last.map_err(KafkaError::MetadataFetch),
            }
        };
        assert_eq!(patiently(Duration::from_secs(60), || ask(Ok(7))), Ok(7));
        assert_eq!(asked.replace(0), 3);
        let refused = RDKafkaErrorCode::TopicAuthorizationFailed;
        assert_eq!(
            patiently(Duration::from_secs(60), || ask(Err(refused))),
            Err(KafkaError::MetadataFetch(refused))
        );
        assert_eq!(asked.replace(0), 3);
        let not_now = KafkaError::MetadataFetch(RDKafkaErrorCode::NotLeaderForPartition);
        assert_eq!(patiently(Duration::ZERO, || ask(Ok(7))), Err(not_now));
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn one_reachable_address_is_enough() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = open.local_addr().unwrap().port();
        let args = BrokerArgs {
            bootstrap: format!("nowhere.invalid:1, 127.0.0.1:{port}"),
            timeout: Duration::from_secs(1),
        };
        args.reach().unwrap();
    }
}

//! What the broker counts, for `/metrics`.
//!
//! Labels come from tables of ours, never from the wire: a request of an unknown kind counts as `unknown`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use buslane_wire::frame::RequestPrefix;
use buslane_wire::{ApiKey, ErrorCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::net::Budget;
use crate::net::budget::Usage;
use crate::net::connection::Closed;
use crate::net::limits::Refusal;

/// A registry whose metrics all begin with `buslane_`.
pub fn registry() -> Registry {
    Registry::with_prefix("buslane")
}

/// The registry as text, as `/metrics` shows it.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a String takes any text");
    text
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Listener {
    listener: String,
}

/// Counts of all listeners.
#[derive(Clone, Debug)]
pub struct NetMetrics {
    connections: Family<Listener, Gauge>,
    accepted: Family<Listener, Counter>,
    accept_errors: Family<Listener, Counter>,
    rejected: Family<Labels, Counter>,
    closed: Family<Labels, Counter>,
    request_bytes: Family<Listener, Counter>,
    response_bytes: Family<Listener, Counter>,
    cold_chunks: Family<Listener, Counter>,
    requests: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    budgets: Arc<Budgets>,
}

impl NetMetrics {
    /// Makes them known to a registry.
    pub fn register(registry: &mut Registry) -> NetMetrics {
        // 20 us to 10 s: an append to the page cache up to a slow commit.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_02, 2.0, 20));
        let m = NetMetrics {
            connections: Family::default(),
            accepted: Family::default(),
            accept_errors: Family::default(),
            rejected: Family::default(),
            closed: Family::default(),
            request_bytes: Family::default(),
            response_bytes: Family::default(),
            cold_chunks: Family::default(),
            requests: Family::default(),
            errors: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            budgets: Arc::default(),
        };
        registry.register("connections", "Open connections", m.connections.clone());
        registry.register("connections_accepted", "Connections accepted", m.accepted.clone());
        registry.register(
            "accept_errors",
            "Accepts that failed, mostly for want of file descriptors",
            m.accept_errors.clone(),
        );
        registry.register("connections_rejected", "Connections over a limit", m.rejected.clone());
        registry.register("connections_closed", "Connections closed, by reason", m.closed.clone());
        registry.register("request_bytes", "Bytes of requests received", m.request_bytes.clone());
        registry.register("response_bytes", "Bytes of responses sent", m.response_bytes.clone());
        registry.register(
            "response_cold_chunks",
            "Chunks of at most 512 KiB that were read from disk before they were sent",
            m.cold_chunks.clone(),
        );
        registry.register("requests", "Requests handled, by kind and version", m.requests.clone());
        registry.register(
            "request_errors",
            "Errors in responses by kind of request: of each partition, group or resource told",
            m.errors.clone(),
        );
        registry.register(
            "request_handle_seconds",
            "From a whole request to its response, waiting (long polls, acknowledgements) included",
            m.seconds.clone(),
        );
        registry.register_collector(Box::new(m.budgets.clone()));
        m
    }

    /// Those of one listener.
    pub(crate) fn listener(&self, name: &str, budget: &Budget) -> ListenerMetrics {
        self.budgets.add(name, budget);
        let labels = Listener { listener: name.to_owned() };
        let highest = ApiKey::ALL.iter().map(|api| *api as usize).max().unwrap_or(0);
        let mut apis: Vec<Option<Api>> = (0..=highest).map(|_| None).collect();
        for api in ApiKey::ALL {
            let versions = api.request().versions;
            let count = (versions.last - versions.first + 1).max(0) as usize;
            apis[*api as usize] = Some(Api {
                name: api.name(),
                first_version: versions.first,
                counters: (0..count).map(|_| OnceLock::new()).collect(),
                seconds: OnceLock::new(),
            });
        }
        ListenerMetrics {
            name: name.to_owned(),
            connections: self.connections.get_or_create_owned(&labels),
            accepted: self.accepted.get_or_create_owned(&labels),
            accept_errors: self.accept_errors.get_or_create_owned(&labels),
            request_bytes: self.request_bytes.get_or_create_owned(&labels),
            response_bytes: self.response_bytes.get_or_create_owned(&labels),
            cold_chunks: self.cold_chunks.get_or_create_owned(&labels),
            unknown: self.requests.get_or_create_owned(&request_labels(name, "unknown", "unknown")),
            apis,
            all: self.clone(),
        }
    }
}

/// Counts of the background scrub.
#[derive(Clone, Debug, Default)]
pub struct ScrubMetrics {
    /// Segments read to their end.
    pub segments: Counter,
    /// Bytes read.
    pub bytes: Counter,
    /// Segments in which damage is known.
    pub damaged_segments: Gauge,
}

impl ScrubMetrics {
    /// Makes them known to a registry.
    pub fn register(registry: &mut Registry) -> ScrubMetrics {
        let m = ScrubMetrics::default();
        registry.register("scrub_segments", "Sealed segments read again and checked", m.segments.clone());
        registry.register("scrub_bytes", "Bytes of sealed segments read again and checked", m.bytes.clone());
        registry.register(
            "scrub_damaged_segments",
            "Sealed segments of which parts are damaged and refused to fetches",
            m.damaged_segments.clone(),
        );
        m
    }
}

/// What compaction did since the start, and where it cannot.
#[derive(Clone, Default, Debug)]
pub struct CompactionMetrics {
    /// Passes over a partition that replaced segments or found nothing to leave out.
    pub passes: Counter,
    /// Passes that failed.
    pub failures: Counter,
    /// Bytes of the segments that those passes cleaned.
    pub bytes_before: Counter,
    /// What was left of them.
    pub bytes_after: Counter,
    /// Partitions whose last pass failed.
    pub failed_partitions: Gauge,
}

impl CompactionMetrics {
    /// Makes them known to a registry.
    pub fn register(registry: &mut Registry) -> CompactionMetrics {
        let m = CompactionMetrics::default();
        registry.register("compaction_passes", "Passes over a compacted partition", m.passes.clone());
        registry.register("compaction_failures", "Passes that failed", m.failures.clone());
        registry.register(
            "compaction_bytes_before",
            "Bytes of segments that were compacted",
            m.bytes_before.clone(),
        );
        registry.register("compaction_bytes_after", "What was left of them", m.bytes_after.clone());
        registry.register(
            "compaction_failed_partitions",
            "Partitions whose last pass failed: they grow until their damage is mended",
            m.failed_partitions.clone(),
        );
        m
    }
}

/// Counts of what the node does by itself.
#[derive(Clone, Default, Debug)]
pub struct BackgroundMetrics {
    /// Of the scrub.
    pub scrub: ScrubMetrics,
    /// Of compaction.
    pub compaction: CompactionMetrics,
}

impl BackgroundMetrics {
    /// Makes them known to a registry.
    pub fn register(registry: &mut Registry) -> BackgroundMetrics {
        BackgroundMetrics {
            scrub: ScrubMetrics::register(registry),
            compaction: CompactionMetrics::register(registry),
        }
    }
}

fn request_labels(listener: &str, api: &str, version: &str) -> Labels {
    vec![("listener", listener.to_owned()), ("api", api.to_owned()), ("version", version.to_owned())]
}

/// Counts of one listener, looked up once.
#[derive(Debug)]
pub(crate) struct ListenerMetrics {
    name: String,
    connections: Gauge,
    accepted: Counter,
    /// Accepts that failed.
    pub accept_errors: Counter,
    /// Bytes of requests received.
    pub request_bytes: Counter,
    /// Bytes of responses sent.
    pub response_bytes: Counter,
    /// Chunks loaded from disk before they were sent.
    pub cold_chunks: Counter,
    unknown: Counter,
    /// By API key.
    apis: Vec<Option<Api>>,
    all: NetMetrics,
}

#[derive(Debug)]
struct Api {
    name: &'static str,
    first_version: i16,
    counters: Vec<OnceLock<Counter>>,
    seconds: OnceLock<Histogram>,
}

/// The kind of a request: its API key, when it is a known one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTag(Option<u16>);

/// An open connection; counted until it is dropped.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ListenerMetrics {
    /// A connection was accepted.
    pub fn opened(&self) -> OpenConnection {
        self.accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// A connection was refused.
    pub fn rejected(&self, refusal: Refusal) {
        let limit = match refusal {
            Refusal::Total => "connections",
            Refusal::Address => "connections_per_address",
            Refusal::Rate => "connection_creation_rate",
        };
        let labels = vec![("listener", self.name.clone()), ("limit", limit.to_owned())];
        self.all.rejected.get_or_create(&labels).inc();
    }

    /// A connection ended.
    pub fn closed(&self, reason: CloseReason) {
        let labels = vec![("listener", self.name.clone()), ("reason", reason.name().to_owned())];
        self.all.closed.get_or_create(&labels).inc();
    }

    /// A whole request has come.
    pub fn request(&self, frame: &[u8]) -> RequestTag {
        let known = RequestPrefix::peek(frame).ok().and_then(|prefix| {
            let key = u16::try_from(prefix.api_key).ok()?;
            let api = self.apis.get(usize::from(key))?.as_ref()?;
            let at = usize::try_from(prefix.api_version.checked_sub(api.first_version)?).ok()?;
            let counter = api.counters.get(at)?.get_or_init(|| {
                let labels = request_labels(&self.name, api.name, &prefix.api_version.to_string());
                self.all.requests.get_or_create_owned(&labels)
            });
            counter.inc();
            Some(key)
        });
        if known.is_none() {
            self.unknown.inc();
        }
        RequestTag(known)
    }

    /// A request is handled, its response about to be written. Each error in it counts, as in Kafka's ErrorsPerSec.
    pub fn handled(&self, tag: RequestTag, took: Duration, errors: &[(ErrorCode, u64)]) {
        let api = tag.0.and_then(|key| self.apis[usize::from(key)].as_ref());
        let name = api.map_or("unknown", |api| api.name);
        for (error, count) in errors {
            let labels = vec![
                ("listener", self.name.clone()),
                ("api", name.to_owned()),
                ("error", error.name().unwrap_or("unknown").to_owned()),
            ];
            self.all.errors.get_or_create(&labels).inc_by(*count);
        }
        if let Some(api) = api {
            let seconds = api.seconds.get_or_init(|| {
                let labels = vec![("listener", self.name.clone()), ("api", api.name.to_owned())];
                self.all.seconds.get_or_create_owned(&labels)
            });
            seconds.observe(took.as_secs_f64());
        }
    }
}

/// Why a connection ended, as a label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CloseReason {
    Client,
    Idle,
    SlowRequest,
    SlowReader,
    Lingered,
    Handler,
    Shutdown,
    BadFrame,
    Io,
    File,
    FileShort,
    Panic,
}

impl CloseReason {
    /// The label for an end.
    pub fn of(closed: &Closed) -> CloseReason {
        use crate::net::frame::ReadError;
        use crate::net::writer::WriteError;
        match closed {
            Closed::ByClient => CloseReason::Client,
            Closed::Idle => CloseReason::Idle,
            Closed::SlowRequest => CloseReason::SlowRequest,
            Closed::SlowReader => CloseReason::SlowReader,
            Closed::Lingered => CloseReason::Lingered,
            Closed::ByHandler => CloseReason::Handler,
            Closed::Shutdown => CloseReason::Shutdown,
            Closed::Read(ReadError::TooLong(_) | ReadError::Truncated) => CloseReason::BadFrame,
            Closed::Read(ReadError::Io(_)) | Closed::Write(WriteError::Io(_)) => CloseReason::Io,
            Closed::Write(WriteError::File(_)) => CloseReason::File,
            Closed::Write(WriteError::FileShort { .. }) => CloseReason::FileShort,
        }
    }

    fn name(self) -> &'static str {
        match self {
            CloseReason::Client => "client",
            CloseReason::Idle => "idle",
            CloseReason::SlowRequest => "slow_request",
            CloseReason::SlowReader => "slow_reader",
            CloseReason::Lingered => "lingered",
            CloseReason::Handler => "handler",
            CloseReason::Shutdown => "shutdown",
            CloseReason::BadFrame => "bad_frame",
            CloseReason::Io => "io",
            CloseReason::File => "file",
            CloseReason::FileShort => "file_short",
            CloseReason::Panic => "panic",
        }
    }
}

/// Reads the budgets at each scrape.
#[derive(Debug, Default)]
struct Budgets {
    of: parking_lot::Mutex<Vec<(String, Budget)>>,
}

impl Budgets {
    fn add(&self, listener: &str, budget: &Budget) {
        self.of.lock().push((listener.to_owned(), budget.clone()));
    }
}

impl Collector for Budgets {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let usages: Vec<_> =
            self.of.lock().iter().map(|(name, budget)| (name.clone(), budget.usage())).collect();
        type Kind = (&'static str, &'static str, fn(&Usage) -> usize);
        let kinds: [Kind; 3] = [
            ("memory_budget_bytes", "Bytes that requests and responses may take", |usage| usage.total),
            ("memory_budget_used_bytes", "Bytes that requests and responses take", |usage| usage.used),
            ("memory_budget_waiting", "Connections and handlers that wait for bytes", |usage| usage.waiting),
        ];
        for (name, help, value) in kinds {
            let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (listener, usage) in &usages {
                let labels = [("listener", listener.as_str())];
                let encoder = encoder.encode_family(&labels)?;
                ConstGauge::new(value(usage) as i64).encode(encoder)?;
            }
        }
        Ok(())
    }
}

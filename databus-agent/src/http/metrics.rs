//! What the agent counts, as OpenMetrics text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::agent::Agent;
use crate::channel::{Channel, Counters};

type Counter = fn(&Counters) -> &AtomicU64;

/// Name, help, value.
const COUNTERS: [(&str, &str, Counter); 11] = [
    ("events", "Events that were taken", |c| &c.events),
    ("event_bytes", "Bytes of their bodies, keys and headers", |c| &c.bytes),
    ("duplicates", "Events that had come before under the same id", |c| &c.duplicates),
    ("refused_requests", "Requests that were refused: quota, disk, size", |c| &c.refused),
    ("confirmed_events", "Events that the cluster acknowledged", |c| &c.confirmed),
    ("produce_requests", "Produce requests that were sent", |c| &c.requests),
    ("produce_batches", "Batches in those requests", |c| &c.batches),
    ("produce_bytes", "Bytes of those batches", |c| &c.sent_bytes),
    ("resent_batches", "Batches that were sent again", |c| &c.resent),
    ("parked_events", "Events that were put aside because no broker takes them", |c| &c.parked),
    ("lost_events", "Events whose bytes on the disk were damaged", |c| &c.lost),
];

type Gauge = fn(&Channel) -> i64;

const GAUGES: [(&str, &str, Gauge); 4] = [
    ("waiting_events", "Events in the spool that are not in the cluster", Channel::waiting_events),
    ("spool_bytes", "Bytes of the spool", |c| i64::try_from(c.used_bytes()).unwrap_or(i64::MAX)),
    ("spool_quota_bytes", "Bytes that it may have", |c| {
        i64::try_from(c.settings().spool_bytes_max).unwrap_or(i64::MAX)
    }),
    ("in_trouble", "1 while nothing goes into the topic", |c| i64::from(c.trouble.lock().is_some())),
];

/// All of it. Channels' names need no escapes.
pub fn text(agent: &Agent) -> String {
    let channels = agent.all_channels();
    let mut out = String::new();
    for (name, help, value) in COUNTERS {
        let _ = writeln!(out, "# TYPE buslane_agent_{name} counter\n# HELP buslane_agent_{name} {help}.");
        for channel in &channels {
            let value = value(&channel.counters).load(Ordering::Relaxed);
            let _ = writeln!(out, "buslane_agent_{name}_total{{channel=\"{}\"}} {value}", channel.name);
        }
    }
    for (name, help, value) in GAUGES {
        let _ = writeln!(out, "# TYPE buslane_agent_{name} gauge\n# HELP buslane_agent_{name} {help}.");
        for channel in &channels {
            let _ = writeln!(out, "buslane_agent_{name}{{channel=\"{}\"}} {}", channel.name, value(channel));
        }
    }
    let _ = writeln!(
        out,
        "# TYPE buslane_agent_configuration_version gauge\n\
         # HELP buslane_agent_configuration_version Configurations that were applied since the start.\n\
         buslane_agent_configuration_version {}\n# EOF",
        agent.version()
    );
    out
}

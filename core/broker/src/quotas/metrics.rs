//! How often and for how long clients were held up, by the kind of quota.

use std::time::Duration;

use buslane_meta::QuotaKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The counts of one kind.
#[derive(Debug, Default)]
struct Throttled {
    requests: Counter,
    seconds: Counter<f64, std::sync::atomic::AtomicU64>,
}

/// All counts.
#[derive(Debug, Default)]
pub struct QuotaMetrics {
    kinds: [Throttled; QuotaKey::ALL.len()],
}

impl QuotaMetrics {
    /// A request's client is held up.
    pub fn throttled(&self, key: QuotaKey, time: Duration) {
        let counts = &self.kinds[key as usize];
        counts.requests.inc();
        counts.seconds.inc_by(time.as_secs_f64());
    }

    /// Writes them, and the number of meters.
    pub fn encode(&self, meters: usize, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut requests = encoder.encode_descriptor(
            "quota_throttled_requests",
            "Requests whose connection was muted, and connections refused, because a client quota was exceeded",
            None,
            MetricType::Counter,
        )?;
        for (key, counts) in QuotaKey::ALL.iter().zip(&self.kinds) {
            counts.requests.encode(requests.encode_family(&[("quota", key.name())])?)?;
        }
        let mut seconds = encoder.encode_descriptor(
            "quota_throttle_seconds",
            "For how long they were muted, or held until they were closed",
            None,
            MetricType::Counter,
        )?;
        for (key, counts) in QuotaKey::ALL.iter().zip(&self.kinds) {
            counts.seconds.encode(seconds.encode_family(&[("quota", key.name())])?)?;
        }
        let help = "Users, client ids and addresses whose use of a quota is measured";
        let encoder = encoder.encode_descriptor("quota_meters", help, None, MetricType::Gauge)?;
        ConstGauge::new(meters as i64).encode(encoder)
    }
}

/// Of one node, once it is there.
#[derive(Clone, Default, Debug)]
pub struct QuotaCollector {
    quotas: std::sync::Arc<std::sync::OnceLock<std::sync::Arc<super::Quotas>>>,
}

impl QuotaCollector {
    /// Makes them known to a registry.
    pub fn register(registry: &mut prometheus_client::registry::Registry) -> QuotaCollector {
        let collector = QuotaCollector::default();
        registry.register_collector(Box::new(collector.clone()));
        collector
    }

    /// From now on these are the node's.
    pub fn of(&self, quotas: std::sync::Arc<super::Quotas>) {
        assert!(self.quotas.set(quotas).is_ok(), "metrics are of one node");
    }
}

impl Collector for QuotaCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        match self.quotas.get() {
            Some(quotas) => quotas.metrics.encode(quotas.meters.lock().len(), &mut encoder),
            None => Ok(()),
        }
    }
}

//! Client quotas: what each client may use of the broker, and how long it waits once it used more (KIP-13, KIP-124,
//! KIP-219, KIP-599, KIP-612).
//!
//! The quotas come from the metadata ([`Rules`]); what is used is measured here, by each broker for itself ([`meters`]).
//! [`Usage`] goes with a request: it is told what the request used, says how long its client is to wait, which the
//! response tells, and for how long the connection reads no further request. Decision: docs/decisions/0011.
//!
//! While nobody has a quota, a request costs one look at that fact. There is no authentication: everybody is [`USER`].

mod bucket;
mod meters;
mod metrics;
mod rate;
mod rules;
mod usage;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use buslane_meta::QuotaKey;
use parking_lot::Mutex;

use crate::clock::Clock;
use meters::{MeterId, Meters};
pub use metrics::QuotaCollector;
use metrics::QuotaMetrics;
use rules::{Limit, Rules};
pub use usage::{Exceeded, Mutations, Usage};

/// Who everybody is on a listener without authentication (Kafka's `KafkaPrincipal.ANONYMOUS`).
pub const USER: &str = "ANONYMOUS";

/// The quotas of one broker, and what its clients used of them.
#[derive(Debug)]
pub struct Quotas {
    rules: ArcSwapOption<Rules>,
    meters: Mutex<Meters>,
    hasher: RandomState,
    clock: Clock,
    metrics: QuotaMetrics,
}

impl Quotas {
    /// Nobody has any.
    pub fn new(clock: Clock) -> Arc<Quotas> {
        Arc::new(Quotas {
            rules: ArcSwapOption::empty(),
            meters: Mutex::default(),
            hasher: RandomState::new(),
            clock,
            metrics: QuotaMetrics::default(),
        })
    }

    /// From now on these are in force. What was used stays used.
    pub fn follow(&self, quotas: &buslane_meta::Quotas) {
        let rules = Rules::of(quotas).map(Arc::new);
        let none = rules.is_none();
        self.rules.store(rules);
        if none {
            *self.meters.lock() = Meters::default();
        }
    }

    /// For a request that begins.
    pub fn begin(&self) -> Usage<'_> {
        match &*self.rules.load() {
            None => Usage::unlimited(),
            Some(rules) => Usage::measured(self, rules.clone()),
        }
    }

    /// A connection from an address. Above zero it is one too many, and does not count: it is to be closed after that time.
    pub fn connecting(&self, address: IpAddr) -> Duration {
        const KEY: QuotaKey = QuotaKey::ConnectionCreationRate;
        let limit = self.rules.load().as_ref().and_then(|rules| rules.connections(address));
        let Some((limit, named)) = limit else { return Duration::ZERO };
        let (now_ms, who) = (self.clock.now_ms(), self.hasher.hash_one(address.to_canonical()));
        let mut meters = self.meters.lock();
        let rate = meters.rate(MeterId { key: KEY, who: Some(who), named }, now_ms);
        // At most a window, as in Kafka: it comes again, and is counted again.
        let wait = Duration::from_millis(rate.charge(1.0, limit, now_ms).min(rate::WINDOW_MS as u64));
        if wait > Duration::ZERO {
            rate.take_back(1.0, now_ms);
            self.metrics.throttled(KEY, wait);
        }
        wait
    }

    /// Drops what shows nothing. Every few seconds.
    pub fn drop_idle(&self) {
        let mut meters = self.meters.lock();
        if meters.len() > 0 {
            meters.drop_idle(self.clock.now_ms());
        }
    }

    fn meter_id(&self, key: QuotaKey, limit: Limit, client_id: &str) -> MeterId {
        let user = limit.of_user.then_some(USER);
        let client_id = limit.of_client_id.then_some(client_id);
        MeterId { key, who: Some(self.hasher.hash_one((user, client_id))), named: limit.named }
    }
}

#[cfg(test)]
mod tests {
    use buslane_meta::{QuotaEntity, QuotaValue};

    use super::*;

    #[test]
    fn connections_above_the_rate_are_held_and_do_not_count() {
        let quotas = Quotas::new(Clock::start());
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(quotas.connecting(address), Duration::ZERO);
        let entity = QuotaEntity { user: None, client_id: None, ip: Some(None.into()) };
        let values = [(QuotaKey::ConnectionCreationRate, QuotaValue::new(2.0).unwrap())];
        quotas.follow(&[(entity, Arc::new(values.into()))].into_iter().collect());
        let held: Vec<Duration> = (0..40).map(|_| quotas.connecting(address)).collect();
        assert!(held[..20].iter().all(Duration::is_zero), "ten seconds' worth are free");
        // Within half a second each would be free again after the same time.
        assert!(held[25..].iter().all(|hold| (1..=500).contains(&hold.as_millis())), "{held:?}");
        assert_eq!(quotas.connecting("10.0.0.2".parse().unwrap()), Duration::ZERO);
    }

    #[test]
    fn a_connection_is_held_for_a_window_at_most() {
        let quotas = Quotas::new(Clock::start());
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let entity = || QuotaEntity { user: None, client_id: None, ip: Some(None.into()) };
        let limited = |limit| {
            [(
                entity(),
                Arc::new([(QuotaKey::ConnectionCreationRate, QuotaValue::new(limit).unwrap())].into()),
            )]
        };
        quotas.follow(&limited(1_000.0).into_iter().collect());
        assert!((0..1_000).all(|_| quotas.connecting(address).is_zero()));
        quotas.follow(&limited(1.0).into_iter().collect());
        assert_eq!(
            quotas.connecting(address),
            Duration::from_secs(1),
            "and not until the average is 1 again"
        );
    }

    #[test]
    fn a_produce_request_without_an_answer_costs_no_time() {
        let quotas = Quotas::new(Clock::start());
        let entity = QuotaEntity { user: None, client_id: Some(None.into()), ip: None };
        let values = [(QuotaKey::RequestPercentage, QuotaValue::new(0.001).unwrap())];
        quotas.follow(&[(entity, Arc::new(values.into()))].into_iter().collect());
        let throttled = |answered: bool| {
            for _ in 0..2 {
                let usage = quotas.begin();
                usage.step(|| usage.identify(Some("client")));
                usage.step(|| std::thread::sleep(Duration::from_millis(20)));
                usage.produced(1, answered);
                usage.finish();
            }
            let next = quotas.begin();
            next.step(|| next.identify(Some("client")));
            next.finish() > 0
        };
        assert!(!throttled(false));
        assert!(throttled(true));
    }
}

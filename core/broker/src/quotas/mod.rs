//! Client quotas: what each client may use of the broker, and how long it waits once it used more (KIP-13, KIP-124,
//! KIP-219, KIP-599).
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
use std::sync::Arc;

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
        MeterId { key, who: Some(self.hasher.hash_one((user, client_id))) }
    }
}

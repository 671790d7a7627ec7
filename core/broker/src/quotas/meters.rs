//! What each client used: a bounded number of meters, gone again when they show nothing.
//!
//! A meter is known by a secret hash of whom it is of, so that names from the network take no memory.

use std::collections::HashMap;

use buslane_meta::QuotaKey;

use super::bucket::TokenBucket;
use super::rate::{Rate, WINDOW_MS};

/// Meters at most of clients that no quota names (they have a default one), some 400 bytes each; of addresses as many.
/// Whoever comes when so many are in use shares one with the others who did.
const METERS_MAX: usize = 10_000;

/// Those of the named ones: as many as quotas, of each kind.
const NAMED_MAX: usize = buslane_meta::QUOTA_ENTITIES_MAX * QuotaKey::ALL.len();

/// Of whom and of what a meter is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MeterId {
    /// Of what.
    pub key: QuotaKey,
    /// A hash of whom; none for those who share one.
    pub who: Option<u64>,
    /// The quotas name whom.
    pub named: bool,
}

#[derive(Debug)]
enum Meter {
    Rate(Rate),
    Bucket(TokenBucket),
}

impl Meter {
    fn is_idle(&self, now_ms: i64) -> bool {
        match self {
            Meter::Rate(rate) => rate.is_idle(now_ms),
            Meter::Bucket(bucket) => bucket.is_idle(now_ms),
        }
    }
}

/// All meters. Those that the network can bring about take no room from the others.
#[derive(Debug)]
pub struct Meters {
    named: Table,
    clients: Table,
    addresses: Table,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            named: Table::of(NAMED_MAX),
            clients: Table::of(METERS_MAX),
            addresses: Table::of(METERS_MAX),
        }
    }
}

impl Meters {
    /// The rate of a client.
    pub fn rate(&mut self, id: MeterId, now_ms: i64) -> &mut Rate {
        match self.table(id).meter(id, now_ms, || Meter::Rate(Rate::default())) {
            Meter::Rate(rate) => rate,
            Meter::Bucket(_) => unreachable!("{:?} is measured as a rate", id.key),
        }
    }

    /// The bucket of a client; a new one where it has none.
    pub fn bucket(&mut self, id: MeterId, limit: f64, now_ms: i64) -> &mut TokenBucket {
        match self.table(id).meter(id, now_ms, || Meter::Bucket(TokenBucket::new(limit, now_ms))) {
            Meter::Bucket(bucket) => bucket,
            Meter::Rate(_) => unreachable!("{:?} is measured in tokens", id.key),
        }
    }

    /// Drops those that show nothing.
    pub fn drop_idle(&mut self, now_ms: i64) {
        for table in [&mut self.named, &mut self.clients, &mut self.addresses] {
            table.drop_idle(now_ms);
        }
    }

    /// Their number.
    pub fn len(&self) -> usize {
        [&self.named, &self.clients, &self.addresses].map(|table| table.meters.len()).into_iter().sum()
    }

    fn table(&mut self, id: MeterId) -> &mut Table {
        match id.key {
            _ if id.named => &mut self.named,
            QuotaKey::ConnectionCreationRate => &mut self.addresses,
            _ => &mut self.clients,
        }
    }
}

/// Meters that share one bound.
#[derive(Debug)]
struct Table {
    most: usize,
    meters: HashMap<MeterId, Meter>,
    /// When idle ones were last looked for because there was no room.
    made_room_ms: Option<i64>,
}

impl Table {
    fn of(most: usize) -> Table {
        Table { most, meters: HashMap::new(), made_room_ms: None }
    }

    fn drop_idle(&mut self, now_ms: i64) {
        self.meters.retain(|_, meter| !meter.is_idle(now_ms));
        if self.meters.capacity() > 4 * self.meters.len() + 16 {
            self.meters.shrink_to_fit();
        }
    }

    fn meter(&mut self, id: MeterId, now_ms: i64, new: impl FnOnce() -> Meter) -> &mut Meter {
        let mut id = id;
        if self.meters.len() >= self.most && !self.meters.contains_key(&id) {
            if self.made_room_ms.is_none_or(|at| now_ms - at >= WINDOW_MS) {
                self.made_room_ms = Some(now_ms);
                self.drop_idle(now_ms);
            }
            if self.meters.len() >= self.most {
                id.who = None;
            }
        }
        self.meters.entry(id).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(who: usize) -> MeterId {
        MeterId { key: QuotaKey::ProducerByteRate, who: Some(who as u64), named: false }
    }

    #[test]
    fn meters_are_bounded_and_who_comes_too_late_shares_one() {
        let mut meters = Meters::default();
        for who in 0..METERS_MAX {
            assert_eq!(meters.rate(of(who), 0).charge(100.0, 100.0, 0), 0);
        }
        for who in METERS_MAX..2 * METERS_MAX {
            meters.rate(of(who), 500).charge(100.0, 100.0, 500);
        }
        assert_eq!(meters.len(), METERS_MAX + 1);
        assert!(meters.rate(of(METERS_MAX), 500).charge(0.0, 100.0, 500) > 0, "together they are above it");
        assert_eq!(meters.rate(of(0), 500).charge(0.0, 100.0, 500), 0, "it has its own");
        let named = MeterId { named: true, ..of(METERS_MAX) };
        assert_eq!(
            meters.rate(named, 500).charge(100.0, 100.0, 500),
            0,
            "it has its own whoever else is there"
        );
        let address = MeterId { key: QuotaKey::ConnectionCreationRate, ..of(METERS_MAX) };
        assert_eq!(
            meters.rate(address, 500).charge(100.0, 100.0, 500),
            0,
            "clients take no room from addresses"
        );
        assert_eq!(meters.len(), METERS_MAX + 3);
        // Later there is room again, where nobody dropped them meanwhile.
        assert_eq!(meters.rate(of(METERS_MAX), 20_000).charge(1.0, 100.0, 20_000), 0);
        meters.drop_idle(20_000);
        assert_eq!(meters.len(), 1);
    }

    #[test]
    fn idle_meters_are_dropped() {
        let mut meters = Meters::default();
        let bucket = MeterId { key: QuotaKey::ControllerMutationRate, who: Some(1), named: false };
        meters.rate(of(1), 0).charge(1.0, 1.0, 0);
        meters.bucket(bucket, 1.0, 0).take(20.0, 1.0, 0).unwrap();
        meters.drop_idle(10_999);
        assert_eq!(meters.len(), 2);
        meters.drop_idle(11_000);
        assert_eq!(meters.len(), 1, "the bucket is not full yet");
        meters.drop_idle(20_000);
        assert_eq!(meters.len(), 0);
    }
}

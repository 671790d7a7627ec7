//! Whose limit it is: the quotas of the metadata, ready to be asked for a client's.
//!
//! Made anew when the quotas change; asking allocates nothing.

use std::collections::HashMap;
use std::net::IpAddr;

use buslane_meta::{QuotaKey, QuotaName, Quotas};

/// Limits of the client ids of one user, of all other users, or of all clients whoever their user is.
#[derive(Debug, Default)]
struct Clients {
    /// Of the user itself; nobody's where there is no user.
    own: Option<f64>,
    by_id: HashMap<Box<str>, f64>,
    default_id: Option<f64>,
}

impl Clients {
    /// The limit of a client id, and whether it is named. A client that says none has none of its own and no default one,
    /// as in Kafka.
    fn of_id(&self, client_id: &str) -> Option<(f64, bool)> {
        if client_id.is_empty() {
            return None;
        }
        let own = self.by_id.get(client_id).map(|rate| (*rate, true));
        own.or(self.default_id.map(|rate| (rate, false)))
    }
}

/// The limits of one kind.
#[derive(Debug, Default)]
struct Limits {
    users: HashMap<Box<str>, Clients>,
    default_user: Clients,
    any_user: Clients,
}

/// A limit, and who uses it up together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limit {
    /// Units a second.
    pub rate: f64,
    /// It is the user's, whatever other users do.
    pub of_user: bool,
    /// It is the client id's, whatever other client ids do.
    pub of_client_id: bool,
    /// The quotas name whose it is: there are as many of those as quotas, whatever names the network brings.
    pub named: bool,
}

/// All limits.
#[derive(Debug, Default)]
pub struct Rules {
    kinds: [Option<Limits>; QuotaKey::ALL.len()],
    /// Connections a second.
    addresses: HashMap<IpAddr, f64>,
    default_address: Option<f64>,
}

impl Rules {
    /// The quotas as rules; none where there are none.
    pub fn of(quotas: &Quotas) -> Option<Rules> {
        let mut rules = Rules::default();
        for (entity, values) in quotas {
            for (key, value) in &**values {
                if let Some(ip) = &entity.ip {
                    rules.add_address(ip, value.get());
                    continue;
                }
                let limits = rules.kinds[*key as usize].get_or_insert_default();
                let clients = match &entity.user {
                    Some(QuotaName::Named(user)) => limits.users.entry(user.as_str().into()).or_default(),
                    Some(QuotaName::Default) => &mut limits.default_user,
                    None => &mut limits.any_user,
                };
                match &entity.client_id {
                    Some(QuotaName::Named(id)) => drop(clients.by_id.insert(id.as_str().into(), value.get())),
                    Some(QuotaName::Default) => clients.default_id = Some(value.get()),
                    None => clients.own = Some(value.get()),
                }
            }
        }
        let of_addresses = !rules.addresses.is_empty() || rules.default_address.is_some();
        (of_addresses || rules.kinds.iter().any(Option::is_some)).then_some(rules)
    }

    fn add_address(&mut self, ip: &QuotaName, rate: f64) {
        match ip.as_deref().map(str::parse::<IpAddr>) {
            None => self.default_address = Some(rate),
            Some(Ok(ip)) => drop(self.addresses.insert(ip.to_canonical(), rate)),
            Some(Err(_)) => debug_assert!(false, "{ip:?} is no address and was taken"),
        }
    }

    /// True when anybody has a limit of that kind.
    pub fn have(&self, key: QuotaKey) -> bool {
        self.kinds[key as usize].is_some()
    }

    /// How many connections a second an address may make, and whether the quotas name it.
    pub fn connections(&self, address: IpAddr) -> Option<(f64, bool)> {
        let own = self.addresses.get(&address.to_canonical()).map(|rate| (*rate, true));
        own.or(self.default_address.map(|rate| (rate, false)))
    }

    /// The limit of a client: the first of (user, client id), (user, default), user, (default, client id), (default,
    /// default), default user, client id, default client id.
    pub fn limit(&self, key: QuotaKey, user: &str, client_id: &str) -> Option<Limit> {
        let limits = self.kinds[key as usize].as_ref()?;
        // Users are never names that the network brings: who they are is proved.
        let of_user = [limits.users.get(user), Some(&limits.default_user)].into_iter().flatten();
        for clients in of_user {
            if let Some((rate, named)) = clients.of_id(client_id) {
                return Some(Limit { rate, of_user: true, of_client_id: true, named });
            }
            if let Some(rate) = clients.own {
                return Some(Limit { rate, of_user: true, of_client_id: false, named: true });
            }
        }
        let (rate, named) = limits.any_user.of_id(client_id)?;
        Some(Limit { rate, of_user: false, of_client_id: true, named })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use buslane_meta::{QuotaEntity, QuotaValue};

    use super::*;

    const KEY: QuotaKey = QuotaKey::ProducerByteRate;

    /// `Some("")` stands for the default.
    fn quotas(of: &[(Option<&str>, Option<&str>, f64)]) -> Quotas {
        let name = |name: &str| Some(name).filter(|name| !name.is_empty()).into();
        of.iter()
            .map(|(user, client_id, rate)| {
                let entity = QuotaEntity { user: user.map(name), client_id: client_id.map(name), ip: None };
                (entity, Arc::new([(KEY, QuotaValue::new(*rate).unwrap())].into()))
            })
            .collect()
    }

    const ALL: [(Option<&str>, Option<&str>, f64); 8] = [
        (Some("u"), Some("c"), 1.0),
        (Some("u"), Some(""), 2.0),
        (Some("u"), None, 3.0),
        (Some(""), Some("c"), 4.0),
        (Some(""), Some(""), 5.0),
        (Some(""), None, 6.0),
        (None, Some("c"), 7.0),
        (None, Some(""), 8.0),
    ];

    #[test]
    fn the_most_specific_one_counts_in_kafkas_order() {
        for first in 0..ALL.len() {
            let rules = Rules::of(&quotas(&ALL[first..])).unwrap();
            let (user, client_id, rate) = ALL[first];
            let expected = Limit {
                rate,
                of_user: user.is_some(),
                of_client_id: client_id.is_some(),
                named: client_id != Some(""),
            };
            assert_eq!(rules.limit(KEY, "u", "c"), Some(expected));
        }
        assert!(Rules::of(&quotas(&[])).is_none());
    }

    #[test]
    fn others_have_the_defaults() {
        let rules = Rules::of(&quotas(&ALL)).unwrap();
        let rate = |user, client_id| rules.limit(KEY, user, client_id).map(|limit| limit.rate);
        assert_eq!(rate("u", "d"), Some(2.0));
        assert_eq!(rate("v", "c"), Some(4.0));
        assert_eq!(rate("v", "d"), Some(5.0));
        let rules = Rules::of(&quotas(&ALL[6..])).unwrap();
        assert_eq!(rules.limit(KEY, "v", "d").map(|limit| limit.rate), Some(8.0));
        let rules = Rules::of(&quotas(&ALL[..1])).unwrap();
        assert_eq!(rules.limit(KEY, "u", "d"), None);
        assert_eq!(rules.limit(QuotaKey::ConsumerByteRate, "u", "c"), None);
        assert!(rules.have(KEY) && !rules.have(QuotaKey::ConsumerByteRate));
    }

    #[test]
    fn an_address_has_its_own_limit_or_the_default_one() {
        let of_ip = |ip: Option<&str>, rate| {
            let entity = QuotaEntity { user: None, client_id: None, ip: Some(ip.into()) };
            let values = [(QuotaKey::ConnectionCreationRate, QuotaValue::new(rate).unwrap())];
            (entity, Arc::new(values.into()))
        };
        let rules = Rules::of(&[of_ip(Some("10.0.0.1"), 5.0)].into_iter().collect()).unwrap();
        let [mine, mapped, other] = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        assert_eq!(
            (rules.connections(mine), rules.connections(mapped)),
            (Some((5.0, true)), Some((5.0, true)))
        );
        assert_eq!(rules.connections(other), None);
        let both = [of_ip(Some("10.0.0.1"), 5.0), of_ip(None, 7.0)];
        let rules = Rules::of(&both.into_iter().collect()).unwrap();
        assert_eq!(
            (rules.connections(mine), rules.connections(other)),
            (Some((5.0, true)), Some((7.0, false)))
        );
        assert_eq!(rules.limit(QuotaKey::ConnectionCreationRate, "u", "c"), None);
    }

    #[test]
    fn a_client_without_an_id_is_its_users() {
        let rules = Rules::of(&quotas(&ALL)).unwrap();
        let rate = |user| rules.limit(KEY, user, "").map(|limit| (limit.rate, limit.of_client_id));
        assert_eq!(rate("u"), Some((3.0, false)));
        assert_eq!(rate("v"), Some((6.0, false)));
        let rules = Rules::of(&quotas(&ALL[6..])).unwrap();
        assert_eq!(rules.limit(KEY, "u", ""), None);
    }
}

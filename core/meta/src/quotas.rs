//! Client quotas (KIP-13, KIP-124, KIP-257, KIP-546, KIP-599, KIP-612): who may use how much, as the image keeps it.
//!
//! Owns names, keys, values and their bounds; what a client has used is the broker's.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

/// Entities with quotas, at most: each takes some hundred bytes of every image and snapshot.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;

/// Longest name of a user or client id with a quota, in bytes. Kafka takes what the protocol can carry, 32,767.
pub const QUOTA_NAME_MAX: usize = 1_024;

/// One part of an entity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub enum QuotaName {
    /// Everybody who has no quota by name.
    #[n(0)]
    Default,
    /// This one; not empty.
    #[n(1)]
    Named(#[n(0)] String),
}

impl QuotaName {
    /// The name; none for the default.
    pub fn as_deref(&self) -> Option<&str> {
        match self {
            QuotaName::Default => None,
            QuotaName::Named(name) => Some(name),
        }
    }
}

impl From<Option<&str>> for QuotaName {
    fn from(name: Option<&str>) -> QuotaName {
        name.map_or(QuotaName::Default, |name| QuotaName::Named(name.to_owned()))
    }
}

/// Whose quota it is: of a user, a client id, a user's client id, or an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct QuotaEntity {
    /// The user.
    #[n(0)]
    pub user: Option<QuotaName>,
    /// The client id.
    #[n(1)]
    pub client_id: Option<QuotaName>,
    /// The address that clients connect from; it stands alone.
    #[n(2)]
    pub ip: Option<QuotaName>,
}

/// What a quota limits. The numbers are those of the encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum QuotaKey {
    /// Bytes a second of Produce requests.
    #[n(0)]
    ProducerByteRate,
    /// Bytes a second of records fetched.
    #[n(1)]
    ConsumerByteRate,
    /// Time spent on requests, in percent of one processor's.
    #[n(2)]
    RequestPercentage,
    /// Partitions a second that are created and deleted.
    #[n(3)]
    ControllerMutationRate,
    /// Connections a second; of an address, which has no other quota.
    #[n(4)]
    ConnectionCreationRate,
}

impl QuotaKey {
    /// All of them.
    pub const ALL: [QuotaKey; 5] = [
        QuotaKey::ProducerByteRate,
        QuotaKey::ConsumerByteRate,
        QuotaKey::RequestPercentage,
        QuotaKey::ControllerMutationRate,
        QuotaKey::ConnectionCreationRate,
    ];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKey::ProducerByteRate => "producer_byte_rate",
            QuotaKey::ConsumerByteRate => "consumer_byte_rate",
            QuotaKey::RequestPercentage => "request_percentage",
            QuotaKey::ControllerMutationRate => "controller_mutation_rate",
            QuotaKey::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    /// The key of that name.
    pub fn named(name: &str) -> Option<QuotaKey> {
        QuotaKey::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The most of what is a whole number (Kafka's LONG and INT, as opposed to its DOUBLE).
    fn most_whole(self) -> Option<f64> {
        match self {
            QuotaKey::ProducerByteRate | QuotaKey::ConsumerByteRate => Some(i64::MAX as f64),
            QuotaKey::ConnectionCreationRate => Some(f64::from(i32::MAX)),
            QuotaKey::RequestPercentage | QuotaKey::ControllerMutationRate => None,
        }
    }

    /// What is wrong with a value of it, if anything: as Kafka's `ClientQuotaControlManager.validateQuotaKeyValue`,
    /// and a number it must be.
    pub fn check(self, value: f64) -> Result<QuotaValue, QuotaRefused> {
        let Some(checked) = QuotaValue::new(value) else { return Err(QuotaRefused::NotAboveZero(self)) };
        match self.most_whole() {
            Some(most) if value > most => Err(QuotaRefused::TooLarge(self)),
            Some(_) if value % 1.0 > 1e-6 => Err(QuotaRefused::Fraction(self)),
            _ => Ok(checked),
        }
    }
}

/// A finite number above zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QuotaValue(u64);

impl QuotaValue {
    /// None when it is no such number.
    pub fn new(value: f64) -> Option<QuotaValue> {
        (value.is_finite() && value > 0.0).then_some(QuotaValue(value.to_bits()))
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for QuotaValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<C> Encode<C> for QuotaValue {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.f64(self.get())?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for QuotaValue {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<QuotaValue, DecodeError> {
        let at = d.position();
        QuotaValue::new(d.f64()?).ok_or_else(|| DecodeError::message("a quota is above zero").at(at))
    }
}

/// The quotas of one entity; at least one.
pub type QuotaValues = BTreeMap<QuotaKey, QuotaValue>;

/// Why quotas are not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuotaRefused {
    /// Neither a user nor a client id nor an address.
    #[error("a quota is a user's, a client id's, both, or an address's")]
    Nobody,
    /// An address and something else.
    #[error("an address (ip) has quotas of its own and stands alone")]
    NotAlone,
    /// Not an address.
    #[error("'{0}' is not an address like 127.0.0.1 or ::1")]
    Address(String),
    /// A key of addresses for others, or the other way round.
    #[error("Invalid configuration key {} for that entity", .0.name())]
    WrongKey(QuotaKey),
    /// A name of no bytes.
    #[error("a quota's user, client id or address cannot be empty")]
    EmptyName,
    /// A name of so many bytes.
    #[error("a quota's user or client id has at most {QUOTA_NAME_MAX} bytes, not {0}")]
    LongName(usize),
    /// Zero, less, or no number.
    #[error("quota {} must be greater than 0", .0.name())]
    NotAboveZero(QuotaKey),
    /// More than 63 bits, or 31 for connections.
    #[error("quota {} is too large", .0.name())]
    TooLarge(QuotaKey),
    /// Not a whole number.
    #[error("{} cannot be a fractional value", .0.name())]
    Fraction(QuotaKey),
    /// Too many.
    #[error(
        "{QUOTA_ENTITIES_MAX} users, client ids and addresses have quotas already, which is the most there can be"
    )]
    Full,
}

impl QuotaEntity {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), QuotaRefused> {
        match (&self.ip, self.user.is_some() || self.client_id.is_some()) {
            (None, false) => return Err(QuotaRefused::Nobody),
            (Some(_), true) => return Err(QuotaRefused::NotAlone),
            _ => {}
        }
        for name in
            [&self.user, &self.client_id, &self.ip].into_iter().flatten().filter_map(QuotaName::as_deref)
        {
            match name.len() {
                0 => return Err(QuotaRefused::EmptyName),
                1..=QUOTA_NAME_MAX => {}
                long => return Err(QuotaRefused::LongName(long)),
            }
        }
        match self.ip.as_ref().and_then(QuotaName::as_deref) {
            Some(ip) if ip.parse::<IpAddr>().is_err() => Err(QuotaRefused::Address(ip.to_owned())),
            _ => Ok(()),
        }
    }

    /// Whether it can have a quota of that kind.
    fn takes(&self, key: QuotaKey) -> Result<(), QuotaRefused> {
        let of_address = key == QuotaKey::ConnectionCreationRate;
        if self.ip.is_some() == of_address { Ok(()) } else { Err(QuotaRefused::WrongKey(key)) }
    }
}

/// The quotas of all entities.
pub type Quotas = imbl::OrdMap<QuotaEntity, std::sync::Arc<QuotaValues>>;

/// Sets and removes quotas of one entity; all of it or nothing.
pub(crate) fn alter(
    quotas: &mut Quotas,
    entity: &QuotaEntity,
    changes: &BTreeMap<QuotaKey, Option<QuotaValue>>,
) -> Result<(), QuotaRefused> {
    entity.check()?;
    for (key, value) in changes {
        if let Some(value) = value {
            entity.takes(*key)?;
            key.check(value.get())?;
        }
    }
    let mut values = quotas.get(entity).map_or_else(QuotaValues::new, |values| QuotaValues::clone(values));
    for (key, value) in changes {
        match value {
            Some(value) => values.insert(*key, *value),
            None => values.remove(key),
        };
    }
    if values.is_empty() {
        quotas.remove(entity);
    } else if quotas.len() >= QUOTA_ENTITIES_MAX && !quotas.contains_key(entity) {
        return Err(QuotaRefused::Full);
    } else {
        quotas.insert(entity.clone(), values.into());
    }
    Ok(())
}

/// What of the image is quotas, as it is stored.
#[derive(Encode, Decode)]
pub(crate) struct StoredQuotas {
    #[n(0)]
    pub(crate) entity: QuotaEntity,
    #[n(1)]
    pub(crate) values: QuotaValues,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_user(name: Option<&str>) -> QuotaEntity {
        QuotaEntity { user: Some(name.into()), client_id: None, ip: None }
    }

    fn change(key: QuotaKey, value: Option<f64>) -> BTreeMap<QuotaKey, Option<QuotaValue>> {
        [(key, value.map(|value| QuotaValue::new(value).unwrap()))].into()
    }

    #[test]
    fn values_are_judged_as_kafka_does() {
        use QuotaKey::*;
        let table = [
            (ProducerByteRate, 1_048_576.0, Ok(())),
            (ProducerByteRate, 1_024.5, Err(QuotaRefused::Fraction(ProducerByteRate))),
            (ConsumerByteRate, 1e19, Err(QuotaRefused::TooLarge(ConsumerByteRate))),
            (ConsumerByteRate, 0.0, Err(QuotaRefused::NotAboveZero(ConsumerByteRate))),
            (RequestPercentage, 12.5, Ok(())),
            (RequestPercentage, -1.0, Err(QuotaRefused::NotAboveZero(RequestPercentage))),
            (RequestPercentage, f64::NAN, Err(QuotaRefused::NotAboveZero(RequestPercentage))),
            (ControllerMutationRate, f64::INFINITY, Err(QuotaRefused::NotAboveZero(ControllerMutationRate))),
            (ControllerMutationRate, 0.25, Ok(())),
            (ConnectionCreationRate, 2_147_483_647.0, Ok(())),
            (ConnectionCreationRate, 2_147_483_648.0, Err(QuotaRefused::TooLarge(ConnectionCreationRate))),
            (ConnectionCreationRate, 0.5, Err(QuotaRefused::Fraction(ConnectionCreationRate))),
        ];
        for (key, value, expected) in table {
            assert_eq!(key.check(value).map(drop), expected, "{key:?} {value}");
        }
        for key in QuotaKey::ALL {
            assert_eq!(QuotaKey::named(key.name()), Some(key));
        }
        assert_eq!(QuotaKey::named("SCRAM-SHA-256"), None);
    }

    #[test]
    fn an_entity_has_a_name_or_is_the_default() {
        assert_eq!(of_user(None).check(), Ok(()));
        assert_eq!(of_user(Some("anna")).check(), Ok(()));
        assert_eq!(of_user(Some("")).check(), Err(QuotaRefused::EmptyName));
        assert_eq!(QuotaEntity { user: None, client_id: None, ip: None }.check(), Err(QuotaRefused::Nobody));
        let long = "n".repeat(QUOTA_NAME_MAX + 1);
        assert_eq!(of_user(Some(&long)).check(), Err(QuotaRefused::LongName(QUOTA_NAME_MAX + 1)));
        assert_eq!(of_user(Some(&long[1..])).check(), Ok(()));
    }

    #[test]
    fn an_address_stands_alone_and_has_its_own_quota() {
        let of_ip = |ip: Option<&str>| QuotaEntity { user: None, client_id: None, ip: Some(ip.into()) };
        for good in [None, Some("127.0.0.1"), Some("::1")] {
            assert_eq!(of_ip(good).check(), Ok(()));
        }
        assert_eq!(of_ip(Some("localhost")).check(), Err(QuotaRefused::Address("localhost".to_owned())));
        let with_user = QuotaEntity { user: Some(QuotaName::Default), ..of_ip(None) };
        assert_eq!(with_user.check(), Err(QuotaRefused::NotAlone));
        let mut quotas = Quotas::default();
        let (rate, bytes) = (QuotaKey::ConnectionCreationRate, QuotaKey::ProducerByteRate);
        assert_eq!(alter(&mut quotas, &of_ip(None), &change(rate, Some(5.0))), Ok(()));
        let wrong = |key| Err(QuotaRefused::WrongKey(key));
        assert_eq!(alter(&mut quotas, &of_ip(None), &change(bytes, Some(5.0))), wrong(bytes));
        assert_eq!(alter(&mut quotas, &of_user(None), &change(rate, Some(5.0))), wrong(rate));
        assert_eq!(alter(&mut quotas, &of_user(None), &change(rate, None)), Ok(()), "it has none");
    }

    #[test]
    fn an_entity_leaves_with_its_last_quota() {
        let mut quotas = Quotas::default();
        alter(&mut quotas, &of_user(None), &change(QuotaKey::ProducerByteRate, Some(5.0))).unwrap();
        alter(&mut quotas, &of_user(None), &change(QuotaKey::RequestPercentage, Some(0.5))).unwrap();
        let values = |quotas: &Quotas| quotas.get(&of_user(None)).map(|v| v.len());
        assert_eq!(values(&quotas), Some(2));
        alter(&mut quotas, &of_user(None), &change(QuotaKey::ProducerByteRate, None)).unwrap();
        alter(&mut quotas, &of_user(None), &change(QuotaKey::ConsumerByteRate, None)).unwrap();
        assert_eq!(values(&quotas), Some(1));
        alter(&mut quotas, &of_user(None), &change(QuotaKey::RequestPercentage, None)).unwrap();
        assert!(quotas.is_empty());
    }

    #[test]
    fn entities_are_bounded_in_number() {
        let mut quotas = Quotas::default();
        let set = change(QuotaKey::ProducerByteRate, Some(5.0));
        for i in 0..QUOTA_ENTITIES_MAX {
            alter(&mut quotas, &of_user(Some(&i.to_string())), &set).unwrap();
        }
        assert_eq!(alter(&mut quotas, &of_user(None), &set), Err(QuotaRefused::Full));
        assert_eq!(alter(&mut quotas, &of_user(Some("7")), &set), Ok(()), "it is there already");
        let removal = change(QuotaKey::ProducerByteRate, None);
        assert_eq!(alter(&mut quotas, &of_user(None), &removal), Ok(()), "nothing is added");
        alter(&mut quotas, &of_user(Some("7")), &removal).unwrap();
        assert_eq!(alter(&mut quotas, &of_user(None), &set), Ok(()));
    }
}

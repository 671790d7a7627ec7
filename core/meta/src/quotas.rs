//! Client quotas (KIP-13, KIP-124, KIP-257, KIP-546, KIP-599): who may use how much, as the image keeps it.
//!
//! Owns names, keys, values and their bounds; what a client has used is the broker's.

use std::collections::BTreeMap;
use std::fmt;

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

/// Whose quota it is: of a user, a client id, or a user's client id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct QuotaEntity {
    /// The user.
    #[n(0)]
    pub user: Option<QuotaName>,
    /// The client id.
    #[n(1)]
    pub client_id: Option<QuotaName>,
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
}

impl QuotaKey {
    /// All of them.
    pub const ALL: [QuotaKey; 4] = [
        QuotaKey::ProducerByteRate,
        QuotaKey::ConsumerByteRate,
        QuotaKey::RequestPercentage,
        QuotaKey::ControllerMutationRate,
    ];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKey::ProducerByteRate => "producer_byte_rate",
            QuotaKey::ConsumerByteRate => "consumer_byte_rate",
            QuotaKey::RequestPercentage => "request_percentage",
            QuotaKey::ControllerMutationRate => "controller_mutation_rate",
        }
    }

    /// The key of that name.
    pub fn named(name: &str) -> Option<QuotaKey> {
        QuotaKey::ALL.into_iter().find(|key| key.name() == name)
    }

    /// Kafka's LONG, as opposed to its DOUBLE.
    fn is_whole(self) -> bool {
        matches!(self, QuotaKey::ProducerByteRate | QuotaKey::ConsumerByteRate)
    }

    /// What is wrong with a value of it, if anything: as Kafka's `ClientQuotaControlManager.validateQuotaKeyValue`,
    /// and a number it must be.
    pub fn check(self, value: f64) -> Result<QuotaValue, QuotaRefused> {
        let Some(checked) = QuotaValue::new(value) else { return Err(QuotaRefused::NotAboveZero(self)) };
        if self.is_whole() && value > i64::MAX as f64 {
            return Err(QuotaRefused::TooLarge(self));
        }
        if self.is_whole() && value % 1.0 > 1e-6 {
            return Err(QuotaRefused::Fraction(self));
        }
        Ok(checked)
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
    /// Neither a user nor a client id.
    #[error("a quota is a user's, a client id's, or both")]
    Nobody,
    /// A name of no bytes.
    #[error("a quota's user or client id cannot be empty")]
    EmptyName,
    /// A name of so many bytes.
    #[error("a quota's user or client id has at most {QUOTA_NAME_MAX} bytes, not {0}")]
    LongName(usize),
    /// Zero, less, or no number.
    #[error("quota {} must be greater than 0", .0.name())]
    NotAboveZero(QuotaKey),
    /// More than 63 bits.
    #[error("quota {} is too large", .0.name())]
    TooLarge(QuotaKey),
    /// Not a whole number.
    #[error("{} cannot be a fractional value", .0.name())]
    Fraction(QuotaKey),
    /// Too many.
    #[error("{QUOTA_ENTITIES_MAX} users and client ids have quotas already, which is the most there can be")]
    Full,
}

impl QuotaEntity {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), QuotaRefused> {
        if self.user.is_none() && self.client_id.is_none() {
            return Err(QuotaRefused::Nobody);
        }
        for name in [&self.user, &self.client_id].into_iter().flatten().filter_map(QuotaName::as_deref) {
            match name.len() {
                0 => return Err(QuotaRefused::EmptyName),
                1..=QUOTA_NAME_MAX => {}
                long => return Err(QuotaRefused::LongName(long)),
            }
        }
        Ok(())
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
        value.map_or(Ok(()), |value| key.check(value.get()).map(drop))?;
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
        QuotaEntity { user: Some(name.into()), client_id: None }
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
        ];
        for (key, value, expected) in table {
            assert_eq!(key.check(value).map(drop), expected, "{key:?} {value}");
        }
        for key in QuotaKey::ALL {
            assert_eq!(QuotaKey::named(key.name()), Some(key));
        }
        assert_eq!(QuotaKey::named("connection_creation_rate"), None);
    }

    #[test]
    fn an_entity_has_a_name_or_is_the_default() {
        assert_eq!(of_user(None).check(), Ok(()));
        assert_eq!(of_user(Some("anna")).check(), Ok(()));
        assert_eq!(of_user(Some("")).check(), Err(QuotaRefused::EmptyName));
        assert_eq!(QuotaEntity { user: None, client_id: None }.check(), Err(QuotaRefused::Nobody));
        let long = "n".repeat(QUOTA_NAME_MAX + 1);
        assert_eq!(of_user(Some(&long)).check(), Err(QuotaRefused::LongName(QUOTA_NAME_MAX + 1)));
        assert_eq!(of_user(Some(&long[1..])).check(), Ok(()));
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

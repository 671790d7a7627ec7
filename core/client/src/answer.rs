//! An answer as it came.

use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;

use buslane_wire::{ApiKey, Message, Request, frame};
use bytes::Bytes;

use crate::error::Error;

/// An answer to a request of kind `R`: the frame, which the message borrows from.
#[derive(Clone, Debug)]
pub struct Answer<R> {
    frame: Bytes,
    version: i16,
    peer: Arc<str>,
    request: PhantomData<fn(R)>,
}

impl<R: Request> Answer<R> {
    pub(crate) fn new(frame: Bytes, version: i16, peer: Arc<str>) -> Answer<R> {
        Answer { frame, version, peer, request: PhantomData }
    }

    /// The version that was spoken.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Who answered, as `host:port`.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(&self) -> Result<R::Response<'_>, Error> {
        let key = ApiKey::from_i16(R::SCHEMA.key).expect("the codec knows the keys of its messages");
        frame::decode_response_header(&self.frame, key, self.version)
            .and_then(|(_, body)| buslane_wire::decode(body, self.version))
            .map_err(|error| self.malformed(error.to_string()))
    }

    /// Bytes of the message, such as a partition's records, that go on living when it is gone. They hold the whole answer.
    ///
    /// # Panics
    /// When they are not of this answer.
    pub fn share(&self, bytes: &[u8]) -> Bytes {
        self.frame.slice_ref(bytes)
    }

    /// The answer can be read and makes no sense.
    pub fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Malformed { peer: self.peer.to_string(), request: name_of::<R>(), reason: reason.into() }
    }
}

/// `Produce`.
pub(crate) fn name_of<R: Message>() -> &'static str {
    R::SCHEMA.name.trim_end_matches("Request")
}

/// The highest version in both ranges.
pub(crate) fn common_version<R: Request>(
    peer: &str,
    wanted: &RangeInclusive<i16>,
    served: Option<(i16, i16)>,
) -> Result<i16, Error> {
    let known = R::SCHEMA.versions;
    let ours = (known.first.max(*wanted.start()), known.last.min(*wanted.end()));
    let common = served.map(|(first, last)| (first.max(ours.0), last.min(ours.1)));
    match common {
        Some((first, last)) if first <= last => Ok(last),
        _ => Err(Error::Unsupported { peer: peer.to_owned(), request: name_of::<R>(), ours, theirs: served }),
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::messages::{FetchRequest, ProduceRequest};

    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        let of = |wanted, served| common_version::<ProduceRequest<'_>>("there:1", &wanted, served);
        assert_eq!(of(0..=i16::MAX, Some((0, 99))), Ok(13));
        assert_eq!(of(0..=i16::MAX, Some((0, 9))), Ok(9));
        assert_eq!(of(0..=12, Some((3, 13))), Ok(12));
        let too_new = of(0..=i16::MAX, Some((14, 20))).unwrap_err().to_string();
        assert_eq!(
            too_new,
            "there:1 serves versions 14 to 20, this client knows Produce in versions 3 to 13"
        );
        let none = common_version::<FetchRequest<'_>>("there:1", &(13..=18), None).unwrap_err().to_string();
        assert_eq!(none, "there:1 does not serve it, this client knows Fetch in versions 13 to 18");
    }
}

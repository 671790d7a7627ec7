//! How shared leaves and persistent collections stand in the encoding: as plain arrays of what they hold.

use std::sync::Arc;

use minicbor::decode::{Decode, Decoder, Error as DecodeError};
use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};

/// A list of shared items.
pub(crate) mod list {
    use super::*;

    pub(crate) fn encode<T: Encode<C>, C, W: Write>(
        items: &[Arc<T>],
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(items.len() as u64)?;
        items.iter().try_for_each(|item| item.encode(e, ctx))
    }

    pub(crate) fn decode<'b, T: Decode<'b, C>, C>(
        d: &mut Decoder<'b>,
        ctx: &mut C,
    ) -> Result<Vec<Arc<T>>, DecodeError> {
        d.array_iter_with(ctx)?.map(|item| item.map(Arc::new)).collect()
    }
}

/// A persistent vector of shared items.
pub(crate) mod vector {
    use super::*;

    pub(crate) fn encode<T: Encode<C>, C, W: Write>(
        items: &imbl::Vector<Arc<T>>,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(items.len() as u64)?;
        items.iter().try_for_each(|item| item.encode(e, ctx))
    }

    pub(crate) fn decode<'b, T: Decode<'b, C>, C>(
        d: &mut Decoder<'b>,
        ctx: &mut C,
    ) -> Result<imbl::Vector<Arc<T>>, DecodeError> {
        d.array_iter_with(ctx)?.map(|item| item.map(Arc::new)).collect()
    }
}

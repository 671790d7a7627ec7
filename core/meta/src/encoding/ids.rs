//! How the shared ids stand in the encoding: as plain numbers, a topic id as its 16 bytes.
//!
//! One module an id, as the derives of `minicbor` want them (`with = "…"`).

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, TopicId, TopicPartition};
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

macro_rules! id {
    ($(#[$doc:meta])* $module:ident, $type:ty, |$value:ident, $e:ident| $encode:expr, |$d:ident| $decode:expr) => {
        $(#[$doc])*
        pub(crate) mod $module {
            use super::*;

            pub(crate) fn encode<C, W: Write>(
                $value: &$type,
                $e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                $encode;
                Ok(())
            }

            pub(crate) fn decode<C>($d: &mut Decoder<'_>, _: &mut C) -> Result<$type, DecodeError> {
                $decode
            }
        }
    };
}

id!(
    /// A node's number.
    node, NodeId, |value, e| e.i32(value.0)?, |d| d.i32().map(NodeId)
);
id!(
    /// A leader epoch's number.
    epoch, LeaderEpoch, |value, e| e.i32(value.0)?, |d| d.i32().map(LeaderEpoch)
);
id!(
    /// A segment's number.
    segment, SegmentId, |value, e| e.u64(value.0)?, |d| d.u64().map(SegmentId)
);
id!(
    /// Segments in order.
    segments, Vec<SegmentId>, |value, e| {
        e.array(value.len() as u64)?;
        for segment in value {
            e.u64(segment.0)?;
        }
    },
    |d| d.array_iter::<u64>()?.map(|n| n.map(SegmentId)).collect()
);
id!(
    /// A topic id's 16 bytes.
    topic, TopicId, |value, e| e.bytes(&value.0)?, |d| {
        let at = d.position();
        let bytes = d.bytes()?;
        let id = bytes.try_into().map_err(|_| DecodeError::message("not 16 bytes").at(at))?;
        Ok(TopicId(id))
    }
);
id!(
    /// A topic id and the partition's index.
    partition, TopicPartition,
    |value, e| e.array(2)?.bytes(&value.topic.0)?.i32(value.partition)?,
    |d| {
        let at = d.position();
        if d.array()? != Some(2) {
            return Err(DecodeError::message("a partition is two items").at(at));
        }
        Ok(TopicPartition { topic: topic::decode(d, &mut ())?, partition: d.i32()? })
    }
);
id!(
    /// 0 replicated, 1 synced.
    durability, Durability,
    |value, e| e.u8(match value { Durability::Replicated => 0, Durability::Synced => 1 })?,
    |d| {
        let at = d.position();
        match d.u8()? {
            0 => Ok(Durability::Replicated),
            1 => Ok(Durability::Synced),
            _ => Err(DecodeError::message("neither replicated nor synced").at(at)),
        }
    }
);
id!(
    /// Nodes in order.
    nodes, Vec<NodeId>, |value, e| {
        e.array(value.len() as u64)?;
        for node in value {
            e.i32(node.0)?;
        }
    },
    // Nothing is allocated for an announced length: the list grows with what is there.
    |d| d.array_iter::<i32>()?.map(|n| n.map(NodeId)).collect()
);
id!(
    /// The stores of several partitions.
    plans, Vec<Vec<NodeId>>, |value, e| {
        e.array(value.len() as u64)?;
        for plan in value {
            nodes::encode(plan, e, &mut ())?;
        }
    },
    |d| {
        d.array_iter::<Vec<i32>>()?
            .map(|plan| plan.map(|plan| plan.into_iter().map(NodeId).collect()))
            .collect()
    }
);

/// A node, or none.
pub(crate) mod owner {
    use super::*;

    pub(crate) fn encode<C, W: Write>(
        value: &Option<NodeId>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match value {
            Some(node) => e.i32(node.0)?,
            None => e.null()?,
        };
        Ok(())
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<NodeId>, DecodeError> {
        Ok(d.decode::<Option<i32>>()?.map(NodeId))
    }

    pub(crate) fn nil() -> Option<Option<NodeId>> {
        Some(None)
    }

    pub(crate) fn is_nil(value: &Option<NodeId>) -> bool {
        value.is_none()
    }
}

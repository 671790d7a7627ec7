//! Record batches whose content nobody looks into: a valid header, a matching CRC, a body drawn from the seed.

use buslane_wire::batch::{BatchHeader, HEADER_LEN, crc_of};

use crate::rng::Rng;

/// Whose batch it is, for idempotence; no producer by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Producer {
    /// -1: none.
    pub id: i64,
    /// -1: none.
    pub epoch: i16,
    /// Sequence of the first record, -1: none.
    pub base_sequence: i32,
}

impl Producer {
    /// A batch that no idempotent producer sent.
    pub const NONE: Producer = Producer { id: -1, epoch: -1, base_sequence: -1 };
}

/// A batch as received (base offset 0) of 1 to 4 records with a body of `body_bytes`.
pub fn batch(rng: &mut Rng, producer: Producer, body_bytes: usize) -> Vec<u8> {
    let count = rng.between(1, 4) as i32;
    let timestamp = 1_000 + rng.below(1_000) as i64;
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: (HEADER_LEN - 12 + body_bytes) as i32,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: timestamp,
        max_timestamp: timestamp + rng.below(100) as i64,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: producer.base_sequence,
        record_count: count,
    };
    let mut bytes = header.encode().to_vec();
    // Words of their own, so that no two batches look alike and none looks like zeros.
    bytes.extend((0..body_bytes.div_ceil(8)).flat_map(|_| (rng.bits() | 1).to_be_bytes()));
    bytes.truncate(HEADER_LEN + body_bytes);
    header.crc = crc_of(&bytes);
    bytes[..HEADER_LEN].copy_from_slice(&header.encode());
    bytes
}

#[cfg(test)]
mod tests {
    use buslane_wire::batch::verify_crc;

    use super::*;

    #[test]
    fn batches_are_whole() {
        for body in [0, 1, 100] {
            let bytes = batch(&mut Rng::new(1), Producer::NONE, body);
            let header = BatchHeader::parse(&bytes).unwrap();
            assert_eq!(header.total_len(), bytes.len());
            verify_crc(&bytes).unwrap();
        }
    }
}

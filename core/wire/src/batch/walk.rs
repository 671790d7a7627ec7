//! Walking batches that stand one after another in memory: a produce request's records, a fetch response, a piece of a
//! segment.

use super::{BatchError, BatchHeader};

/// The batches of a byte slice, one after another. After an error there is nothing more.
///
/// ```
/// use buslane_wire::batch::{BatchError, Batches};
///
/// let mut batches = Batches::new(&[0; 30]);
/// assert!(matches!(batches.next(), Some(Err(BatchError::Magic(0)))));
/// assert!(batches.next().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Batches<'a> {
        Batches { bytes, position: 0, failed: false }
    }

    /// Where the next batch starts; after an error, where the bytes start that are no batch.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    /// Where the batch starts, its header, and all its bytes, header included. Only headers are checked.
    ///
    /// [`BatchError::Incomplete`]: the bytes end inside the batch that starts at [`Batches::position`], as a fetch
    /// response's may (KIP-74) and a log's after a crash.
    type Item = Result<(usize, BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.position..];
        if self.failed || rest.is_empty() {
            return None;
        }
        let header = BatchHeader::parse(rest).and_then(|header| {
            let (have, need) = (rest.len(), header.total_len());
            if have < need { Err(BatchError::Incomplete { have, need }) } else { Ok(header) }
        });
        Some(match header {
            Ok(header) => {
                let at = self.position;
                self.position += header.total_len();
                Ok((at, header, &self.bytes[at..self.position]))
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Compression, NewRecord};
    use super::*;

    fn three() -> (Vec<u8>, Vec<usize>) {
        let mut out = Vec::new();
        let mut builder = BatchBuilder::default();
        let mut starts = Vec::new();
        for (base_offset, records) in [(0, 1), (1, 3), (4, 2)] {
            starts.push(out.len());
            for _ in 0..records {
                builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() });
            }
            let header = BatchHeader { base_offset, ..BatchHeader::default() };
            builder.finish(header, Compression::None, &mut out);
        }
        (out, starts)
    }

    #[test]
    fn every_batch_is_found_where_it_starts() {
        let (bytes, starts) = three();
        let found: Vec<_> = Batches::new(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(found.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), starts);
        assert_eq!(found.iter().map(|(_, h, _)| h.next_offset()).collect::<Vec<_>>(), [1, 4, 6]);
        assert_eq!(found.iter().map(|(.., b)| *b).collect::<Vec<_>>().concat(), bytes);
        assert!(Batches::new(&[]).next().is_none());
    }

    #[test]
    fn an_incomplete_last_batch_is_told_with_its_place() {
        let (bytes, starts) = three();
        for end in starts[2] + 1..bytes.len() {
            let mut walk = Batches::new(&bytes[..end]);
            assert!(walk.next().unwrap().is_ok() && walk.next().unwrap().is_ok());
            let Some(Err(BatchError::Incomplete { have, need })) = walk.next() else {
                panic!("cut at {end}")
            };
            assert_eq!((have, walk.position()), (end - starts[2], starts[2]));
            assert!(need > have && need <= bytes.len() - starts[2]);
            assert!(walk.next().is_none());
        }
    }

    #[test]
    fn old_message_sets_are_told_by_name() {
        // Offset, size, CRC, magic, attributes, (timestamp,) key, value: shorter than a header of today.
        for magic in [0, 1] {
            let mut old = vec![0; 34];
            old[11] = 22;
            old[16] = magic;
            assert_eq!(Batches::new(&old).next(), Some(Err(BatchError::Magic(magic as i8))));
            let said = BatchError::Magic(magic as i8).to_string();
            assert!(said.contains("before Kafka 0.11"), "{said}");
        }
    }
}

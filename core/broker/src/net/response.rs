//! A response as it leaves: bytes, and stretches of files between them.

use std::sync::Arc;
use std::time::Duration;

use buslane_log::fs::FsFile;
use buslane_wire::{Encoder, ErrorCode, PieceBody};
use bytes::Bytes;

use super::budget::{Budget, Charge};

/// One stretch of a response.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in memory; charged to the budget until they are written.
    Bytes(Bytes),
    /// Bytes of a file. They must be there and stay as they are until the response is written: a file that ends short
    /// costs the connection.
    File {
        /// The file, kept open.
        file: Arc<dyn FsFile>,
        /// Where the stretch starts.
        position: u64,
        /// Its length in bytes.
        len: u32,
    },
}

impl Piece {
    /// Bytes on the wire.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File { len, .. } => u64::from(*len),
        }
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A response frame, its size included.
#[derive(Debug)]
pub struct Response {
    pub(super) pieces: Vec<Piece>,
    pub(super) len: u64,
    pub(super) reserved: Option<Charge>,
    /// For what is not reserved.
    pub(super) rest: Option<Charge>,
    pub(super) errors: Vec<(ErrorCode, u64)>,
    pub(super) mute: Duration,
}

impl Response {
    /// A response of one stretch of bytes, the first four of which are its size.
    pub fn from_bytes(frame: impl Into<Bytes>) -> Response {
        Response::from_pieces(vec![Piece::Bytes(frame.into())])
    }

    /// A response of several stretches; the first begins with the four bytes of its size.
    ///
    /// # Panics
    /// When the size says anything else than the pieces: a client could not find the next response.
    pub fn from_pieces(mut pieces: Vec<Piece>) -> Response {
        pieces.retain(|piece| !piece.is_empty());
        let len: u64 = pieces.iter().map(Piece::len).sum();
        let size = match pieces.first() {
            Some(Piece::Bytes(bytes)) => bytes.first_chunk().map(|size| i32::from_be_bytes(*size)),
            _ => None,
        };
        let size = size.expect("a response begins with its size");
        assert_eq!(i64::from(size) + 4, len as i64, "the announced and the real size of a response");
        Response { pieces, len, reserved: None, rest: None, errors: Vec::new(), mute: Duration::ZERO }
    }

    /// Takes the one response frame and its error codes out of an encoder and leaves it empty. `resolve` says where the bytes of an
    /// external piece, given by token and length, are.
    ///
    /// # Panics
    /// When `resolve` answers with another length, and like [`Response::from_pieces`].
    pub fn from_encoder(encoder: &mut Encoder, mut resolve: impl FnMut(u64, u32) -> Piece) -> Response {
        let errors = encoder.take_errors();
        let (buffer, beside) = encoder.take();
        let buffer = Bytes::from(buffer);
        let mut pieces = Vec::with_capacity(2 * beside.len() + 1);
        let mut start = 0;
        for piece in beside {
            pieces.push(Piece::Bytes(buffer.slice(start..piece.position)));
            start = piece.position;
            pieces.push(match piece.body {
                PieceBody::Shared(bytes) => Piece::Bytes(bytes),
                PieceBody::External { len, token } => {
                    let resolved = resolve(token, len);
                    assert_eq!(resolved.len(), u64::from(len), "the length of external piece {token}");
                    resolved
                }
            });
        }
        pieces.push(Piece::Bytes(buffer.slice(start..)));
        Response { errors, ..Response::from_pieces(pieces) }
    }

    /// Hands over what was reserved for this response's bytes, so that they are not charged twice.
    pub fn reserved(mut self, charge: Charge) -> Response {
        self.reserved = Some(charge);
        self
    }

    /// Sees to it that its bytes in memory are charged, and no more than those.
    pub(super) fn charge(&mut self, budget: &Budget) {
        let memory = self.memory_len();
        if let Some(reserved) = &mut self.reserved
            && reserved.bytes() > memory
        {
            reserved.shrink_to(memory);
        }
        let charged = [&self.reserved, &self.rest].into_iter().flatten().map(Charge::bytes).sum::<usize>();
        if charged < memory {
            self.rest = Some(budget.charge(memory - self.reserved.as_ref().map_or(0, Charge::bytes)));
        }
    }

    /// From when this response is made, the connection begins to read no further request for so long
    /// (KIP-219), but not longer than it may be idle.
    pub fn muting(mut self, mute: Duration) -> Response {
        self.mute = mute;
        self
    }

    /// Bytes on the wire, the size included.
    pub fn wire_len(&self) -> u64 {
        self.len
    }

    /// Bytes of it that are in memory.
    pub fn memory_len(&self) -> usize {
        self.pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Bytes(_)))
            .map(|piece| piece.len() as usize)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_an_encoder_stand_in_wire_order() {
        let mut encoder = Encoder::new();
        let frame = encoder.begin_frame();
        encoder.raw(b"ab");
        encoder.records(Some(&buslane_wire::Records::External { len: 3, token: 7 }), false).unwrap();
        encoder.raw(b"z");
        encoder.end_frame(frame).unwrap();
        let response = Response::from_encoder(&mut encoder, |token, len| {
            assert_eq!((token, len), (7, 3));
            Piece::Bytes(Bytes::from_static(b"mmm"))
        });
        let bytes: Vec<u8> = response
            .pieces
            .iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.to_vec(),
                Piece::File { .. } => panic!("no file was given"),
            })
            .collect();
        assert_eq!(bytes, b"\0\0\0\x0aab\0\0\0\x03mmmz");
        assert_eq!((response.wire_len(), response.memory_len()), (14, 14));
        assert_eq!(encoder.total_len(), 0);
    }

    #[test]
    #[should_panic(expected = "the announced and the real size")]
    fn a_wrong_size_is_a_bug_of_ours() {
        let _ = Response::from_bytes(&b"\0\0\0\x02abc"[..]);
    }
}

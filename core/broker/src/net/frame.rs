//! Reading request frames without trusting the size they announce.
//!
//! A connection between two requests holds four bytes. A buffer starts when the first byte after the size is there (or
//! rather: the charge for it does), fits what has arrived, and doubles as more arrives: memory is at most twice the
//! bytes received, and copying is amortised. The last growth fits the frame exactly.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use buslane_wire::frame::{FrameTooLong, frame_len};
use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::budget::{Budget, Charge, FRAME_SLACK, SMALL_FRAME_MAX, Share};
use super::transport::Transport;

/// A buffer's first size when it is not known how much has arrived, in bytes.
const FIRST_CAPACITY: usize = 512;

/// One whole request frame, without its size.
///
/// The bytes carry their charge: the budget has them back when the last slice of them is dropped.
#[derive(Debug)]
pub struct Frame {
    bytes: Bytes,
    memory: Option<Charge>,
}

impl Frame {
    /// With the working memory that it was given.
    pub(super) fn with_memory(self, memory: Charge) -> Frame {
        Frame { memory: Some(memory), ..self }
    }

    /// The working memory that it was given; none where the handler asked for none.
    pub fn take_memory(&mut self) -> Option<Charge> {
        self.memory.take()
    }

    /// The bytes; slices of them keep the whole frame in memory and charged.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl std::ops::Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A frame that came from elsewhere than a connection, charged to nobody.
impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Frame {
        Frame { bytes, memory: None }
    }
}

struct ChargedBuffer {
    bytes: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for ChargedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A negative size, or one above the limit; the next frame cannot be found.
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
    /// The client closed in the middle of a frame.
    #[error("the connection ended in the middle of a request")]
    Truncated,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the frames of one connection.
pub struct FrameReader {
    budget: Budget,
    frame_max: usize,
    size: [u8; 4],
    size_len: usize,
    body: Option<Body>,
    received: u64,
}

struct Body {
    announced: usize,
    buffer: Vec<u8>,
    /// What the buffer may hold; its capacity, once it is allocated.
    capacity: usize,
    /// The capacity being waited for.
    wanted: usize,
    /// Bytes of it were seen: the buffer may be allocated.
    arrived: bool,
    charge: Charge,
}

impl FrameReader {
    /// A reader that refuses frames of more than `frame_max` bytes; at most [`Budget::largest_frame`].
    pub fn new(budget: Budget, frame_max: usize) -> FrameReader {
        assert!(frame_max <= budget.largest_frame(), "frames of {frame_max} bytes under {budget:?}");
        FrameReader { budget, frame_max, size: [0; 4], size_len: 0, body: None, received: 0 }
    }

    /// True when a size has been read whose frame is not whole yet.
    pub fn in_body(&self) -> bool {
        self.body.is_some()
    }

    /// True when any byte of an incomplete frame has been read.
    pub fn in_frame(&self) -> bool {
        self.body.is_some() || self.size_len > 0
    }

    /// True while the frame's buffer waits for the budget.
    pub fn waits_for_memory(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.wanted > 0)
    }

    /// Bytes read from the connection so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next frame; `None` when the client closed between two frames.
    pub fn poll_frame<T: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<Result<Option<Frame>, ReadError>> {
        loop {
            let Some(body) = &mut self.body else {
                if self.size_len < self.size.len() {
                    let mut rest = ReadBuf::new(&mut self.size[self.size_len..]);
                    ready!(pin!(&mut *io).poll_read(cx, &mut rest))?;
                    let n = rest.filled().len();
                    if n == 0 {
                        let ended = if self.size_len == 0 { Ok(None) } else { Err(ReadError::Truncated) };
                        return Poll::Ready(ended);
                    }
                    self.size_len += n;
                    self.received += n as u64;
                    continue;
                }
                let announced = frame_len(self.size, self.frame_max)?;
                let share = if announced <= SMALL_FRAME_MAX { Share::SmallFrame } else { Share::LargeFrame };
                self.size_len = 0;
                self.body = Some(Body::new(announced, self.budget.empty(share)));
                continue;
            };
            if body.buffer.len() < body.announced {
                let n = ready!(body.poll_fill(cx, io))?;
                if n == 0 {
                    return Poll::Ready(Err(ReadError::Truncated));
                }
                self.received += n as u64;
                continue;
            }
            let Body { announced, mut buffer, mut charge, .. } = self.body.take().expect("it was just seen");
            self.size_len = buffer.len() - announced;
            self.size[..self.size_len].copy_from_slice(&buffer[announced..]);
            buffer.truncate(announced);
            charge.shrink_to(buffer.capacity());
            let bytes = Bytes::from_owner(ChargedBuffer { bytes: buffer, _charge: charge });
            return Poll::Ready(Ok(Some(Frame { bytes, memory: None })));
        }
    }
}

impl Body {
    fn new(announced: usize, charge: Charge) -> Body {
        Body { announced, buffer: Vec::new(), capacity: 0, wanted: 0, arrived: false, charge }
    }

    /// The frame and the size of the next one, read along with it: saves a system call, or the failing one that would
    /// find out that there is nothing.
    fn whole(&self) -> usize {
        self.announced + FRAME_SLACK
    }

    /// Reads once, into a buffer that has room; returns the number of bytes, 0 at the end.
    fn poll_fill<T: Transport>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<io::Result<usize>> {
        if self.buffer.len() == self.capacity {
            if self.wanted == 0 {
                let arrived = io.bytes_waiting().unwrap_or(0);
                self.arrived |= arrived > 0;
                let fits = self.buffer.len() + arrived + FRAME_SLACK;
                self.wanted = fits.max(2 * self.capacity).max(FIRST_CAPACITY).min(self.whole());
            }
            ready!(self.charge.poll_grow(cx, self.wanted - self.capacity));
            self.capacity = std::mem::take(&mut self.wanted);
        }
        if self.buffer.capacity() == 0 && !self.arrived {
            // The first bytes come over the stack, so that a size alone, followed by nothing, allocates nothing.
            let mut first = [0; 256];
            let len = first.len().min(self.capacity);
            let mut first = ReadBuf::new(&mut first[..len]);
            ready!(pin!(&mut *io).poll_read(cx, &mut first))?;
            if !first.filled().is_empty() {
                self.arrived = true;
                self.buffer.reserve_exact(self.capacity);
                self.buffer.extend_from_slice(first.filled());
            }
            return Poll::Ready(Ok(first.filled().len()));
        }
        if self.buffer.capacity() < self.capacity {
            self.buffer.reserve_exact(self.capacity - self.buffer.len());
        }
        let room = self.capacity - self.buffer.len();
        pin!(io.read_buf(&mut (&mut self.buffer).limit(room))).poll(cx)
    }
}

//! Writes responses in order: bytes with one gathering write, file stretches with `sendfile(2)`.
//!
//! Bytes that a file stretch follows are sent with `MSG_MORE`: a header does not become a packet of its own, which would
//! wake its reader for nothing. (`TCP_CORK` around the whole response costs half as much again: it holds back the last
//! packet until the reader has gone to sleep.) A stretch whose pages are not in memory is loaded on the blocking pool
//! first.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use buslane_log::fs::FsFile;
use bytes::{Buf, Bytes};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::budget::{Budget, Charge};
use super::residency::{self, CHUNK, Residency};
use super::response::{Piece, Response};
use super::transport::Transport;

/// Slices in one gathering write.
const SLICES_MAX: usize = 32;

/// Bytes written by one poll, so that a connection does not keep a worker thread to itself.
const BYTES_PER_POLL: u64 = 2 * CHUNK;

/// Bytes of a file read into memory at a time, where they cannot be sent from the file.
const READ_CHUNK: u64 = 256 * 1024;

/// Why a response cannot be written. The client has seen a part of it: the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The socket failed, or the client is gone.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file could not be read.
    #[error("reading a response's records from their file: {0}")]
    File(io::Error),
    /// A file ended before the stretch that was announced.
    #[error("a file ended at {at}, {missing} bytes before the end of a response's records")]
    FileShort {
        /// Where it ended.
        at: u64,
        /// Bytes missing.
        missing: u64,
    },
}

/// The responses of one connection that are not written yet.
pub struct ResponseWriter {
    budget: Budget,
    residency: Arc<Residency>,
    items: VecDeque<Item>,
    /// Bytes in memory that are not written yet.
    memory: usize,
    written: u64,
    cold_chunks: u64,
}

enum Item {
    Bytes(Bytes),
    File(Stretch),
    /// All of a response is written.
    End(#[expect(dead_code, reason = "held for its drop")] Vec<Charge>),
}

struct Stretch {
    file: Arc<dyn FsFile>,
    position: u64,
    end: u64,
    /// Up to here the pages are in memory, as far as is known.
    resident_to: u64,
    loading: Option<JoinHandle<Result<Loaded, WriteError>>>,
}

enum Loaded {
    /// Into the page cache, up to this position.
    Cached(u64),
    /// Into memory.
    Read(Vec<u8>, Charge),
}

impl ResponseWriter {
    /// Nothing to write yet.
    pub fn new(budget: Budget, residency: Arc<Residency>) -> ResponseWriter {
        ResponseWriter { budget, residency, items: VecDeque::new(), memory: 0, written: 0, cold_chunks: 0 }
    }

    /// True when all is written.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes in memory that wait to be written.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Chunks that had to be loaded from disk since the last call.
    pub fn take_cold_chunks(&mut self) -> u64 {
        std::mem::take(&mut self.cold_chunks)
    }

    /// Puts a response at the end of the queue and charges its bytes, less what was reserved for them.
    pub fn push(&mut self, mut response: Response) {
        response.charge(&self.budget);
        let memory = response.memory_len();
        let charges: Vec<Charge> = response.reserved.into_iter().chain(response.rest).collect();
        self.memory += memory;
        self.items.extend(response.pieces.into_iter().map(|piece| match piece {
            Piece::Bytes(bytes) => Item::Bytes(bytes),
            Piece::File { file, position, len } => {
                let end = position + u64::from(len);
                Item::File(Stretch { file, position, end, resident_to: position, loading: None })
            }
        }));
        self.items.push_back(Item::End(charges));
    }

    /// Writes until all is written or the socket is full.
    pub fn poll_write<T: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<Result<(), WriteError>> {
        let stop_at = self.written + BYTES_PER_POLL;
        loop {
            match self.items.front_mut() {
                None => break,
                Some(_) if self.written >= stop_at => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Item::Bytes(_)) => ready!(self.poll_write_bytes(cx, io))?,
                Some(Item::File(stretch)) if stretch.position == stretch.end => drop(self.items.pop_front()),
                Some(Item::File(_)) => ready!(self.poll_write_file(cx, io))?,
                Some(Item::End(_)) => drop(self.items.pop_front()),
            }
        }
        if self.items.capacity() > SLICES_MAX {
            self.items.shrink_to(SLICES_MAX);
        }
        // Plain TCP has nothing to flush; what encrypts has.
        ready!(pin!(io).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_write_bytes<T: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<Result<(), WriteError>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (mut count, mut file_follows) = (0, false);
        for item in &self.items {
            match item {
                Item::Bytes(bytes) if count < SLICES_MAX => {
                    slices[count] = IoSlice::new(bytes);
                    count += 1;
                }
                Item::Bytes(_) => break,
                Item::End(_) => {}
                Item::File(_) => {
                    file_follows = true;
                    break;
                }
            }
        }
        let slices = &slices[..count];
        let n = match io.plain_tcp().filter(|_| file_follows) {
            Some(tcp) => ready!(poll_send_more(cx, tcp, slices))?,
            None => ready!(pin!(io).poll_write_vectored(cx, slices))?,
        };
        if n == 0 {
            return Poll::Ready(Err(WriteError::Io(io::ErrorKind::WriteZero.into())));
        }
        self.written += n as u64;
        self.memory -= n;
        let mut left = n;
        while left > 0 {
            match self.items.front_mut() {
                Some(Item::Bytes(bytes)) if bytes.len() > left => {
                    bytes.advance(left);
                    left = 0;
                }
                Some(Item::Bytes(bytes)) => {
                    left -= bytes.len();
                    self.items.pop_front();
                }
                Some(Item::End(_)) => drop(self.items.pop_front()),
                _ => unreachable!("{left} bytes were written beyond the gathered slices"),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_file<T: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<Result<(), WriteError>> {
        let Some(Item::File(stretch)) = self.items.front_mut() else { return Poll::Ready(Ok(())) };
        if let Some(loading) = &mut stretch.loading {
            let loaded = ready!(Pin::new(loading).poll(cx));
            stretch.loading = None;
            match loaded.map_err(|e| WriteError::File(io::Error::other(e)))?? {
                Loaded::Cached(to) => stretch.resident_to = to,
                Loaded::Read(bytes, charge) => {
                    stretch.position += bytes.len() as u64;
                    self.memory += bytes.len();
                    self.items.push_front(Item::End(vec![charge]));
                    self.items.push_front(Item::Bytes(bytes.into()));
                }
            }
            return Poll::Ready(Ok(()));
        }
        let (file, position) = (stretch.file.clone(), stretch.position);
        let (Some(tcp), Some(os_file)) = (io.plain_tcp(), file.os_file()) else {
            let len = READ_CHUNK.min(stretch.end - position);
            let missing = stretch.end - position;
            let charge = self.budget.charge(len as usize);
            let file = file.clone();
            stretch.loading = Some(tokio::task::spawn_blocking(move || {
                read(&*file, position, len, missing).map(|bytes| Loaded::Read(bytes, charge))
            }));
            return Poll::Ready(Ok(()));
        };
        if position == stretch.resident_to {
            let len = CHUNK.min(stretch.end - position);
            let to = position + len;
            if !self.residency.is_resident(os_file, position, len) {
                self.cold_chunks += 1;
                let file = file.clone();
                stretch.loading = Some(tokio::task::spawn_blocking(move || {
                    residency::load(&file, position, len).map_err(WriteError::File)?;
                    Ok(Loaded::Cached(to))
                }));
                return Poll::Ready(Ok(()));
            }
            stretch.resident_to = to;
        }
        let count = (stretch.resident_to - position) as usize;
        let n = ready!(poll_sendfile(cx, tcp, os_file, position, count))?;
        if n == 0 {
            return Poll::Ready(Err(WriteError::FileShort { at: position, missing: stretch.end - position }));
        }
        stretch.position += n as u64;
        self.written += n as u64;
        Poll::Ready(Ok(()))
    }
}

/// Sends bytes that more will follow at once.
fn poll_send_more(cx: &mut Context<'_>, tcp: &TcpStream, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    poll_writable(cx, tcp, || {
        let mut control = SendAncillaryBuffer::default();
        Ok(sendmsg(tcp, slices, &mut control, SendFlags::MORE | SendFlags::NOSIGNAL)?)
    })
}

fn poll_sendfile(
    cx: &mut Context<'_>,
    tcp: &TcpStream,
    file: &std::fs::File,
    position: u64,
    count: usize,
) -> Poll<io::Result<usize>> {
    poll_writable(cx, tcp, || {
        let mut position = position;
        Ok(rustix::fs::sendfile(tcp, file, Some(&mut position), count)?)
    })
}

/// Writes as soon as the socket takes something.
fn poll_writable(
    cx: &mut Context<'_>,
    tcp: &TcpStream,
    mut write: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_io(Interest::WRITABLE, &mut write) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Reads `len` bytes into memory; `missing` is what an end of the file leaves out from `position` on. Blocks.
fn read(file: &dyn FsFile, position: u64, len: u64, missing: u64) -> Result<Vec<u8>, WriteError> {
    let mut bytes = vec![0; len as usize];
    match buslane_log::fs::read_exact_at(file, &mut bytes, position) {
        Ok(()) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Err(WriteError::FileShort { at: position, missing })
        }
        Err(e) => Err(WriteError::File(e)),
    }
}

#[cfg(test)]
mod tests;

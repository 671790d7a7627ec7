//! The seam under a connection: plain TCP today, TLS over it later.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream to a client.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Bytes that have arrived and can be read at once, where that is known. A hint for the size of a buffer.
    fn bytes_waiting(&self) -> Option<usize> {
        None
    }

    /// The socket, when bytes written to it reach the client as they are: then files are sent with `sendfile(2)`.
    /// Otherwise they are read into memory.
    fn plain_tcp(&self) -> Option<&TcpStream> {
        None
    }
}

impl Transport for TcpStream {
    fn bytes_waiting(&self) -> Option<usize> {
        rustix::io::ioctl_fionread(self).ok().and_then(|bytes| usize::try_from(bytes).ok())
    }

    fn plain_tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

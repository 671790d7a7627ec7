//! One connection: frames out, frames in, each within a time limit.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use buslane_wire::messages::ApiVersionsRequest;
use buslane_wire::{ApiKey, DecodeError, Encoder, Message, Request, frame};

use crate::exit::{Failure, Status};

/// No answer to an administrator is larger; what announces more is not Kafka.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// The version in which ApiVersions is asked: every broker since Kafka 2.4 knows it.
const API_VERSIONS: i16 = 3;

pub struct Connection {
    stream: TcpStream,
    /// `host:port`, for messages.
    peer: String,
    /// First and last version of each API key that the broker serves.
    served: HashMap<i16, (i16, i16)>,
    correlation_id: i32,
}

/// An answer as it came; [`Answer::read`] it.
pub struct Answer<R> {
    frame: Vec<u8>,
    version: i16,
    peer: String,
    request: PhantomData<fn(R)>,
}

impl<R: Request> Answer<R> {
    /// The message. It borrows from the answer.
    pub fn read(&self) -> Result<R::Response<'_>, Failure> {
        self.decode().map_err(|error| {
            let name = name::<R>();
            Failure::failed(format!("{}'s answer to {name} cannot be read: {error}", self.peer))
        })
    }

    fn decode(&self) -> Result<R::Response<'_>, DecodeError> {
        let key = ApiKey::from_i16(R::SCHEMA.key).expect("the codec knows the keys of its messages");
        let (_, body) = frame::decode_response_header(&self.frame, key, self.version)?;
        buslane_wire::decode(body, self.version)
    }
}

impl Connection {
    /// Takes over a fresh connection and asks which versions the broker serves.
    ///
    /// # Errors
    /// A sentence that names the peer.
    pub fn open(stream: TcpStream, peer: &str, limit: Duration) -> Result<Self, String> {
        let _ = stream.set_nodelay(true);
        let served = HashMap::new();
        let mut connection = Self { stream, peer: peer.to_owned(), served, correlation_id: 0 };
        let request = ApiVersionsRequest {
            client_software_name: "buslane-cli",
            client_software_version: env!("CARGO_PKG_VERSION"),
            ..Default::default()
        };
        let took = format!("{peer} took the connection but did not answer");
        let answer =
            connection.exchange(API_VERSIONS, &request, limit).map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => format!("{took} within {}", humantime::format_duration(limit)),
                _ => format!("{took} as a Kafka broker does: {error}"),
            })?;
        let response = answer.decode().map_err(|error| format!("{took} as a Kafka broker does: {error}"))?;
        if response.error_code.is_err() {
            return Err(format!("{took} as a Kafka broker does: {}", response.error_code));
        }
        connection.served =
            response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(connection)
    }

    /// Sends a request in the highest of `versions` that the broker serves. After an error the connection is of no use.
    pub fn ask<R: Request>(
        &mut self,
        versions: RangeInclusive<i16>,
        request: &R,
        limit: Duration,
    ) -> Result<Answer<R>, Failure> {
        let name = name::<R>();
        let peer = &self.peer;
        let Some(&(first, last)) = self.served.get(&R::SCHEMA.key) else {
            return Err(Failure::failed(format!("{peer} does not serve {name} requests")));
        };
        let version = last.min(*versions.end());
        if version < first.max(*versions.start()) {
            return Err(Failure::failed(format!(
                "{peer} serves {name} in versions {first} to {last}, this program speaks {} to {}",
                versions.start(),
                versions.end()
            )));
        }
        self.exchange(version, request, limit).map_err(|error| {
            let message = match error.kind() {
                io::ErrorKind::TimedOut => {
                    let limit = humantime::format_duration(limit);
                    format!("{} did not answer {name} within {limit} (--timeout waits longer)", self.peer)
                }
                _ => format!("{} was lost while it was to answer {name}: {error}", self.peer),
            };
            Failure::new(Status::Unreachable, message)
        })
    }

    fn exchange<R: Request>(&mut self, version: i16, request: &R, limit: Duration) -> io::Result<Answer<R>> {
        let end = Instant::now() + limit;
        self.correlation_id += 1;
        let mut encoder = Encoder::new();
        frame::encode_request(&mut encoder, self.correlation_id, Some("buslane-cli"), version, request)
            .map_err(io::Error::other)?;
        self.stream.set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
        self.stream.write_all(encoder.buffer()).map_err(late)?;
        let mut size = [0; 4];
        self.read(&mut size, end)?;
        let size = frame::frame_len(size, MAX_ANSWER_BYTES).map_err(io::Error::other)?;
        // It grows as the bytes come: a size alone costs nothing.
        let mut answer = Vec::new();
        while answer.len() < size {
            let start = answer.len();
            answer.resize(size.min(start + 64 * 1024), 0);
            self.read(&mut answer[start..], end)?;
        }
        let correlated = answer.first_chunk().map(|id| i32::from_be_bytes(*id));
        if correlated != Some(self.correlation_id) {
            return Err(io::Error::other("it answered something else"));
        }
        Ok(Answer { frame: answer, version, peer: self.peer.clone(), request: PhantomData })
    }

    /// As `read_exact`, with a time limit for all of it.
    fn read(&mut self, mut into: &mut [u8], end: Instant) -> io::Result<()> {
        while !into.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(into) {
                Ok(0) => return Err(io::Error::other("it closed the connection")),
                Ok(read) => into = &mut into[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(late(error)),
            }
        }
        Ok(())
    }
}

/// A socket whose time is up says "would block".
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// `ListGroups`.
fn name<R: Message>() -> &'static str {
    R::SCHEMA.name.trim_end_matches("Request")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What opening a connection says to a server that answers the first request with these bytes and then closes.
    fn answered_with(bytes: &'static [u8]) -> String {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = server.accept().unwrap();
        let serving = std::thread::spawn(move || {
            let mut size = [0; 4];
            accepted.read_exact(&mut size).unwrap();
            let mut request = vec![0; u32::from_be_bytes(size) as usize];
            accepted.read_exact(&mut request).unwrap();
            accepted.write_all(bytes).unwrap();
        });
        let refused = Connection::open(client, "there:1", Duration::from_secs(20)).err().unwrap();
        serving.join().unwrap();
        refused
    }

    #[test]
    fn whatever_a_server_answers_is_told_and_never_trusted() {
        for (bytes, why) in [
            (&b""[..], "it closed the connection"),
            (b"HTTP/1.1 400 Bad Request\r\n", "bytes was announced"),
            (&[0xff; 4], "bytes was announced"),
            // 255 MiB announced, nothing sent.
            (&[0x0f, 0xf0, 0, 0], "it closed the connection"),
            (&[0, 0, 0, 2, 0, 0], "it answered something else"),
            (&[0, 0, 0, 4, 0, 0, 0, 9], "it answered something else"),
            (&[0, 0, 0, 4, 0, 0, 0, 1], "needs 2 bytes"),
            (&[0, 0, 0, 10, 0, 0, 0, 1, 0, 35, 0, 0, 0, 0], "as a Kafka broker does"),
        ] {
            let refused = answered_with(bytes);
            assert!(
                refused.starts_with("there:1 took the connection but did not answer as a Kafka broker does"),
                "{refused}"
            );
            assert!(refused.contains(why), "{bytes:?}: {refused}");
        }
    }
}

//! The client of the modes that need no client library: what is measured is the broker alone.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::Context;
use buslane_wire::frame::{decode_response_header, encode_request};
use buslane_wire::{Encoder, Request, decode};

/// A connection with one request in flight.
pub struct Connection {
    socket: TcpStream,
    request: Encoder,
    frame: Vec<u8>,
}

impl Connection {
    pub fn open(bootstrap: &str) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(bootstrap).with_context(|| format!("no broker at {bootstrap}"))?;
        socket.set_nodelay(true)?;
        Ok(Connection { socket, request: Encoder::new(), frame: Vec::new() })
    }

    /// Sends a request and waits for its response.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response<'_>> {
        self.request.clear();
        encode_request(&mut self.request, 0, Some("bench"), version, request)?;
        self.socket.write_all(self.request.buffer())?;
        let mut len = [0; 4];
        self.socket.read_exact(&mut len)?;
        self.frame.resize(u32::from_be_bytes(len) as usize, 0);
        self.socket.read_exact(&mut self.frame)?;
        let key = buslane_wire::ApiKey::ALL.iter().find(|key| **key as i16 == R::SCHEMA.key);
        let (_, body) = decode_response_header(&self.frame, *key.context("a known request")?, version)?;
        Ok(decode(body, version)?)
    }
}

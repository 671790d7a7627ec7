//! Page cache to socket: the least a log that serves what it stored has to do.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use crate::pin;

/// Of the file written; it fits into the page cache.
const FILE_BYTES: u64 = 256 << 20;

/// Bytes of a request for a chunk: about those of an incremental fetch.
const REQUEST_BYTES: usize = 64;

/// Bytes that the reader asks the socket for at once.
pub const READ_BYTES: usize = 256 << 10;

/// Writes the file that is sent where no other is given.
pub fn write(path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![0x5au8; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&block)?;
    }
    Ok(())
}

/// Sends `bytes` from the file, from its beginning again and again, and reports the sending thread's CPU. With `asked` each
/// chunk is sent on a request, as a fetch is: the next one is asked for when the chunk is there.
pub fn run(
    path: &Path,
    (serve_core, load_core): (usize, usize),
    bytes: u64,
    chunk: usize,
    asked: bool,
) -> anyhow::Result<serde_json::Value> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    anyhow::ensure!(file_bytes > 0, "{} is empty", path.display());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let load = std::thread::spawn(move || -> anyhow::Result<u64> {
        pin::to_core(load_core)?;
        let mut socket = TcpStream::connect(address)?;
        let mut buffer = vec![0u8; READ_BYTES];
        let mut got = 0u64;
        while asked && got < bytes {
            socket.write_all(&[0; REQUEST_BYTES])?;
            let mut left = (bytes - got).min(chunk as u64) as usize;
            got += left as u64;
            while left > 0 {
                let part = left.min(buffer.len());
                socket.read_exact(&mut buffer[..part])?;
                left -= part;
            }
        }
        loop {
            match socket.read(&mut buffer)? {
                0 => return Ok(got),
                n => got += n as u64,
            }
        }
    });
    pin::to_core(serve_core)?;
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let (started, cpu) = (Instant::now(), pin::thread_cpu_seconds());
    let mut moved = 0u64;
    while moved < bytes {
        if asked {
            socket.read_exact(&mut [0; REQUEST_BYTES])?;
        }
        let end = if asked { (moved + chunk as u64).min(bytes) } else { bytes };
        while moved < end {
            let mut position = moved % file_bytes;
            let want = (chunk as u64).min(file_bytes - position).min(end - moved) as usize;
            moved += rustix::fs::sendfile(&socket, &file, Some(&mut position), want)? as u64;
        }
    }
    let mode = if asked { "sendfile, asked" } else { "sendfile" };
    let result = pin::moved(mode, moved, started.elapsed().as_secs_f64(), pin::thread_cpu_seconds() - cpu);
    drop(socket);
    let got = load.join().expect("the loading thread does not panic")?;
    anyhow::ensure!(got == moved, "sent {moved} bytes, {got} arrived");
    Ok(result)
}

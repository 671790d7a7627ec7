//! Socket to page cache: the least a log that stores what it receives has to do.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use crate::pin;

/// Files are left at this size, as a log's segments are, so that page cache is allocated and freed as a log does.
const FILE_BYTES: u64 = 256 << 20;

/// Moves `bytes` and reports the receiving thread's CPU.
pub fn run(
    dir: &Path,
    serve_core: usize,
    load_core: usize,
    bytes: u64,
    chunk: usize,
) -> anyhow::Result<serde_json::Value> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let load = std::thread::spawn(move || -> anyhow::Result<()> {
        pin::to_core(load_core)?;
        let mut socket = TcpStream::connect(address)?;
        let data = vec![0x5au8; chunk];
        let mut left = bytes;
        while left > 0 {
            let n = left.min(chunk as u64) as usize;
            socket.write_all(&data[..n])?;
            left -= n as u64;
        }
        Ok(())
    });
    pin::to_core(serve_core)?;
    let (mut socket, _) = listener.accept()?;
    let path = dir.join("limits-copy.log");
    let mut file = File::create(&path)?;
    let mut buffer = vec![0u8; chunk];
    let (mut moved, mut in_file) = (0u64, 0u64);
    let (started, cpu) = (Instant::now(), pin::thread_cpu_seconds());
    while moved < bytes {
        let want = (bytes - moved).min(chunk as u64) as usize;
        socket.read_exact(&mut buffer[..want])?;
        file.write_all(&buffer[..want])?;
        moved += want as u64;
        in_file += want as u64;
        if in_file >= FILE_BYTES {
            std::fs::remove_file(&path)?;
            file = File::create(&path)?;
            in_file = 0;
        }
    }
    let result = pin::moved("copy", moved, started.elapsed().as_secs_f64(), pin::thread_cpu_seconds() - cpu);
    load.join().expect("the loading thread does not panic")?;
    std::fs::remove_file(&path)?;
    Ok(result)
}

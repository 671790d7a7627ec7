//! Responses with stretches of files.

use std::fs::File;
use std::io::{IoSliceMut, Write};

use crate::fixture::{Ask, Client, Obedient, framed, settings, soon, start};
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 7u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn file_of(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// An answer to [`Ask::File`]: the stretch, and the byte behind it.
async fn stretch(client: &mut Client) -> Vec<u8> {
    let (_, mut body) = soon(client.answer()).await.unwrap();
    assert_eq!(body.pop(), Some(0));
    body
}

#[tokio::test]
async fn stretches_of_a_file_arrive_as_they_are() {
    let bytes = pattern(5 << 20);
    let file = file_of(&bytes);
    let server = start(settings(), Obedient::with_file(file.path()));
    let mut client = server.connect().await;
    let end = bytes.len() as u64;
    for (position, len) in
        [(0, 1), (4_095, 2), (1, 524_288), (524_288, 524_289), (end - 1, 1), (0, end as u32), (7, 0)]
    {
        client.ask(1, &Ask::File(position, len)).await;
        let range = position as usize..position as usize + len as usize;
        assert!(stretch(&mut client).await == bytes[range], "{len} bytes from {position}");
    }
    soon(server.stop()).await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything_in_order() {
    let bytes = pattern(3 << 20);
    let file = file_of(&bytes);
    let server = start(settings(), Obedient::with_file(file.path()));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut client = Client { stream: socket.connect(server.address).await.unwrap() };
    for n in 0..6 {
        client.ask(n, &Ask::File(n.into(), 3_000_000 - n)).await;
        client.ask(100 + n, &Ask::Echo(vec![n as u8; 1_000])).await;
    }
    let mut received: Vec<u8> = vec![];
    let mut part = vec![0; 3_001];
    let expected: Vec<u8> = (0..6u32)
        .flat_map(|n| {
            let stretch = &bytes[n as usize..3_000_000];
            let file = framed(&[&n.to_be_bytes()[..], stretch, &[0]].concat());
            let echo = framed(&[&(100 + n).to_be_bytes()[..], &[n as u8; 1_000]].concat());
            [file, echo].concat()
        })
        .collect();
    while received.len() < expected.len() {
        let n = soon(client.stream.read(&mut part)).await.unwrap();
        assert_ne!(n, 0, "closed after {} bytes", received.len());
        received.extend(&part[..n]);
    }
    assert!(received == expected);
    soon(server.stop()).await;
}

#[tokio::test]
async fn bytes_that_are_not_in_memory_are_loaded_first() {
    let bytes = pattern(4 << 20);
    let file = file_of(&bytes);
    file.as_file().sync_all().unwrap();
    fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
    let was_cold = is_cold(file.as_file(), 3 << 20);
    let server = start(settings(), Obedient::with_file(file.path()));
    let mut client = server.connect().await;
    client.ask(1, &Ask::File(0, 4 << 20)).await;
    assert!(stretch(&mut client).await == bytes);
    let loaded = server.metric(r#"buslane_response_cold_chunks_total{listener="test"}"#).unwrap();
    // A file system in memory, or one that cannot tell, has nothing to load.
    assert_eq!(was_cold, loaded > 0.0, "{loaded} chunks were loaded");
    assert!(loaded <= 8.0);
    soon(server.stop()).await;
}

fn is_cold(file: &File, position: u64) -> bool {
    let mut byte = [0];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], position, ReadWriteFlags::NOWAIT);
    read == Err(rustix::io::Errno::AGAIN)
}

#[tokio::test]
async fn a_file_that_ends_short_costs_the_connection() {
    let bytes = pattern(100_000);
    let file = file_of(&bytes);
    let server = start(settings(), Obedient::with_file(file.path()));
    let mut client = server.connect().await;
    client.stream.write_all(&framed(&Ask::File(40_000, 60_001).body(1))).await.unwrap();
    let sent = soon(client.until_closed()).await;
    assert!(sent[8..] == bytes[40_000..], "what there was came before the end");
    soon(
        server.until_metric(r#"buslane_connections_closed_total{listener="test",reason="file_short"}"#, 1.0),
    )
    .await;
    soon(server.stop()).await;
}

use std::io::Write;
use std::path::Path;

use buslane_log::disk::Disk;
use buslane_log::fs::{Fs, OpenMode};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

/// A transport that is no socket, as TLS will be.
impl Transport for DuplexStream {}

fn open(path: &Path) -> Arc<dyn FsFile> {
    Disk.open(path, OpenMode::ReadWrite).unwrap()
}

fn response(body: &[Piece]) -> Response {
    let len: u64 = body.iter().map(Piece::len).sum();
    let size = Piece::Bytes(Bytes::copy_from_slice(&(len as u32).to_be_bytes()));
    Response::from_pieces([&[size], body].concat())
}

fn bytes(text: &'static [u8]) -> Piece {
    Piece::Bytes(Bytes::from_static(text))
}

async fn write_all(writer: &mut ResponseWriter, io: &mut DuplexStream) -> Result<(), WriteError> {
    std::future::poll_fn(|cx| writer.poll_write(cx, io)).await
}

#[tokio::test]
async fn without_a_plain_socket_files_go_through_memory() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..700_000u32).map(|n| (n % 239) as u8).collect();
    file.write_all(&content).unwrap();
    let budget = Budget::new(1 << 30, 1 << 20);
    let mut writer = ResponseWriter::new(budget.clone(), Arc::default());
    writer.push(response(&[
        bytes(b"head"),
        Piece::File { file: open(file.path()), position: 5, len: 600_000 },
        bytes(b"tail"),
    ]));
    writer.push(response(&[bytes(b"next")]));
    let (mut io, mut client) = duplex(10_000);
    let reads = async move {
        let mut read = vec![0; 4 + 600_008 + 8];
        client.read_exact(&mut read).await.unwrap();
        (read, client)
    };
    let (written, (read, _client)) = tokio::join!(write_all(&mut writer, &mut io), reads);
    written.unwrap();
    let expected =
        [&600_008u32.to_be_bytes(), &b"head"[..], &content[5..600_005], b"tail\0\0\0\x04next"].concat();
    assert!(read == expected);
    assert_eq!((writer.written(), writer.memory()), (expected.len() as u64, 0));
    assert!(writer.is_empty());
    assert_eq!(budget.usage().used, 0);
}

#[tokio::test]
async fn a_file_that_ends_short_is_said_with_both_numbers() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 1_000]).unwrap();
    let mut writer = ResponseWriter::new(Budget::new(1 << 20, 1 << 10), Arc::default());
    writer.push(response(&[Piece::File { file: open(file.path()), position: 100, len: 901 }]));
    let (mut io, _client) = duplex(10_000);
    let error = write_all(&mut writer, &mut io).await.unwrap_err();
    assert!(matches!(error, WriteError::FileShort { at: 100, missing: 901 }), "{error}");
}

#[tokio::test]
async fn bytes_reserved_beforehand_are_not_charged_twice() {
    let budget = Budget::new(1 << 20, 1 << 10);
    let mut writer = ResponseWriter::new(budget.clone(), Arc::default());
    let body: &'static [u8] = &[1; 996];
    writer.push(response(&[bytes(body)]).reserved(budget.try_reserve(5_000).unwrap()));
    assert_eq!(budget.usage().used, 1_000, "what was too much is given back");
    writer.push(response(&[bytes(body)]).reserved(budget.try_reserve(300).unwrap()));
    assert_eq!(budget.usage().used, 2_000, "what was too little is charged");
    writer.push(response(&[bytes(body)]));
    assert_eq!((budget.usage().used, writer.memory()), (3_000, 3_000));
    let (mut io, client) = duplex(2_500);
    let first = std::future::poll_fn(|cx| Poll::Ready(writer.poll_write(cx, &mut io))).await;
    assert!(first.is_pending());
    assert_eq!((budget.usage().used, writer.memory()), (1_000, 500), "whole responses are given back");
    drop(client);
    assert!(matches!(write_all(&mut writer, &mut io).await, Err(WriteError::Io(_))));
    drop(writer);
    assert_eq!(budget.usage().used, 0);
}

#[tokio::test]
async fn many_small_responses_leave_in_order() {
    let mut writer = ResponseWriter::new(Budget::new(1 << 20, 1 << 10), Arc::default());
    let mut expected = vec![];
    for n in 0..200u8 {
        let body = vec![n; usize::from(n) % 7 + 1];
        expected.extend((body.len() as u32).to_be_bytes());
        expected.extend(&body);
        writer.push(response(&[Piece::Bytes(body.into()), bytes(b"")]));
    }
    let (mut io, mut client) = duplex(33);
    let mut read = vec![0; expected.len()];
    let (written, _) = tokio::join!(write_all(&mut writer, &mut io), client.read_exact(&mut read));
    written.unwrap();
    assert!(read == expected);
}

//! Servers that are no brokers, or behave as none should: always an error that says what it was, never a wait for ever.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use buslane_client::{Acks, Append, Client, Config, Error, Purpose};
use buslane_wire::Encoder;
use buslane_wire::frame;
use buslane_wire::messages::api_versions::ApiVersion;
use buslane_wire::messages::{ApiVersionsResponse, MetadataRequest};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn request(stream: &mut TcpStream) -> Option<(i16, i32)> {
    let size = stream.read_u32().await.ok()?;
    let mut frame = vec![0; size as usize];
    stream.read_exact(&mut frame).await.ok()?;
    let (header, _) = frame::RequestHeader::decode(&frame).unwrap();
    Some((header.api_key, header.correlation_id))
}

/// A server that says which versions it serves and then does `then` with the next request's correlation id.
async fn server<F, D>(then: F) -> Client
where
    F: Fn(TcpStream, i32) -> D + Send + Sync + 'static,
    D: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let then = Arc::new(then);
    let serve = move |mut stream: TcpStream| {
        let then = then.clone();
        async move {
            let Some((_, id)) = request(&mut stream).await else { return };
            let key = |api_key| ApiVersion { api_key, min_version: 0, max_version: 12 };
            let response = ApiVersionsResponse { api_keys: vec![key(0), key(3)], ..Default::default() };
            let mut encoder = Encoder::new();
            frame::encode_response(&mut encoder, id, 3, &response).unwrap();
            stream.write_all(encoder.buffer()).await.unwrap();
            if let Some((_, id)) = request(&mut stream).await {
                then(stream, id).await;
            }
        }
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let mut config = Config::new(vec![address.to_string().parse().unwrap()], "test");
    config.request_timeout = Duration::from_millis(300);
    config.connect_timeout = Duration::from_millis(300);
    Client::new(config).unwrap()
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_late_and_ends_the_connection() {
    let client = server(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    })
    .await;
    let error = client.refresh(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Late { request: "Metadata", .. }), "{error}");
    assert!(error.is_in_doubt() && error.is_retriable());
    let connection = client.any().await.unwrap();
    let batch = Append { topic: "t".to_owned(), partition: 0, batch: Bytes::from_static(b"?") };
    let sent =
        client.send_batches(&connection, Acks::All, Duration::ZERO, std::slice::from_ref(&batch)).unwrap();
    let behind = client.send_batches(&connection, Acks::All, Duration::ZERO, &[batch]).unwrap();
    let late = sent.answer(Duration::from_millis(100)).await.unwrap_err();
    assert!(late.is_in_doubt());
    let lost = behind.answer(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(&lost, Error::Lost { sent: true, .. }), "{lost}");
    assert!(!connection.is_usable());
    let unsent = connection.send(0..=12, &MetadataRequest::default());
    let unsent = match unsent {
        Err(error) => error,
        Ok(pending) => pending.answer(Duration::from_secs(5)).await.unwrap_err(),
    };
    assert!(matches!(&unsent, Error::Lost { sent: false, .. }), "{unsent}");
    assert!(!unsent.is_in_doubt());
}

#[tokio::test]
async fn what_is_no_answer_is_said() {
    for (bytes, expected) in [
        (&b""[..], "it closed the connection"),
        (b"\0\0\0\x02ab", "an answer of 2 bytes"),
        (b"\0\0\0\x04\0\0\x30\x39", "it answered request 12345 when 1 was due"),
        (b"\x7f\xff\xff\xff", "2147483647"),
        (b"\xff\xff\xff\xff", "-1 bytes"),
    ] {
        let client = server(move |mut stream, _| async move {
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        })
        .await;
        let error = client.refresh(&[]).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(error, Error::Lost { sent: true, .. }));
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_said_and_the_connection_stays() {
    let client = server(|mut stream, id| async move {
        let mut answer = b"\0\0\0\x08".to_vec();
        answer.extend(id.to_be_bytes());
        answer.extend(b"\0\xff\xff\xff");
        stream.write_all(&answer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let error = client.refresh(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Malformed { request: "Metadata", .. }), "{error}");
    assert!(client.any().await.unwrap().is_usable());
}

#[tokio::test]
async fn what_is_no_broker_is_said() {
    for (bytes, expected) in [
        (&b""[..], "perhaps it wants TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "1213486160"),
        (b"\0\0\0\x08\0\0\0\0\0\0\xff\xff", "it is no Kafka broker"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await;
            stream.write_all(bytes).await.unwrap();
        });
        let client = Client::new(Config::new(vec![address.to_string().parse().unwrap()], "test")).unwrap();
        let error = client.refresh(&[]).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn who_asked_before_a_failure_gets_it_and_the_next_try_waits() {
    let mut config = Config::new(vec!["127.0.0.1:1".parse().unwrap()], "test");
    config.reconnect_backoff = (Duration::from_millis(100), Duration::from_millis(200));
    let client = Client::new(config).unwrap();
    let begun = tokio::time::Instant::now();
    let address = client.config().bootstrap[0].clone();
    let tries: Vec<_> = (0..100)
        .map(|_| {
            let (client, address) = (client.clone(), address.clone());
            tokio::spawn(async move { client.connect(&address, Purpose::Fetch).await.unwrap_err() })
        })
        .collect();
    for tried in tries {
        assert!(matches!(tried.await.unwrap(), Error::Unreachable { .. }));
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "they failed together");
    for least_ms in [100, 200, 200] {
        let begun = tokio::time::Instant::now();
        client.connect(&address, Purpose::Fetch).await.unwrap_err();
        assert!(begun.elapsed() + Duration::from_millis(20) >= Duration::from_millis(least_ms));
    }
}

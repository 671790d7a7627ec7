//! The client with Buslane.

use std::time::Duration;

use crate::support::{Bus, TIMEOUT, append, batch, create, everything};
use buslane_client::{Acks, Address, At, Client, Config, Error, Purpose};

#[tokio::test(flavor = "multi_thread")]
async fn everything_a_client_is_for() {
    let bus = Bus::start().await;
    everything(bus.config()).await;
    bus.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_by_itself_when_the_broker_is_back() {
    let bus = Bus::start().await;
    let client = Client::new(bus.config()).unwrap();
    create(&client, "t", 1).await;
    let node = client.leader("t", 0).await.unwrap();
    let one = [append("t", 0, &batch(&[b"x"], 1, None))];
    client.produce(node, Acks::All, TIMEOUT, &one).await.unwrap();
    let connection = client.node(node, Purpose::Produce).await.unwrap();
    let (folder, port) = bus.stop().await;
    let error = loop {
        // The end of the connection is noticed a moment later.
        if let Err(error) = client.produce(node, Acks::All, Duration::from_secs(1), &one).await {
            break error;
        }
    };
    assert!(error.is_retriable(), "{error}");
    assert!(!connection.is_usable());
    let gone = client.produce(node, Acks::All, TIMEOUT, &one).await.unwrap_err();
    assert!(matches!(&gone, Error::Unreachable { reason, .. } if reason == "Connection refused"), "{gone}");
    assert!(!gone.is_in_doubt());
    let bus = Bus::start_in(folder, port).await;
    let end = tokio::time::Instant::now() + TIMEOUT;
    while client.produce(node, Acks::All, TIMEOUT, &one).await.is_err() {
        assert!(tokio::time::Instant::now() < end, "it goes on");
    }
    assert!(client.offset("t", 0, At::Latest).await.unwrap() >= Some(2));
    bus.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_that_answers_is_enough() {
    let bus = Bus::start().await;
    let nobody: Address = "127.0.0.1:1".parse().unwrap();
    let bootstrap = vec![nobody.clone(), bus.address.clone()];
    let client = Client::new(Config::new(bootstrap, "test")).unwrap();
    assert_eq!(client.refresh(&[]).await.unwrap().nodes.len(), 1);
    bus.stop().await;
    let alone = Client::new(Config::new(vec![nobody.clone()], "test")).unwrap();
    let error = alone.refresh(&[]).await.unwrap_err().to_string();
    assert_eq!(error, "127.0.0.1:1 cannot be reached: Connection refused");
    let two = Client::new(Config::new(vec![nobody, "127.0.0.1:2".parse().unwrap()], "test")).unwrap();
    let error = two.refresh(&[]).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1 cannot") && error.contains("127.0.0.1:2 cannot"), "{error}");
}

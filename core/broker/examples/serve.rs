//! A broker in a few lines: `cargo run -p buslane-broker --example serve -- DATA_FOLDER PORT`.

use buslane_broker::{ServerConfig, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let mut config = ServerConfig::default();
    config.server.data = args.next().unwrap_or_else(|| "./buslane-data".to_owned()).into();
    config.server.listen.set_port(args.next().map_or(Ok(9092), |p| p.parse())?);
    config.http.enabled = false;
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    run(config, |started| println!("serving on {}", started.kafka), stop).await
}

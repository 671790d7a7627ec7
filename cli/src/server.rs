//! `buslane server`: flags into a configuration, signals into a shutdown. Everything else is `buslane-broker`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use buslane_broker::config::{Override, reference};
use buslane_broker::{ServerConfig, Started, run as run_broker};
use clap::Args;
use serde_json::json;

use crate::exit::{Failure, Outcome};
use crate::interrupt::Signals;
use crate::output;

/// Run a broker
///
/// Needs no file: without any flag it listens on 127.0.0.1:9092 and keeps its data in ./buslane-data. Flags win over the
/// file. Ctrl-C or SIGTERM stops it in order; a second one stops it at once, which loses nothing that was acknowledged but
/// makes the next start recover.
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane server
  buslane server --data /var/lib/buslane --listen 127.0.0.1:19092
  buslane server --config buslane.toml --log-format json
  buslane server --default-config > buslane.toml")]
pub struct ServerArgs {
    /// Configuration file (TOML); --default-config prints one with every key explained
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of all data [default: ./buslane-data]
    #[arg(short, long, value_name = "DIR")]
    data: Option<String>,
    /// Address for Kafka clients; port 0 takes a free one [default: 127.0.0.1:9092]
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where clients are told to connect, when that is not the address listened on
    #[arg(short, long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Address of /metrics, /healthz and /readyz, or `off` [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// Say as a line of JSON where the server listens
    #[arg(long)]
    json: bool,
    /// Print a configuration file with every key at its default, and exit
    #[arg(long)]
    default_config: bool,
}

impl ServerArgs {
    fn overrides(&self) -> Vec<Override> {
        let given = |option: &str, key, value: &Option<String>| {
            value.clone().map(|value| Override { option: option.to_owned(), key, value })
        };
        let http = match self.http.as_deref() {
            Some("off") => given("--http", "http.enabled", &Some("false".to_owned())),
            _ => given("--http", "http.listen", &self.http),
        };
        [
            given("--data", "server.data", &self.data),
            given("--listen", "server.listen", &self.listen),
            given("--advertise", "server.advertise", &self.advertise),
            http,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

pub fn run(args: &ServerArgs) -> Outcome {
    if args.default_config {
        let mut out = output::stdout();
        out.write_all(reference().as_bytes())?;
        return Ok(out.flush()?);
    }
    let config = ServerConfig::load(args.config.as_deref(), &args.overrides())
        .map_err(|errors| Failure::usage(format!("the configuration is wrong:\n{errors}")))?;
    buslane_broker::net::raise_open_files_limit();
    // Before there are threads, each of which would take a heap of its own.
    buslane_broker::set_up_allocator();
    let data = config.server.data.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let started = |started: &Started| announce(args.json, started, &data);
    runtime.block_on(async {
        // Before anybody hears that the server is there.
        let signals = Signals::listen().context("cannot listen for Ctrl-C")?;
        run_broker(config, started, signals.shutdown()).await
    })?;
    tracing::info!("stopped");
    Ok(())
}

/// One line on stdout, for whoever waits until the server is there: a person, or a script that asked for port 0.
fn announce(json: bool, started: &Started, data: &std::path::Path) {
    let Started { kafka, http, cluster_id, node_id } = started;
    let line = if json {
        json!({"kafka": kafka, "http": http, "cluster_id": cluster_id, "node_id": node_id}).to_string()
    } else {
        let http =
            http.map(|http| format!("metrics and health on http://{http}/metrics, ")).unwrap_or_default();
        format!("Kafka on {kafka}, {http}data in {}. Ctrl-C stops it.", data.display())
    };
    // Nobody may be reading; the server runs all the same.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

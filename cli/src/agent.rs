//! `buslane agent`: signals into a shutdown. Everything else is `buslane-agent`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use buslane_agent::run::{RunError, Started};
use buslane_agent::settings::AgentConfig;
use clap::Args;
use serde_json::json;

use crate::exit::{Failure, Outcome};
use crate::interrupt::Signals;

/// Run the Databus agent: services of this host send events to it, it brings them to their topics
///
/// Takes events over HTTP (127.0.0.1:8970 by default, and a Unix socket), keeps them in a spool on disk while the cluster is
/// away, and writes them in batches, neither lost nor doubled. A changed configuration file is applied within a second; a
/// wrong one is refused, and the one before stays. Works with Buslane and with Apache Kafka.
#[derive(Args)]
#[command(after_help = "\
A configuration is at least:

  [clusters.main]
  bootstrap = [\"127.0.0.1:9092\"]

  [channels.orders]

Then:
  curl -d '{\"order\":1}' http://127.0.0.1:8970/v1/channels/orders/events

Examples:
  buslane agent --config agent.toml
  buslane agent --config agent.toml --check")]
pub struct AgentArgs {
    /// Configuration file (TOML): [agent], [clusters.NAME], [channels.NAME]
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration, say what is wrong with it, and exit
    #[arg(long)]
    check: bool,
    /// Say as a line of JSON where the agent listens
    #[arg(long)]
    json: bool,
}

pub fn run(args: &AgentArgs) -> Outcome {
    if args.check {
        let checked = AgentConfig::load(&args.config)
            .map_err(|mistakes| Failure::usage(RunError::Configuration(mistakes).to_string()))?;
        let (clusters, channels) = (checked.clusters.len(), checked.channels.len());
        println!("{}: {clusters} clusters, {channels} channels, no mistakes", args.config.display());
        return Ok(());
    }
    // Before there are threads, each of which would take a heap of its own.
    buslane_broker::set_up_allocator();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        // Before anybody hears that the agent is there.
        let signals = Signals::listen().context("cannot listen for Ctrl-C")?;
        let started = |started: &Started| announce(args.json, started);
        Ok::<_, anyhow::Error>(buslane_agent::run::run(&args.config, started, signals.shutdown()).await)
    })?;
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            Ok(())
        }
        Err(error @ RunError::Configuration(_)) => Err(Failure::usage(error.to_string())),
        Err(error) => Err(anyhow::Error::new(error).into()),
    }
}

/// One line on stdout, for whoever waits until the agent is there.
fn announce(json: bool, started: &Started) {
    let Started { listen, socket, id } = started;
    let line = if json {
        json!({"http": listen, "socket": socket, "agent": id}).to_string()
    } else {
        let socket = socket.as_ref().map(|path| format!(" and {}", path.display())).unwrap_or_default();
        format!("Agent {} on http://{listen}{socket}. Ctrl-C stops it.", &id[..8])
    };
    // Nobody may be reading; the agent runs all the same.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

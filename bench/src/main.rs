//! `buslane-limits`: what this machine can do at best at the broker's three basic moves, so that the broker's cost can be
//! told as a ratio from the same run. Each mode runs its serving side on one core and its loading side on another, and
//! prints one JSON object: bytes, wall seconds, the serving thread's CPU seconds, CPU milliseconds per MB (10^6 bytes).

mod client;
mod copy;
mod fetch;
mod first;
mod fsync;
mod groups;
mod pin;
mod post;
mod sendfile;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures the machine's limits beside which the broker is judged.
#[derive(Parser)]
struct Args {
    /// Core of the serving side.
    #[arg(long, default_value_t = 0, global = true)]
    serve_core: usize,
    /// Core of the loading side.
    #[arg(long, default_value_t = 1, global = true)]
    load_core: usize,
    /// Folder for the files written; on the disk that the broker would use.
    #[arg(long, default_value = ".", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Bytes from a loopback socket appended to files in the page cache.
    Copy {
        /// Bytes to move.
        #[arg(long, default_value_t = 2 << 30)]
        bytes: u64,
        /// Bytes of one read and write.
        #[arg(long, default_value_t = 64 << 10)]
        chunk: usize,
    },
    /// A file in the page cache to a loopback socket by sendfile(2).
    Sendfile {
        /// Bytes to move.
        #[arg(long, default_value_t = 4 << 30)]
        bytes: u64,
        /// Bytes of one sendfile call.
        #[arg(long, default_value_t = 1 << 20)]
        chunk: usize,
        /// Send each chunk on a request, as a fetch is answered.
        #[arg(long)]
        asked: bool,
        /// The file to send over and over, such as a broker's segment; without it one of 256 MiB is written.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// No limit: a topic's partition 0 read from a broker by the very reader of `sendfile --asked`.
    Fetch {
        /// Where the broker listens.
        #[arg(long)]
        bootstrap: String,
        /// What to read.
        #[arg(long)]
        topic: String,
        /// Bytes to read.
        #[arg(long, default_value_t = 4 << 30)]
        bytes: u64,
        /// Most bytes of one fetch.
        #[arg(long, default_value_t = 1 << 20)]
        chunk: usize,
    },
    /// No limit: when a broker that is being started acknowledges its first record, in seconds of CLOCK_MONOTONIC.
    First {
        /// Where the broker will listen.
        #[arg(long)]
        bootstrap: String,
        /// A topic that is not there yet; the broker has to create it when it is asked for.
        #[arg(long)]
        topic: String,
    },
    /// No limit: members of consumer groups that join at once, and one of each that is killed then.
    Groups {
        /// Where the broker listens.
        #[arg(long)]
        bootstrap: String,
        /// What they consume.
        #[arg(long)]
        topic: String,
        /// How many partitions it has.
        #[arg(long)]
        partitions: usize,
        /// How many groups.
        #[arg(long, default_value_t = 100)]
        groups: usize,
        /// Members of each group.
        #[arg(long, default_value_t = 10)]
        members: usize,
        /// By the consumer protocol (KIP-848) instead of the classic one.
        #[arg(long)]
        consumer_protocol: bool,
        /// Kill one member of each group once all have settled.
        #[arg(long)]
        kill: bool,
        /// Session timeout of classic members, in milliseconds.
        #[arg(long, default_value_t = 45_000)]
        session_timeout_ms: i32,
    },
    /// No limit: events that services send to an agent over HTTP.
    Post {
        /// Where the agent listens.
        #[arg(long)]
        agent: String,
        /// Method and path.
        #[arg(long)]
        to: String,
        /// Connections, each with one request under way.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Events of a request; more than one as NDJSON, none for a request without a body.
        #[arg(long, default_value_t = 1)]
        events: usize,
        /// Bytes of an event.
        #[arg(long, default_value_t = 1024)]
        size: usize,
        /// Requests a second in all; 0: as many as are answered.
        #[arg(long, default_value_t = 0)]
        rate: u64,
        /// How long, in seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Appends of many closed-loop writers, answered after one fdatasync for all that wait.
    Fsync {
        /// Writers, each with one append in flight.
        #[arg(long, default_value_t = 64)]
        writers: usize,
        /// Bytes of one append.
        #[arg(long, default_value_t = 1024)]
        size: usize,
        /// How long, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let result = match args.mode {
        Mode::Copy { bytes, chunk } => copy::run(&args.dir, args.serve_core, args.load_core, bytes, chunk)?,
        Mode::Sendfile { bytes, chunk, asked, file } => {
            let own = args.dir.join("limits-sendfile.log");
            if file.is_none() {
                sendfile::write(&own)?;
            }
            let cores = (args.serve_core, args.load_core);
            let result = sendfile::run(file.as_ref().unwrap_or(&own), cores, bytes, chunk, asked)?;
            if file.is_none() {
                std::fs::remove_file(&own)?;
            }
            result
        }
        Mode::Fetch { bootstrap, topic, bytes, chunk } => {
            fetch::run(&bootstrap, args.load_core, &topic, bytes, chunk)?
        }
        Mode::First { bootstrap, topic } => first::run(&bootstrap, &topic)?,
        Mode::Groups {
            bootstrap,
            topic,
            partitions,
            groups,
            members,
            consumer_protocol,
            kill,
            session_timeout_ms,
        } => groups::run(&groups::Load {
            bootstrap,
            load_core: args.load_core,
            topic,
            partitions,
            groups,
            members,
            consumer_protocol,
            kill,
            session_timeout_ms,
        })?,
        Mode::Post { agent, to, connections, events, size, rate, seconds } => {
            let load_core = args.load_core;
            post::run(&post::Load { agent, load_core, to, connections, events, size, rate, seconds })?
        }
        Mode::Fsync { writers, size, seconds } => fsync::run(&args.dir, writers, size, seconds)?,
    };
    println!("{result}");
    Ok(())
}

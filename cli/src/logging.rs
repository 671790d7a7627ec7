//! Structured logs on stderr: text for people, JSON lines for machines.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Flags that every verb takes.
#[derive(Args, Clone, Debug)]
pub struct LoggingArgs {
    /// Form of the log lines on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "BUSLANE_LOG_FORMAT",
        value_name = "FORM"
    )]
    #[arg(help_heading = "Logging")]
    log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace) or filters such as `info,buslane_broker=debug`.
    /// Without it RUST_LOG decides, and without that `info,openraft=warn` for the server and `warn` for everything
    /// else
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logging", value_parser = parse_filter)]
    log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// Starts logging. `default_level` is what the verb logs when nobody says otherwise.
pub fn start(args: &LoggingArgs, default_level: &str) {
    let filter = match &args.log_level {
        Some(level) => EnvFilter::new(level),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

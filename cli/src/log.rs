//! `buslane log`: a data folder looked at without a server. Reading and repairing are `buslane-log`; here are the names of
//! topics, which only the metadata knows, and the printing.

mod dump;
mod folder;
mod verify;

use clap::Subcommand;

use crate::exit::Outcome;

/// Check and show the files of a data folder, without a server
#[derive(Subcommand)]
pub enum LogVerb {
    Verify(verify::VerifyArgs),
    Dump(dump::DumpArgs),
}

pub fn run(verb: LogVerb) -> Outcome {
    match verb {
        LogVerb::Verify(args) => verify::run(&args),
        LogVerb::Dump(args) => dump::run(&args),
    }
}

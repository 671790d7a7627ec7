//! Exit codes, and the error that carries one to `main`.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Shown by `buslane --help`; [`Status`] is the same table.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed: some or all of it was not done
  2    the command line or the configuration is wrong
  3    no broker could be reached
  4    what was named does not exist, or exists already
  5    files are damaged (buslane log)
  130  interrupted before it was done

Data goes to stdout; logs, progress and errors go to stderr.";

/// Why the program ends other than well. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Whoever read our output has gone (`| head`): nothing went wrong and nothing is left to say.
    OutputClosed,
    Failed,
    Usage,
    Unreachable,
    Existence,
    Damaged,
    Interrupted,
}

impl Status {
    fn code(self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Existence => 4,
            Self::Damaged => 5,
            Self::Interrupted => 130,
        }
    }
}

/// An error on its way to the user, with the exit code it means.
#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub error: anyhow::Error,
}

/// What every verb returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    pub fn new(status: Status, message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self { status, error: anyhow::Error::msg(message) }
    }

    pub fn failed(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(Status::Failed, message)
    }

    pub fn usage(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(Status::Usage, message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { status: Status::Failed, error }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::BrokenPipe => Status::OutputClosed,
            _ => Status::Failed,
        };
        Self { status, error: error.into() }
    }
}

/// Prints the failure, if there is one to print, and turns it into the exit code.
pub fn report(outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if failure.status != Status::OutputClosed {
        eprintln!("buslane: {:#}", failure.error);
    }
    ExitCode::from(failure.status.code())
}

/// A command line that clap refused, or `--help` and `--version`, which it reports the same way.
pub fn report_usage(error: &clap::Error) -> ExitCode {
    // A closed pipe (`buslane --help | head -1`) leaves nobody to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(Status::Usage.code()) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        for status in [
            Status::Failed,
            Status::Usage,
            Status::Unreachable,
            Status::Existence,
            Status::Damaged,
            Status::Interrupted,
        ] {
            let line = format!("\n  {:<5}", status.code());
            assert!(HELP.contains(&line), "{status:?} is missing from the help");
        }
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.status.code(), 0);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).status, Status::Failed);
    }
}

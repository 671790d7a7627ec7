//! `buslane completion`: the script that teaches a shell our words.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::exit::Outcome;
use crate::output;

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  buslane completion bash > ~/.local/share/bash-completion/completions/buslane
  buslane completion zsh > ~/.zfunc/_buslane
  buslane completion fish > ~/.config/fish/completions/buslane.fish")]
pub struct CompletionArgs {
    /// Which shell
    shell: Shell,
}

pub fn run(args: &CompletionArgs) -> Outcome {
    // Into memory first: the generator panics when its writer fails, and a closed pipe is not worth a panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "buslane", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(())
}

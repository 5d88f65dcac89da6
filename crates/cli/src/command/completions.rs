//! `completions`: a shell's completion script, made from the definition of the arguments.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::run::Status;

const EXAMPLES: &str = "\
Examples:
  backstay completions bash > /etc/bash_completion.d/backstay
  backstay completions zsh > \"${fpath[1]}/_backstay\"
  backstay completions fish > ~/.config/fish/completions/backstay.fish";

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &Output) -> Result<Status> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "backstay", &mut script);
        let script =
            String::from_utf8(script).map_err(|_| Failure::new("internal", "the completion script is not text"))?;
        output.data(&script)?;
        Ok(0)
    }
}

//! `man`: manual pages, made from the definition of the arguments.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man as Page;

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::run::Status;

const EXAMPLES: &str = "\
Examples:
  backstay man | man -l -
  backstay man /usr/local/share/man/man1";

/// Print the manual page, or write one page for each verb into a directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// Where to write backstay.1, backstay-backup.1 and so on
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, output: &Output) -> Result<Status> {
        let mut command = with_all_options(Cli::command());
        command.build();
        match &self.directory {
            None => output.data(&page(&command)?)?,
            Some(directory) => {
                std::fs::create_dir_all(directory)
                    .map_err(|error| Failure::io("creating the directory", directory, &error))?;
                write_pages(&command, directory)?;
            }
        }
        Ok(0)
    }
}

/// A page is read at leisure, and has what `-h` leaves out. Its maker takes an option that is left out of the short help for one without a description.
fn with_all_options(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_short_help(false)).mut_subcommands(with_all_options)
}

fn write_pages(command: &Command, directory: &Path) -> Result<()> {
    let path = directory.join(format!("{}.1", name(command)));
    std::fs::write(&path, page(command)?).map_err(|error| Failure::io("writing", &path, &error))?;
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        write_pages(command, directory)?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<String> {
    let mut page = Vec::new();
    let title = name(command);
    Page::new(command.clone().name(title.clone()))
        .title(title)
        .manual("Backstay")
        .render(&mut page)
        .map_err(|error| Failure::new("internal", "a manual page could not be made").because(error.to_string()))?;
    String::from_utf8(page).map_err(|_| Failure::new("internal", "a manual page is not text"))
}

/// `backstay-key-generate`, as manual pages are called.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

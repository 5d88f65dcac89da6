//! The `backstay` command. What it does is in [`run`]; here it only becomes an exit status.

mod args;
mod command;
mod config;
mod failure;
mod keys;
mod output;
mod run;
mod session;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let environment: Vec<_> = std::env::vars_os().collect();
    run::run(&arguments, &environment)
}

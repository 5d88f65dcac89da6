//! From arguments to an exit status: parse, configure, run the verb, report.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use backstay::Context;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Verb};
use crate::config::{Settings, Table};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::session::Session;
use crate::signals;

/// Threads that wait for the store and for commands. Computing has its own, see `--cores`.
const WAITING_THREADS: usize = 2;

/// How a verb ended that did not fail: verify may have found something, all the same.
pub(crate) type Status = u8;

/// Done, and something should be done about it.
pub(crate) const DEGRADED: Status = 3;

/// Runs the program.
pub(crate) fn run(arguments: &[OsString], environment: &[(OsString, OsString)]) -> ExitCode {
    let json = arguments.iter().take_while(|word| *word != "--").any(|word| word == "--json")
        || environment.iter().any(|(name, value)| {
            name == "BACKSTAY_JSON" && matches!(value.to_str(), Some("1" | "true" | "yes" | "on"))
        });
    let (cli, settings) = match parse(arguments, environment) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return ExitCode::SUCCESS,
        Err(failure) => {
            Output::early(json).failure(&failure);
            return ExitCode::from(failure.exit());
        }
    };
    let output = Output::new(&cli.global);
    for warning in &settings.warnings {
        output.warning(None, warning);
    }
    match dispatch(cli, settings, &output) {
        Ok(status) => {
            output.end();
            ExitCode::from(status)
        }
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit())
        }
    }
}

/// The command line with everything that the environment and files add; `None` when it only asked for help.
fn parse(arguments: &[OsString], environment: &[(OsString, OsString)]) -> Result<Option<(Cli, Settings)>> {
    let command = Cli::command();
    let table = Table::of(&command);
    let matches = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return usage(&error).map(|()| None),
    };
    let settings = Settings::resolve(&table, &command, &matches, environment)?;
    let filled =
        settings.fill(command).try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    match filled {
        Ok(cli) => Ok(Some((cli, settings))),
        Err(error) => usage(&error).map(|()| None),
    }
}

/// What other programs call our verbs, where it is not like them.
const OF_OTHERS: [(&str, &str); 6] =
    [("delete", "rm"), ("del", "rm"), ("remove", "rm"), ("erase", "rm"), ("forget", "prune"), ("expire", "prune")];
/// How much a name must be like what was given, to be what was meant. What clap takes for similar shares some letters.
const LIKENESS: f64 = 0.85;

/// The verb or option that does not exist.
fn given(error: &clap::Error) -> Option<&str> {
    [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(given) => Some(given.as_str()),
        _ => None,
    })
}

/// Whether what is proposed in its place has little to do with it: no proposal is better then.
fn is_wild(error: &clap::Error) -> bool {
    let proposed: Vec<&str> = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg]
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .flat_map(|value| match value {
            ContextValue::String(one) => vec![one.as_str()],
            ContextValue::Strings(several) => several.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        })
        .collect();
    let bare = |name: &str| name.trim_start_matches('-').to_owned();
    given(error).is_some_and(|given| {
        let is_like = |name: &&str| strsim::jaro_winkler(&bare(given), &bare(name)) >= LIKENESS;
        !proposed.is_empty() && !proposed.iter().any(is_like)
    })
}

/// Help and version are printed; everything else is a failure in clap's words.
fn usage(error: &clap::Error) -> Result<()> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.print().map_err(|error| Failure::stdout(&error)),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(Failure::usage("a verb is missing")
            .with_hint("`backstay help` lists the verbs; `backstay help backup` explains one")),
        _ => {
            let text = error.render().to_string();
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let message = lines.next().unwrap_or_default();
            let message = message.strip_prefix("error: ").unwrap_or(message);
            let mut failure = Failure::usage(message.trim_end_matches(':'));
            if let Some((_, verb)) = given(error).and_then(|given| OF_OTHERS.iter().find(|(other, _)| *other == given))
            {
                failure = failure.with_hint(format!("the verb for that is `{verb}`: see `backstay help {verb}`"));
            }
            for line in lines {
                match line.strip_prefix("tip: ") {
                    Some(_) if is_wild(error) => {}
                    // After `--` it would be a command to run.
                    Some(tip) if tip.contains("use '-- -") => {
                        failure = failure.with_hint("a value that begins with a hyphen is given as --option=VALUE");
                    }
                    Some(tip) => failure = failure.with_hint(tip),
                    None if line.starts_with("For more information") => {}
                    // It shows what was proposed.
                    None if line.starts_with("Usage: ") && is_wild(error) => {}
                    None => {
                        failure = failure.because(
                            line.strip_prefix("Usage: ").map_or(line.to_owned(), |usage| format!("usage: {usage}")),
                        );
                    }
                }
            }
            Err(failure)
        }
    }
}

/// Files that a run opens beside its objects: what threads wait on, signals, the producer's pipes.
const DESCRIPTORS: usize = 16;

/// Looks whether as many files can be opened as every run needs. Below that the runtime does not start, and says so in a panic; above it,
/// one that is lacking is the failure of what it was for.
fn enough_descriptors() -> Result<()> {
    let opened: std::io::Result<Vec<_>> = (0..DESCRIPTORS).map(|_| std::fs::File::open("/dev/null")).collect();
    match opened {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            let failure = Failure::new("io.failed", format!("{DESCRIPTORS} more files cannot be opened"));
            Err(failure.because(error.to_string()).with_hint("raise the limit of open files: `ulimit -n 1024`"))
        }
        _ => Ok(()),
    }
}

fn dispatch(cli: Cli, settings: Settings, output: &Arc<Output>) -> Result<Status> {
    let Cli { global, verb } = cli;
    // These need no store.
    match &verb {
        Verb::Explain(explain) => return explain.run(output),
        Verb::Config(config) => return config.run(&settings, output),
        Verb::Completions(completions) => return completions.run(output),
        Verb::Man(man) => return man.run(output),
        Verb::Key(key) => {
            if let Some(done) = key.run_alone(output) {
                return done;
            }
        }
        _ => {}
    }
    enough_descriptors()?;
    let context = Context::system(global.cores)?.with_memory(global.memory);
    let failed =
        |error: std::io::Error| Failure::new("internal", "the run's threads do not start").because(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WAITING_THREADS)
        .enable_all()
        .build()
        .map_err(failed)?;
    let session = Session::new(global, settings, output, context);
    let result = runtime.block_on(async {
        let _listening = signals::listen(&session.context.interrupt, output)?;
        match verb {
            Verb::Backup(backup) => backup.run(&session).await,
            Verb::List(list) => list.run(&session).await,
            Verb::Show(show) => show.run(&session).await,
            Verb::Restore(restore) => restore.run(&session).await,
            Verb::Cat(cat) => cat.run(&session).await,
            Verb::Verify(verify) => verify.run(&session).await,
            Verb::Reassemble(reassemble) => reassemble.run(&session).await,
            Verb::Copy(copy) => copy.run(&session).await,
            Verb::Salvage(salvage) => salvage.run(&session).await,
            Verb::Drill(drill) => drill.run(&session).await,
            Verb::Prune(prune) => prune.run(&session).await,
            Verb::Rm(rm) => rm.run(&session).await,
            Verb::Hold(hold) => hold.run(&session).await,
            Verb::Release(release) => release.run(&session).await,
            Verb::Note(note) => note.run(&session).await,
            Verb::Tag(tag) => tag.run(&session).await,
            Verb::Gc(gc) => gc.run(&session).await,
            Verb::Check(check) => check.run(&session).await,
            Verb::Policy(policy) => policy.run(&session),
            Verb::Key(key) => key.run(&session).await,
            Verb::Explain(_) | Verb::Config(_) | Verb::Completions(_) | Verb::Man(_) => Ok(0),
        }
    });
    // A thread that waits for a pipe nobody writes to must not keep the process.
    runtime.shutdown_background();
    result
}

//! What the user sees: results on standard output, everything else on standard error, each as text or as JSON.
//!
//! [`Output`] is the observer of every run. Results and messages come through here and nowhere else, so that the progress
//! line is never torn, and so that `--json` holds for every line.

pub(crate) mod document;
pub(crate) mod human;
mod json;
mod log;
mod progress;
pub(crate) mod visible;

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use backstay::observe::{Event, Observer};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::{Global, LogFormat, When};
use crate::failure::{Failure, Result};
use human::Style;
use progress::Display as Shown;

pub(crate) use human::Size;

/// Text for people or JSON for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Where everything goes that a run says.
pub(crate) struct Output {
    results: Form,
    events: Form,
    quiet: bool,
    style: Style,
    progress: Shown,
}

impl Output {
    /// As the options say.
    pub(crate) fn new(global: &Global) -> Arc<Output> {
        let terminal = io::stderr().is_terminal();
        let results = if global.json { Form::Json } else { Form::Text };
        let events = match global.log_format {
            Some(LogFormat::Json) => Form::Json,
            Some(LogFormat::Text) => Form::Text,
            None => results,
        };
        let progress = match global.progress {
            When::Never => Shown::nothing(),
            When::Auto if global.quiet => Shown::nothing(),
            When::Auto | When::Always if terminal && events == Form::Text => Shown::line(),
            When::Auto | When::Always => Shown::plain(),
        };
        let output = Output { results, events, quiet: global.quiet, style: Style::of(terminal), progress };
        let output = Arc::new(output);
        log::start(global.verbose, &output);
        output
    }

    /// Before the options are known: enough to say why they could not be.
    pub(crate) fn early(json: bool) -> Output {
        let form = if json { Form::Json } else { Form::Text };
        let style = Style::of(io::stderr().is_terminal());
        Output { results: form, events: form, quiet: false, style, progress: Shown::nothing() }
    }

    /// Prints a run's result: its text, or the same as one JSON object with `type` and `schema`.
    pub(crate) fn result(&self, kind: &'static str, result: &(impl Display + Serialize)) -> Result<()> {
        // It may be a secret.
        let text = Zeroizing::new(match self.results {
            Form::Text => result.to_string(),
            Form::Json => json::object(kind, result) + "\n",
        });
        match self.results {
            Form::Text => self.data(&visible::lines(&text)),
            Form::Json => self.data(&text),
        }
    }

    /// One line of a result that is a JSON object for each thing, whatever form results have otherwise.
    pub(crate) fn json_line(&self, kind: &'static str, thing: &impl Serialize) -> Result<()> {
        self.data(&format!("{}\n", json::object(kind, thing)))
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.results == Form::Json
    }

    /// The columns of the terminal that results are printed on; `None` where they go elsewhere.
    pub(crate) fn columns(&self) -> Option<usize> {
        let stdout = io::stdout();
        let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Says what was done: as a note, or as the result that `--json` promises.
    pub(crate) fn done(&self, kind: &'static str, result: &(impl Display + Serialize)) -> Result<()> {
        match self.results {
            Form::Text if self.quiet => {}
            Form::Text => self.line(&visible::lines(result.to_string().trim_end())),
            Form::Json => self.result(kind, result)?,
        }
        Ok(())
    }

    /// The same beside data: when standard output is taken by the archive's content, or by a command's own output.
    pub(crate) fn result_beside_data(&self, kind: &'static str, result: &(impl Display + Serialize)) {
        match self.events {
            Form::Text if self.quiet => {}
            Form::Text => self.line(&visible::lines(result.to_string().trim_end())),
            Form::Json => self.line(&json::object(kind, result)),
        }
    }

    /// Writes to standard output as it stands.
    pub(crate) fn data(&self, text: &str) -> Result<()> {
        self.suspended(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
        })
    }

    /// Says something that is good to know.
    pub(crate) fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        match self.events {
            Form::Text => self.line(&visible::message(text)),
            Form::Json => self.line(&json::event("note", &[("text", text.into())])),
        }
    }

    /// Says something that should be acted on some day.
    pub(crate) fn warning(&self, code: Option<&str>, text: &str) {
        match self.events {
            Form::Text => {
                let code = code.map(|code| format!("[{code}]")).unwrap_or_default();
                self.line(&format!("{} {}", self.style.yellow(&format!("warning{code}:")), visible::message(text)));
            }
            Form::Json => self.line(&json::event("warning", &[("code", code.into()), ("text", text.into())])),
        }
    }

    /// Says why the run ended.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.progress.end();
        if failure.silent {
            return;
        }
        match self.events {
            Form::Json => self.line(&json::failure(failure)),
            Form::Text => {
                let code = self.style.red(&format!("error[{}]:", failure.code));
                let mut text = format!("{code} {}", visible::message(&failure.message));
                for cause in &failure.causes {
                    text += &format!("\n  caused by: {}", visible::message(cause));
                }
                if let Some(hint) = failure.hint() {
                    text += &format!("\n  hint: {}", visible::message(hint));
                }
                self.line(&text);
            }
        }
    }

    /// Says how far the run is, because somebody asked (SIGUSR1).
    pub(crate) fn status(&self) {
        let text = self.progress.status(Instant::now());
        match self.events {
            Form::Text => self.line(&text),
            Form::Json => self.line(&json::progress("status", &self.progress.totals())),
        }
    }

    /// Called about once a second: what is due by time is shown.
    pub(crate) fn tick(&self) {
        match self.events {
            Form::Text => self.progress.tick(Instant::now(), |line| self.line(line)),
            Form::Json => {
                self.progress.tick(Instant::now(), |_| self.line(&json::progress("progress", &self.progress.totals())));
            }
        }
    }

    /// Content is about to be written to standard output, and is what the run is for: when that is a terminal, the progress line would be
    /// drawn into it.
    ///
    /// # Errors
    /// `target.failed` when standard output was closed.
    pub(crate) fn make_way_for_content(&self) -> Result<()> {
        let stdout = io::stdout();
        if may_have_been_closed(&stdout) {
            let hint = "give it an output; to read an archive to its end and keep nothing, use `backstay verify --depth deep` or open /dev/null for writing alone";
            let failure = Failure::stdout(&rustix::io::Errno::BADF.into());
            return Err(failure.because("it is closed, or /dev/null opened for reading too").with_hint(hint));
        }
        if stdout.is_terminal() {
            self.progress.hide();
        }
        Ok(())
    }

    /// The run is over: the progress line goes.
    pub(crate) fn end(&self) {
        self.progress.end();
    }

    /// Runs something that uses the terminal itself.
    pub(crate) fn suspended<T>(&self, run: impl FnOnce() -> T) -> T {
        self.progress.suspended(run)
    }

    /// One line on standard error. When that is gone there is nobody left to tell.
    fn line(&self, text: &str) {
        self.suspended(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }
}

/// Whether this is what Rust's runtime puts in the place of a closed output before `main`: /dev/null, for reading and writing. A shell's
/// `> /dev/null` is for writing alone, and so is systemd's; but whoever starts programs from Python or Node and discards their output has the
/// runtime's form of it, too. So it is asked only where the output is what the run is for, and not where it merely tells.
fn may_have_been_closed(output: &io::Stdout) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
    let (Ok(opened), Ok(null)) = (fstat(output), stat("/dev/null")) else { return false };
    (opened.st_rdev, opened.st_mode) == (null.st_rdev, null.st_mode)
        && fcntl_getfl(output).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR)
}

impl Observer for Output {
    fn event(&self, event: &Event) {
        match event {
            Event::Note { text } => self.note(text),
            Event::Warning { code, text } => self.warning(*code, text),
            Event::Progress(totals) => self.progress.update(*totals),
            Event::Retry { operation, attempt, pause, cause, .. } => {
                let text = format!("{operation} failed ({attempt}): {cause}; again in {:.1} s", pause.as_secs_f64());
                match self.events {
                    Form::Text => self.progress.retry(&visible::message(&text), |line| self.line(line)),
                    Form::Json => {
                        self.progress.retry(&text, |_| {});
                        json::of(event).filter(|_| !self.quiet).into_iter().for_each(|line| self.line(&line));
                    }
                }
            }
            // A command's own words always reach the user.
            Event::CommandLine { line } if self.events == Form::Text => self.line(&visible::lines(line)),
            _ if self.events == Form::Json => {
                if let Some(line) =
                    json::of(event).filter(|_| !self.quiet || matches!(event, Event::CommandLine { .. }))
                {
                    self.line(&line);
                }
            }
            Event::Started { id, plan } => self.note(&format!("{id}: {plan}")),
            Event::PartStored { n, size } => {
                self.progress.part(&format!("part {n} stored, {}", Size(*size)), |line| self.line(line));
            }
            Event::PartFetched { n, size } => {
                self.progress.part(&format!("part {n} fetched, {}", Size(*size)), |line| self.line(line));
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output(results {:?}, events {:?})", self.results, self.events)
    }
}

//! Questions at the terminal. They go to `/dev/tty`, since standard input and output may be the data.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use age::secrecy::SecretString;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::output::Output;

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];
const CTRL_U: u8 = 21;

/// The longest answer.
const MAX_ANSWER: usize = 4096;

/// Asks for a secret without showing it.
///
/// # Errors
/// `key.passphrase` when there is no terminal; `interrupted` after Ctrl-C.
pub(crate) fn ask_secret(prompt: &str) -> Result<SecretString> {
    let answer = ask(prompt, false)?;
    Ok(SecretString::from(answer.to_string()))
}

/// Asks for something that may be seen.
fn ask_aloud(prompt: &str) -> Result<String> {
    ask(prompt, true).map(|answer| answer.to_string())
}

fn ask(prompt: &str, aloud: bool) -> Result<Zeroizing<String>> {
    let no_terminal = |error: io::Error| {
        Failure::new("key.passphrase", "a question could not be asked: there is no terminal").because(error.to_string())
    };
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(no_terminal)?;
    let quiet = Quiet::new(&terminal).map_err(no_terminal)?;
    let answer = write!(&terminal, "{prompt}").and_then(|()| read_line(&terminal, aloud));
    drop(quiet);
    // The line feed that was typed was not shown.
    let _ = writeln!(&terminal);
    answer.map_err(no_terminal)?.ok_or_else(|| {
        // What the terminal would have done: whoever else waits in this process has to know.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT);
        Failure::new("interrupted", "interrupted while a question was open")
    })
}

/// The answer; `None` after Ctrl-C.
fn read_line(mut terminal: &File, aloud: bool) -> io::Result<Option<Zeroizing<String>>> {
    let mut answer = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    let mut byte = Zeroizing::new([0]);
    loop {
        if terminal.read(&mut byte[..])? == 0 {
            break;
        }
        match byte[0] {
            b'\r' | b'\n' => break,
            CTRL_C => return Ok(None),
            CTRL_D if answer.is_empty() => break,
            CTRL_U => answer.clear(),
            byte if BACKSPACE.contains(&byte) => {
                // A character may be several bytes.
                while answer.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte if answer.len() < MAX_ANSWER => {
                answer.push(byte);
                if aloud {
                    terminal.write_all(&[byte])?;
                }
            }
            _ => {}
        }
    }
    match std::str::from_utf8(&answer) {
        Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        Err(_) => Err(io::Error::other("the answer is not UTF-8 text")),
    }
}

/// A terminal that shows nothing and sends no signals until this is dropped. We read Ctrl-C ourselves: a signal would
/// only set a flag while the question waits, and a second one would end us with the terminal left silent.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> io::Result<Quiet<'a>> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing helps if this fails.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// How age and its plugins ask.
#[derive(Clone)]
pub(crate) struct AtTerminal {
    output: Arc<Output>,
    /// What was given for archives, and may be a key file's. No plugin gets it.
    given: Option<SecretString>,
}

impl AtTerminal {
    /// For one identity or one plugin.
    pub(crate) fn new(output: &Arc<Output>) -> AtTerminal {
        AtTerminal { output: Arc::clone(output), given: None }
    }

    /// With a passphrase that is tried before anybody is asked for one.
    pub(crate) fn knowing(self, given: Option<SecretString>) -> AtTerminal {
        AtTerminal { given, ..self }
    }

    pub(super) fn given(&self) -> Option<&SecretString> {
        self.given.as_ref()
    }

    pub(super) fn warn(&self, text: &str) {
        self.output.warning(None, text);
    }

    fn answer<T>(&self, question: Result<T>) -> Option<T> {
        question.map_err(|failure| self.output.warning(None, &failure.message)).ok()
    }
}

impl age::Callbacks for AtTerminal {
    fn display_message(&self, message: &str) {
        self.output.note(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let choice = match no {
            Some(no) => format!("{message}\n[y] {yes}  [n] {no}: "),
            None => format!("{message}\n[y] {yes}: "),
        };
        let answer = self.answer(self.output.suspended(|| ask_aloud(&choice)))?;
        Some(answer.trim().eq_ignore_ascii_case("y"))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.answer(self.output.suspended(|| ask_aloud(&format!("{description}: "))))
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.answer(self.output.suspended(|| ask_secret(&format!("{description}: "))))
    }
}

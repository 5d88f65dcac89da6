//! Why a run ended, as the user is told: a code, what happened, why, and what to do.
//!
//! Every fault of the libraries already has a code and keeps it; faults of the command line get theirs here. Nothing can
//! end a run without one, and so nothing ends without an exit status that `spec/errors.md` explains.

use std::io;
use std::path::Path;

use backstay::codes;

/// A run's end, if it is not a good one.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The stable dotted code.
    pub(crate) code: &'static str,
    /// What happened: lower case, no full stop, naming the thing.
    pub(crate) message: String,
    /// Why, outermost first.
    pub(crate) causes: Vec<String>,
    hint: Option<String>,
    /// Nobody is there to be told: whoever read our output has gone.
    pub(crate) silent: bool,
    /// A demand of the user's is not met, which says nothing of the archive.
    pub(crate) unmet: bool,
}

/// What most functions here give.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), causes: Vec::new(), hint: None, silent: false, unmet: false }
    }

    /// The same, where everything was written to standard output: a reader that has gone, as in `cat | head`, is not told.
    pub(crate) fn of_stdout(self) -> Failure {
        let gone = io::Error::from_raw_os_error(rustix::io::Errno::PIPE.raw_os_error()).to_string();
        let silent = self.code == "target.failed" && self.causes.contains(&gone);
        Failure { silent: silent || self.silent, ..self }
    }

    /// The command line does not fit together.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new("usage.arguments", message)
    }

    /// A local file could not be read or written.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::new("io.failed", format!("{doing} {} failed", path.display())).because(error.to_string())
    }

    /// Our standard output could not be written. When its reader has gone that is no news.
    pub(crate) fn stdout(error: &io::Error) -> Failure {
        let silent = error.kind() == io::ErrorKind::BrokenPipe;
        Failure {
            silent,
            ..Failure::new("target.failed", "writing to the standard output failed").because(error.to_string())
        }
    }

    /// The same, of one member of a backup set.
    pub(crate) fn of_member(self, name: &str, id: &str) -> Failure {
        Failure { message: format!("the member `{name}`, {id}, is not restored: {}", self.message), ..self }
    }

    /// The same, and what is so nevertheless: so many members of the set are restored.
    pub(crate) fn beside_members(self, restored: usize, all: usize) -> Failure {
        Failure { message: format!("{}; {restored} of {all} members are restored", self.message), ..self }
    }

    pub(crate) fn because(mut self, cause: impl Into<String>) -> Failure {
        self.causes.push(cause.into());
        self
    }

    /// Advice that fits this case better than the table's.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// What to do: the advice of this very case, else that of its code.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref().or_else(|| codes::find(self.code).map(|row| row.advice))
    }

    /// Whether what was read is damaged or incomplete. A demand that is not met is none of its faults.
    pub(crate) fn is_damage(&self) -> bool {
        !self.unmet && matches!(self.exit(), 20 | 21)
    }

    pub(crate) fn exit(&self) -> u8 {
        codes::exit(self.code)
    }

    pub(crate) fn severity(&self) -> &'static str {
        codes::find(self.code).map_or("Error", |row| row.severity)
    }
}

/// Why, outermost first. Libraries put the text of what is below into their own: what was said is not said again.
fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let message = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut below = error.source();
    while let Some(cause) = below {
        let text = cause.to_string();
        if !message.contains(&text) && !causes.iter().any(|cause| cause.contains(&text)) {
            causes.retain(|cause| !text.contains(cause.as_str()));
            causes.push(text);
        }
        below = cause.source();
    }
    causes
}

impl From<backstay::Error> for Failure {
    fn from(error: backstay::Error) -> Failure {
        if let backstay::Error::Member { name, id, why } = error {
            return Failure::from(*why).of_member(&name, &id);
        }
        let causes = causes(&error);
        let unmet = matches!(error, backstay::Error::Unmet(_));
        Failure { code: error.code(), message: error.to_string(), causes, hint: error.hint(), silent: false, unmet }
    }
}

impl From<backstay_postgres::Error> for Failure {
    fn from(error: backstay_postgres::Error) -> Failure {
        if let backstay_postgres::Error::Run(error) = error {
            return error.into();
        }
        let causes = causes(&error);
        let (code, message, hint) = (error.code(), error.to_string(), error.hint());
        Failure { code, message, causes, hint, silent: false, unmet: false }
    }
}

impl From<backstay_format::Error> for Failure {
    fn from(error: backstay_format::Error) -> Failure {
        backstay::Error::from(error).into()
    }
}

impl From<backstay_store::Error> for Failure {
    fn from(error: backstay_store::Error) -> Failure {
        backstay::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_library_keeps_its_code_and_its_causes() {
        let error = backstay::Error::Io { what: "reading x".to_owned(), source: io::Error::other("disk on fire") };
        let failure = Failure::from(error);
        assert_eq!((failure.code, failure.exit()), ("io.failed", 1));
        assert_eq!(failure.causes, ["disk on fire"]);
        assert!(failure.hint().is_some());
    }

    #[derive(Debug)]
    struct Said(&'static str, Option<Box<Said>>);

    impl std::fmt::Display for Said {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Said {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|below| below as _)
        }
    }

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let chain = |texts: &[&'static str]| {
            texts.iter().rev().fold(None, |below, text| Some(Box::new(Said(text, below)))).unwrap()
        };
        let azure = ["GET x failed: 403", "Generic error: 403: <xml>", "403: <xml>", "403", "403: <xml>"];
        assert_eq!(causes(&*chain(&azure)), ["Generic error: 403: <xml>"]);
        assert_eq!(causes(&*chain(&["a", "b", "due to b", "c", "c"])), ["due to b", "c"]);
        assert_eq!(causes(&*chain(&["a", "b", "c"])), ["b", "c"]);
        assert_eq!(causes(&*chain(&["a", "a"])), [""; 0]);
    }

    #[test]
    fn a_reader_that_has_gone_is_not_told() {
        assert!(Failure::stdout(&io::ErrorKind::BrokenPipe.into()).silent);
        assert!(!Failure::stdout(&io::ErrorKind::StorageFull.into()).silent);
        let write =
            |error| Failure::from(backstay::Error::TargetWrite { target: "standard output".to_owned(), source: error });
        assert!(write(io::Error::from_raw_os_error(32)).of_stdout().silent);
        assert!(!write(io::Error::from_raw_os_error(28)).of_stdout().silent);
    }
}

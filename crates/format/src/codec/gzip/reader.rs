//! The gzip reader: parallel where members can be told apart, serial where they cannot.
//!
//! A [`Reader`] does no work itself. It is asked for the [`Next`] thing to do: run a job, bring
//! input, bring a result. Jobs own their bytes and may run on any thread, several at once; their
//! results come back in the order in which the jobs were given.
//!
//! ```
//! use backstay_format::codec::gzip::{Level, MemberCompressor, Next, Options, Reader};
//!
//! let mut stream = Vec::new();
//! MemberCompressor::new(Level::default()).compress(b"hello ", &mut stream);
//! MemberCompressor::new(Level::default()).compress(b"world", &mut stream);
//!
//! let mut reader = Reader::new(Options::default());
//! let mut input = stream.chunks(7);
//! let mut running = std::collections::VecDeque::new();
//! let mut content = Vec::new();
//! loop {
//!     match reader.next() {
//!         // A real caller runs it on another thread.
//!         Next::Run(job) => running.push_back(job.run(Vec::new)),
//!         Next::Input => match input.next() {
//!             Some(bytes) => reader.push(bytes),
//!             None => reader.end_input(),
//!         },
//!         Next::Result => content.extend(reader.complete(running.pop_front().unwrap())),
//!         Next::End => break,
//!     }
//! }
//! reader.finish()?;
//! assert_eq!(content, b"hello world");
//! # Ok::<(), backstay_format::codec::gzip::Error>(())
//! ```

use super::{
    Dialect, Error, MEMBER_HEADER, MEMBER_LIMIT, MemberSplitter, SerialInflater, Split, Stop, inflate_whole_member,
};

/// Compressed bytes given to one serial job, and content it may produce.
const SERIAL_INPUT: usize = 256 << 10;
const SERIAL_CONTENT: usize = 1 << 20;

/// Compressed bytes accepted ahead of a running serial job.
const READ_AHEAD: usize = 1 << 20;

/// How to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What may follow the last member.
    pub dialect: Dialect,
    /// Content longer than this is [`Error::Limit`].
    pub max_content: Option<u64>,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of content.
    pub content: u64,
    /// Members.
    pub members: u64,
}

/// What a [`Reader`] needs next.
#[derive(Debug)]
#[must_use]
pub enum Next {
    /// Run this job, on any thread, and bring its result to [`Reader::complete`] after the results
    /// of the jobs before it.
    Run(Job),
    /// Call [`Reader::push`], or [`Reader::end_input`]. Results may be brought as well.
    Input,
    /// Bring the result of the oldest running job.
    Result,
    /// There is nothing left to do: call [`Reader::finish`] to learn whether that is success.
    End,
}

/// The gzip reader's state; see the [module](self).
pub struct Reader {
    options: Options,
    splitter: MemberSplitter,
    input_ended: bool,
    mode: Mode,
    /// Jobs given and results taken so far.
    given: u64,
    taken: u64,
    failure: Option<Error>,
    read: Summary,
}

enum Mode {
    /// The splitter's front is a boundary if all running jobs succeed; each of them is one
    /// candidate member.
    Parallel,
    /// A guess was wrong. All running jobs are void; their bytes are gathered in order, to be
    /// decoded serially.
    Replay(Vec<u8>),
    /// One member after another. At most one job is running.
    Serial(Serial),
}

struct Serial {
    /// `None` while a job has it.
    inflater: Option<Box<SerialInflater>>,
    /// Input handed to the last job that it did not consume.
    rest: Vec<u8>,
    /// No return to parallel work before this offset, so that no byte is inflated in vain more than
    /// once however many headers an archive fakes.
    until: u64,
}

/// A piece of work that needs no more than what it holds.
pub struct Job {
    number: u64,
    pub(super) work: Work,
}

pub(super) enum Work {
    Member(Vec<u8>),
    Serial { inflater: Box<SerialInflater>, input: Vec<u8>, until: u64 },
}

/// The result of a [`Job`].
pub struct Done {
    number: u64,
    outcome: Outcome,
}

enum Outcome {
    Member { input: Vec<u8>, content: Option<Vec<u8>> },
    Serial { inflater: Box<SerialInflater>, rest: Vec<u8>, content: Vec<u8>, members: u64, failure: Option<Error> },
}

impl Job {
    /// Does the work. It takes some milliseconds and up to [`MEMBER_LIMIT`] bytes of memory for the content, which
    /// `memory` provides: a buffer, new or used before, whatever is in it.
    #[must_use]
    pub fn run(self, memory: impl FnOnce() -> Vec<u8>) -> Done {
        let outcome = match self.work {
            Work::Member(input) => {
                let mut content = memory();
                let whole = inflate_whole_member(&input, &mut content, MEMBER_LIMIT);
                Outcome::Member { input, content: whole.then_some(content) }
            }
            Work::Serial { mut inflater, mut input, until } => {
                let mut content = memory();
                content.resize(SERIAL_CONTENT, 0);
                let before = inflater.members();
                let (mut consumed, mut filled) = (0, 0);
                let result = inflate_serially(&mut inflater, &input, &mut consumed, &mut content, &mut filled, until);
                content.truncate(filled);
                input.drain(..consumed);
                Outcome::Serial {
                    members: inflater.members() - before,
                    inflater,
                    rest: input,
                    content,
                    failure: result.err(),
                }
            }
        };
        Done { number: self.number, outcome }
    }
}

/// Decodes member after member until input or room is used up, or until a member begins at or after
/// `until` that parallel work could take over.
fn inflate_serially(
    inflater: &mut SerialInflater,
    input: &[u8],
    consumed: &mut usize,
    room: &mut [u8],
    filled: &mut usize,
    until: u64,
) -> Result<(), Error> {
    loop {
        let progress = inflater.inflate_into(&input[*consumed..], room, filled)?;
        *consumed += progress.consumed;
        let rest = &input[*consumed..];
        let splittable = inflater.offset() >= until && rest.starts_with(&MEMBER_HEADER);
        if progress.stop != Stop::Boundary || splittable || rest.len() < MEMBER_HEADER.len() {
            return Ok(());
        }
    }
}

// What is read may be confidential, so nothing of it is printed.

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job({})", self.number)
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Done({})", self.number)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("input", &self.splitter)
            .field("running", &self.running())
            .field("read", &self.read)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader at the beginning of a gzip stream.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            splitter: MemberSplitter::default(),
            input_ended: false,
            mode: Mode::Parallel,
            given: 0,
            taken: 0,
            failure: None,
            read: Summary { content: 0, members: 0 },
        }
    }

    /// Takes the next bytes of the stream. Any cut will do.
    pub fn push(&mut self, input: &[u8]) {
        self.splitter.push(input);
    }

    /// Says that no more input will come.
    pub fn end_input(&mut self) {
        self.input_ended = true;
    }

    /// Bytes taken in and not yet given out in a job.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.splitter.len()
    }

    /// What to do next. Asking again without doing it is allowed, except that a job is given once.
    #[allow(clippy::should_implement_trait)] // not an iterator: it never ends by itself
    pub fn next(&mut self) -> Next {
        if self.failure.is_some() {
            return Next::End;
        }
        match &mut self.mode {
            Mode::Parallel => self.next_member(),
            Mode::Replay(_) => Next::Result,
            Mode::Serial(_) => self.next_serial(),
        }
    }

    fn next_member(&mut self) -> Next {
        match self.splitter.split(self.input_ended) {
            Split::Member(member) => self.run(Work::Member(member)),
            Split::More if !self.input_ended => Next::Input,
            // Whether the front is a boundary is known when all running jobs have come back.
            Split::More | Split::Unsplittable if self.running() > 0 => Next::Result,
            Split::More => self.end(),
            Split::Unsplittable => {
                // At least the member that begins here.
                self.go_serial(self.splitter.offset() + 1);
                self.next_serial()
            }
        }
    }

    fn next_serial(&mut self) -> Next {
        let Mode::Serial(serial) = &mut self.mode else { unreachable!("asked in serial mode only") };
        let Some(inflater) = &serial.inflater else {
            let read_ahead = !self.input_ended && self.splitter.len() < READ_AHEAD;
            return if read_ahead { Next::Input } else { Next::Result };
        };
        if inflater.at_boundary() && inflater.offset() >= serial.until {
            self.splitter.put_back(std::mem::take(&mut serial.rest));
            if self.splitter.at_header() {
                self.mode = Mode::Parallel;
                return self.next_member();
            }
            if self.splitter.len() < MEMBER_HEADER.len() && !self.input_ended {
                return Next::Input;
            }
        }
        if serial.rest.is_empty() {
            serial.rest = self.splitter.take(SERIAL_INPUT);
        }
        if serial.rest.is_empty() {
            if !self.input_ended {
                return Next::Input;
            }
            if let Err(error) = inflater.finish() {
                self.failure = Some(error);
            }
            return Next::End;
        }
        let inflater = serial.inflater.take().expect("seen above");
        let (input, until) = (std::mem::take(&mut serial.rest), serial.until);
        self.run(Work::Serial { inflater, input, until })
    }

    fn run(&mut self, work: Work) -> Next {
        let number = self.given;
        self.given += 1;
        Next::Run(Job { number, work })
    }

    fn running(&self) -> u64 {
        self.given - self.taken
    }

    /// All input is decoded and the last member has ended.
    fn end(&mut self) -> Next {
        if self.read.members == 0 {
            self.failure = Some(Error::Truncated { offset: self.splitter.offset() });
        }
        Next::End
    }

    /// Decodes serially from the splitter's front, which is a boundary, at least up to `until`.
    fn go_serial(&mut self, until: u64) {
        let inflater = SerialInflater::at(self.splitter.offset(), self.options.dialect);
        self.mode = Mode::Serial(Serial { inflater: Some(Box::new(inflater)), rest: Vec::new(), until });
    }

    /// Takes the result of the oldest running job and returns the content that follows what was
    /// returned before; it may be empty.
    ///
    /// # Panics
    ///
    /// If the results are not brought in the order of their jobs.
    #[must_use]
    pub fn complete(&mut self, done: Done) -> Vec<u8> {
        assert_eq!(done.number, self.taken, "results are brought in the order of their jobs");
        self.taken += 1;
        let content = match done.outcome {
            Outcome::Member { input, content } => self.complete_member(input, content),
            Outcome::Serial { inflater, rest, content, members, failure } => {
                let Mode::Serial(serial) = &mut self.mode else { unreachable!("a serial job runs alone") };
                serial.inflater = Some(inflater);
                serial.rest = rest;
                self.read.members += members;
                self.failure = failure;
                content
            }
        };
        self.read.content += content.len() as u64;
        match self.options.max_content {
            Some(limit) if self.read.content > limit => {
                self.failure = Some(Error::Limit { limit });
                Vec::new()
            }
            _ => content,
        }
    }

    fn complete_member(&mut self, input: Vec<u8>, content: Option<Vec<u8>>) -> Vec<u8> {
        match (&mut self.mode, content) {
            (Mode::Parallel, Some(content)) => {
                self.read.members += 1;
                return content;
            }
            (Mode::Parallel, None) => self.mode = Mode::Replay(input),
            (Mode::Replay(bytes), _) => bytes.extend_from_slice(&input),
            (Mode::Serial(_), _) => {
                unreachable!("serial work starts when no member job is running")
            }
        }
        if self.running() == 0 {
            let Mode::Replay(bytes) = std::mem::replace(&mut self.mode, Mode::Parallel) else {
                unreachable!("set or kept just above")
            };
            let until = self.splitter.offset();
            self.splitter.put_back(bytes);
            self.go_serial(until);
        }
        Vec::new()
    }

    /// Ends reading.
    ///
    /// # Errors
    ///
    /// The error that ended the stream early, and [`Error::Truncated`] if called before
    /// [`Next::End`]: content that was not read to its end is never a success.
    pub fn finish(mut self) -> Result<Summary, Error> {
        match self.next() {
            Next::End => {}
            Next::Run(_) | Next::Input | Next::Result => {
                return Err(Error::Truncated { offset: self.splitter.offset() });
            }
        }
        self.failure.map_or(Ok(self.read), Err)
    }
}

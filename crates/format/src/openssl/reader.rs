//! The reader of the openssl profile: from the stream in any cuts to the content.
//!
//! Like [`gzip::Reader`], it does no work itself but is asked for the [`Next`] thing to do; its
//! jobs derive the key, decrypt ranges and inflate members, on any threads, and their results come
//! back in the order in which the jobs were given. All content before damage is returned; whether
//! the stream was whole is known only from [`Reader::finish`].

use std::sync::Arc;

use super::detect::{Candidates, Preamble, detect};
use super::{BLOCK, Decrypted, Decryptor, Error, HEADER, Kdf, KeyIv, MAGIC, Password, Range, Ranges};
use crate::codec::gzip;

/// Ciphertext decrypted by one job.
const RANGE: usize = 256 << 10;

/// Plaintext that is decrypted, or being decrypted, ahead of inflation. More than
/// [`gzip::MEMBER_LIMIT`], which the gzip reader may need to see before it knows what to do.
const READ_AHEAD: usize = 2 * gzip::MEMBER_LIMIT;

/// What was encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A gzip stream, by which the key is recognised.
    Gzip,
    /// Anything. A wrong password is noticed only by the padding, and one of 256 is not; the caller
    /// says so, and checks the end of the stream first where it can.
    Raw,
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

/// The reader's state; see the [module](self).
#[derive(Debug)]
pub struct Reader {
    stage: Stage,
    payload: Payload,
    /// Length of the stream so far, and its header.
    received: u64,
    header: [u8; HEADER],
    ranges: Ranges,
    input_ended: bool,
    /// Bytes in running decryption jobs.
    decrypting: usize,
    /// The gzip reader has been told that there is no more.
    plain_ended: bool,
    gzip: gzip::Reader,
    given: u64,
    taken: u64,
    /// The stream cannot be opened.
    failure: Option<Error>,
    /// The stream can be decrypted but does not end as it must; reported when all before it is
    /// read.
    end_failure: Option<Error>,
    content: u64,
}

#[derive(Debug)]
enum Stage {
    Locked(Lock),
    Unlocking,
    Open(KeyIv, Arc<Decryptor>),
}

#[derive(Debug)]
enum Lock {
    /// Find the key by the payload's first block.
    Detect(Password, Candidates),
    /// Derive it as told.
    Derive(Password, Kdf),
    /// It is known.
    Known(KeyIv),
}

/// A piece of work that needs no more than what it holds.
pub struct Job {
    number: u64,
    work: Work,
}

enum Work {
    Unlock(Lock, Preamble),
    Decrypt(Range, Arc<Decryptor>),
    Inflate(gzip::Job),
}

/// The result of a [`Job`].
pub struct Done {
    number: u64,
    outcome: Outcome,
}

enum Outcome {
    Unlocked(Result<KeyIv, Error>),
    Decrypted { length: usize, decrypted: Decrypted },
    Inflated(gzip::Done),
}

impl Job {
    /// Does the work. `memory` provides a buffer for content, new or used before, whatever is in it.
    #[must_use]
    pub fn run(self, memory: impl FnOnce() -> Vec<u8>) -> Done {
        let outcome = match self.work {
            Work::Unlock(lock, preamble) => Outcome::Unlocked(lock.open(&preamble)),
            Work::Decrypt(range, decryptor) => {
                Outcome::Decrypted { length: range.len(), decrypted: range.decrypt(&decryptor) }
            }
            Work::Inflate(job) => Outcome::Inflated(job.run(memory)),
        };
        Done { number: self.number, outcome }
    }
}

impl Lock {
    fn open(self, preamble: &Preamble) -> Result<KeyIv, Error> {
        match self {
            Self::Detect(password, candidates) => detect(preamble, &password, &candidates),
            Self::Derive(password, kdf) => Ok(kdf.derive(&password, preamble.salt)),
            Self::Known(key) => {
                // Whoever knows the key has other proof that it is the right one, such as the seal.
                let tried = vec![key.kdf()];
                if key.salt() == preamble.salt { Ok(key) } else { Err(Error::Key { tried }) }
            }
        }
    }
}

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

impl Reader {
    /// Reads an archive whose payload is gzip, with the first of `candidates` that fits.
    #[must_use]
    pub fn gzip(password: Password, candidates: Candidates, max_content: Option<u64>) -> Self {
        Self::new(Lock::Detect(password, candidates), Payload::Gzip, max_content)
    }

    /// Reads an archive whose payload is anything; how the key was derived must be known.
    #[must_use]
    pub fn raw(password: Password, kdf: Kdf) -> Self {
        Self::new(Lock::Derive(password, kdf), Payload::Raw, None)
    }

    /// Reads an archive whose key is known already.
    #[must_use]
    pub fn with_key(key: KeyIv, payload: Payload, max_content: Option<u64>) -> Self {
        Self::new(Lock::Known(key), payload, max_content)
    }

    fn new(lock: Lock, payload: Payload, max_content: Option<u64>) -> Self {
        Self {
            stage: Stage::Locked(lock),
            payload,
            received: 0,
            header: [0; HEADER],
            ranges: Ranges::default(),
            input_ended: false,
            decrypting: 0,
            plain_ended: false,
            gzip: gzip::Reader::new(gzip::Options { dialect: gzip::Dialect::Stock, max_content }),
            given: 0,
            taken: 0,
            failure: None,
            end_failure: None,
            content: 0,
        }
    }

    /// The key, once it is found.
    #[must_use]
    pub fn key(&self) -> Option<&KeyIv> {
        match &self.stage {
            Stage::Open(key, _) => Some(key),
            Stage::Locked(_) | Stage::Unlocking => None,
        }
    }

    /// Takes the next bytes of the stream. Any cut will do.
    pub fn push(&mut self, input: &[u8]) {
        let at = usize::try_from(self.received).map_or(HEADER, |received| received.min(HEADER));
        let (header, ciphertext) = input.split_at(input.len().min(HEADER - at));
        self.header[at..at + header.len()].copy_from_slice(header);
        self.ranges.push(ciphertext);
        self.received += input.len() as u64;
        let seen = (at + header.len()).min(MAGIC.len());
        if self.header[..seen] != MAGIC[..seen] {
            self.failure = Some(Error::Magic);
        }
    }

    /// Says that no more input will come.
    pub fn end_input(&mut self) {
        self.input_ended = true;
        if self.received < MAGIC.len() as u64 {
            self.failure = Some(Error::Magic);
        } else if self.received < HEADER as u64 {
            self.end_failure = Some(Error::Length { length: self.received });
        } else if let Err(error) = self.ranges.end() {
            self.end_failure = Some(error);
        }
    }

    /// What to do next. Asking again without doing it is allowed, except that a job is given once.
    #[allow(clippy::should_implement_trait)] // not an iterator: it never ends by itself
    pub fn next(&mut self) -> Next {
        if self.failure.is_some() {
            return Next::End;
        }
        match &self.stage {
            Stage::Locked(_) => self.next_unlock(),
            Stage::Unlocking if !self.input_ended && self.ranges.buffered() < RANGE => Next::Input,
            Stage::Unlocking => Next::Result,
            Stage::Open(..) => match self.payload {
                Payload::Gzip => self.next_gzip(),
                Payload::Raw => self.next_range().unwrap_or_else(|| self.wait()),
            },
        }
    }

    fn next_unlock(&mut self) -> Next {
        let Some(first) = self.ranges.first() else {
            return if self.input_ended { Next::End } else { Next::Input };
        };
        let mut preamble = [0; Preamble::LENGTH];
        preamble[..HEADER].copy_from_slice(&self.header);
        preamble[HEADER..].copy_from_slice(first);
        match Preamble::parse(&preamble) {
            Err(error) => {
                self.failure = Some(error);
                Next::End
            }
            Ok(preamble) => match std::mem::replace(&mut self.stage, Stage::Unlocking) {
                Stage::Locked(lock) => self.run(Work::Unlock(lock, preamble)),
                Stage::Unlocking | Stage::Open(..) => unreachable!("asked when locked only"),
            },
        }
    }

    fn next_gzip(&mut self) -> Next {
        loop {
            match self.gzip.next() {
                gzip::Next::Run(job) => return self.run(Work::Inflate(job)),
                gzip::Next::End => return Next::End,
                gzip::Next::Input | gzip::Next::Result => {}
            }
            if let Some(next) = self.next_range() {
                return next;
            }
            if self.plain_ended || !self.input_ended || self.ranges.available() > 0 || self.decrypting > 0 {
                return Next::Result;
            }
            self.plain_ended = true;
            self.gzip.end_input();
        }
    }

    /// Decrypts the next range if there is room for it, or asks for input for it.
    fn next_range(&mut self) -> Option<Next> {
        let Stage::Open(_, decryptor) = &self.stage else {
            return None;
        };
        if self.gzip.buffered() + self.decrypting >= READ_AHEAD {
            return None;
        }
        if !self.input_ended && self.ranges.available() < RANGE {
            return Some(Next::Input);
        }
        let range = self.ranges.take(RANGE)?;
        self.decrypting += range.len();
        let decryptor = Arc::clone(decryptor);
        Some(self.run(Work::Decrypt(range, decryptor)))
    }

    fn wait(&self) -> Next {
        if self.given == self.taken { Next::End } else { Next::Result }
    }

    fn run(&mut self, work: Work) -> Next {
        let number = self.given;
        self.given += 1;
        Next::Run(Job { number, work })
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
            Outcome::Unlocked(Ok(key)) => {
                let decryptor = Arc::new(Decryptor::new(&key));
                self.stage = Stage::Open(key, decryptor);
                Vec::new()
            }
            Outcome::Unlocked(Err(error)) => {
                self.failure = Some(error);
                Vec::new()
            }
            Outcome::Decrypted { length, decrypted } => {
                self.decrypting -= length;
                if let Err(error) = decrypted.padding {
                    self.end_failure = Some(error);
                }
                match self.payload {
                    Payload::Raw => decrypted.plain,
                    Payload::Gzip => {
                        self.gzip.push(&decrypted.plain);
                        Vec::new()
                    }
                }
            }
            Outcome::Inflated(done) => self.gzip.complete(done),
        };
        self.content += content.len() as u64;
        content
    }

    /// Ends reading; returns the length of the content.
    ///
    /// # Errors
    ///
    /// The error that ended the stream early, and an error in any case if called before
    /// [`Next::End`]: content that was not read to its end is never a success.
    pub fn finish(mut self) -> Result<u64, Error> {
        let ended = matches!(self.next(), Next::End);
        if let Some(error) = self.failure {
            return Err(error);
        }
        if let Some(error) = self.end_failure {
            // Damage of the data stands before the end, and is what is wrong, unless the data is only cut.
            return match self.gzip.finish() {
                Err(
                    damage @ (gzip::Error::Invalid { .. } | gzip::Error::Trailing { .. } | gzip::Error::Limit { .. }),
                ) if self.payload == Payload::Gzip => Err(Error::Stream(damage)),
                _ => Err(error),
            };
        }
        if !ended {
            return Err(Error::Stream(gzip::Error::Truncated { offset: self.received }));
        }
        if self.payload == Payload::Gzip {
            self.gzip.finish().map_err(Error::Stream)?;
        }
        Ok(self.content)
    }
}

const _: () = assert!(RANGE.is_multiple_of(BLOCK) && READ_AHEAD > gzip::MEMBER_LIMIT + RANGE);

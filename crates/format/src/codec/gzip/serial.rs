//! Inflation in order, in bounded memory, of whatever gzip writers write.

use flate2::{Decompress, FlushDecompress, Status};

use super::header::HeaderReader;
use super::{Error, MEMBER_HEADER};

/// Length of the CRC and the content's length that end a member.
const FOOTER: usize = 8;

/// Whose gzip is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// The native profile's: each member begins with [`MEMBER_HEADER`] and holds at most 64 MiB, and nothing follows the
    /// last one.
    #[default]
    Native,
    /// Any tool's: any header fields, members of any length, and zero bytes up to the end, as `gzip` allows for the sake
    /// of tapes.
    Stock,
}

/// The most content of a member in the native profile.
const NATIVE_MEMBER: u64 = 64 << 20;

/// An incremental gzip decoder: any number of members, any header fields, members of any length.
///
/// The bytes it has produced are those of a member whose CRC may still turn out wrong, as with
/// every streaming gunzip.
pub struct SerialInflater {
    inflate: Decompress,
    /// Where in the present member.
    place: Place,
    /// CRC of the present member's content.
    crc: libdeflater::Crc,
    state: State,
    dialect: Dialect,
    offset: u64,
    members: u64,
    /// How many bytes of the present member's fixed header have been seen, in the native dialect.
    header: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first member.
    Start,
    /// Inside a member's header, data or footer.
    Member,
    /// Just after a member.
    Boundary,
    /// In the zero bytes after the last member.
    Zeros,
}

/// Where in a member.
enum Place {
    Header(HeaderReader),
    Data,
    /// So many bytes of the footer are here.
    Footer([u8; FOOTER], usize),
}

/// Why [`SerialInflater::inflate`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All input is consumed and more is needed to go on.
    Input,
    /// The spare capacity of the output is used up.
    Room,
    /// A member ended just before the first byte that was not consumed.
    Boundary,
}

/// What one call of [`SerialInflater::inflate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of input consumed.
    pub consumed: usize,
    /// Why it stopped.
    pub stop: Stop,
}

impl SerialInflater {
    /// A decoder that starts at the beginning of a gzip stream.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self::at(0, dialect)
    }

    /// A decoder that starts at a member boundary, `offset` bytes into the stream.
    pub(super) fn at(offset: u64, dialect: Dialect) -> Self {
        Self {
            // Deflate alone: header, CRC and length are read here, with a CRC that takes a tenth of the inflater's time.
            inflate: Decompress::new(false),
            place: Place::Header(HeaderReader::default()),
            crc: libdeflater::Crc::new(),
            state: if offset == 0 { State::Start } else { State::Boundary },
            dialect,
            offset,
            members: 0,
            header: 0,
        }
    }

    /// Decodes from `input` into the spare capacity of `out`, which is never grown: the caller's
    /// bound on memory.
    ///
    /// # Errors
    ///
    /// Everything but [`Error::Truncated`], which only [`finish`](Self::finish) can know. What was
    /// decoded before the damage is in `out`.
    pub fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, Error> {
        let mut filled = out.len();
        out.resize(out.capacity(), 0);
        let progress = self.inflate_into(input, out, &mut filled);
        out.truncate(filled);
        progress
    }

    /// Decodes from `input` into `room` behind what is `filled`, and counts it there. Whatever was in the room is overwritten, so
    /// that memory can be used again without being cleared, which takes a tenth of the time of inflating.
    ///
    /// # Errors
    ///
    /// Those of [`inflate`](Self::inflate). What was decoded before the damage is filled.
    pub fn inflate_into(&mut self, input: &[u8], room: &mut [u8], filled: &mut usize) -> Result<Progress, Error> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            match self.state {
                State::Start | State::Member => {
                    if !rest.is_empty() {
                        self.state = State::Member;
                    }
                    if self.dialect == Dialect::Native {
                        self.native_header(rest)?;
                    }
                    let step = self.member(rest, room, filled)?;
                    return Ok(Progress { consumed: consumed + step.consumed, stop: step.stop });
                }
                State::Boundary => match rest.first() {
                    None => break,
                    Some(0x1f) => {
                        self.begin_member();
                        self.state = State::Member;
                        self.header = 0;
                    }
                    Some(0) if self.dialect == Dialect::Stock => self.state = State::Zeros,
                    Some(_) => {
                        return Err(Error::Trailing { offset: self.offset });
                    }
                },
                State::Zeros => {
                    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
                    self.offset += zeros as u64;
                    consumed += zeros;
                    if consumed < input.len() {
                        return Err(Error::Trailing { offset: self.offset });
                    }
                    break;
                }
            }
        }
        Ok(Progress { consumed, stop: Stop::Input })
    }

    /// Demands that the member's first ten bytes are the fixed ones, in whatever cuts they come.
    fn native_header(&mut self, input: &[u8]) -> Result<(), Error> {
        for byte in input.iter().take(MEMBER_HEADER.len() - self.header) {
            if *byte != MEMBER_HEADER[self.header] {
                return Err(match self.header {
                    1 if self.members > 0 || self.offset > 1 => Error::Trailing { offset: self.offset },
                    _ => self.invalid("a member does not begin as this format's members do"),
                });
            }
            self.header += 1;
        }
        Ok(())
    }

    fn member(&mut self, input: &[u8], room: &mut [u8], filled: &mut usize) -> Result<Progress, Error> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            let stop = match &mut self.place {
                Place::Header(header) => {
                    let (taken, ended) = header.read(rest).map_err(|why| self.invalid(why))?;
                    self.take(taken, &mut consumed);
                    if ended {
                        self.place = Place::Data;
                        continue;
                    }
                    Stop::Input
                }
                Place::Data => match self.data(rest, room, filled, &mut consumed)? {
                    Some(stop) => stop,
                    None => {
                        self.place = Place::Footer([0; FOOTER], 0);
                        continue;
                    }
                },
                Place::Footer(footer, filled) => {
                    let taken = rest.len().min(FOOTER - *filled);
                    footer[*filled..*filled + taken].copy_from_slice(&rest[..taken]);
                    *filled += taken;
                    let ended = (*filled == FOOTER).then_some(*footer);
                    self.take(taken, &mut consumed);
                    let Some(footer) = ended else { return Ok(Progress { consumed, stop: Stop::Input }) };
                    self.end_member(footer)?;
                    Stop::Boundary
                }
            };
            return Ok(Progress { consumed, stop });
        }
    }

    /// Inflates until the deflate stream ends, which gives `None`, or until there is a reason to stop.
    fn data(
        &mut self,
        input: &[u8],
        room: &mut [u8],
        filled: &mut usize,
        consumed: &mut usize,
    ) -> Result<Option<Stop>, Error> {
        let mut at = 0;
        loop {
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let free = &mut room[*filled..];
            let status = self.inflate.decompress(&input[at..], free, FlushDecompress::None);
            let moved = |now: u64, before: u64| {
                usize::try_from(now - before).expect("no more is consumed and made than there is memory for")
            };
            let (taken, made) = (moved(self.inflate.total_in(), before.0), moved(self.inflate.total_out(), before.1));
            at += taken;
            self.take(taken, consumed);
            self.crc.update(&free[..made]);
            *filled += made;
            if self.dialect == Dialect::Native && self.inflate.total_out() > NATIVE_MEMBER {
                let surplus = usize::try_from(self.inflate.total_out() - NATIVE_MEMBER).unwrap_or(usize::MAX);
                *filled = filled.saturating_sub(surplus);
                return Err(Error::Limit { limit: NATIVE_MEMBER });
            }
            return Ok(match status {
                // Its own words depend on which of its loops met the fault.
                Err(_) => return Err(self.invalid("what was deflated does not decode")),
                Ok(Status::StreamEnd) => None,
                Ok(_) if *filled == room.len() => Some(Stop::Room),
                Ok(_) if at == input.len() => Some(Stop::Input),
                // An inflater with input and room always moves; one that did not would be called
                // for ever.
                Ok(_) if (taken, made) == (0, 0) => return Err(self.invalid("the inflater makes no progress")),
                Ok(_) => continue,
            });
        }
    }

    fn begin_member(&mut self) {
        self.inflate.reset(false);
        self.place = Place::Header(HeaderReader::default());
        self.crc = libdeflater::Crc::new();
    }

    fn end_member(&mut self, footer: [u8; FOOTER]) -> Result<(), Error> {
        let [c0, c1, c2, c3, l0, l1, l2, l3] = footer;
        if u32::from_le_bytes([c0, c1, c2, c3]) != self.crc.sum() {
            return Err(self.invalid("a member's content has another CRC than its footer says"));
        }
        // RFC 1952 counts modulo 2^32.
        if u64::from(u32::from_le_bytes([l0, l1, l2, l3])) != self.inflate.total_out() & u64::from(u32::MAX) {
            return Err(self.invalid("a member's content has another length than its footer says"));
        }
        self.state = State::Boundary;
        self.members += 1;
        Ok(())
    }

    fn take(&mut self, taken: usize, consumed: &mut usize) {
        self.offset += taken as u64;
        *consumed += taken;
    }

    fn invalid(&self, reason: &str) -> Error {
        Error::Invalid { offset: self.offset, reason: reason.to_owned() }
    }

    /// Whether the next byte would begin a member.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Start | State::Boundary)
    }

    /// Offset in the stream of the next byte to consume.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Members decoded to their end.
    #[must_use]
    pub fn members(&self) -> u64 {
        self.members
    }

    /// Says that the input has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if it ended inside a member or before the first.
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Boundary | State::Zeros => Ok(()),
            // A lone first byte of a member's magic is no member.
            State::Member if self.dialect == Dialect::Native && self.header == 1 && self.offset > 1 => {
                Err(Error::Trailing { offset: self.offset })
            }
            State::Start | State::Member => Err(Error::Truncated { offset: self.offset }),
        }
    }
}

// What is read may be confidential, so nothing of it is printed.
impl std::fmt::Debug for SerialInflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SerialInflater({:?} at {})", self.state, self.offset)
    }
}

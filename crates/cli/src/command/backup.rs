//! `backup`: a stream becomes an archive, a PostgreSQL server a backup set.

mod postgres;
mod stores;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use backstay::backup::spool::Spool;
use backstay::backup::{BackupOptions, Format, Missed, Padding, Receipt};
use backstay::chunk::{Checks, EndMarker, Facts};
use backstay::copy::CopyOptions;
use backstay::effort::Level;
use backstay::keys::Encryption;
use backstay::layout::UPLOADS;
use backstay::patience::STALL;
use backstay::resume::{Leftovers, Resumed};
use backstay::source::Source;
use backstay_format::Guid;
use backstay_format::header::Codec;
use backstay_format::key::raw_key;
use backstay_format::openssl::{Digest, Kdf};
use backstay_format::segment::Aead;
use backstay_format::text::to_hex;
use backstay_postgres::source::dump_database;
use backstay_postgres::source::ending::announcements;
use backstay_store::Store;
use clap::{Args, ValueEnum};
use regex::bytes::Regex;
use serde::Serialize;

use crate::args::format::{Derivation, FormatName};
use crate::args::unlock::Passphrase;
use crate::args::value::{parse_cores, parse_part_size, parse_size, parse_some_size};
use crate::failure::{Failure, Result};
use crate::keys::{self, Purpose};
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::run::Status;
use crate::session::Session;
use stores::Stores;

/// The archive is there, but not in both of its stores.
const DEGRADED: Status = 3;

const EXAMPLES: &str = "\
Examples:
  backstay backup -s /srv/backups -r age1… -- pg_dumpall
  backstay backup -s s3://bucket/pg -R keys.txt --name shop -- pg_dump -Fc shop
  tar -c /etc | backstay backup -s /srv/backups --passphrase-file pass.txt --name etc
  backstay backup -s /srv/backups --also s3://bucket/pg -R keys.txt -- pg_dumpall
  backstay backup -s s3://bucket/pg -R keys.txt --name shop --pg-dumpall

The form with `-- COMMAND` is the better one: Backstay then sees whether the command succeeded, which
a pipe hides. What is printed at the end is the receipt: id, root, seal and stored bytes. Keep it:
`backstay verify --receipt` shows later that this very archive is still there.";

/// Write one archive from a command's output, or from standard input
///
/// The archive exists once its manifest is there, and that is written last: when the command fails, when the input is
/// empty or lacks its end, or when the run is interrupted, nothing is recorded. A dump of PostgreSQL that announces itself
/// in its first lines must end with the line that says it is complete.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Backup {
    /// The command to back up; its exit status must be 0
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    postgres: postgres::Dumps,

    /// The source's name, which people read [default: the host's name]
    #[arg(long, value_name = "NAME", help_heading = "Source")]
    name: Option<String>,
    /// The source's guid, which objects carry [default: made from the name]
    #[arg(long, value_name = "GUID", help_heading = "Source")]
    guid: Option<Guid>,
    /// Keep the name and the tags where only the key shows them
    #[arg(long, help_heading = "Source")]
    hide_name: bool,
    /// Do not publish how long the content is
    #[arg(long, help_heading = "Source")]
    hide_size: bool,
    /// A label for the archive; can be given several times
    #[arg(long, value_name = "TAG", value_parser = parse_tag, help_heading = "Source")]
    tag: Vec<String>,

    /// Refuse content that is smaller
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size, help_heading = "Checks")]
    min_size: u64,
    /// Accept content of no byte at all
    #[arg(long, help_heading = "Checks")]
    allow_empty: bool,
    /// Demand that this regular expression matches in the last 4 KiB, beside what a PostgreSQL dump has to end with
    #[arg(long, value_name = "REGEX", conflicts_with = "no_require_trailer", value_parser = parse_trailer, help_heading = "Checks")]
    require_trailer: Option<Regex>,
    /// Accept a PostgreSQL dump that does not say it is complete
    #[arg(long, help_heading = "Checks")]
    no_require_trailer: bool,

    /// Encrypt for this public key: age1…, ssh-ed25519 … or ssh-rsa …; can be given several times
    // A private key in its place begins with a hyphen, and clap would print it as an option that it does not know.
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true, help_heading = "Keys")]
    recipient: Vec<String>,
    /// Encrypt for all public keys in this file, one a line
    #[arg(short = 'R', long, value_name = "FILE", help_heading = "Keys")]
    recipients_file: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Encrypt with this raw key: 32 bytes, or 64 hexadecimal digits. Whoever has it can read and forge all its archives
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipient", "recipients_file", "passphrase_file", "passphrase_command", "ask_passphrase", "detached_keys", "sign_key"], help_heading = "Keys")]
    raw_key: Option<PathBuf>,
    /// Do not encrypt: everybody who can read the store can read the archive
    #[arg(long, conflicts_with_all = ["recipient", "recipients_file", "passphrase_file", "passphrase_command", "ask_passphrase", "raw_key", "detached_keys", "sign_key"], help_heading = "Keys")]
    no_encryption: bool,
    /// Keep the key slots in objects of their own: deleting those destroys the archive, and so does losing them
    #[arg(long, help_heading = "Keys")]
    detached_keys: bool,
    /// Sign the archive with this Ed25519 key, so that readers can demand its origin with --signer
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    sign_key: Option<PathBuf>,

    /// The archive's format [default: native]
    #[arg(long, value_name = "FORMAT", help_heading = "Format")]
    format: Option<FormatName>,
    /// The compression [default: zstd]
    #[arg(long, value_name = "CODEC", help_heading = "Format")]
    codec: Option<CodecName>,
    /// The compression's level, or auto: zstd 3 or gzip 6, and less when compressing would hold the source back
    #[arg(long, value_name = "N", default_value_t, allow_negative_numbers = true, help_heading = "Format")]
    level: Level,
    /// The cipher [default: aes-256-gcm]
    #[arg(long, value_name = "CIPHER", help_heading = "Format")]
    aead: Option<AeadName>,
    /// Hide the size: padme hides most of it for a few percent, part rounds up to whole parts [default: none]
    #[arg(long, value_name = "HOW", help_heading = "Format")]
    pad: Option<Pad>,
    /// The size of a stored part, at least 64KiB and at most 4 GiB [default: 16 MiB, or up to 64 MiB in the openssl format; less if the memory is short, more if it
    /// is known that very much will come]
    #[arg(long, value_name = "SIZE", value_parser = parse_part_size, help_heading = "Format")]
    part_size: Option<u64>,
    /// The most uploads at the same time
    #[arg(long, value_name = "N", default_value_t = UPLOADS, value_parser = parse_cores, help_heading = "Format")]
    uploads: usize,
    /// A second store for the same archive, written in the same pass: its URL, or the name of a [profile.NAME] of the configuration,
    /// whose store, server, region and credentials it then is. If one of the two stores fails, or its credentials cannot be had, the backup goes
    /// on with the other and ends with status 3; the slower one sets the pace
    #[arg(long, value_name = "URL|NAME", conflicts_with = "single", help_heading = "A second store")]
    also: Option<String>,
    /// Fail as soon as one of the two stores does
    #[arg(long, help_heading = "A second store")]
    also_required: bool,
    /// Keep sealed parts in this directory until the store has them: the source then waits less for a slow store, and not for one that is away as
    /// long as there is room; an upload that is interrupted after the source has ended goes on when the command runs again. The directory is
    /// made, or is empty, or was a spool before: what lies in it and cannot be finished is deleted. Needs a store that keeps
    /// conditions; not with --also or --single
    #[arg(long, value_name = "DIR", help_heading = "A spool")]
    spool: Option<PathBuf>,
    /// The most bytes of parts in the spool; when it is full, the source waits for the store, and the run fails only if a part is not
    /// taken then either, with all retries
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_some_size, help_heading = "A spool")]
    spool_size: u64,
    /// Send what an interrupted run left complete in the spool, and back up nothing
    #[arg(long, conflicts_with = "command", help_heading = "A spool")]
    resume: bool,
    #[command(flatten)]
    derivation: Derivation,
    /// One object instead of parts
    #[arg(long, help_heading = "The openssl format")]
    single: bool,
}

/// The compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodecName {
    Zstd,
    Gzip,
}

/// The cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AeadName {
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// For processors without AES instructions
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

/// Reads a pattern that an end can fail to match.
fn parse_trailer(text: &str) -> std::result::Result<Regex, String> {
    match Regex::new(text) {
        Ok(pattern) if pattern.is_match(b"") => {
            Err("it matches where there is nothing, so it demands nothing".to_owned())
        }
        Ok(pattern) => Ok(pattern),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a label, as `tag` does.
fn parse_tag(text: &str) -> std::result::Result<String, String> {
    if text.trim().is_empty() { Err("a tag is not empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// The backup is made, and only its receipt has not arrived. Nobody is to conclude that there is no archive, even if nobody listens.
fn without_receipt(failure: Failure, receipt: &Receipt) -> Failure {
    let id = &receipt.id;
    let mut told = Failure::new(failure.code, format!("{id} is committed, but its receipt could not be written"));
    told.causes = failure.causes;
    told.with_hint(format!("the archive is good; its receipt is `{receipt}`"))
}

/// What hides the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pad {
    None,
    Padme,
    Part,
}

impl Backup {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        if self.resume {
            return self.resume(session).await;
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        let guid = match &self.guid {
            Some(guid) => guid.clone(),
            None => backstay::guid::from_name(&name)?,
        };
        self.postgres.check(session)?;
        if self.allow_empty && self.min_size > 0 {
            let failure = Failure::usage("--allow-empty and --min-size contradict each other");
            return Err(failure.with_hint("leave one of them out, also in the configuration: `backstay config show --origin` says where they are from"));
        }
        if self.command.is_empty() && !self.postgres.are_wanted() && io::stdin().is_terminal() {
            let failure = Failure::new("usage.terminal", "the backup would be read from the terminal");
            return Err(failure.with_hint("give the command that produces the data after `--`, or pipe the data in"));
        }
        let format = match self.format {
            Some(FormatName::Openssl) => self.openssl(session)?,
            Some(FormatName::Native) | None => self.native(session)?,
        };
        if self.postgres.all() {
            return self.whole_server(guid, name, format, session).await;
        }
        let mut options = BackupOptions {
            guid,
            name,
            hide_name: self.hide_name,
            hide_size: self.hide_size,
            tags: self.tag,
            format,
            level: self.level,
            memory: session.global.memory,
            part_size: self.part_size,
            expected: None,
            uploads: self.uploads,
            checks: Checks {
                min_size: self.min_size,
                allow_empty: self.allow_empty,
                end: match self.require_trailer {
                    _ if self.no_require_trailer => EndMarker::None,
                    Some(pattern) => EndMarker::Required(pattern, announcements()),
                    None => EndMarker::Announced(announcements()),
                },
            },
            stall: STALL,
            also: None,
            spool: None,
            source: None,
            facts: Facts::new(),
            watch: Some(Box::<backstay_postgres::custom::Watcher>::default()),
        };
        let source = if self.command.is_empty() { Source::Stdin } else { Source::Command(self.command) };
        if self.spool.is_some() {
            refuse_with_spool(self.also.as_deref(), self.single)?;
        }
        let Stores { store, also, missed, own } = match &self.also {
            Some(given) => Stores::open(given, self.also_required, session).await?,
            None if session.settings.is_spelled_out("also_required") => {
                return Err(Failure::usage("--also-required needs a second store: give one with --also"));
            }
            None => Stores::one(session).await?,
        };
        options.also = also;
        if let Some(folder) = &self.spool {
            let spool = Arc::new(Spool::open(folder, self.spool_size, &[&store]).await?);
            let transfers = CopyOptions { memory: session.global.memory, transfers: self.uploads };
            send_leftovers(&store, &spool, &transfers, session).await?;
            options.spool = Some(spool);
        } else if session.settings.is_spelled_out("spool_size") {
            return Err(Failure::usage("--spool-size needs a spool: give its directory with --spool"));
        }
        let mut receipt = match &self.postgres.pg_dump {
            Some(database) => {
                let (dump, context) = (self.postgres.options(), &session.context);
                dump_database(&store, database, options, &dump, context, session.observer()).await?
            }
            None => backstay::backup(&store, source, options, &session.context, session.observer()).await?,
        };
        session.output.end();
        receipt.missed.extend(missed);
        session.output.note(&summary(&receipt));
        if receipt.unconfirmed {
            let text = "the store's answer to one object was lost and could not be compared: verify this archive with a reading credential";
            session.output.warning(None, text);
        }
        let also = self.also.as_deref().unwrap_or_default();
        for missed in &receipt.missed {
            let copy = if missed.store == own { "--repair" } else { "--to" };
            let text = format!(
                "{} does not have this archive: {}; when it works again, `backstay copy {} {copy} {also}` makes up for it",
                missed.store, missed.why, receipt.id
            );
            session.output.warning(Some(missed.code), &text);
        }
        let printed = session.output.result("receipt", &Printed::from(&receipt));
        printed.map_err(|failure| without_receipt(failure, &receipt))?;
        Ok(if receipt.missed.is_empty() { 0 } else { DEGRADED })
    }

    async fn resume(self, session: &Session) -> Result<Status> {
        let Some(folder) = &self.spool else {
            return Err(Failure::usage(
                "--resume needs the spool of the interrupted run: give its directory with --spool",
            ));
        };
        refuse_with_spool(self.also.as_deref(), self.single)?;
        if session.settings.is_spelled_out("also_required") {
            return Err(Failure::usage("--also-required needs a second store, and a spool keeps parts for one"));
        }
        let store = session.store().await?;
        let spool = Arc::new(Spool::open(folder, self.spool_size, &[&store]).await?);
        let options = CopyOptions { memory: session.global.memory, transfers: self.uploads };
        let resumed =
            backstay::resume(&store, &spool, Leftovers::All, &options, &session.context, session.observer()).await?;
        session.output.end();
        session.output.result("resumed", &AllResumed { archives: resumed.iter().map(Finished::from).collect() })?;
        Ok(0)
    }

    fn native(&self, session: &Session) -> Result<Format> {
        let encryption = self.encryption(session)?;
        if self.single {
            return Err(Failure::usage(
                "--single is for --format openssl: an archive of the native format is always made of parts",
            ));
        }
        Ok(Format::Native {
            aead: match self.aead {
                Some(AeadName::ChaCha20Poly1305) => Aead::ChaCha20Poly1305,
                Some(AeadName::Aes256Gcm) | None => Aead::Aes256Gcm,
            },
            codec: match self.codec {
                Some(CodecName::Gzip) => Codec::Gzip,
                Some(CodecName::Zstd) | None => Codec::Zstd,
            },
            encryption,
            padding: match self.pad {
                Some(Pad::Padme) => Padding::Padme,
                Some(Pad::Part) => Padding::Part,
                Some(Pad::None) | None => Padding::None,
            },
            signing_key: self.sign_key.as_deref().map(keys::signing::read).transpose()?,
        })
    }

    fn encryption(&self, session: &Session) -> Result<Encryption> {
        if self.no_encryption {
            return Ok(Encryption::Open);
        }
        if let Some(path) = &self.raw_key {
            let refuse = || {
                Failure::new("usage.recipient", format!("{} is not a raw key", path.display()))
                    .because("a raw key is 64 hexadecimal digits, or 32 bytes that are not all printable")
                    .with_hint("make one with `backstay key generate --raw`")
            };
            return raw_key(&keys::read_key_file(path)?).map(Encryption::Raw).ok_or_else(refuse);
        }
        let recipients = keys::recipients(&self.recipient, &self.recipients_file, &session.output)?;
        let passphrase = keys::passphrase(&self.passphrase, Purpose::Lock, &session.output)?;
        let passphrase = passphrase.map(|passphrase| passphrase.text()).transpose()?;
        if recipients.is_empty() && passphrase.is_none() {
            let failure = Failure::new("usage.recipient", "it is not said who may read the archive");
            return Err(failure.with_hint(
                "give a public key with -r age1… (`backstay key generate` makes a pair) or a --passphrase-file; --no-encryption leaves the archive open to everybody",
            ));
        }
        Ok(Encryption::Slots { recipients, passphrase, detached: self.detached_keys })
    }

    fn openssl(&self, session: &Session) -> Result<Format> {
        let refused = [
            (self.codec == Some(CodecName::Zstd), "codec", "its compression is gzip"),
            (self.aead.is_some(), "aead", "its cipher is AES-256-CBC"),
            (!self.recipient.is_empty(), "recipient", "it knows passwords only"),
            (!self.recipients_file.is_empty(), "recipients_file", "it knows passwords only"),
            (self.raw_key.is_some(), "raw_key", "it knows passwords only"),
            (self.sign_key.is_some(), "sign_key", "it cannot be signed"),
            (self.detached_keys, "detached_keys", "it has no key slots"),
            (self.pad.is_some_and(|pad| pad != Pad::None), "pad", "it has no room for padding"),
            (self.no_encryption, "no_encryption", "it is always encrypted"),
        ];
        // What a file or the environment says for archives of the native format does not concern this one.
        if let Some((_, option, why)) =
            refused.into_iter().find(|(given, option, _)| *given && session.settings.is_spelled_out(option))
        {
            return Err(Failure::usage(format!(
                "--{} does not go with --format openssl: {why}",
                option.replace('_', "-")
            )));
        }
        let Some(given) = keys::passphrase(&self.passphrase, Purpose::Lock, &session.output)? else {
            let failure = Failure::new("usage.recipient", "an archive of the openssl format needs a password");
            return Err(failure.with_hint("give it with --passphrase-file, --passphrase-command or --ask-passphrase"));
        };
        let password = given.password_for_openssl()?;
        let kdf = self.derivation.kdf()?.unwrap_or(Kdf::BytesToKey(Digest::Md5));
        if kdf.pbkdf2() == 0 {
            session.output.warning(
                None,
                &format!("the key is derived with one round of {kdf}: a weak password can be guessed from the archive, and so can one that is shared with other archives"),
            );
        }
        Ok(Format::Openssl { kdf, password, single: self.single })
    }
}

/// A spool may be said in the configuration, so that whoever gives the other flag need not think of it.
fn refuse_with_spool(also: Option<&str>, single: bool) -> Result<()> {
    if let Some(also) = also {
        let failure = Failure::usage(
            "--spool and --also do not go together: a spool keeps the parts of an archive for one store",
        );
        return Err(failure.with_hint(format!(
            "leave --also out and copy afterwards, `backstay copy latest --to {also}`; or leave --spool out, in the configuration, too"
        )));
    }
    if single {
        let failure = Failure::usage(
            "--spool and --single do not go together: a spool keeps parts, and a single object has none",
        );
        return Err(failure.with_hint(
            "leave --single out, so that there are parts; or leave --spool out, in the configuration, too",
        ));
    }
    Ok(())
}

/// What an earlier run left in the spool goes first. When that fails, the new backup is made all the same.
async fn send_leftovers(store: &Store, spool: &Arc<Spool>, options: &CopyOptions, session: &Session) -> Result<()> {
    match backstay::resume(store, spool, Leftovers::OfThisStore, options, &session.context, session.observer()).await {
        Ok(resumed) => {
            for done in resumed {
                let sent = Size(done.sent);
                session.output.note(&format!("{sent} of an earlier run were sent, it is committed: {}", done.receipt));
            }
            Ok(())
        }
        Err(error @ backstay::Error::Interrupted { .. }) => Err(error.into()),
        Err(error) => {
            let text = format!("what an earlier run left in the spool is still there: {error}");
            session.output.warning(Some(error.code()), &text);
            Ok(())
        }
    }
}

/// The name of this host.
fn host_name() -> Result<String> {
    let system = rustix::system::uname();
    match system.nodename().to_str() {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Failure::usage("this host has no name: give the source a --name")),
    }
}

fn summary(receipt: &Receipt) -> String {
    let Receipt { id, content, stored, parts, elapsed, .. } = receipt;
    let parts = count(u64::from(*parts), "part");
    format!(
        "{id} is committed: {} of content, {} stored in {parts}, {}",
        Size(*content),
        Size(*stored),
        Elapsed(*elapsed)
    )
}

/// What was finished.
#[derive(Debug, Serialize)]
struct AllResumed {
    archives: Vec<Finished>,
}

/// One archive.
#[derive(Debug, Serialize)]
struct Finished {
    id: String,
    root: String,
    seal: String,
    stored: u64,
    parts: u32,
    sent: u64,
    unconfirmed: bool,
    elapsed_ms: u64,
    #[serde(skip)]
    receipt: String,
}

impl From<&Resumed> for Finished {
    fn from(Resumed { receipt, parts, sent, elapsed }: &Resumed) -> Finished {
        Finished {
            id: receipt.id.to_string(),
            root: to_hex(&receipt.root),
            seal: to_hex(&receipt.seal),
            stored: receipt.stored,
            parts: *parts,
            sent: *sent,
            unconfirmed: receipt.unconfirmed,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            receipt: receipt.to_string(),
        }
    }
}

impl fmt::Display for AllResumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.archives.is_empty() {
            return writeln!(f, "there is nothing to send");
        }
        self.archives.iter().try_for_each(|archive| writeln!(f, "{}", archive.receipt))
    }
}

/// The receipt as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Printed {
    id: String,
    root: String,
    seal: String,
    stored: u64,
    content: u64,
    parts: u32,
    unconfirmed: bool,
    missed: Vec<Gap>,
    elapsed_ms: u64,
}

/// A store that does not have the archive.
#[derive(Debug, Serialize)]
struct Gap {
    store: String,
    code: &'static str,
    why: String,
}

impl From<&Missed> for Gap {
    fn from(Missed { store, code, why }: &Missed) -> Gap {
        Gap { store: store.clone(), code, why: why.clone() }
    }
}

impl From<&Receipt> for Printed {
    fn from(receipt: &Receipt) -> Printed {
        Printed {
            id: receipt.id.to_string(),
            root: to_hex(&receipt.root),
            seal: to_hex(&receipt.seal),
            stored: receipt.stored,
            content: receipt.content,
            parts: receipt.parts,
            unconfirmed: receipt.unconfirmed,
            missed: receipt.missed.iter().map(Gap::from).collect(),
            elapsed_ms: u64::try_from(receipt.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remark = if self.unconfirmed { " unconfirmed" } else { "" };
        writeln!(f, "{} {} {} {}{remark}", self.id, self.root, self.seal, self.stored)
    }
}

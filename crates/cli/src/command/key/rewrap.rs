//! `key rewrap`: further keys for archives and backup sets that exist.

use std::fmt;
use std::path::PathBuf;

use backstay::catalog::Selected;
use backstay::rewrap::{NewSlots, every, rewrap};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use clap::Args;
use serde::Serialize;

use crate::args::select::Narrow;
use crate::args::unlock::Unlock;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay key rewrap latest -i key.txt -r age1…
  backstay key rewrap latest -i key.txt --new-passphrase-file new.txt
  backstay key rewrap --all --name shop -i old.txt -r age1… --unless-opened-by new.txt

The archives' parts are not touched: a small object with the new slot is put beside them. A backup set has
keys of its own, for what only they show of it, and gets such an object, too: named, it is done with all its
members, and with --all all sets are done. Keys that
could open an archive before still can: their slots are in every part. To shut a key out, write the
archives anew with `backstay copy --reencrypt`, and delete the old ones.

With --all, each is told as soon as it is done. A key of -r whose private half is given with -i gets no second
slot. Else a slot does not say whose it is, so a run that was
interrupted needs --unless-opened-by or --after-id to leave out what is done.";

/// Let further keys open archives and backup sets
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rewrap {
    /// The archive or backup set: its id, the beginning of it, `latest`, `latest~1` for the one before, NAME or NAME~1
    #[arg(value_name = "ARCHIVE", required_unless_present = "all", conflicts_with = "all")]
    archive: Option<String>,
    /// Every archive that is committed and every backup set, oldest first
    #[arg(long)]
    all: bool,
    /// With --all: go on behind this archive or set
    #[arg(long, value_name = "ID")]
    after_id: Option<ArchiveId>,
    #[command(flatten)]
    narrow: Narrow,
    #[command(flatten)]
    unlock: Unlock,
    /// A public key that may open it too; can be given several times
    // See `backup`.
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true, help_heading = "New keys")]
    recipient: Vec<String>,
    /// All public keys in this file
    #[arg(short = 'R', long, value_name = "FILE", help_heading = "New keys")]
    recipients_file: Vec<PathBuf>,
    /// A passphrase, the first line of this file, that may open it too; an archive that it opens already is left as it is
    #[arg(long, value_name = "FILE", help_heading = "New keys")]
    new_passphrase_file: Option<PathBuf>,
    /// Leave an archive as it is that this key file opens already, which is the new one if it is at hand
    #[arg(long, value_name = "FILE", help_heading = "New keys")]
    unless_opened_by: Vec<PathBuf>,
}

impl Rewrap {
    pub(super) async fn run(self, session: &Session) -> Result<Status> {
        if self.after_id.is_some() && !self.all {
            return Err(Failure::usage("--after-id needs --all: a single archive has none before it"));
        }
        let recipients = keys::recipients(&self.recipient, &self.recipients_file, &session.output)?;
        let passphrase = self.new_passphrase_file.as_deref().map(keys::passphrase_in).transpose()?;
        if recipients.is_empty() && passphrase.is_none() {
            let failure = Failure::new("usage.recipient", "it is not said who may open the archive");
            return Err(failure.with_hint("give a public key with -r or -R, or a --new-passphrase-file"));
        }
        let (keyring, terminal) = keys::keyring_and_terminal(&self.unlock, &session.output)?;
        let mut unless_opened_by = Keyring::default();
        for path in &self.unless_opened_by {
            keys::read_identity(path)?.add_to(&mut unless_opened_by, &terminal)?;
        }
        // With recipients beside it, a passphrase that opens an archive does not say that they do.
        if let Some(passphrase) = passphrase.clone().filter(|_| recipients.is_empty()) {
            unless_opened_by.add_passphrase(passphrase);
        }
        let new =
            NewSlots { recipients: &recipients, passphrase: passphrase.as_ref(), unless_opened_by: &unless_opened_by };
        let store = session.store().await?;
        let filter = self.narrow.filter(false)?;
        let Some(archive) = &self.archive else {
            let mut of = every(&store, &filter, &session.context).await?;
            of.retain(|one| self.after_id.as_ref().is_none_or(|after| one.id() > after));
            return all(&store, of, true, &keyring, &new, session).await;
        };
        let selected = backstay::catalog::select_any(&store, archive, &filter).await?;
        if let Selected::Set(id) = &selected {
            let members = backstay::set::load(&store, id).await?.set.members;
            let members = members.into_iter().map(|member| Selected::Archive(member.id));
            return all(&store, members.chain([selected.clone()]).collect(), false, &keyring, &new, session).await;
        }
        let id = selected.id();
        let created = rewrap(&store, &selected, &keyring, &new, &session.context).await?;
        session.output.note(&match created.len() {
            0 => format!("{id} can be opened with the new key already"),
            objects => format!("{id} can be opened with the new keys: {}", count(objects as u64, "new object")),
        });
        session.output.result("rewrapped", &Created { id: id.to_string(), created })?;
        Ok(0)
    }
}

/// Goes through these, in the order of their ids or not. One that cannot be opened does not keep the others from it.
async fn all(
    store: &backstay_store::Store,
    of: Vec<Selected>,
    ordered: bool,
    keyring: &Keyring,
    new: &NewSlots<'_>,
    session: &Session,
) -> Result<Status> {
    let (mut done, mut last, mut first_failure, mut failed) = (All::default(), None, None, 0);
    let sets = of.iter().filter(|one| matches!(one, Selected::Set(_))).count() as u64;
    let archives = of.len() as u64 - sets;
    for one in of {
        if session.context.interrupt.is_set() {
            let left = match last {
                Some(last) if ordered => format!("go on with --after-id {last}"),
                _ => "run it again; --unless-opened-by passes over what is done".to_owned(),
            };
            return Err(backstay::Error::Interrupted { left }.into());
        }
        let id = one.id().clone();
        match rewrap(store, &one, keyring, new, &session.context).await.map_err(Failure::from) {
            Ok(created) => {
                session.output.note(&match created.as_slice() {
                    [] => format!("{id}: opened by the new key already"),
                    names => format!("{id}: {} created", names.join(", ")),
                });
                let list = if matches!(one, Selected::Set(_)) { &mut done.sets } else { &mut done.archives };
                list.push(Created { id: id.to_string(), created });
            }
            // What is wrong with this one alone: its key, its format, its damage.
            Err(failure) if matches!(failure.exit(), 10 | 12 | 20 | 21 | 23) || failure.code == "usage.arguments" => {
                session.output.warning(Some(failure.code), &format!("{id} is not rewrapped: {}", failure.message));
                failed += 1;
                first_failure.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
        last = Some(id);
    }
    session.output.result("rewrapped", &done)?;
    match first_failure {
        None => Ok(0),
        Some(failure) => {
            let mut of = count(archives, "archive");
            if sets > 0 {
                of += &format!(" and {}", count(sets, "backup set"));
            }
            let message = format!("{failed} of {of} are not rewrapped");
            Err(Failure::new(failure.code, message).because(failure.message))
        }
    }
}

/// The objects that were made.
#[derive(Debug, Serialize)]
struct Created {
    id: String,
    created: Vec<String>,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.created.iter().try_for_each(|name| writeln!(f, "{name}"))
    }
}

/// Those of many archives and sets.
#[derive(Debug, Default, Serialize)]
struct All {
    archives: Vec<Created>,
    sets: Vec<Created>,
}

impl fmt::Display for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.archives.iter().chain(&self.sets).try_for_each(|one| write!(f, "{one}"))
    }
}

//! `copy`: archives in a second store.

mod anew;
mod several;

use std::collections::HashSet;
use std::fmt;

use backstay::catalog::{self, Filter, Selected};
use backstay::copy::{Copied, CopyOptions};
use backstay::layout::UPLOADS;
use backstay::repair::{Changes, Repaired};
use backstay::set::{CopiedSet, RepairedSet, copy_set, repair_set};
use backstay_store::Store;
use clap::Args;
use serde::Serialize;

use self::anew::{Anew, Sets};
use self::several::{Failed, Several};
use crate::args::select::Narrow;
use crate::args::value::parse_cores;
use crate::failure::{Failure, Result};
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay copy latest -s /srv/backups --to s3://bucket/pg
  backstay copy --all --name shop -s s3://bucket/pg --to /mnt/replica
  backstay copy latest --repair s3://bucket/replica
  backstay copy --all --to /mnt/new --to-format native --passphrase-file old.txt -r age1…
  backstay copy --all --to offsite

The last one copies to the store of a profile, which has its own server and credentials:

  [profile.offsite]
  store = 's3://other/pg'
  endpoint_url = 'https://s3.example.org'
  aws_profile = 'offsite'

A copy is the same archive, byte for byte, under the same id; no key is needed to make it. What the manifest
says of each part is checked on the way. A copy that was interrupted goes on when it is started again; so does a repair.
With --all, an archive that cannot be copied or repaired does not keep the others from it: the run says which it was, and fails at
its end. One that is deleted while the run is at work is not a failure.

With --to-format native, archives of the openssl format are read with their password and written anew: same id and time, the
old manager's document kept inside, new keys. With --reencrypt native archives are written anew too. What was converted before is not
converted again; one archive that was interrupted begins again with --restart. A backup set whose members are native is copied
with them, unless --reencrypt makes others of them: with --all, such a set is left out, and the exit status is 3.";

/// Copy archives to another store, byte for byte or written anew
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Copy {
    /// The archive or backup set: its id, the beginning of it, `latest`, `latest~1` for the one before, NAME or NAME~1
    #[arg(value_name = "ARCHIVE", required_unless_present = "all", conflicts_with = "all")]
    archive: Option<String>,
    /// Every archive that is committed, oldest first, and every backup set
    #[arg(long)]
    all: bool,
    /// The store to copy to: its URL, or the name of a [profile.NAME] of the configuration, whose store, server, region and
    /// credentials it then is. A URL of the same kind as the store's is reached with what is said of the store
    #[arg(long, value_name = "URL|NAME", required_unless_present = "repair", conflicts_with = "repair")]
    to: Option<String>,
    /// The other direction: replace what is missing or damaged of the archive in the store with what it has in this one. Every part is
    /// read and compared with the manifest first. Needs the right to delete, for a damaged object is deleted before it is created anew
    #[arg(long, value_name = "URL|NAME")]
    repair: Option<String>,
    /// The most parts under way at the same time
    #[arg(long, value_name = "N", default_value_t = UPLOADS, value_parser = parse_cores)]
    uploads: usize,
    #[command(flatten)]
    anew: Anew,
    #[command(flatten)]
    narrow: Narrow,
}

impl Copy {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let from = session.store().await?;
        let options = CopyOptions { memory: session.global.memory, transfers: self.uploads };
        let filter = self.narrow.filter(false)?;
        let anew = self.anew.is_wanted(session)?;
        let Some(to) = &self.to else {
            if anew {
                return Err(Failure::usage("--repair brings back the very bytes, so nothing is written anew with it"));
            }
            return self.repair(&from, &filter, &options, session).await;
        };
        let to = session.second(to, Some(&from)).await?;
        let (ids, sets) = match &self.archive {
            Some(archive) => match catalog::select_any(&from, archive, &filter).await? {
                Selected::Archive(id) => (vec![id], Vec::new()),
                Selected::Set(id) => (Vec::new(), vec![id]),
            },
            None => {
                let (archives, sets) = catalog::list_all(&from, &filter, false, &session.context).await?;
                (archives.into_iter().map(|entry| entry.id).collect(), sets.into_iter().map(|entry| entry.id).collect())
            }
        };
        if let Some(id) = ids.iter().chain(&sets).next() {
            session.demand_two(&to, &from, id).await?;
        }
        if anew {
            let (mut unchanged, mut left_out) = (Vec::new(), Vec::new());
            for set in sets {
                let list = if self.anew.leaves_as_it_is(&from, &set).await { &mut unchanged } else { &mut left_out };
                list.push(set);
            }
            if let Some(set) = left_out.first() {
                let why = "a backup set states the roots of its members, which would be others";
                if self.archive.is_some() {
                    let failure = Failure::usage(format!("{set} cannot be written anew: {why}"));
                    return Err(failure.with_hint("its members can, one by one; or copy it byte for byte"));
                }
                let sets = count(left_out.len() as u64, "backup set");
                session.output.warning(None, &format!("{sets} left out, the members are not: {why}"));
            }
            return self.anew.run(&from, &to, ids, Sets { unchanged, left_out }, self.uploads, session).await;
        }
        let (mut archives, mut copied_sets) = (Vec::new(), Vec::new());
        let mut several = Several::new(session, "copied", self.archive.is_some());
        for id in ids {
            let copied = backstay::copy(&from, &to, &id, &options, &session.context, session.observer()).await;
            archives.extend(several.take(&from, &id, copied).await?.as_ref().map(Printed::from));
        }
        // After the archives: a set brings those of its members along that the filter left out.
        for id in sets {
            let copied = copy_set(&from, &to, &id, &options, &session.context, session.observer()).await;
            copied_sets.extend(several.take(&from, &id, copied).await?.as_ref().map(PrintedSet::from));
        }
        session.output.end();
        let (failed, gone) = several.told();
        let all = All { to: to.url().to_owned(), archives, sets: copied_sets, failed, gone };
        session.output.result("copied", &all)?;
        several.end(all.failed.len())
    }
}

impl Copy {
    async fn repair(self, store: &Store, filter: &Filter, options: &CopyOptions, session: &Session) -> Result<Status> {
        let replica = session.second(self.repair.as_deref().unwrap_or_default(), Some(store)).await?;
        let (ids, sets) = match &self.archive {
            // The replica is the better catalog: in the store the archive may look like one that was never finished.
            Some(archive) => match catalog::select_any(&replica, archive, filter).await? {
                Selected::Archive(id) => (vec![id], Vec::new()),
                Selected::Set(id) => (Vec::new(), vec![id]),
            },
            None => {
                let (archives, sets) = catalog::list_all(&replica, filter, false, &session.context).await?;
                (archives.into_iter().map(|entry| entry.id).collect(), sets.into_iter().map(|entry| entry.id).collect())
            }
        };
        if let Some(id) = ids.iter().chain(&sets).next() {
            session.demand_two(store, &replica, id).await?;
        }
        let (mut archives, mut mended_sets, mut whole) = (Vec::new(), Vec::new(), HashSet::new());
        let mut several = Several::new(session, "repaired", self.archive.is_some());
        for id in ids {
            let repaired = backstay::repair(store, &replica, &id, options, &session.context, session.observer()).await;
            if let Some(repaired) = several.take(&replica, &id, repaired).await? {
                archives.push(Mended::from(&repaired));
                whole.insert(id);
            }
        }
        for id in sets {
            let (context, observer) = (&session.context, session.observer());
            let repaired = repair_set(store, &replica, &id, &whole, options, context, observer).await;
            if let Some(repaired) = several.take(&replica, &id, repaired).await? {
                archives.extend(repaired.repaired.iter().map(Mended::from));
                whole.extend(repaired.repaired.iter().map(|member| member.id.clone()));
                mended_sets.push(MendedSet::from(&repaired));
            }
        }
        session.output.end();
        let (failed, gone) = several.told();
        let all = AllMended { from: replica.url().to_owned(), archives, sets: mended_sets, failed, gone };
        session.output.result("repaired", &all)?;
        several.end(all.failed.len())
    }
}

/// What is whole in the store now.
#[derive(Debug, Serialize)]
struct AllMended {
    from: String,
    archives: Vec<Mended>,
    sets: Vec<MendedSet>,
    failed: Vec<Failed>,
    /// Archives that were deleted from the replica meanwhile.
    gone: Vec<String>,
}

/// One archive.
#[derive(Debug, Serialize)]
struct Mended {
    id: String,
    parts: u32,
    #[serde(flatten)]
    objects: Objects,
    elapsed_ms: u64,
}

/// One backup set, as far as it is more than its members.
#[derive(Debug, Serialize)]
struct MendedSet {
    id: String,
    members: usize,
    #[serde(flatten)]
    objects: Objects,
    elapsed_ms: u64,
}

/// What became of objects.
#[derive(Debug, Serialize)]
struct Objects {
    restored: Vec<String>,
    replaced: Vec<String>,
    differing: Vec<String>,
    added: Vec<String>,
    sent: u64,
}

impl From<&Repaired> for Mended {
    fn from(repaired: &Repaired) -> Mended {
        let Repaired { id, parts, changes, elapsed } = repaired.clone();
        Mended {
            id: id.to_string(),
            parts,
            objects: changes.into(),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<&RepairedSet> for MendedSet {
    fn from(repaired: &RepairedSet) -> MendedSet {
        let RepairedSet { id, members, changes, elapsed, .. } = repaired.clone();
        MendedSet {
            id: id.to_string(),
            members,
            objects: changes.into(),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<Changes> for Objects {
    fn from(Changes { restored, replaced, differing, added, sent }: Changes) -> Objects {
        Objects { restored, replaced, differing, added, sent }
    }
}

impl Objects {
    /// The lines about one archive or set, that has so much.
    fn write(&self, f: &mut fmt::Formatter<'_>, id: &str, what: &str, from: &str) -> fmt::Result {
        let Objects { restored, replaced, differing, added, sent } = self;
        match differing.len() as u64 {
            0 => write!(f, "{id}: {what}, all good")?,
            number => write!(f, "{id}: {what} good, {} NOT AS IN THE REPLICA", count(number, "keybox"))?,
        }
        let mended = restored.len() + replaced.len() + added.len();
        if mended > 0 {
            let mended = count(mended as u64, "object");
            write!(f, " now: {mended} with {} brought back from {from}", Size(*sent))?;
        }
        writeln!(f)?;
        restored.iter().try_for_each(|name| writeln!(f, "  {name} was missing"))?;
        replaced.iter().try_for_each(|name| writeln!(f, "  {name} was damaged"))?;
        differing.iter().try_for_each(|name| {
            writeln!(
                f,
                "  {name} is another one than the replica's, and stays: without a key nobody can tell which is good"
            )
        })?;
        added.iter().try_for_each(|name| writeln!(f, "  {name} is the replica's, added beside it"))
    }
}

impl fmt::Display for AllMended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mended { id, parts, objects, .. } in &self.archives {
            objects.write(f, id, &count(u64::from(*parts), "part"), &self.from)?;
        }
        for MendedSet { id, members, objects, .. } in &self.sets {
            let members = count(*members as u64, "member");
            objects.write(f, id, &format!("the set of {members}"), &self.from)?;
        }
        write_failed(f, "REPAIRED", &self.failed)?;
        if self.archives.is_empty() && self.sets.is_empty() && self.failed.is_empty() {
            writeln!(f, "there is nothing to repair")?;
        }
        Ok(())
    }
}

/// What is in the target now.
#[derive(Debug, Serialize)]
struct All {
    to: String,
    archives: Vec<Printed>,
    sets: Vec<PrintedSet>,
    failed: Vec<Failed>,
    /// Archives that were deleted meanwhile.
    gone: Vec<String>,
}

fn write_failed(f: &mut fmt::Formatter<'_>, done: &str, failed: &[Failed]) -> fmt::Result {
    failed.iter().try_for_each(|Failed { id, code, why }| writeln!(f, "{id}: NOT {done}: {why} [{code}]"))
}

/// One backup set.
#[derive(Debug, Serialize)]
struct PrintedSet {
    id: String,
    members: Vec<Printed>,
}

impl From<&CopiedSet> for PrintedSet {
    fn from(copied: &CopiedSet) -> PrintedSet {
        PrintedSet { id: copied.id.to_string(), members: copied.members.iter().map(Printed::from).collect() }
    }
}

impl PrintedSet {
    fn write(&self, f: &mut fmt::Formatter<'_>, to: &str) -> fmt::Result {
        writeln!(f, "{}: the set of {} in {to}", self.id, count(self.members.len() as u64, "member"))
    }
}

/// One archive.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    parts: u32,
    stored: u64,
    sent: u64,
    checked: bool,
    elapsed_ms: u64,
    #[serde(skip)]
    elapsed: Elapsed,
}

impl From<&Copied> for Printed {
    fn from(copied: &Copied) -> Printed {
        Printed {
            id: copied.id.to_string(),
            parts: copied.parts,
            stored: copied.stored,
            sent: copied.sent,
            checked: copied.checked,
            elapsed_ms: u64::try_from(copied.elapsed.as_millis()).unwrap_or(u64::MAX),
            elapsed: Elapsed(copied.elapsed),
        }
    }
}

impl fmt::Display for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_sets = self.sets.iter().flat_map(|set| &set.members);
        let mut told = HashSet::new();
        // With --all a member comes by itself, and then again with its set.
        for archive in self.archives.iter().chain(of_sets).filter(|archive| told.insert(&archive.id)) {
            let Printed { id, parts, stored, sent, checked, elapsed, .. } = archive;
            write!(f, "{id}: {} with {} in {}", count(u64::from(*parts), "part"), Size(*stored), self.to)?;
            match sent {
                0 => write!(f, ", all there already")?,
                _ if sent < stored => write!(f, ", {} sent in {elapsed}, the others were there already", Size(*sent))?,
                _ => write!(f, ", sent in {elapsed}")?,
            }
            writeln!(f, "{}", if *checked { "" } else { "; no manifest vouches for what was read" })?;
        }
        self.sets.iter().try_for_each(|set| set.write(f, &self.to))?;
        write_failed(f, "COPIED", &self.failed)?;
        if self.archives.is_empty() && self.sets.is_empty() && self.failed.is_empty() {
            writeln!(f, "there is nothing to copy")?;
        }
        Ok(())
    }
}

//! Holds, notes and added tags: what people say of an archive or a backup set after it was made, each a new object beside it.

use std::time::Duration;

use backstay_format::remark::{MAX_REMARK, Remark};
use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::{ObjectInfo, Store};
use futures::TryStreamExt as _;

use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::inventory::{self, Holding};
use crate::patience::GRACE;
use crate::report::create_numbered;

/// How often a hold that meets a deletion looks what becomes of it, and how long it waits between.
const LOOKS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps an archive, or a set with all its members, whatever a policy says, until it is released. Gives the name of the hold: then no deletion that had
/// begun before goes on, and none begins after it.
///
/// # Errors
/// `archive.not-found`; `retention.too-late` when its deletion had begun; `store.failed` when the store took the hold and does not list it, since a
/// pruner knows of it by a listing; `store.*`.
pub async fn hold(store: &Store, id: &ArchiveId, reason: &str, by: &str, context: &Context) -> Result<String> {
    let before = inventory::of::<Content>(store, id).await?;
    if !before.is_anything() {
        return Err(not_found(store, id));
    }
    let name = say(store, id, Word::Hold, reason, Vec::new(), by, context).await?;
    let too_late = |how: String| Err(Error::HeldTooLate { id: id.to_string(), how });
    // Whoever deletes made a mark first and then looks for holds: one of us sees the other.
    let mut looks = 0;
    loop {
        looks += 1;
        let now = inventory::of::<Content>(store, id).await?;
        // The hold's own time is the store's now. A run that began so long ago is not under way any more.
        let held_at = now.holds.iter().find(|hold| hold.name == name).map(|hold| hold.modified);
        let is_old = |mark: &ObjectInfo| {
            held_at.is_some_and(|now| now.duration_since(mark.modified).is_ok_and(|age| age >= GRACE))
        };
        let mark = now.begun.iter().find(|mark| !is_old(mark));
        // A listing takes its time: a whole deletion may have come and gone while it was made.
        let gone = now.lacks_something_of(&before)
            || match now.goes_first() {
                Some(first) if mark.is_none() => inventory::is_there(store, first).await? != Some(true),
                _ => false,
            };
        if gone {
            // Now it would keep nothing.
            let how = match store.for_passing_objects().delete(&name).await {
                Ok(()) => "something of it is gone".to_owned(),
                Err(_) => format!("something of it is gone; {name} is left, and gc deletes it"),
            };
            return too_late(how);
        }
        match mark {
            _ if held_at.is_none() => return Err(Error::StoreForgot { name, store: store.url().to_owned() }),
            None => return Ok(name),
            Some(mark) if looks == LOOKS => {
                return too_late(format!(
                    "by {} it may still go on; the hold {name} stands, and every run that begins later heeds it",
                    mark.name
                ));
            }
            Some(_) if context.interrupt.is_set() => {
                let left = format!("the hold {name} stands, and whether it came in time is not known");
                return Err(Error::Interrupted { left });
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// What a hold is to keep, and what may be under way against it.
struct Content {
    manifest: Option<String>,
    set: Option<String>,
    keyboxes: usize,
    parts: usize,
    /// The part that goes before the others.
    first: Option<(u32, String)>,
    /// Holds.
    holds: Vec<ObjectInfo>,
    /// Marks of deletions that began.
    begun: Vec<ObjectInfo>,
}

impl Holding for Content {
    fn new(_: &ArchiveId) -> Content {
        let (holds, begun) = (Vec::new(), Vec::new());
        Content { manifest: None, set: None, keyboxes: 0, parts: 0, first: None, holds, begun }
    }

    fn add(&mut self, name: &ObjectName, object: ObjectInfo) {
        match name {
            ObjectName::Manifest(_) => self.manifest = Some(object.name),
            ObjectName::Set(_) => self.set = Some(object.name),
            ObjectName::Keybox(..) => self.keyboxes += 1,
            ObjectName::Part { n, .. } => self.add_part(*n, object.name),
            ObjectName::Single(_) => self.add_part(0, object.name),
            ObjectName::Sidecar(_, Word::Hold, _) => self.holds.push(object),
            ObjectName::Sidecar(_, Word::Expired, Some(_)) => self.begun.push(object),
            ObjectName::Sidecar(..) | ObjectName::Unknown(_) | ObjectName::Foreign => {}
        }
    }
}

impl Content {
    fn add_part(&mut self, n: u32, name: String) {
        self.parts += 1;
        if self.first.as_ref().is_none_or(|(first, _)| n < *first) {
            self.first = Some((n, name));
        }
    }

    /// Whether there is an archive or a set.
    fn is_anything(&self) -> bool {
        self.goes_first().is_some()
    }

    /// The object that a deletion begins with.
    fn goes_first(&self) -> Option<&str> {
        let part = self.first.as_ref().map(|(_, name)| name);
        self.set.as_ref().or(self.manifest.as_ref()).or(part).map(String::as_str)
    }

    /// Whether somebody deletes it, or its keys: of several keyboxes one may be deleted to shut out somebody.
    fn lacks_something_of(&self, before: &Content) -> bool {
        before.manifest.is_some() && self.manifest.is_none()
            || before.set.is_some() && self.set.is_none()
            || before.parts > self.parts
            || before.keyboxes > 0 && self.keyboxes == 0
    }
}

/// Takes every hold from an archive or a set. Gives the names of those that were taken.
///
/// # Errors
/// `archive.not-found` when there is none, neither archive nor hold; `store.*`.
pub async fn release(store: &Store, id: &ArchiveId) -> Result<Vec<String>> {
    let (mut holds, mut anything) = (Vec::new(), false);
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        let name = ObjectName::parse(&object.name);
        if name.id() == Some(id) {
            anything = true;
            if matches!(name, ObjectName::Sidecar(_, Word::Hold, _)) {
                holds.push(object.name);
            }
        }
    }
    if !anything {
        return Err(not_found(store, id));
    }
    for hold in &holds {
        store.delete(hold).await?;
    }
    Ok(holds)
}

/// Leaves a remark for people. Gives its name.
///
/// # Errors
/// `archive.not-found`; `usage.arguments` for an empty one; `store.*`.
pub async fn note(store: &Store, id: &ArchiveId, text: &str, by: &str, context: &Context) -> Result<String> {
    if text.trim().is_empty() {
        return Err(Error::Usage { why: "a note says something".to_owned() });
    }
    demand(store, id).await?;
    say(store, id, Word::Note, text, Vec::new(), by, context).await
}

/// Adds labels. Gives the name of the object that holds them.
///
/// # Errors
/// `archive.not-found`; `usage.arguments` for an empty label; `store.*`.
pub async fn tag(store: &Store, id: &ArchiveId, tags: &[String], by: &str, context: &Context) -> Result<String> {
    if tags.is_empty() || tags.iter().any(|tag| tag.trim().is_empty()) {
        return Err(Error::Usage { why: "a tag is not empty".to_owned() });
    }
    demand(store, id).await?;
    say(store, id, Word::Tag, "", tags.to_vec(), by, context).await
}

/// Demands that there is an archive or a set of which something can be said.
async fn demand(store: &Store, id: &ArchiveId) -> Result<()> {
    if inventory::of::<Content>(store, id).await?.is_anything() { Ok(()) } else { Err(not_found(store, id)) }
}

fn not_found(store: &Store, id: &ArchiveId) -> Error {
    Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() }
}

async fn say(
    store: &Store,
    id: &ArchiveId,
    word: Word,
    text: &str,
    tags: Vec<String>,
    by: &str,
    context: &Context,
) -> Result<String> {
    let remark =
        Remark { id: id.clone(), word, at: rfc3339(context.now()), by: by.to_owned(), text: text.to_owned(), tags };
    let bytes = remark.encode();
    if bytes.len() as u64 > MAX_REMARK {
        return Err(Error::Usage { why: format!("a {} is at most 64 KiB long", word.as_str()) });
    }
    // It must be possible to take it away again.
    create_numbered(&store.for_passing_objects(), id, word, bytes.into(), context).await
}

/// What was said of an archive or a set, in the order of kinds and times.
///
/// # Errors
/// `store.*`. What is damaged is left out, but for a hold: that it holds is known by its name.
pub async fn remarks(store: &Store, id: &ArchiveId) -> Result<Vec<Remark>> {
    let mut found = Vec::new();
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        if let ObjectName::Sidecar(of, word, number) = ObjectName::parse(&object.name)
            && of == *id
            && word != Word::Verified
        {
            found.push((word, number, object.name));
        }
    }
    found.sort_unstable();
    let mut remarks = Vec::new();
    for (word, _, name) in found {
        let read = match store.get(&name, MAX_REMARK).await {
            Ok(Some(bytes)) => Remark::parse(&bytes, id, word, &name).ok(),
            Ok(None) => continue,
            Err(backstay_store::Error::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let unreadable = || Remark {
            id: id.clone(),
            word,
            at: String::new(),
            by: String::new(),
            text: format!("{name} cannot be read"),
            tags: Vec::new(),
        };
        match (word, read) {
            (_, Some(remark)) => remarks.push(remark),
            (Word::Hold | Word::Expired, None) => remarks.push(unreadable()),
            (_, None) => {}
        }
    }
    Ok(remarks)
}

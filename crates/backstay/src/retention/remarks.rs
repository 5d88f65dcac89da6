//! Holds, notes and added tags: what people say of an archive or a backup set after it was made, each a new object beside it.

use backstay_format::remark::{MAX_REMARK, Remark};
use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::Store;
use futures::TryStreamExt as _;

use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::report::create_numbered;

/// Keeps an archive, or a set with all its members, whatever a policy says, until it is released. Gives the name of the hold.
///
/// # Errors
/// `archive.not-found`, also when it was deleted in the meantime; `store.failed` when the store took the hold and does not list it, since a
/// pruner knows of it by a listing; `store.*`.
pub async fn hold(store: &Store, id: &ArchiveId, reason: &str, by: &str, context: &Context) -> Result<String> {
    let name = say(store, id, Word::Hold, reason, Vec::new(), by, context).await?;
    // A pruner that did not see it yet may have begun, and one that begins later must see it.
    let (mut there, mut listed) = (false, false);
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        there |= is_content(&object.name, id);
        listed |= object.name == name;
    }
    let url = || store.url().to_owned();
    match (there, listed) {
        (false, _) => Err(Error::ArchiveNotFound { what: id.to_string(), store: url() }),
        (true, false) => Err(Error::StoreForgot { name, store: url() }),
        (true, true) => Ok(name),
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
        return Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() });
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
    say(store, id, Word::Tag, "", tags.to_vec(), by, context).await
}

/// Whether an object of this name is of the archive's or the set's content.
fn is_content(name: &str, id: &ArchiveId) -> bool {
    let name = ObjectName::parse(name);
    let content =
        matches!(name, ObjectName::Part { .. } | ObjectName::Single(_) | ObjectName::Manifest(_) | ObjectName::Set(_));
    content && name.id() == Some(id)
}

/// Demands that there is an archive or a set of which something can be said.
async fn demand(store: &Store, id: &ArchiveId) -> Result<()> {
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        if is_content(&object.name, id) {
            return Ok(());
        }
    }
    Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() })
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
    demand(store, id).await?;
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

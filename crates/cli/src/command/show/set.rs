//! A backup set in full.

use std::fmt;

use backstay::policy::ReadPolicy;
use backstay::set::{OpenedSet, SetState, load, open, state_of, states};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::text::to_hex;
use backstay_store::Store;
use futures::TryStreamExt as _;
use serde::Serialize;
use serde_json::Value;

use super::{Object, RemarkLine, indented};
use crate::command::list::begun;
use crate::failure::Result;
use crate::output::Size;
use crate::output::visible::cell;
use crate::run::Status;
use crate::session::Session;

/// Prints the set, with what only the key shows if the key is there.
pub(super) async fn show(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    list_objects: bool,
    session: &Session,
) -> Result<Status> {
    let sealed = load(store, id).await?;
    let policy = ReadPolicy { allow_open: true, ..ReadPolicy::default() };
    let nothing = Keyring::default();
    let keyring = if sealed.set.lock.open.is_some() { &nothing } else { keyring };
    let locked = OpenedSet { seal: sealed.seal.sha256, set: sealed.set, private: None };
    let opened = match open(store, id, keyring, &policy).await {
        Ok(opened) => opened,
        // A key for other archives is no fault of this set.
        Err(backstay::Error::Format(fault)) if fault.code().starts_with("key.") => locked,
        Err(error) => return Err(error.into()),
    };
    let found = states(store, &opened.set, session.context.now().into()).await?;
    let private = opened.private.as_ref();
    let private = private.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())));
    let remarks = backstay::retention::remarks(store, id).await?.iter().map(RemarkLine::from).collect();
    let set = opened.set;
    let mut objects = Vec::new();
    let mut listing = store.list(&format!("{id}."), None);
    while let Some(object) = listing.try_next().await? {
        objects.push(Object { name: object.name, size: object.size });
    }
    let members = set.members.iter().zip(&found).map(|(member, found)| Member {
        name: member.name.clone(),
        role: member.role.clone(),
        id: member.id.to_string(),
        root: to_hex(&member.root),
        state: found.state.as_str(),
        stored: (found.state == SetState::Completed).then_some(found.stored),
        content: found.content,
    });
    let shown = Shown {
        id: id.to_string(),
        name: set.name.clone(),
        tags: set.tags.clone(),
        state: state_of(&found).as_str(),
        time: begun(id),
        created: set.created.clone(),
        finished: set.finished.clone(),
        source: set.source.clone(),
        seal: to_hex(&opened.seal),
        members: members.collect(),
        remarks,
        objects,
        list_objects,
        sealed_private: private.is_none() && set.private.is_some(),
        private,
    };
    session.output.result("set", &shown)?;
    Ok(0)
}

/// A set as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    name: Option<String>,
    tags: Vec<String>,
    state: &'static str,
    time: String,
    created: String,
    finished: Option<String>,
    source: Option<String>,
    seal: String,
    members: Vec<Member>,
    remarks: Vec<RemarkLine>,
    /// What only the key shows; `None` without it.
    private: Option<Value>,
    /// The set's own objects, without those of its members.
    objects: Vec<Object>,
    #[serde(skip)]
    sealed_private: bool,
    #[serde(skip)]
    list_objects: bool,
}

/// One member.
#[derive(Debug, Serialize)]
struct Member {
    name: String,
    role: Option<String>,
    id: String,
    root: String,
    state: &'static str,
    stored: Option<u64>,
    content: Option<u64>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line =
            |name: &str, value: &str| if value.is_empty() { Ok(()) } else { writeln!(f, "{name:<10} {}", cell(value)) };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        line("set", &self.id)?;
        line("name", &text(&self.name))?;
        line("tags", &self.tags.join(", "))?;
        line("state", self.state)?;
        line("begun", &self.time)?;
        line("created", &self.created)?;
        line("finished", &text(&self.finished))?;
        line("source", &text(&self.source))?;
        line("seal", &self.seal)?;
        for member in &self.members {
            let role = member.role.as_ref().map(|role| format!(" ({role})")).unwrap_or_default();
            let stored = member.stored.map(|stored| format!(", {} stored", Size(stored))).unwrap_or_default();
            line("member", &format!("{:?}{role}: {}, {}{stored}", member.name, member.id, member.state))?;
        }
        for remark in &self.remarks {
            line(remark.kind, &remark.to_string())?;
        }
        if self.sealed_private {
            line("private", "sealed; the key shows it (-i)")?;
        }
        if let Some(private) = &self.private {
            let private = serde_json::to_string_pretty(private).unwrap_or_default();
            writeln!(f, "{:<10} {}", "private", indented(&private))?;
        }
        if self.list_objects {
            self.objects.iter().try_for_each(|object| writeln!(f, "{object}"))?;
        }
        Ok(())
    }
}

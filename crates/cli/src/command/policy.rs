//! `policy`: the least rights of a credential, as the cloud's tools take them.

use std::fmt;

use backstay_store::{Policy as Document, Role, StoreOptions};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay policy --role writer -s s3://bucket/pg > writer.json
  backstay policy --role writer -s s3://bucket/pg --lock-mode compliance --lock-for 30d
  backstay policy --role reader -s gs://bucket/pg

A writer makes backups and is copied to; it can neither read, overwrite nor delete. A reader lists,
restores, verifies, copies and watches. A pruner clears away. What new objects are given
(--object-tag, --lock-mode, --sse) needs rights of its own: give the same options as to `backup`.

On Amazon the document is an IAM policy, on Google and Azure the definition of a role, whose
assignment may need the condition that is told beside it. No request is sent.";

/// Print the least rights that a credential needs for the store: an IAM policy, or a role of Google or Azure
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Policy {
    /// What the credential is for
    #[arg(long, value_name = "ROLE")]
    role: Option<RoleName>,
}

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    Writer,
    Reader,
    Pruner,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Writer => Role::Writer,
            RoleName::Reader => Role::Reader,
            RoleName::Pruner => Role::Pruner,
        }
    }
}

impl Policy {
    pub(crate) fn run(&self, session: &Session) -> Result<Status> {
        let role = self.role.ok_or_else(|| Failure::usage("--role is missing: writer, reader or pruner"))?;
        let mut options = StoreOptions::default();
        options.region.clone_from(&session.global.region);
        options.objects = session.global.objects.options()?;
        let url = session.url()?;
        let policy = backstay_store::policy(url, role.into(), &options)?;
        for note in &policy.notes {
            session.output.note(note);
        }
        if let Some(condition) = &policy.condition {
            session.output.note(&format!("condition of the assignment: {condition}"));
        }
        session.output.result("policy", &Printed::of(url, role.into(), policy))?;
        Ok(0)
    }
}

/// The policy as it is printed: as text, the document alone, so that it can go to a file.
#[derive(Debug, Serialize)]
struct Printed {
    store: String,
    role: &'static str,
    kind: &'static str,
    document: serde_json::Value,
    condition: Option<String>,
    notes: Vec<String>,
}

impl Printed {
    fn of(url: &str, role: Role, policy: Document) -> Printed {
        let Document { kind, document, condition, notes, .. } = policy;
        Printed { store: url.to_owned(), role: role.as_str(), kind, document, condition, notes }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", self.document)
    }
}

//! What is known of the archives of a store: all that a plan is made of.

use std::sync::Arc;

use backstay_format::ArchiveId;
use jiff::Timestamp;

/// All that is known. The order of nothing in here matters.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The archives, and what is left of some.
    pub archives: Vec<Archive>,
    /// The backup sets.
    pub sets: Vec<Set>,
    /// Tombstones of which nothing else is left: the newest one of a source tells when it was last pruned.
    pub marks: Vec<Mark>,
    /// Backup sets that cannot be read, by the names of their objects: which archives they hold is not known.
    pub unreadable_sets: Vec<String>,
}

/// One archive.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Its id, with the time that it claims.
    pub id: ArchiveId,
    /// What it is, as far as was looked.
    pub standing: Standing,
    /// When it was committed, by the store's clock; when its newest object was stored, where nothing commits it.
    pub stored_at: Timestamp,
    /// Whether there is a `<id>.json`.
    pub committed: bool,
    /// The source's name, where the manifest says it.
    pub name: Option<Arc<str>>,
    /// The manifest's labels.
    pub tags: Vec<Arc<str>>,
    /// Labels that were added later.
    pub added_tags: Vec<Arc<str>>,
    /// All archives that it needs.
    pub needs: Vec<Need>,
    /// Its root, where there is a manifest.
    pub root: Option<[u8; 32]>,
    /// Whether the manifest says that it stands alone and nobody has checked its seal: then its first part is asked, too.
    pub claims_to_be_full: bool,
    /// Whether it needs others, and nobody has checked the seal of the list that says which: then it may need any that is older.
    pub needs_unproved: bool,
    /// Whether a hold stands.
    pub held: bool,
    /// Whether there is a sidecar that this version does not know, or a backup set under its own name, which no archive has.
    pub unknown_sidecar: bool,
    /// When its tombstone was stored.
    pub tombstone: Option<Timestamp>,
    /// The newest report that is believed.
    pub verdict: Option<Believed>,
    /// Whether there are so many reports that one that would be believed may be among those that were not read.
    pub unread_reports: bool,
    /// Whether there are so many added labels that not all were read.
    pub unread_tags: bool,
    /// Bytes of the part with number 0.
    pub first_part: u64,
    /// Number of parts.
    pub parts: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// An archive that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its id.
    pub id: ArchiveId,
    /// Its root.
    pub root: [u8; 32],
}

/// What an archive is, as far as was looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is committed, and all its parts are there with the right sizes.
    Good,
    /// It is good as far as can be seen, but its writer could not confirm what is stored.
    Unconfirmed,
    /// A whole openssl stream, as far as can be seen, that no document commits.
    Unmarked,
    /// Nothing commits it: it is being written, or its upload was interrupted.
    Unfinished,
    /// Its upload was given up, and is being cleared away.
    GivenUp,
    /// Nothing commits it any more, and its tombstone is newer than all that is left: its deletion was interrupted.
    Remains,
    /// It cannot be restored as it is.
    Damaged(&'static str),
    /// None of the given keys is its key, so that nothing can be said of its seal.
    Closed,
    /// Its manifest cannot be read, is of a later version, or is not what its key or signer stands for.
    Unreadable(Box<str>),
}

/// What a believed report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Believed {
    /// Whether nothing was wrong.
    pub good: bool,
    /// When it was stored, by the store's clock.
    pub at: Timestamp,
}

/// A backup set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its id.
    pub id: ArchiveId,
    /// Its object.
    pub object: String,
    /// The source's name, where the set says it.
    pub name: Option<Arc<str>>,
    /// When it was stored, by the store's clock.
    pub stored_at: Timestamp,
    /// Its members.
    pub members: Vec<Member>,
    /// Its labels, whether from the beginning or added later.
    pub tags: Vec<Arc<str>>,
    /// Whether there are so many added labels that not all were read.
    pub unread_tags: bool,
    /// Whether a hold stands on it.
    pub held: bool,
    /// Whether there is a sidecar that this version does not know, or an archive under its own name, which no set has.
    pub unknown_sidecar: bool,
    /// Whether keys were given and none of them is its key.
    pub closed: bool,
    /// When its tombstone was stored.
    pub tombstone: Option<Timestamp>,
}

impl Set {
    /// Whether it stays whatever becomes of its members, which then stay too.
    pub fn stays(&self) -> bool {
        self.held || self.unknown_sidecar || self.closed
    }
}

/// A member of a backup set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The archive.
    pub id: ArchiveId,
    /// Its root: that of another archive under this id is another one.
    pub root: [u8; 32],
    /// Whether its guid is the one that follows from the set's and its name: then it was made for a set of this source.
    pub own: bool,
}

/// A tombstone of which nothing else is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The archive that was.
    pub id: ArchiveId,
    /// When the tombstone was stored.
    pub at: Timestamp,
    /// Reports and remarks that are left beside it.
    pub leftovers: Vec<String>,
}

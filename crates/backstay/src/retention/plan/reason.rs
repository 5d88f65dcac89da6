//! Why an archive is kept, passed over, or goes.

use std::fmt;

use backstay_format::ArchiveId;

use crate::retention::evidence::Standing;
use crate::retention::policy::Rule;

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A rule keeps it.
    Rule(Rule),
    /// It is young enough.
    Within,
    /// It has this label.
    Tag(String),
    /// It has more added labels than are read, and the policy keeps some.
    UnreadTags,
    /// It is one of the newest, of which a number is always kept.
    Floor,
    /// Somebody holds it.
    Held,
    /// This one needs it.
    NeededBy(ArchiveId),
    /// This one needs others, and nobody has checked which.
    MayBeNeededBy(ArchiveId),
    /// It belongs to this set, which is kept.
    InSet(ArchiveId),
    /// It belongs to this set, which is of another key.
    InClosedSet(ArchiveId),
    /// The policy is not for it.
    NotSelected,
    /// No rule keeps it.
    NoRule,
    /// Its deletion was begun, and no rule would keep it.
    HalfDeleted,
    /// Its deletion was begun, and a rule would keep it now.
    HalfDeletedAndKept,
    /// It is not known to be whole.
    Standing(Standing),
    /// It may still be written.
    MayBeWritten,
    /// No document commits it, while others of its source have one.
    NoDocument,
    /// It needs an archive that is not there, is another one, or is not good.
    BrokenChain(ArchiveId),
    /// It claims to be of a time that has not come.
    Future,
    /// The time in its name is not that of the store.
    TimeDiffers,
    /// A believed report says that it is bad.
    FoundBad,
    /// No believed report says that it is good, or none that is young enough.
    Unverified,
    /// None of the reports that were read is believed, and there are more.
    UnreadReports,
    /// It has a sidecar that this version does not know.
    UnknownSidecar,
    /// This archive of its source cannot be read, and may need any other.
    Unreadable(ArchiveId),
    /// This backup set cannot be read, and may hold any archive.
    UnreadableSet(String),
    /// Two sources share its guid.
    TwoNames(String, String),
    /// What its first part says of it is not what its manifest says.
    ManifestDiffers(ArchiveId),
    /// Too many of its source would go.
    TooMany,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Rule(rule) => f.write_str(rule.as_str()),
            Reason::Within => f.write_str("within"),
            Reason::Tag(tag) => write!(f, "tag {tag}"),
            Reason::UnreadTags => f.write_str("more tags were added than are read, and --keep-tag may name one of them: see show, and delete those that nobody added"),
            Reason::Floor => f.write_str("one of the newest good ones"),
            Reason::Held => f.write_str("held"),
            Reason::NeededBy(id) => write!(f, "needed by {id}"),
            Reason::MayBeNeededBy(id) => write!(f, "{id} may need it: only its key (-i) or --signer proves what it needs"),
            Reason::InSet(id) => write!(f, "in the set {id}"),
            Reason::InClosedSet(id) => write!(f, "in the set {id}, and none of the given keys is its key"),
            Reason::NotSelected => f.write_str("the rules are not for it"),
            Reason::NoRule => f.write_str("no rule keeps it"),
            Reason::HalfDeleted => f.write_str("its deletion was interrupted"),
            Reason::HalfDeletedAndKept => {
                f.write_str("nothing commits it and a tombstone stands, but a rule would keep it: rm it, or take the tombstone away")
            }
            Reason::Standing(standing) => match standing {
                Standing::Good => f.write_str("good"),
                Standing::Unconfirmed => f.write_str("its writer could not confirm what is stored: verify it with --record"),
                Standing::Unmarked => f.write_str("no document commits it"),
                Standing::Unfinished => f.write_str("not finished: see gc"),
                Standing::GivenUp => f.write_str("given up: see gc"),
                Standing::Remains => f.write_str("its deletion was interrupted"),
                Standing::Damaged(why) => f.write_str(why),
                Standing::Closed => f.write_str("none of the given keys is its key"),
                Standing::Unreadable(why) => f.write_str(why),
            },
            Reason::MayBeWritten => f.write_str("it may still be written"),
            Reason::NoDocument => f.write_str("no json commits it, as others of its source have"),
            Reason::BrokenChain(id) => write!(f, "it needs {id}, which is missing, damaged or another one"),
            Reason::Future => f.write_str("its time is in the future"),
            Reason::TimeDiffers => f.write_str("its time is not that of the store (--trust-name-time)"),
            Reason::FoundBad => f.write_str("found bad by a verification"),
            Reason::Unverified => f.write_str("not verified lately"),
            Reason::UnreadReports => f.write_str("it has more reports than are read, and none of those is believed: verify it with --record, or delete those that nobody made"),
            Reason::UnknownSidecar => f.write_str("something stands beside it that this version does not know, or a set under its name"),
            Reason::Unreadable(id) => write!(f, "{id} cannot be read, and may need it"),
            Reason::UnreadableSet(object) => write!(f, "the set {object} cannot be read, and may hold it"),
            Reason::TwoNames(one, other) => {
                write!(f, "two sources share its guid, {one} and {other}: prune one with --name")
            }
            Reason::ManifestDiffers(id) => write!(f, "the first part of {id} says that it needs others, and its manifest does not"),
            Reason::TooMany => f.write_str("more would go than were added (--force, --max-expire)"),
        }
    }
}

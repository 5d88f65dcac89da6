//! Retention: which archives are kept, which go, and why.
//!
//! What is known of the archives of a store is gathered in one listing and one small read for each ([`gather`]); what becomes
//! of each is a pure function of that, a policy and the time ([`plan()`]); and [`prune()`] carries the plan out, in two steps with a
//! waiting time between them. Whoever writes backups may be hostile by then, so nothing is believed that such a host can create:
//! names, times, reports and tombstones count for what the store or a key says of them, and everything in doubt is
//! neither counted nor deleted (`spec/archive.md` §12.5).

mod beginning;
mod evidence;
mod gather;
mod plan;
mod policy;
mod prune;
mod remarks;
mod removal;
mod rm;
mod sets;

pub(crate) use beginning::Beginning;
pub use evidence::{Archive, Believed, Evidence, Mark, Member, Need, Set, Standing};
pub(crate) use gather::{BAD, objection};
pub use gather::{Belief, gather};
pub use plan::{Decision, Excess, Fate, Plan, Reason, SetDecision, plan};
pub use policy::{Policy, Rule, Selection};
pub use prune::{Deed, GRACE, PruneOptions, Pruned, Row, prune};
pub use remarks::{hold, note, release, remarks, tag};
pub use rm::{MemberFate, Removed, RemovedMember, RmOptions, rm};

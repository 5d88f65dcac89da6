//! What a verification looked at, in a sentence that claims no more than was done.

use crate::archive::{Committed, Located};
use crate::policy::ProfileName;

use super::Depth;

/// What was compared so far.
#[derive(Debug)]
pub(super) struct Compared {
    profile: ProfileName,
    /// Whether there is a manifest to compare with.
    manifest: bool,
    /// Parts that sizes were compared of and nothing found.
    pub(super) parts: usize,
    /// The store's own checksums that were compared.
    pub(super) checksums: usize,
    /// SHA-256 of parts that were compared.
    pub(super) digests: usize,
    /// The manifest is the one that the caller's signer signed, or that the caller's root or receipt, or a set that is proved, names.
    pub(super) vouched: bool,
    /// The manifest is the one that a set names of which nothing is proved.
    pub(super) named: bool,
    /// The manifest's seal was checked with the key.
    pub(super) sealed: bool,
    /// The parts were opened with the key.
    pub(super) opened: bool,
    /// The secret is published.
    pub(super) open: bool,
}

impl Compared {
    pub(super) fn new(located: &Located) -> Compared {
        Compared {
            profile: located.profile,
            manifest: matches!(located.committed, Committed::Sealed(_)),
            parts: 0,
            checksums: 0,
            digests: 0,
            vouched: false,
            named: false,
            sealed: false,
            opened: false,
            open: false,
        }
    }

    /// Whether this proves who made the stored bytes, if nothing was found.
    pub(super) fn authentic(&self, depth: Depth) -> bool {
        match (depth, self.profile) {
            (Depth::Quick, _) => false,
            (Depth::Full, _) => self.vouched,
            (Depth::Deep, ProfileName::Native) => self.opened && (!self.open || self.vouched),
            (Depth::Deep, ProfileName::Openssl) => self.opened && self.sealed,
        }
    }

    /// One sentence.
    pub(super) fn sentence(&self, depth: Depth, good: bool) -> String {
        let looked_at = match (depth, self.manifest) {
            (Depth::Quick | Depth::Full, false) => match self.profile {
                ProfileName::Native => "there is no manifest to compare with".to_owned(),
                ProfileName::Openssl => {
                    "there is no manifest to compare with: without the password only names and length tell".to_owned()
                }
            },
            (Depth::Quick, true) if good => {
                format!("number and sizes of the parts equal the manifest; {}", self.kept("so do"))
            }
            (Depth::Quick, true) => {
                let kept = self.kept("so were");
                format!("number and sizes of the parts were compared with the manifest; {kept}")
            }
            (Depth::Full, true) if good => "the stored bytes equal the manifest".to_owned(),
            (Depth::Full, true) => "the stored bytes were compared with the manifest".to_owned(),
            (Depth::Deep, _) if !self.opened => "nothing could be opened".to_owned() + self.digested(),
            (Depth::Deep, _) if good => {
                "every part opens and the content decodes to its end".to_owned() + self.digested()
            }
            (Depth::Deep, _) => "every part that is there was opened, the content decoded".to_owned() + self.digested(),
        };
        looked_at + "; " + self.meaning(depth)
    }

    /// What the store keeps itself; `also` says that it is as with the sizes.
    fn kept(&self, also: &str) -> String {
        match self.checksums {
            0 => "no checksums were compared, for the store keeps none that are comparable".to_owned(),
            all if all == self.parts => format!("{also} the checksums that the store keeps"),
            some => format!("the store keeps checksums of {some} of {} parts, which were compared too", self.parts),
        }
    }

    fn digested(&self) -> &'static str {
        match (self.manifest, self.digests) {
            (false, _) => ", without a manifest to compare with",
            (true, 0) => "",
            (true, _) if self.sealed => ", the stored bytes were compared with the sealed manifest",
            (true, _) => ", the stored bytes were compared with the manifest",
        }
    }

    /// What that says about authenticity.
    fn meaning(&self, depth: Depth) -> &'static str {
        match (depth, self.profile) {
            (Depth::Full, _) if self.vouched => "the manifest is the one that the signer or receipt stands for",
            (Depth::Full, _) if self.named => {
                "the manifest is the one that the set names; authenticity was not checked"
            }
            (Depth::Deep, _) if self.opened && self.open => {
                "the archive is not encrypted, so this cannot prove who wrote it"
            }
            (Depth::Deep, ProfileName::Native) if self.opened => "everything that opened is authentic",
            (Depth::Deep, ProfileName::Openssl) if self.opened && self.sealed => "the seal authenticates all of it",
            (Depth::Deep, ProfileName::Openssl) if self.opened => "this format cannot prove that it is genuine",
            _ => "authenticity was not checked",
        }
    }
}

//! What the store holds under an archive's id (R1), and the bytes that its stream begins with.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use backstay_format::header::{self, Header, Reference};
use backstay_format::{ArchiveId, ObjectName, openssl};
use backstay_store::Store;
use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::policy::ProfileName;

/// About how long a header line is: as much of an object has its line, in all but unusual archives.
pub(crate) const LINE: usize = 4 << 10;
/// What each part of a native archive begins with.
const NATIVE_MAGIC: &[u8] = b"BACKSTAY1 ";

/// One stored object of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) n: u32,
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// What the store holds under an archive's id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    /// The parts by value of their index.
    pub(crate) parts: Vec<Object>,
    /// Two names for one part, or a single object beside parts: one sentence for each.
    pub(crate) ambiguous: Vec<String>,
    /// Names of parts that have leading zeros.
    pub(crate) padded: Vec<String>,
    pub(crate) single: Option<Object>,
    pub(crate) manifest: bool,
    pub(crate) keyboxes: Vec<u32>,
    /// Names that look like the archive's and are not of the grammar.
    pub(crate) strays: Vec<String>,
}

impl Objects {
    /// Lists the archive (R1). Of two objects for one part the one with the plain name is taken.
    pub(crate) async fn list(store: &Store, id: &ArchiveId) -> Result<Objects> {
        let mut objects = Objects::default();
        let mut parts: BTreeMap<u32, Object> = BTreeMap::new();
        let mut listing = store.list_in_any_order(id.as_str());
        while let Some(object) = listing.try_next().await? {
            match ObjectName::parse(&object.name) {
                ObjectName::Part { id: of, n, padded } if of == *id => {
                    if padded {
                        objects.padded.push(object.name.clone());
                    }
                    let part = Object { n, name: object.name, size: object.size };
                    match parts.entry(n) {
                        Entry::Vacant(place) => drop(place.insert(part)),
                        Entry::Occupied(mut twin) => {
                            let names = format!("{} and {} are both part {n}", twin.get().name, part.name);
                            objects.ambiguous.push(names);
                            if !padded {
                                twin.insert(part);
                            }
                        }
                    }
                }
                ObjectName::Single(of) if of == *id => {
                    objects.single = Some(Object { n: 0, name: object.name, size: object.size });
                }
                ObjectName::Manifest(of) if of == *id => objects.manifest = true,
                ObjectName::Keybox(of, m) if of == *id => objects.keyboxes.push(m),
                ObjectName::Foreign
                    if object.name.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('-')) =>
                {
                    objects.strays.push(object.name);
                }
                _ => {}
            }
        }
        objects.parts = parts.into_values().collect();
        objects.keyboxes.sort_unstable();
        if objects.parts.is_empty() && objects.single.is_none() && !objects.manifest {
            return Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() });
        }
        if let (Some(single), Some(part)) = (&objects.single, objects.parts.first()) {
            objects.ambiguous.push(format!("{} stands beside {}", single.name, part.name));
        }
        Ok(objects)
    }

    /// The parts of the stream in order, or the single object.
    pub(crate) fn stream(&self) -> &[Object] {
        match &self.single {
            Some(single) => std::slice::from_ref(single),
            None => &self.parts,
        }
    }

    /// Whether the lowest part is not the first one. Where it begins as no part of ours and no stream does, it is the middle of a stream of openssl.
    pub(super) fn begins_behind_its_first(&self) -> bool {
        self.single.is_none() && self.parts.first().is_some_and(|first| first.n > 0)
    }

    /// The profile that the first bytes of the parts, joined, are of; `None` if of neither.
    pub(super) async fn begins_as(&self, store: &Store) -> Result<Option<ProfileName>> {
        let head = first_bytes(store, self.stream(), NATIVE_MAGIC.len()).await?;
        Ok(match head {
            head if head.starts_with(&openssl::MAGIC) => Some(ProfileName::Openssl),
            head if head == NATIVE_MAGIC => Some(ProfileName::Native),
            _ => None,
        })
    }
}

/// The first `length` bytes of these objects, joined, or fewer when they have no more.
pub(crate) async fn first_bytes(store: &Store, objects: &[Object], length: usize) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    for object in objects {
        let missing = (length - head.len()) as u64;
        if missing == 0 {
            break;
        }
        if object.size > 0 {
            head.extend_from_slice(&store.get_range(&object.name, 0..object.size.min(missing)).await?);
        }
    }
    Ok(head)
}

/// Reads the header line of a part. About `expected` bytes are fetched, and as many as a line may have only if it does not
/// end in those: a line of another length tells where the part comes from.
pub(crate) async fn read_header(
    store: &Store,
    id: &ArchiveId,
    part: &Object,
    expected: usize,
    reference: Reference<'_>,
) -> Result<Header> {
    let limit = part.size.min(header::MAX_LINE as u64);
    let mut line = store.get_range(&part.name, 0..limit.min(expected as u64)).await?;
    if (line.len() as u64) < limit && !line.contains(&b'\n') {
        line = store.get_range(&part.name, 0..limit).await?;
    }
    Ok(Header::read(&line, id, part.n, reference)?)
}

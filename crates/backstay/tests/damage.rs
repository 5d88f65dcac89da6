//! Whatever happens to the stored objects, a reader refuses with a code: never wrong bytes, never a panic.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::common::{back_up, content, options, raw_keyring, read};
use backstay::backup::Format;
use backstay::keys::Encryption;
use backstay::{RestoreOptions, codes};
use backstay_format::ArchiveId;
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::{Secret, sha256};
use backstay_format::segment::Aead;
use backstay_store::Store;
use futures::TryStreamExt as _;
use proptest::prelude::*;
use tokio::runtime::Runtime;

type Objects = BTreeMap<String, Vec<u8>>;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// One archive as its objects.
struct Made {
    id: ArchiveId,
    objects: Objects,
    content: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zstd,
    Gzip,
    Openssl,
}

fn make(kind: Kind) -> Made {
    RUNTIME.block_on(async {
        let store = Store::memory();
        let content = content(300_000, true);
        let encryption = Encryption::Raw(Secret([7; 32]));
        let (aead, padding) = (Aead::Aes256Gcm, backstay::backup::Padding::None);
        let native = |codec, encryption| Format::Native { aead, codec, encryption, padding, signing_key: None };
        let format = match kind {
            Kind::Zstd => native(Codec::Zstd, encryption),
            Kind::Gzip => native(Codec::Gzip, encryption),
            Kind::Openssl => {
                let kdf = Kdf::BytesToKey(Digest::Md5);
                Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false }
            }
        };
        let mut options = options(format);
        options.part_size = Some(80_000);
        let id = back_up(&store, &content, options).await.unwrap().id;
        let names: Vec<String> = store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap();
        let mut objects = Objects::new();
        for name in names {
            let bytes = store.get(&name, 1 << 30).await.unwrap().unwrap();
            objects.insert(name, bytes.to_vec());
        }
        assert!(objects.len() > 4, "{:?}", objects.keys());
        Made { id, objects, content }
    })
}

/// Two archives of each kind: the second one is what strangers' parts are taken from.
static MADE: LazyLock<Vec<(Kind, Made, Made)>> =
    LazyLock::new(|| [Kind::Zstd, Kind::Gzip, Kind::Openssl].map(|kind| (kind, make(kind), make(kind))).into());

/// Reads what is stored. `Ok` only with exactly the content.
fn outcome(kind: Kind, made: &Made, objects: &Objects, no_manifest: bool) -> Result<(), &'static str> {
    RUNTIME.block_on(async {
        let store = Store::memory();
        for (name, bytes) in objects {
            store.create(name, bytes.clone().into(), sha256(bytes)).await.unwrap();
        }
        let mut options = RestoreOptions::default();
        options.policy.no_manifest = no_manifest;
        options.policy.require_seal = !no_manifest;
        let mut keyring = raw_keyring();
        if kind == Kind::Openssl {
            keyring = Keyring::default();
            keyring.add_password(Password::new(b"KEY".to_vec()));
        }
        match read(&store, &made.id, &keyring, &options).await {
            Ok(content) => {
                assert!(content == made.content, "wrong bytes were called good");
                Ok(())
            }
            Err(error) => {
                let code = error.code();
                assert!(
                    codes::find(code).is_some_and(|row| matches!(row.exit, 10 | 12 | 20 | 21 | 23)),
                    "{code}: {error}"
                );
                Err(code)
            }
        }
    })
}

#[test]
fn what_was_stored_is_read() {
    for (kind, made, _) in MADE.iter() {
        for no_manifest in [false, true] {
            assert_eq!(outcome(*kind, made, &made.objects, no_manifest), Ok(()), "{kind:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_changed_byte_of_any_object_is_refused(
        kind in 0..3usize, object in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), mask in 1..=255u8, early in any::<bool>(),
    ) {
        let (kind, made, _) = &MADE[kind];
        let mut objects = made.objects.clone();
        let name = object.get(&objects.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = objects.get_mut(&name).unwrap();
        // Half of the changes hit the beginning, where the structure is.
        let span = if early { bytes.len().min(600) } else { bytes.len() };
        bytes[at.index(span)] ^= mask;
        prop_assert!(outcome(*kind, made, &objects, false).is_err(), "{} of {:?}", name, kind);
        // Without the manifest the openssl profile authenticates nothing, so a change may pass there: that is what its warning says.
        if *kind != Kind::Openssl && !name.ends_with(".json") {
            prop_assert!(outcome(*kind, made, &objects, true).is_err(), "{} without the manifest", name);
        }
    }

    #[test]
    fn any_cut_or_longer_object_is_refused(
        kind in 0..3usize, object in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), appended in prop::option::of(any::<u8>()),
    ) {
        let (kind, made, _) = &MADE[kind];
        let mut objects = made.objects.clone();
        let name = object.get(&objects.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = objects.get_mut(&name).unwrap();
        match appended {
            Some(byte) => bytes.push(byte),
            None => bytes.truncate(cut.index(bytes.len())),
        }
        prop_assert!(outcome(*kind, made, &objects, false).is_err(), "{} of {:?}", name, kind);
        if *kind != Kind::Openssl && !name.ends_with(".json") {
            prop_assert!(outcome(*kind, made, &objects, true).is_err(), "{} without the manifest", name);
        }
    }

    #[test]
    fn any_other_set_or_order_of_parts_is_refused(
        kind in 0..3usize, steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let (kind, made, stranger) = &MADE[kind];
        let mut objects = made.objects.clone();
        for (step, from, to) in steps {
            let parts: Vec<String> = objects.keys().filter(|name| !name.ends_with(".json")).cloned().collect();
            if parts.is_empty() {
                break;
            }
            let (from, to) = (from.get(&parts).clone(), to.get(&parts).clone());
            match step {
                0 => {
                    objects.remove(&from);
                }
                1 => {
                    let (a, b) = (objects[&from].clone(), objects[&to].clone());
                    objects.insert(from, b);
                    objects.insert(to, a);
                }
                2 => {
                    let bytes = objects[&from].clone();
                    objects.insert(made.id.part(u32::try_from(parts.len()).unwrap()), bytes);
                }
                _ => {
                    let index = from.rsplit('-').next().unwrap().parse().unwrap_or(0);
                    if let Some(bytes) = stranger.objects.get(&stranger.id.part(index)) {
                        objects.insert(to, bytes.clone());
                    }
                }
            }
        }
        let changed = objects != made.objects;
        prop_assert_eq!(outcome(*kind, made, &objects, false).is_err(), changed);
        if *kind != Kind::Openssl {
            prop_assert_eq!(outcome(*kind, made, &objects, true).is_err(), changed);
        }
    }
}

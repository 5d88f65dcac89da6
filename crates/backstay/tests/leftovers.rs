//! A backup that fails says what it leaves, wherever it fails.

use std::sync::{Arc, Mutex};

use backstay::backup::{BackupOptions, Receipt};
use backstay::keys::Encryption;
use backstay::source::Source;
use backstay::{Error, Event, Observer, backup};
use backstay_format::schedule::Secret;
use backstay_store::{RetryOptions, Store};
use backstay_testkit::faults::{Call, Failure, Faults, When};
use bytes::Bytes;

use crate::common::{content, context, native, objects, recipient};

/// The notes of a run.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn event(&self, event: &Event) {
        if let Event::Note { text } = event {
            self.0.lock().unwrap().push(text.clone());
        }
    }
}

async fn noted(store: &Store, bytes: &[u8], options: BackupOptions) -> (Result<Receipt, Error>, String) {
    let notes = Arc::new(Notes::default());
    let source = Source::Reader(Box::new(std::io::Cursor::new(bytes.to_vec())));
    let done = backup(store, source, options, &context(), notes.clone()).await;
    let notes = notes.0.lock().unwrap().join("\n");
    (done, notes)
}

/// A backup of three parts against a store with these faults: part 0 is sent twice, then come parts 1 and 2, and the manifest is the fifth.
async fn failed(faults: &Faults) -> (&'static str, String) {
    let plain = Store::memory();
    let store = plain.clone().with_wrapper(|objects| faults.wrap(objects)).with_retry(RetryOptions::never());
    let options = native(Encryption::Raw(Secret([7; 32])));
    let (done, notes) = noted(&store, &content(1_200_000, true), options).await;
    assert!(objects(&plain).await.keys().all(|name| !name.ends_with(".json")));
    (done.unwrap_err().code(), notes)
}

#[tokio::test]
async fn three_parts_make_five_requests() {
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|objects| faults.wrap(objects));
    let made = noted(&store, &content(1_200_000, true), native(Encryption::Raw(Secret([7; 32])))).await;
    assert_eq!((made.0.unwrap().parts, faults.calls(Call::Put)), (3, 5));
    assert_eq!(made.1, "");
}

#[tokio::test]
async fn a_last_part_that_fails_leaves_a_note() {
    let faults = Faults::new();
    faults.fail(Call::Put, 4..=4, When::Before, Failure::Denied);
    let (code, notes) = failed(&faults).await;
    assert_eq!(code, "store.denied");
    assert!(notes.starts_with("nothing was committed; ") && notes.contains("`backstay gc` finds them"), "{notes}");
}

#[tokio::test]
async fn a_stranger_under_the_id_before_the_commit_leaves_a_note() {
    let faults = Faults::new();
    let id = 36 + 1 + 13;
    faults.intrude(4, move |name, _| (format!("{}-99", &name[..id]), Bytes::from_static(b"a stranger's")));
    let (code, notes) = failed(&faults).await;
    assert_eq!(code, "name.taken");
    assert!(notes.starts_with("nothing was committed; 3 parts of "), "{notes}");
}

#[tokio::test]
async fn a_manifest_that_fails_leaves_a_note_that_does_not_claim_more_than_is_known() {
    let faults = Faults::new();
    faults.fail(Call::Put, 5..=5, When::Before, Failure::Denied);
    let (code, notes) = failed(&faults).await;
    assert_eq!(code, "store.denied");
    assert!(notes.starts_with("3 parts of ") && notes.contains("unless `backstay list` shows it"), "{notes}");
    assert!(!notes.contains("nothing was committed"), "{notes}");
}

#[tokio::test]
async fn a_name_that_leaves_no_room_for_parts_is_refused_before_anything_is_stored() {
    let identity = age::x25519::Identity::generate();
    for hide_name in [false, true] {
        let store = Store::memory();
        let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
        let options = BackupOptions { name: "n".repeat(17 << 20), hide_name, ..native(slots) };
        let (refused, _) = noted(&store, b"content", options).await;
        assert_eq!(refused.unwrap_err().code(), "manifest.limit");
        assert!(objects(&store).await.is_empty());
    }
}

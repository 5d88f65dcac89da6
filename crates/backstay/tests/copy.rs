//! A copy is whole or not there, whatever happens on the way.

use std::sync::Arc;

use crate::common::{back_up, content, context, native, objects, options, raw_keyring, recipient, restored};
use backstay::backup::{BackupOptions, Format};
use backstay::copy::{CopyOptions, copy};
use backstay::keys::Encryption;
use backstay::{Error, Silent};
use backstay_format::ArchiveId;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::{Secret, sha256};
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, Faults, When};
use bytes::Bytes;

async fn transfer(from: &Store, to: &Store, id: &ArchiveId) -> Result<u64, Error> {
    let copied = copy(from, to, id, &CopyOptions::default(), &context(), Arc::new(Silent)).await?;
    assert!(copied.sent <= copied.stored);
    Ok(copied.sent)
}

#[tokio::test]
async fn a_copy_that_fails_at_any_call_is_no_archive_and_goes_on_the_next_time() {
    let from = Store::memory();
    let bytes = content(1_500_000, true);
    let made = back_up(&from, &bytes, native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    let source = objects(&from).await;
    let mut failed = 0;
    for when in [When::Before, When::After] {
        for call in [Call::Put, Call::Head, Call::Get] {
            for number in 1.. {
                let (plain, faults) = (Store::memory(), Faults::new());
                let to = plain.clone().with_wrapper(|objects| faults.wrap(objects));
                faults.fail(call, number..=number, when, Failure::Denied);
                let outcome = transfer(&from, &to, &made.id).await;
                if faults.calls(call) < number {
                    outcome.unwrap();
                    break;
                }
                let there = objects(&plain).await;
                let committed = there.contains_key(&made.id.manifest());
                if committed {
                    assert_eq!(there, source, "{call:?} {number} {when:?}");
                }
                if outcome.is_err() {
                    failed += 1;
                    // Only the answer to creating the manifest itself can be lost after the commit.
                    assert!(!committed || (call, when) == (Call::Put, When::After), "{call:?} {number} {when:?}");
                }
                transfer(&from, &plain, &made.id).await.unwrap();
                assert_eq!(objects(&plain).await, source);
                assert!(restored(&plain, &made.id, &raw_keyring()).await == bytes);
            }
        }
    }
    assert!(failed > 10, "{failed}");
}

#[tokio::test]
async fn what_somebody_deletes_meanwhile_is_not_committed() {
    let from = Store::memory();
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let options = BackupOptions { part_size: Some(300_000), ..native(slots) };
    let id = back_up(&from, &content(1_500_000, true), options).await.unwrap().id;
    for gone in [id.part(0), id.part(2), id.keybox(0)] {
        let (plain, faults) = (Store::memory(), Faults::new());
        let to = plain.clone().with_wrapper(|objects| faults.wrap(objects));
        let name = gone.clone();
        // The keybox, the first part twice, two more.
        faults.erase(5, move |_| name);
        let refused = transfer(&from, &to, &id).await.unwrap_err();
        assert!(refused.code() == "store.failed" && refused.to_string().contains(&gone), "{refused}");
        assert!(!objects(&plain).await.contains_key(&id.manifest()), "{gone}");
        transfer(&from, &plain, &id).await.unwrap();
        assert_eq!(objects(&plain).await, objects(&from).await);
    }
}

#[tokio::test]
async fn a_credential_that_may_only_write_is_enough_for_a_new_copy() {
    let (from, to, faults) = (Store::memory(), Store::memory(), Faults::new());
    let made = back_up(&from, &content(1_500_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    faults
        .fail_all(Call::Head, Failure::Denied)
        .fail_all(Call::Get, Failure::Denied)
        .fail_all(Call::List, Failure::Denied);
    let blind = to.clone().with_wrapper(|objects| faults.wrap(objects));
    assert_eq!(transfer(&from, &blind, &made.id).await.unwrap(), made.stored);
    assert_eq!(objects(&from).await, objects(&to).await);
    let again = transfer(&from, &blind, &made.id).await.unwrap_err();
    assert_eq!(again.code(), "name.taken");
}

#[tokio::test]
async fn what_is_there_already_is_not_sent_again() {
    let (from, to) = (Store::memory(), Store::memory());
    let made = back_up(&from, &content(1_500_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    assert_eq!(transfer(&from, &to, &made.id).await.unwrap(), made.stored);
    to.delete(&made.id.part(1)).await.unwrap();
    to.delete(&made.id.manifest()).await.unwrap();
    let part = from.head(&made.id.part(1)).await.unwrap().unwrap().size;
    assert_eq!(transfer(&from, &to, &made.id).await.unwrap(), part);
    assert_eq!(objects(&from).await, objects(&to).await);
    assert_eq!(transfer(&from, &to, &made.id).await.unwrap(), 0);
}

#[tokio::test]
async fn an_archive_of_another_manager_is_copied_with_its_document_and_nobody_vouches_for_it() {
    let from = Store::memory();
    let password = Password::new(b"correct horse".to_vec());
    let format = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password, single: false };
    let made = back_up(&from, &content(1_500_000, true), options(format)).await.unwrap();
    from.delete(&made.id.manifest()).await.unwrap();
    let document = Bytes::from_static(b"{\"backup_id\": 17, \"size\": null}\n");
    from.create(&made.id.manifest(), document.clone(), sha256(&document)).await.unwrap();
    let to = Store::memory();
    let copied = copy(&from, &to, &made.id, &CopyOptions::default(), &context(), Arc::new(Silent)).await.unwrap();
    assert!(!copied.checked && copied.sent == made.stored);
    assert_eq!(objects(&from).await, objects(&to).await);
}

#[tokio::test]
async fn what_is_not_committed_is_not_copied() {
    let from = Store::memory();
    let made = back_up(&from, &content(1_500_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    from.delete(&made.id.manifest()).await.unwrap();
    assert_eq!(transfer(&from, &Store::memory(), &made.id).await.unwrap_err().code(), "archive.uncommitted");
}

//! A directory as a store: the contract, and what only a file system can do wrong.

use std::fs;
use std::path::Path;
use std::time::Duration;

use backstay_store::{Created, Environment, Store, StoreOptions};
use backstay_testkit::faults::{Call, Failure, Faults};
use backstay_testkit::{contract, sha256};
use bytes::Bytes;
use futures::TryStreamExt;

async fn open(url: &str) -> Store {
    Store::open(url, &StoreOptions::default(), &Environment::default()).await.unwrap()
}

async fn open_path(path: &Path) -> Store {
    open(path.to_str().unwrap()).await
}

/// Every file in the tree, staging folder included.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract::run(&open_path(directory.path()).await).await;
    contract::a_name_with_a_backslash_round_trips(&open_path(directory.path()).await).await;
}

#[tokio::test]
async fn a_wrapped_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract::run(&open_path(directory.path()).await.with_wrapper(|objects| objects)).await;
}

#[tokio::test]
async fn paths_and_file_urls_name_the_same_store() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("a b#1%20?ä");
    let by_path = open_path(&odd).await;
    by_path.create("x-0", "body".into(), sha256(b"body")).await.unwrap();
    assert!(odd.join("x-0").is_file());
    let by_url = open(url::Url::from_file_path(&odd).unwrap().as_str()).await;
    assert_eq!(by_url.get("x-0", 10).await.unwrap().unwrap(), "body");
    assert!(by_path.is_local() && by_url.is_local());
}

#[tokio::test]
async fn relative_paths_are_stores() {
    // The test runs in the crate's directory, which is not written to.
    let store = open("src").await;
    assert!(store.head("lib.rs").await.unwrap().is_some());
}

#[tokio::test]
async fn a_missing_directory_is_made_by_the_first_create_and_by_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let store = open_path(&path).await;
    for error in [
        store.get("x-0", 1).await.unwrap_err(),
        store.head("x-0").await.unwrap_err(),
        store.get_range("x-0", 0..1).await.unwrap_err(),
        store.delete("x-0").await.unwrap_err(),
        store.list("", None).try_collect::<Vec<_>>().await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "store.not-found", "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert!(!path.exists());
    assert_eq!(store.create("x-0", "a".into(), sha256(b"a")).await.unwrap(), Created::New);
    assert_eq!(files(&path), ["x-0"]);
}

#[tokio::test]
async fn a_missing_parent_is_not_made_since_it_may_be_a_missing_mount() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_path(&directory.path().join("not/mounted")).await;
    let error = store.create("x-0", "a".into(), sha256(b"a")).await.unwrap_err();
    assert_eq!(error.code(), "store.not-found", "{error}");
    assert!(store.create_streaming("x-0").await.is_err());
    assert!(!directory.path().join("not").exists());
}

#[tokio::test]
async fn nothing_but_the_object_is_left_by_creates_that_succeed_or_fail() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_path(directory.path()).await;
    store.create("x-0", "a".into(), sha256(b"a")).await.unwrap();
    store.create("x-0", "b".into(), sha256(b"b")).await.unwrap_err();
    store.create("x-0", "a".into(), sha256(b"a")).await.unwrap();
    assert_eq!(files(directory.path()), ["x-0"]);
}

#[tokio::test]
async fn a_staging_folder_that_leads_nowhere_is_an_error_and_not_a_loop() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_path(directory.path()).await;
    std::os::unix::fs::symlink("nowhere", directory.path().join(".backstay-tmp")).unwrap();
    let creating = store.create("x-0", "a".into(), sha256(b"a"));
    let error = tokio::time::timeout(Duration::from_secs(20), creating).await.expect("it ends").unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("store.failed", false), "{error}");
    assert!(error.to_string().contains(".backstay-tmp is there and is no directory"), "{error}");
    assert!(store.create_streaming("x-1").await.is_err());
    // What it leads to may be made, and then it is as good as a folder.
    fs::create_dir(directory.path().join("nowhere")).unwrap();
    assert_eq!(store.create("x-0", "a".into(), sha256(b"a")).await.unwrap(), Created::New);
}

#[tokio::test]
async fn the_staging_folder_is_not_listed_and_never_looks_like_a_part() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_path(directory.path()).await;
    let mut part = store.create_streaming("x-0").await.unwrap();
    part.write("half".into()).await.unwrap();
    assert_eq!(store.list("", None).try_collect::<Vec<_>>().await.unwrap(), []);
    // Names beside the staging folder would match the glob that puts an archive together.
    let beside: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(beside, [".backstay-tmp"]);
    assert!(files(directory.path()).iter().all(|name| !name.starts_with('x')));
}

#[tokio::test]
async fn streams_appear_whole_at_commit_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    for store in [open_path(directory.path()).await, Store::memory()] {
        let mut written = store.create_streaming("s-0").await.unwrap();
        for _ in 0..1000 {
            written.write(vec![42; 1000].into()).await.unwrap();
        }
        assert_eq!(store.head("s-0").await.unwrap(), None);
        written.commit().await.unwrap();
        assert_eq!(store.get("s-0", 1 << 20).await.unwrap().unwrap(), vec![42; 1_000_000]);

        let mut dropped = store.create_streaming("s-1").await.unwrap();
        dropped.write("x".into()).await.unwrap();
        drop(dropped);
        assert_eq!(store.head("s-1").await.unwrap(), None);

        let mut late = store.create_streaming("s-0").await.unwrap();
        late.write("other".into()).await.unwrap();
        assert_eq!(late.commit().await.unwrap_err().code(), "name.taken");
        assert_eq!(store.get("s-0", 1 << 20).await.unwrap().unwrap().len(), 1_000_000);

        store.create_streaming("s-2").await.unwrap().commit().await.unwrap();
        assert_eq!(store.get("s-2", 0).await.unwrap().unwrap(), "");
    }
    assert_eq!(files(directory.path()), ["s-0", "s-2"]);
}

#[tokio::test]
async fn what_killed_writers_left_is_found_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_path(directory.path()).await;
    assert_eq!(store.staged().await.unwrap(), []);
    let mut killed = store.create_streaming("x-0").await.unwrap();
    killed.write("xyz".into()).await.unwrap();
    std::mem::forget(killed);
    let staged = store.staged().await.unwrap();
    assert_eq!((staged.len(), staged[0].size), (1, 3));
    assert!(staged[0].modified.elapsed().unwrap() < Duration::from_secs(600));
    assert_eq!(store.remove_staged("../x").await.unwrap_err().code(), "name.invalid");
    for _ in 0..2 {
        store.remove_staged(&staged[0].name).await.unwrap();
        assert_eq!(store.staged().await.unwrap(), []);
    }
    assert_eq!(files(directory.path()), [""; 0]);
}

#[tokio::test]
async fn folders_and_foreign_files_are_not_objects() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("folder")).unwrap();
    fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), b"x").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("broken")).unwrap();
    let store = open_path(directory.path()).await;
    assert_eq!(store.list("", None).try_collect::<Vec<_>>().await.unwrap(), []);
    assert_eq!(store.head("folder").await.unwrap(), None);
    assert_eq!(store.get("broken", 10).await.unwrap(), None);
    let error = store.create("folder", "x".into(), sha256(b"x")).await.unwrap_err();
    assert_eq!(error.code(), "name.taken", "{error}");
}

/// Runs one ignored test of this file in a process with other rights or another file system. That this can be had is tried with a program that
/// does nothing: where it cannot, the test fails, since one that did not run must not look like one that passed.
fn run_inner(test: &str, directory: &Path, command: &[&str]) {
    let run = |program: &Path, args: &[&str]| {
        let mut run = std::process::Command::new(command[0]);
        run.args(&command[1..]).arg(program).args(args).env("BACKSTAY_TEST_DIRECTORY", directory);
        run.output()
    };
    match run(Path::new("true"), &[]) {
        Ok(nothing) if nothing.status.success() => {}
        other => {
            panic!("{} does not run here, although scripts/setup installs it; root may use it: {other:?}", command[0])
        }
    }
    let name = format!("local::{test}");
    let done = run(&std::env::current_exe().unwrap(), &["--exact", &name, "--ignored", "--nocapture"]).unwrap();
    let [said, errors] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(done.status.success() && said.contains("1 passed"), "{test}: {}\n{said}\n{errors}", done.status);
}

/// The directory of an inner test; `None` if it was not started by its outer one.
fn inner_directory() -> Option<String> {
    std::env::var("BACKSTAY_TEST_DIRECTORY").ok()
}

#[test]
fn a_full_file_system_is_reported_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$BACKSTAY_TEST_DIRECTORY" || exit 77; exec "$@""#;
    run_inner(
        "full_file_system_inner",
        directory.path(),
        &["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"],
    );
}

#[tokio::test]
#[ignore = "run by a_full_file_system_is_reported_and_leaves_nothing in a mount of its own"]
async fn full_file_system_inner() {
    let Some(directory) = inner_directory() else {
        return;
    };
    let store = open(&directory).await;
    let body = Bytes::from(vec![1; 2 << 20]);
    let error = store.create("x-0", body.clone(), sha256(&body)).await.unwrap_err();
    assert_eq!(error.code(), "store.failed");
    assert!(error.to_string().contains("No space left"), "{error}");
    let mut stream = store.create_streaming("x-0").await.unwrap();
    let error = async {
        loop {
            if let Err(error) = stream.write(vec![1; 100_000].into()).await {
                break error;
            }
        }
    }
    .await;
    assert!(error.to_string().contains("No space left"), "{error}");
    // A stream that failed once cannot become an object with a hole in it.
    stream.write("x".into()).await.unwrap_err();
    stream.commit().await.unwrap_err();
    assert_eq!(files(Path::new(&directory)), [""; 0]);
    let small = Bytes::from(vec![1; 1000]);
    assert_eq!(store.create("x-0", small.clone(), sha256(&small)).await.unwrap(), Created::New);
}

#[test]
fn directories_that_may_not_be_written_or_read_are_denied() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("secret"), "x").unwrap();
    fs::set_permissions(directory.path().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(directory.path().join("closed")).unwrap();
    fs::set_permissions(directory.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root may do everything, so another user is needed.
    run_inner("denied_inner", directory.path(), &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
}

#[tokio::test]
#[ignore = "run by directories_that_may_not_be_written_or_read_are_denied as another user"]
async fn denied_inner() {
    let Some(directory) = inner_directory() else {
        return;
    };
    let store = open(&directory).await;
    let closed = open(&format!("{directory}/closed")).await;
    for error in [
        store.create("x-0", "a".into(), sha256(b"a")).await.unwrap_err(),
        store.get("secret", 10).await.unwrap_err(),
        store.delete("secret").await.unwrap_err(),
        closed.create("x-0", "a".into(), sha256(b"a")).await.unwrap_err(),
        closed.list("", None).try_collect::<Vec<_>>().await.unwrap_err(),
        store.create_streaming("x-0").await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "store.denied", "{error}");
        assert!(error.to_string().contains("ermission denied"), "{error}");
    }
    assert_eq!(files_at_top(Path::new(&directory)), ["closed", "secret"]);
}

fn files_at_top(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn objects_are_durable_before_they_have_a_name_and_names_before_create_returns() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let calls = "trace=openat,fsync,fdatasync,link,linkat,unlink,unlinkat,mkdir,mkdirat";
    let strace = ["strace", "-f", "-y", "-o", trace.to_str().unwrap(), "-e", calls];
    run_inner("durable_inner", directory.path(), &strace);
    let trace = fs::read_to_string(trace).unwrap();
    let store = directory.path().join("store");
    let store = store.to_str().unwrap();
    let at = |what: &str, wanted: &dyn Fn(&str) -> bool| {
        trace.lines().position(wanted).unwrap_or_else(|| panic!("no {what} in {trace}"))
    };
    let made = at("mkdir", &|line| line.contains("mkdir") && line.contains(&format!("{store}\"")));
    let parent = at("fsync of the parent", &|line| {
        line.contains("fsync(") && line.contains(&format!("<{}>", directory.path().display()))
    });
    let bytes =
        at("fsync of the bytes", &|line| line.contains("fsync(") && line.contains(&format!("{store}/.backstay-tmp/")));
    let named = at("link", &|line| line.contains("link") && line.contains(&format!("{store}/x-0\"")));
    let entry = trace
        .lines()
        .collect::<Vec<_>>()
        .iter()
        .rposition(|line| line.contains("fsync(") && line.contains(&format!("<{store}>")))
        .unwrap();
    assert!(made < parent && parent < bytes && bytes < named && named < entry, "{trace}");
}

#[tokio::test]
#[ignore = "run by objects_are_durable_before_they_have_a_name_and_names_before_create_returns under strace"]
async fn durable_inner() {
    let Some(directory) = inner_directory() else {
        return;
    };
    let store = open(&format!("{directory}/store")).await;
    store.create("x-0", "a".into(), sha256(b"a")).await.unwrap();
}

#[test]
fn a_killed_writer_leaves_whole_objects_and_nothing_that_looks_like_one() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut writer = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "local::killed_inner", "--ignored"])
            .env("BACKSTAY_TEST_DIRECTORY", directory.path())
            .env("BACKSTAY_TEST_ROUND", round.to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let first = directory.path().join(format!("x-{round}-0"));
        while !first.exists() {
            assert!(writer.try_wait().unwrap().is_none(), "the writer ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(7 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    let mut whole = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != ".backstay-tmp" {
            assert!(name.starts_with("x-") && !name.contains('#'), "{name}");
            assert_eq!(entry.metadata().unwrap().len(), 1 << 20, "{name}");
            whole += 1;
        }
    }
    assert!(whole >= 5);
}

#[tokio::test]
#[ignore = "run by a_killed_writer_leaves_whole_objects_and_nothing_that_looks_like_one, which kills it"]
async fn killed_inner() {
    let Some(directory) = inner_directory() else {
        return;
    };
    let store = open(&directory).await;
    let round = std::env::var("BACKSTAY_TEST_ROUND").unwrap();
    let body = Bytes::from(vec![1; 1 << 20]);
    for n in 0.. {
        store.create(&format!("x-{round}-{n}"), body.clone(), sha256(&body)).await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_that_fails_is_told_as_a_store_or_as_a_place_to_work_in_and_never_as_a_provider() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    for (kind, advised) in [
        (std::io::ErrorKind::StorageFull, "make room"),
        (std::io::ErrorKind::QuotaExceeded, "make room"),
        (std::io::ErrorKind::Other, "disk"),
        (std::io::ErrorKind::PermissionDenied, "the user who runs this"),
        (std::io::ErrorKind::ReadOnlyFilesystem, "read-only"),
    ] {
        let denied = matches!(kind, std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem);
        let as_a_store = if denied { "store.denied" } else { "store.failed" };
        for (store, code) in [(open(path).await, as_a_store), (Store::at_directory(directory.path()), "io.failed")] {
            let faults = Faults::new();
            let store = store.with_wrapper(|inner| faults.wrap(inner));
            for call in [Call::Put, Call::Get, Call::Head, Call::List, Call::Delete] {
                faults.fail_all(call, Failure::Io(kind));
            }
            for error in [
                store.create("x-0", "body".into(), sha256(b"body")).await.unwrap_err(),
                store.get("x-0", 1).await.unwrap_err(),
                store.head("x-0").await.unwrap_err(),
                store.get_range("x-0", 0..1).await.unwrap_err(),
                store.delete("x-0").await.unwrap_err(),
                store.list("", None).try_collect::<Vec<_>>().await.unwrap_err(),
            ] {
                let hint = error.hint().unwrap();
                assert_eq!(error.code(), code, "{error}");
                assert!(hint.contains(advised) && hint.contains(path), "{kind:?}: {hint}");
                assert!(error.to_string().contains(path), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_directory_is_taken_by_its_path_whatever_characters_that_has() {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = tempfile::tempdir().unwrap();
    let names: [&[u8]; 6] = [b"#1", b"a?b", b"%41", b"two words", b"s3:", b"latin1-\xe9"];
    for name in names {
        let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
        let store = Store::at_directory(&path);
        store.create("x-0", "body".into(), sha256(b"body")).await.unwrap();
        assert!(path.join("x-0").is_file() && store.directory() == Some(&path), "{}", path.display());
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), names.len());
}

#[tokio::test]
async fn what_was_being_done_when_a_file_operation_failed_is_named() {
    let directory = tempfile::tempdir().unwrap();
    // A file where a folder should be.
    fs::write(directory.path().join(".backstay-tmp"), "").unwrap();
    let store = Store::at_directory(directory.path());
    let told = |error: backstay_store::Error| error.to_string();
    assert!(told(store.staged().await.unwrap_err()).starts_with("listing the staging folder in "));
    assert!(told(store.remove_staged("x").await.unwrap_err()).starts_with("removing x in "));
    assert!(told(store.create_streaming("x").await.unwrap_err()).starts_with("creating x in "));
}

//! A bad backup is never recorded as good: what the source does decides whether there is a manifest.

use std::ffi::OsString;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{content, context, native, raw_keyring, restored};
use backstay::backup::BackupOptions;
use backstay::chunk::{Announced, EndMarker};
use backstay::keys::Encryption;
use backstay::source::Source;
use backstay::{Context, Error, Event, Observer, Silent, backup};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, Faults, When};
use futures::TryStreamExt as _;

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Observer for Lines {
    fn event(&self, event: &Event) {
        if let Event::CommandLine { line } = event {
            self.0.lock().unwrap().push(line.clone());
        }
    }
}

fn shell(script: &str) -> Source {
    Source::Command(["sh", "-c", script].map(OsString::from).to_vec())
}

fn plain() -> BackupOptions {
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.checks.allow_empty = false;
    options
}

async fn run(store: &Store, source: Source, options: BackupOptions) -> Result<backstay::Receipt, Error> {
    backup(store, source, options, &context(), Arc::new(Lines::default())).await
}

async fn manifests(store: &Store) -> usize {
    let names: Vec<_> = store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap();
    names.iter().filter(|name| name.ends_with(".json")).count()
}

/// Runs a source that must not be committed.
async fn failure(source: Source, options: BackupOptions) -> Error {
    let store = Store::memory();
    let error = run(&store, source, options).await.unwrap_err();
    assert_eq!(manifests(&store).await, 0, "{error}");
    error
}

/// The same, and gives the code.
async fn refused(source: Source, options: BackupOptions) -> &'static str {
    failure(source, options).await.code()
}

#[tokio::test]
async fn a_command_that_succeeds_is_backed_up_and_its_messages_are_passed_on() {
    let store = Store::memory();
    let lines = Arc::new(Lines::default());
    let source = shell("echo one >&2; echo content; printf 'no line feed' >&2");
    let receipt = backup(&store, source, plain(), &context(), Arc::clone(&lines) as _).await.unwrap();
    assert_eq!(restored(&store, &receipt.id, &raw_keyring()).await, b"content\n");
    assert_eq!(*lines.0.lock().unwrap(), ["one", "no line feed"]);
}

#[tokio::test]
async fn a_command_that_fails_after_its_last_byte_is_not_committed() {
    assert_eq!(refused(shell("echo content; exit 3"), plain()).await, "source.failed");
    assert_eq!(refused(shell("echo content; kill -9 $$"), plain()).await, "source.failed");
    assert_eq!(refused(Source::Command(vec!["/nonexistent/program".into()]), plain()).await, "source.failed");
}

#[tokio::test]
async fn a_command_that_closes_its_output_and_fails_later_is_not_committed() {
    assert_eq!(refused(shell("echo content; exec >&-; sleep 0.3; exit 1"), plain()).await, "source.failed");
}

#[tokio::test]
async fn what_failed_says_why_in_the_command_s_own_words_and_never_its_arguments() {
    let error = run(&Store::memory(), shell("echo 'disk on fire' >&2; exit 7 # hunter2"), plain()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status 7") && text.contains("disk on fire"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_open_after_a_failing_exit_is_cut_off() {
    let begun = Instant::now();
    // It goes on writing, so that waiting for silence would wait for ever.
    let script = "(while sleep 0.2; do echo still here; done) & exit 5";
    assert_eq!(refused(shell(script), plain()).await, "source.failed");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_open_after_a_good_exit_is_waited_for() {
    let store = Store::memory();
    let receipt = run(&store, shell("(sleep 0.5; echo late) & echo early"), plain()).await.unwrap();
    assert_eq!(restored(&store, &receipt.id, &raw_keyring()).await, b"early\nlate\n");
}

#[tokio::test]
async fn standard_error_without_end_does_not_fill_the_memory() {
    let store = Store::memory();
    let script = "head -c 50000000 /dev/zero | tr '\\0' x >&2; echo content";
    let lines = Arc::new(Lines::default());
    backup(&store, shell(script), plain(), &context(), Arc::clone(&lines) as _).await.unwrap();
    assert!(lines.0.lock().unwrap().iter().map(String::len).sum::<usize>() < 100_000);
}

#[tokio::test]
async fn empty_short_and_cut_contents_are_not_committed() {
    assert_eq!(refused(shell("true"), plain()).await, "source.empty");
    let mut options = plain();
    options.checks.min_size = 100;
    assert_eq!(refused(shell("echo content"), options).await, "source.too-small");
    let mut options = plain();
    let rule = Announced { head: "-- dump".to_owned(), tail: "-- dump complete".to_owned() };
    options.checks.end = EndMarker::Announced(vec![rule]);
    assert_eq!(refused(shell("echo '-- dump'; echo data"), options).await, "source.trailer");
}

#[tokio::test]
async fn a_source_that_gives_nothing_or_does_not_end_is_given_up_and_the_message_says_which() {
    let hangs = [
        ("echo content; exec sleep 60", "the source gave nothing for "),
        ("echo content; exec >&-; exec sleep 60", "the source closed its output and did not end for "),
    ];
    for (script, message) in hangs {
        let mut options = plain();
        options.stall = Duration::from_millis(300);
        let error = failure(shell(script), options).await;
        assert_eq!(error.code(), "source.stalled");
        assert!(error.to_string().starts_with(message), "{error}");
    }
}

struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the disk is gone"));
        }
        let length = bytes.len().min(self.0);
        bytes[..length].fill(b'x');
        self.0 -= length;
        Ok(length)
    }
}

#[tokio::test]
async fn an_input_that_cannot_be_read_to_its_end_is_not_committed() {
    assert_eq!(refused(Source::Reader(Box::new(Failing(5_000_000))), plain()).await, "source.failed");
}

#[tokio::test]
async fn an_interrupt_wins_over_the_command_that_dies_of_it_and_says_what_is_left() {
    let store = Store::memory();
    let context = Context::system(Some(2)).unwrap();
    let interrupt = context.interrupt.clone();
    let pid = std::env::temp_dir().join(format!("backstay-source-{}", std::process::id()));
    let script = format!("head -c 9000000 /dev/urandom; echo $$ > {}; exec sleep 60", pid.display());
    let file = pid.clone();
    let killer = std::thread::spawn(move || {
        while std::fs::read_to_string(&file).map_or(true, |text| !text.ends_with('\n')) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        // The terminal sends the signal to both; the command dies first.
        let pid = std::fs::read_to_string(&file).unwrap();
        assert!(std::process::Command::new("kill").args(["-INT", pid.trim()]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(50));
        interrupt.set();
    });
    let error = backup(&store, shell(&script), plain(), &context, Arc::new(Lines::default())).await.unwrap_err();
    killer.join().unwrap();
    std::fs::remove_file(pid).unwrap();
    assert_eq!(error.code(), "interrupted");
    assert!(error.to_string().contains("parts of"), "{error}");
    assert_eq!(manifests(&store).await, 0);
}

#[tokio::test]
async fn archives_of_one_source_have_strictly_rising_ids_even_when_the_clock_stands_still_or_falls_back() {
    let store = Store::memory();
    let clocks = [1_740_130_000_000_i64, 1_740_130_000_000, 1_740_129_000_000];
    let mut last = None;
    for millis in clocks {
        let context = context().with_clock(move || jiff::Timestamp::from_millisecond(millis).unwrap());
        let source = Source::Reader(Box::new(io::Cursor::new(content(10, false))));
        let id = backup(&store, source, plain(), &context, Arc::new(Lines::default())).await.unwrap().id;
        assert!(last.as_ref().is_none_or(|last| *last < id), "{id} after {last:?}");
        last = Some(id);
    }
}

/// A source that takes its time, and counts what was read of it.
struct Slow(io::Cursor<Vec<u8>>, Arc<AtomicUsize>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_millis(2));
        let length = buffer.len().min(64 << 10);
        let read = self.0.read(&mut buffer[..length])?;
        self.1.fetch_add(read, Ordering::Relaxed);
        Ok(read)
    }
}

#[tokio::test]
async fn a_part_that_fails_ends_the_run_before_the_uploads_are_all_taken() {
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|objects| faults.wrap(objects));
    // Part 0 is sent twice; then part 1 is refused.
    faults.fail(Call::Put, 3..=3, When::Before, Failure::Denied);
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.uploads = 64;
    let (bytes, read) = (content(30_000_000, true), Arc::new(AtomicUsize::new(0)));
    let source = Source::Reader(Box::new(Slow(io::Cursor::new(bytes), Arc::clone(&read))));
    let refused = backup(&store, source, options, &context(), Arc::new(Silent)).await;
    assert_eq!(refused.unwrap_err().code(), "store.denied");
    assert!(read.load(Ordering::Relaxed) < 25_000_000, "{} bytes were read for nothing", read.load(Ordering::Relaxed));
}

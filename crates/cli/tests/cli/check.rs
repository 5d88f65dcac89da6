//! `check` and `policy`, and the options of new objects, through the binary; servers that keep what they are told are in `tests/e2e/check.sh`.

use backstay_testkit::S3Server;
use backstay_testkit::recorder::{Recorded, Recorder};

use crate::copy::reaching;
use crate::harness::{Place, Run};

/// The same with credentials for a recorder.
fn with_keys<'p>(run: Run<'p>, recorder: &Recorder) -> Run<'p> {
    run.env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL", &recorder.endpoint)
        .env("AWS_EC2_METADATA_DISABLED", "true")
}

/// The first object that a backup with these options sends.
fn sent(place: &Place, options: &[&str], environment: &[(&str, &str)]) -> Recorded {
    let recorder = Recorder::store();
    let run = place.run(["backup", "-s", "s3://bucket/p", "--name", "pg-main", "-r", &place.recipient]).args(options);
    let run = environment.iter().fold(with_keys(run, &recorder), |run, (name, value)| run.env(name, value));
    // The recorder stores nothing, and no archive comes of that.
    assert!(!run.stdin("content").done().status.success());
    recorder.taken().into_iter().find(|heard| heard.method == "PUT").unwrap()
}

#[test]
fn options_of_new_objects_are_sent_from_the_line_the_environment_and_a_profile() {
    let place = Place::new();
    let line = [
        "--storage-class",
        "STANDARD_IA",
        "--sse",
        "kms:key-1",
        "--object-tag",
        "a=b",
        "--object-tag",
        "c=d",
        "--lock-mode",
        "compliance",
        "--lock-for",
        "1d",
        "--requester-pays",
    ];
    let environment = [
        ("BACKSTAY_STORAGE_CLASS", "STANDARD_IA"),
        ("BACKSTAY_SSE", "kms:key-1"),
        ("BACKSTAY_OBJECT_TAG", "a=b,c=d"),
        ("BACKSTAY_LOCK_MODE", "compliance"),
        ("BACKSTAY_LOCK_FOR", "1d"),
        ("BACKSTAY_REQUESTER_PAYS", "yes"),
    ];
    let text = "[profile.locked]\nstorage_class = 'STANDARD_IA'\nsse = 'kms:key-1'\nobject_tag = ['a=b', 'c=d']\n\
        lock_mode = 'compliance'\nlock_for = '1d'\nrequester_pays = true\n";
    place.write("config/backstay/backstay.toml", text);
    for heard in [sent(&place, &line, &[]), sent(&place, &[], &environment), sent(&place, &["-p", "locked"], &[])] {
        assert_eq!(heard.header("x-amz-storage-class"), Some("STANDARD_IA"));
        assert_eq!(heard.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("key-1"));
        assert_eq!(heard.header("x-amz-tagging"), Some("a=b&c=d"));
        assert_eq!(heard.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
        assert!(heard.header("x-amz-object-lock-retain-until-date").is_some());
        assert_eq!(heard.header("x-amz-request-payer"), Some("requester"));
    }
    let plain = sent(&place, &[], &[]);
    assert_eq!((plain.header("x-amz-tagging"), plain.header("x-amz-object-lock-mode")), (None, None));
}

#[test]
fn what_a_store_does_not_have_is_refused_before_the_producer_runs() {
    let place = Place::new();
    let witness = place.path("it-ran");
    let command = format!("touch {}; echo content", witness.display());
    let run = |option: &[&str]| {
        place
            .run(["backup", "--name", "pg-main", "-r", &place.recipient])
            .args(option)
            .args(["--", "sh", "-c", &command])
    };
    run(&["--storage-class", "COLD"]).fails("store.unsupported", 2).says("a storage class");
    run(&["--object-tag", "a=b"]).fails("store.unsupported", 2).says("object tags");
    run(&["--sse", "s3"]).fails("store.unsupported", 2).says("encryption");
    run(&["--lock-mode", "governance", "--lock-for", "1d"]).fails("store.unsupported", 2).says("a directory");
    run(&["--lock-mode", "governance"]).fails("usage.arguments", 2).says("--lock-for");
    run(&["--lock-for", "1d"]).fails("usage.arguments", 2).says("--lock-mode");
    run(&["--sse", "rot13"]).fails("usage.arguments", 2).says("kms:KEY");
    run(&["--object-tag", "a"]).fails("usage.arguments", 2).says("KEY=VALUE");
    assert!(!witness.exists());
    // Who reads, or clears away, need not take the options back.
    let id = place.backup("content", &[]);
    place.run(["list", "--storage-class", "COLD"]).good().says_out(&id);
    place.run(["gc", "--yes", "--storage-class", "COLD"]).good();
    let copy = place.run(["copy", &id, "--storage-class", "COLD", "--to"]).arg(place.path("second"));
    copy.fails("store.unsupported", 2);
    assert!(!place.path("second").exists());
}

#[test]
fn a_directory_is_checked_and_left_as_it_was() {
    let place = Place::new();
    place.run(["check"]).good().says_out("not there yet");
    assert!(!place.store().exists());
    place.backup("content", &[]);
    let before = place.objects();
    let done = place.run(["check"]).good();
    done.says_out("conditional-create").says_out("none are needed");
    assert!(done.out().lines().last().unwrap().ends_with("good"), "{}", done.out());
    assert_eq!(place.objects(), before);
    let json = place.run(["check", "--json"]).good().json("check");
    assert_eq!(json["verdict"], "good");
    assert!(json["upload_bytes_per_second"].as_u64().unwrap() > 0);
    assert_eq!(json["left"], serde_json::json!([]));
    place.run(["check", "-s", "s3://bucket"]).env("AWS_EC2_METADATA_DISABLED", "true").fails("usage.credentials", 2);
    let bad = place.run(["check", "--sse", "s3"]).fails("store.unsupported", 2);
    bad.says_out("options");
}

#[test]
fn freshness_has_a_form_for_people_programs_and_prometheus() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let done = place.run(["check", "--max-age", "26h"]).good();
    done.says_out("pg-main  fresh").says_out(&id).says("pg-main: fresh");
    let json = place.run(["check", "--max-age", "26h", "--json"]).good().json("freshness");
    assert_eq!((&json["verdict"], &json["sources"][0]["archives"][0]["id"]), (&"fresh".into(), &id.as_str().into()));
    let metrics = place.run(["check", "--metrics", "--max-age", "26h"]).good();
    metrics.says_out("backstay_source_fresh{name=\"pg-main\",guid=\"").says_out("# TYPE backstay_source_stale gauge");
    let both = place.run(["check", "--metrics", "--json"]).done();
    assert_eq!(both.status.code(), Some(2));
    both.says("two forms of one result");
    assert_eq!(place.run(["check", "--max-age", "0s"]).done().status.code(), Some(22));
    let gone = place.run(["check", "--max-age", "26h", "--name", "nobody"]).done();
    assert_eq!(gone.status.code(), Some(22));
    gone.says("nobody: stale, there is no good archive");
    let by_guid = place.run(["check", "--max-age", "26h", "--guid", &id[..36]]).good();
    by_guid.says_out("fresh");
    let other = place.run(["check", "--max-age", "26h", "--guid", "de2fe9e4-6535-423d-8709-dca87df7985c"]).done();
    assert_eq!(other.status.code(), Some(22));
    place.run(["check", "--min-percent", "101"]).fails("usage.arguments", 2);
    // What says which backups are to be fresh says nothing without an age; a configuration may have it for other verbs.
    let forgotten = place.run(["check", "--name", "pg-main"]).fails("usage.arguments", 2);
    forgotten.says("--name").says("--max-age");
    place.run(["check"]).env("BACKSTAY_NAME", "pg-main").good();
    place.run(["check", "--metrics", "--name", "pg-main"]).good();
}

#[test]
fn an_archive_that_a_report_calls_bad_is_told_and_with_the_key_it_is_none() {
    let place = Place::new();
    let older = place.backup("content", &[]);
    let newest = place.backup("content", &[]);
    let part = place.store().join(format!("{newest}-0"));
    let mut bad = std::fs::read(&part).unwrap();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&part, bad).unwrap();
    assert!(!place.run(["verify", &newest, "-i", "key.txt", "--record"]).done().status.success());
    let done = place.run(["check", "--max-age", "26h"]).done();
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    done.says_out("doubtful").says(&format!("the newest report on {newest} says that it is bad (deep)"));
    let json = place.run(["check", "--max-age", "26h", "--json"]).done().json("freshness");
    assert_eq!((&json["verdict"], &json["sources"][0]["reported_bad"]), (&"doubtful".into(), &"deep".into()));
    let metrics = place.run(["check", "--metrics"]).done();
    metrics.says_out("backstay_source_doubtful{name=\"pg-main\",guid=\"");
    let keyed = place.run(["check", "--max-age", "26h", "-i", "key.txt"]).good();
    keyed.says_out(&older).says(&format!("{newest} was passed over: a report says that it is bad"));
}

/// A source of which nothing counts has its name all the same: alarms are told apart by it.
#[test]
fn a_source_whose_archives_are_passed_over_is_called_by_its_name() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 3600);
    for name in place.objects() {
        std::fs::File::options().write(true).open(place.store().join(name)).unwrap().set_modified(past).unwrap();
    }
    let done = place.run(["check", "--max-age", "26h"]).done();
    assert_eq!(done.status.code(), Some(22), "{}", done.stderr);
    done.says("pg-main: stale")
        .says(&format!("{id} was passed over: it is dated more than a day later than the store has it"));
    let metrics = place.run(["check", "--metrics"]).done();
    metrics.says_out("backstay_source_stale{name=\"pg-main\",guid=\"");
    // Nor does it date the next one.
    let next = place.backup("content", &[]);
    place.run(["check", "--max-age", "26h"]).good().says_out(&next);
}

#[test]
fn a_policy_is_a_document_alone_on_standard_output() {
    let place = Place::new();
    let policy = |role: &str, url: &str| place.run(["policy", "--role", role, "-s", url]);
    let done = policy("writer", "s3://bucket/pg").args(["--lock-mode", "governance", "--lock-for", "1d"]).good();
    let document: serde_json::Value = serde_json::from_str(done.out()).unwrap();
    assert_eq!(document["Statement"][0]["Action"], serde_json::json!(["s3:PutObject", "s3:PutObjectRetention"]));
    done.says("s3:if-none-match");
    let azure = policy("writer", "az://container").good();
    azure.says("condition of the assignment: ").says_out("blobs/add/action");
    let json = policy("reader", "gs://bucket/pg").arg("--json").good().json("policy");
    assert_eq!(
        json["document"]["includedPermissions"],
        serde_json::json!(["storage.objects.list", "storage.objects.get"])
    );
    assert!(json["condition"].as_str().unwrap().contains("objects/pg/"));
    let region = policy("reader", "s3://bucket").args(["--region", "cn-north-1"]).good();
    region.says_out("arn:aws-cn:s3:::bucket");
    policy("writer", "/srv/backups").fails("store.unsupported", 2);
    policy("owner", "s3://bucket").fails("usage.arguments", 2);
    place.run(["policy", "-s", "s3://bucket"]).fails("usage.arguments", 2).says("--role");
}

/// As with a reader's credential, or a file system that is mounted read-only.
#[test]
fn a_store_that_takes_nothing_is_not_called_good() {
    let place = Place::new();
    let server = S3Server::with_bucket("bucket");
    server.deny(&["PutObject"]);
    let done = reaching(&server, place.run(["check"])).done();
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    done.says_out("no backup is made with it");
    assert!(done.out().lines().last().unwrap().ends_with("warning"), "{}", done.out());
    let json = reaching(&server, place.run(["check", "--json"])).done().json("check");
    assert_eq!(json["verdict"], "warning");
    let created = json["items"].as_array().unwrap().iter().find(|item| item["what"] == "create").unwrap();
    assert_eq!((&created["verdict"], &created["code"]), (&"warning".into(), &"store.denied".into()));
}

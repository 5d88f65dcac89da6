//! `backup`: each option does what its help says.

use std::io::{Seek as _, SeekFrom};

use crate::harness::{Place, dump, noise};

#[test]
fn the_receipt_is_the_only_line_on_standard_output() {
    let place = Place::new();
    let done = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin("content\n").good();
    let words: Vec<_> = done.out().trim_end().split(' ').collect();
    let [id, root, seal, stored] = words[..] else { panic!("{}", done.out()) };
    assert_eq!(done.out().lines().count(), 1);
    // The guid follows from the name: version 5 in the namespace of the spec.
    assert!(id.starts_with("a5ccaebc-1fd3-5e3a-8b45-b04103c48c7e-"), "{id}");
    assert!(place.manifest().contains(root) && place.manifest().contains(seal));
    let part = std::fs::metadata(place.store().join(format!("{id}-0"))).unwrap().len();
    assert_eq!(stored, part.to_string());
    assert_eq!(place.cat(id), b"content\n");
}

#[test]
fn a_command_is_backed_up_with_its_arguments() {
    let place = Place::new();
    let done =
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "printf", "%s|", "a b", "-r"]).good();
    let id = done.out().split(' ').next().unwrap();
    assert_eq!(place.cat(id), b"a b|-r|");
}

#[test]
fn without_a_word_on_who_may_read_it_nothing_is_written() {
    let place = Place::new();
    place.run(["backup", "--name", "pg-main"]).stdin("content").fails("usage.recipient", 2).says("--no-encryption");
    assert!(place.objects().is_empty());
}

#[test]
fn recipient_files_and_arguments_add_up() {
    let place = Place::new();
    let other = place.run(["key", "generate", "other.txt"]).good();
    place.write("recipients.txt", format!("# comment\n\n{}", other.out()));
    let id = place.backup("content", &["-R", "recipients.txt"]);
    for key in ["key.txt", "other.txt"] {
        assert_eq!(place.run(["cat", &id, "-i", key]).good().stdout, b"content");
    }
    let alone = place.run(["backup", "--name", "alone", "-R", "recipients.txt"]).stdin("alone").good();
    let id = alone.out().split(' ').next().unwrap();
    place.run(["cat", id, "-i", "key.txt"]).fails("key.not-found", 12);
    place.run(["cat", id, "-i", "other.txt"]).good();
}

#[test]
fn a_passphrase_comes_from_a_file_or_a_command() {
    let place = Place::new();
    for way in [["--passphrase-file", "passphrase.txt"], ["--passphrase-command", "head -n1 passphrase.txt"]] {
        let done = place.run(["backup", "--name", "pg-main"]).args(way).stdin("content").good();
        let id = done.out().split(' ').next().unwrap();
        assert_eq!(place.run(["cat", id]).args(way).good().stdout, b"content");
        place.write("wrong.txt", "wrong\n");
        place.run(["cat", id, "--passphrase-file", "wrong.txt"]).fails("key.wrong", 12);
    }
    let variable = place
        .run(["backup", "--name", "pg-main"])
        .env("BACKSTAY_PASSPHRASE_FILE", "passphrase.txt")
        .stdin("content")
        .good();
    let id = variable.out().split(' ').next().unwrap();
    place.run(["cat", id, "--passphrase-file", "passphrase.txt"]).good();
    place.run(["backup", "--name", "x1", "--passphrase-file", "absent.txt"]).stdin("x").fails("key.passphrase", 12);
    place.run(["backup", "--name", "x1", "--passphrase-command", "false"]).stdin("x").fails("key.passphrase", 12);
    place.store_holds_no_secret();
}

#[test]
fn a_raw_key_writes_and_reads() {
    let place = Place::new();
    place.run(["key", "generate", "--raw", "raw.key"]).good();
    let done = place.run(["backup", "--name", "pg-main", "--raw-key", "raw.key"]).stdin("content").good();
    let id = done.out().split(' ').next().unwrap();
    assert!(place.header().contains("\"keys\":[]"));
    assert_eq!(place.run(["cat", id, "-i", "raw.key"]).good().stdout, b"content");
    place.write("weak.key", "thirty-two printable characters!");
    place.run(["backup", "--name", "x1", "--raw-key", "weak.key"]).stdin("x").fails("usage.recipient", 2);
    place.store_holds_no_secret();
}

#[test]
fn an_open_archive_is_spelled_out_on_both_sides() {
    let place = Place::new();
    let done = place.run(["backup", "--name", "pg-main", "--no-encryption"]).stdin("content").good();
    let id = done.out().split(' ').next().unwrap();
    place.run(["cat", id]).fails("key.open", 12);
    assert_eq!(place.run(["cat", id, "--allow-open"]).good().stdout, b"content");
    place.run(["cat", id, "--allow-open", "-i", "key.txt"]).fails("key.open", 12);
    place.run(["backup", "--no-encryption", "-r", &place.recipient]).stdin("x").fails("usage.arguments", 2);
}

#[test]
fn detached_keys_stand_beside_the_parts() {
    let place = Place::new();
    let id = place.backup("content", &["--detached-keys"]);
    assert!(place.header().contains("\"keys\":[]"));
    assert!(place.objects().contains(&format!("{id}.key.0")));
    assert_eq!(place.cat(&id), b"content");
    std::fs::remove_file(place.store().join(format!("{id}.key.0"))).unwrap();
    place.run(["cat", &id, "-i", "key.txt"]).fails("key.not-found", 12);
}

#[test]
fn a_signature_can_be_demanded() {
    let place = Place::new();
    let signer = place.run(["key", "generate", "--signing", "sign.pem"]).good();
    let stranger = place.run(["key", "generate", "--signing", "other.pem"]).good();
    let id = place.backup("content", &["--sign-key", "sign.pem"]);
    let cat = |signer: &str| place.run(["cat", &id, "-i", "key.txt", "--signer", signer.trim()]);
    assert_eq!(cat(signer.out()).good().stdout, b"content");
    cat(stranger.out()).fails("key.signer", 12);
    let unsigned = place.backup("content", &[]);
    place.run(["cat", &unsigned, "-i", "key.txt", "--signer", signer.out().trim()]).fails("key.signer", 12);
    place.run(["backup", "-r", &place.recipient, "--sign-key", "key.txt"]).stdin("x").fails("usage.recipient", 2);
}

#[test]
fn guid_name_and_tags_are_the_source_s() {
    let place = Place::new();
    let guid = "de2fe9e4-6535-423d-8709-dca87df7985c";
    let id = place.backup("content", &["--guid", guid, "--tag", "weekly", "--tag", "before upgrade"]);
    assert!(id.starts_with(guid));
    let manifest = place.manifest();
    assert!(
        manifest.contains("\"pg-main\"") && manifest.contains("\"weekly\"") && manifest.contains("\"before upgrade\"")
    );
    place.run(["backup", "--guid", "DE2FE9E4"]).fails("usage.arguments", 2);
    place
        .run(["backup", "--name", "localhost", "--no-encryption"])
        .stdin("x")
        .fails("usage.arguments", 2)
        .says("localhost");
}

#[test]
fn the_name_is_that_of_the_host_unless_it_is_given() {
    let place = Place::new();
    let host = String::from_utf8(std::process::Command::new("uname").arg("-n").output().unwrap().stdout).unwrap();
    let done = place.run(["backup", "-r", &place.recipient]).stdin("content").done();
    // Some hosts have a name that too many have; then that is said.
    assert!(
        done.status.success() && place.manifest().contains(host.trim()) || done.stderr.contains(host.trim()),
        "{}",
        done.stderr
    );
}

#[test]
fn hidden_names_and_sizes_are_not_in_the_store() {
    let place = Place::new();
    place.backup(b"x".repeat(123_457), &["--hide-name", "--tag", "secret-project", "--hide-size"]);
    let manifest = place.manifest();
    assert!(!manifest.contains("pg-main") && !manifest.contains("secret-project"), "{manifest}");
    assert!(!manifest.contains("123457"), "{manifest}");
    let place = Place::new();
    place.backup(b"x".repeat(123_457), &["--tag", "secret-project"]);
    let manifest = place.manifest();
    assert!(manifest.contains("pg-main") && manifest.contains("secret-project") && manifest.contains("123457"));
}

#[test]
fn codec_level_and_cipher_are_chosen() {
    let content = dump(3 << 20);
    let stored = |arguments: &[&str]| {
        let place = Place::new();
        let id = place.backup(&content, arguments);
        assert_eq!(place.cat(&id), content);
        let raw = place.run(["cat", &id, "--raw", "-i", "key.txt"]).good().stdout;
        (place.header(), raw[..2].to_vec(), raw.len())
    };
    let (header, magic, size) = stored(&[]);
    assert!(header.contains("\"zstd\"") && header.contains("\"aes-256-gcm\"") && magic == [0x28, 0xb5]);
    let (header, magic, _) = stored(&["--codec", "gzip"]);
    assert!(header.contains("\"gzip\"") && magic == [0x1f, 0x8b]);
    let (header, ..) = stored(&["--aead", "chacha20-poly1305"]);
    assert!(header.contains("\"chacha20-poly1305\""));
    let ((_, _, small), (_, _, large)) = (stored(&["--level", "15"]), stored(&["--level", "-5"]));
    assert!(small < size && size < large, "{small} {size} {large}");
    assert_eq!(stored(&["--level", "auto"]).2, size);
    for level in ["fast", "20"] {
        Place::new()
            .run(["backup", "--no-encryption", "--level", level, "--", "echo", "x"])
            .fails("usage.arguments", 2);
    }
}

#[test]
fn the_part_size_decides_how_many_objects_there_are() {
    let place = Place::new();
    let id = place.backup(noise(5 << 20), &["--part-size", "1MiB"]);
    let parts = place.objects().iter().filter(|name| name.starts_with(&format!("{id}-"))).count();
    assert_eq!(parts, 6);
    assert_eq!(place.cat(&id), noise(5 << 20));
    place.run(["backup", "--part-size", "0"]).fails("usage.arguments", 2);
}

#[test]
fn a_part_size_that_no_part_can_have_is_refused() {
    // Four times the first one is 2^64, which is 0 to whoever lets it wrap.
    for size in ["4611686018427387904", "18446744073709551615", "5GiB"] {
        let place = Place::new();
        let run = place.run(["backup", "--name", "x1", "--no-encryption", "--part-size", size]).stdin("content");
        run.fails("usage.arguments", 2).says("larger than 4 GiB");
        assert!(place.objects().is_empty());
    }
}

#[test]
fn a_file_that_is_known_to_need_many_parts_is_told_before_it_is_read() {
    let place = Place::new();
    let told = |length: u64, skip: u64, arguments: &[&str]| {
        let path = place.write("content", "");
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        file.set_len(length).unwrap();
        file.seek(SeekFrom::Start(skip)).unwrap();
        // What is refused directly after the plan was made, so that nobody reads terabytes of zeros.
        let run = place.run(["backup", "--name", "x1", "--no-encryption", "--codec", "gzip", "--pad", "padme"]);
        let done = run.args(arguments).command().stdin(file).output().unwrap();
        let stderr = String::from_utf8(done.stderr).unwrap();
        assert!(stderr.contains("sizes cannot be padded with the gzip codec"), "{stderr}");
        stderr
    };
    let text = told(8 << 40, 0, &["--part-size", "1MiB"]);
    assert!(text.contains("manifest.limit") && text.contains("which may be 8388608 parts"), "{text}");
    // What was read of the file already does not come again.
    let text = told(8 << 40, (8 << 40) - 1, &["--part-size", "1MiB"]);
    assert!(!text.contains("manifest.limit"), "{text}");
    let text = told(8 << 40, 0, &["--cores", "2"]);
    assert!(text.contains("parts of 22.9 MiB") && !text.contains("manifest.limit"), "{text}");
}

#[test]
fn uploads_cores_and_memory_shape_the_plan() {
    let place = Place::new();
    let plan = |arguments: &[&str]| {
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin("content");
        run.good().stderr
    };
    assert!(plan(&["--uploads", "2"]).contains(" 2 uploads"));
    assert!(plan(&["--uploads", "3"]).contains(" 3 uploads"));
    assert!(plan(&["--cores", "1"]).contains(" 1 thread"));
    let small = plan(&["--memory", "40MiB", "--cores", "2"]);
    assert!(small.contains(" 1 uploads") && small.contains("parts of 5.9"), "{small}");
    let narrow = |memory: &str| place.run(["backup", "--name", "x1", "--no-encryption", "--memory", memory]).stdin("x");
    let refused = narrow("1MiB").fails("usage.memory", 2);
    refused.says("26 MiB of memory are needed, 1 MiB are allowed").says("raise --memory to at least 26MiB");
    narrow("26MiB").good();
    let refused = narrow("64MiB").args(["--part-size", "64MiB"]).fails("usage.memory", 2);
    refused.says("smaller than --part-size 64MiB");
}

#[test]
fn as_many_threads_compute_as_cores_are_given() {
    for cores in ["1", "3"] {
        let place = Place::new();
        // The command looks at its parent's threads.
        let look = "grep -h ^cpu- /proc/$PPID/task/*/comm";
        let run = place.run(["backup", "--name", "threads", "-r", &place.recipient, "--cores", cores]);
        run.args(["--", "sh", "-c", look]).good();
        let names = place.run(["cat", "latest", "-i", "key.txt"]).good().stdout;
        assert_eq!(String::from_utf8(names).unwrap().lines().count().to_string(), cores);
    }
}

#[test]
fn padding_hides_the_size() {
    let stored = |content: &[u8], pad: &str| {
        let place = Place::new();
        let id = place.backup(content, &["--pad", pad, "--part-size", "1MiB"]);
        assert_eq!(place.cat(&id), content);
        let sizes: Vec<_> = (0..)
            .map_while(|n| std::fs::read(place.store().join(format!("{id}-{n}"))).ok())
            // age makes key slots of random length, and so header lines.
            .map(|part| part.len() - part.iter().position(|byte| *byte == b'\n').unwrap())
            .collect();
        sizes
    };
    let (one, other) = (noise(200_000), noise(200_300));
    assert_ne!(stored(&one, "none"), stored(&other, "none"));
    assert_eq!(stored(&one, "padme"), stored(&other, "padme"));
    let part = stored(&one, "part");
    assert!(part.len() == 1 && part[0] > 900_000, "{part:?}");
}

#[test]
fn empty_and_small_contents_are_refused_unless_they_are_meant() {
    let place = Place::new();
    let run = |arguments: &[&str], content: &str| {
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin(content)
    };
    run(&[], "").fails("source.empty", 30);
    run(&["--min-size", "1k"], "small").fails("source.too-small", 30);
    assert!(place.objects().iter().all(|name| !name.ends_with(".json")));
    run(&["--allow-empty"], "").good();
    run(&["--min-size", "5"], "small").good();
}

#[test]
fn a_dump_of_postgresql_must_say_that_it_is_complete() {
    let place = Place::new();
    let run = |arguments: &[&str], content: &str| {
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin(content)
    };
    let whole = "--\n-- PostgreSQL database cluster dump\n--\n\nSELECT 1;\n\n--\n-- PostgreSQL database cluster dump complete\n--\n\n\\unrestrict x\n";
    let cut = &whole[..60];
    run(&[], whole).good();
    run(&[], cut).fails("source.trailer", 30).says("cluster dump complete");
    let line = format!("printf '%s' '{cut}'");
    place
        .run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", &line])
        .fails("source.trailer", 30);
    run(&["--no-require-trailer"], cut).good();
    run(&["--require-trailer", "^END [0-9]+$"], "data\nEND 17").fails("source.trailer", 30);
    run(&["--require-trailer", "(?m)^END [0-9]+$"], "data\nEND 17\n").good();
    run(&["--require-trailer", "("], "x").fails("usage.arguments", 2);
    // A pattern is demanded besides, and what matches everything demands nothing.
    run(&["--require-trailer", "."], cut).fails("source.trailer", 30).says("cluster dump complete");
    run(&["--require-trailer", "unrestrict x"], whole).good();
    run(&["--require-trailer", "unrestrict y"], whole).fails("source.trailer", 30).says("unrestrict y");
    for pattern in ["", "x*", "$"] {
        run(&["--require-trailer", pattern], whole).fails("usage.arguments", 2).says("demands nothing");
    }
}

#[test]
fn a_tag_is_not_empty() {
    let place = Place::new();
    for tag in ["", " "] {
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--tag", tag]).stdin("content");
        run.fails("usage.arguments", 2).says("a tag is not empty");
    }
    assert_eq!(place.objects(), [""; 0]);
}

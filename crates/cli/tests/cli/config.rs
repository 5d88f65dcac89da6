//! Flag, environment and file, through the binary. The rules themselves are tested where they are implemented.

use crate::harness::Place;

#[test]
fn a_profile_replaces_a_command_line() {
    let place = Place::new();
    let text = format!(
        "recipient = '{}'\n[profile.shop]\nstore = '{}'\nname = 'shop'\n",
        place.recipient,
        place.path("shop").display()
    );
    place.write("config/backstay/backstay.toml", text);
    let run = |arguments: &[&str]| place.run(["backup"]).args(arguments).env("BACKSTAY_STORE", "").stdin("content");
    let id = run(&["-p", "shop"]).good().out().split(' ').next().unwrap().to_owned();
    assert!(place.path("shop").join(format!("{id}.json")).exists());
    run(&["-p", "shop"]).env("BACKSTAY_PROFILE", "absent").good();
    run(&[]).env("BACKSTAY_PROFILE", "shop").good();
    run(&["-p", "chop"]).fails("usage.config", 2).says("did you mean `shop`?");
}

#[test]
fn config_names_the_file_to_read() {
    let place = Place::new();
    let named = place.write("named.toml", format!("recipient = '{}'\nname = 'named'\n", place.recipient));
    place.run(["backup"]).stdin("content").fails("usage.recipient", 2);
    place.run(["backup", "--config"]).arg(&named).stdin("content").good();
    assert!(place.manifest().contains("\"named\""));
    place.run(["backup"]).env("BACKSTAY_CONFIG", &named).stdin("content").good();
}

#[test]
fn the_flag_beats_the_environment_and_that_the_file() {
    let place = Place::new();
    place.write("config/backstay/backstay.toml", "region = 'from-file'\nname = 'from-file'\npart_size = '2MiB'\n");
    let run = place.run(["config", "show", "--origin", "--region", "from-line"]);
    let done = run.env("BACKSTAY_REGION", "from-variable").env("BACKSTAY_NAME", "from-variable").good();
    let line = |key: &str| {
        done.out()
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")))
            .unwrap_or_else(|| panic!("{key}"))
            .to_owned()
    };
    assert_eq!(line("region"), "region = \"from-line\"  # command line");
    assert_eq!(line("name"), "name = \"from-variable\"  # BACKSTAY_NAME");
    assert!(line("part_size").starts_with("part_size = \"2MiB\"  # ") && line("part_size").ends_with("backstay.toml"));
    assert_eq!(line("memory"), "memory = \"128MiB\"  # default");
    assert!(done.out().contains("# guid is not set\n"), "{}", done.out());
}

#[test]
fn what_config_show_prints_is_a_file_that_means_the_same() {
    let place = Place::new();
    place.write(
        "config/backstay/backstay.toml",
        "tag = ['a', 'b']\nhide_name = true\nname = 'x\"y'\nlevel = -3\nverbose = 1\n",
    );
    let shown = place.run(["config", "show"]).good();
    assert!(!shown.out().contains("memory"), "{}", shown.out());
    let again = place.write("again.toml", shown.out());
    let second = place.run(["config", "show", "--config"]).arg(again).env("BACKSTAY_STORE", "").good();
    let options = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("config ="))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(options(shown.out()), options(second.out()));
    assert!(options(shown.out()).contains(&"tag = [\"a\", \"b\"]".to_owned()));
}

#[test]
fn origins_are_told_as_json_too() {
    let place = Place::new();
    let shown = place.run(["--json", "config", "show"]).env("BACKSTAY_TAG", "a,b").good().json("config");
    let tag = shown["options"].as_array().unwrap().iter().find(|option| option["key"] == "tag").unwrap();
    assert_eq!(
        (&tag["origin"], &tag["values"], &tag["variable"]),
        (&"BACKSTAY_TAG".into(), &["a", "b"][..].into(), &"BACKSTAY_TAG".into())
    );
}

#[test]
fn an_unknown_variable_is_a_warning_and_an_unknown_key_an_error() {
    let place = Place::new();
    place
        .run(["explain", "internal"])
        .env("BACKSTAY_STOER", "x")
        .good()
        .says("warning: ")
        .says("did you mean BACKSTAY_STORE?");
    place.write("config/backstay/conf.d/x.toml", "stoer = 'x'\n");
    place.run(["explain"]).fails("usage.config", 2).says("`stoer`").says("did you mean `store`?");
}

#[test]
fn a_switch_in_a_file_is_taken_back_by_the_environment() {
    let place = Place::new();
    place.write("config/backstay/backstay.toml", "hide_name = true\n");
    place.backup("content", &[]);
    assert!(!place.manifest().contains("pg-main"));
    let place = Place::new();
    place.write("config/backstay/backstay.toml", "hide_name = true\n");
    place
        .run(["backup", "--name", "pg-main", "-r", &place.recipient])
        .env("BACKSTAY_HIDE_NAME", "false")
        .stdin("x")
        .good();
    assert!(place.manifest().contains("pg-main"));
}

#[test]
fn what_protects_a_backup_is_not_dropped_wherever_it_is_said() {
    let place = Place::new();
    place.write("pass.txt", "password\n");
    let dumpall = ["backup", "--pg-dumpall"];
    let single = ["backup", "--format", "openssl", "--single", "--passphrase-file", "pass.txt"];
    let dump = ["backup", "--pg-dump", "shop"];
    for (arguments, option, value) in [
        (&dumpall[..], "also", "second"),
        (&dumpall[..], "spool", "spool"),
        (&dumpall[..], "require_trailer", "END"),
        (&dump[..], "require_trailer", "END"),
        (&single[..], "also", "second"),
    ] {
        let flag = format!("--{}", option.replace('_', "-"));
        place.run(arguments).args([flag.as_str(), value]).stdin("x").fails("usage.arguments", 2).says(&flag);
        let variable = format!("BACKSTAY_{}", option.to_uppercase());
        let run = || place.run(arguments).args(["--name", "x1"]).stdin("x");
        run().env(&variable, value).fails("usage.arguments", 2).says(&variable).says(&format!("unset {variable}"));
        let file = place.write("config/backstay/backstay.toml", format!("{option} = '{value}'\n"));
        run().fails("usage.arguments", 2).says(&format!("`{option}` (")).says("backstay.toml").says("take `");
        let profile = format!("[profile.p]\n{option} = '{value}'\n");
        place.write("config/backstay/backstay.toml", profile);
        run().args(["-p", "p"]).fails("usage.arguments", 2).says("[profile.p]");
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!(place.objects(), [""; 0]);
    assert!(!place.path("second").exists() && !place.path("spool").exists());
    // A verb for which they do not exclude each other is not concerned.
    place.backup("content", &[]);
    place.run(["list"]).env("BACKSTAY_ALSO", "second").env("BACKSTAY_SPOOL", "spool").good();
}

#[test]
fn what_stands_on_the_command_line_beats_variables_positional_arguments_too() {
    let place = Place::new();
    let backup = |variable: &str, value: &str| {
        let run = place.run(["--json", "backup", "--name", "etc", "-r", &place.recipient, "--", "echo", "hi"]);
        let done = run.env(variable, value).good();
        let id = done.json("receipt")["id"].as_str().unwrap().to_owned();
        assert_eq!(place.cat(&id), b"hi\n", "{variable}");
        (id, done.stderr)
    };
    let mut id = String::new();
    for (variable, value) in
        [("BACKSTAY_PG_DUMP", "shop"), ("BACKSTAY_PG_DUMPALL", "true"), ("BACKSTAY_RESUME", "true")]
    {
        let (made, told) = backup(variable, value);
        let option = variable.trim_start_matches("BACKSTAY_").to_lowercase().replace('_', "-");
        assert!(told.contains(&format!("the variable {variable} is not read: say --{option}")), "{told}");
        id = made;
    }
    // So is what comes through a pipe.
    let piped = place.run(["backup", "--name", "etc", "-r", &place.recipient]).stdin("piped");
    let piped = piped.env("BACKSTAY_PG_DUMPALL", "true").good().out().split(' ').next().unwrap().to_owned();
    assert_eq!(place.cat(&piped), b"piped");
    for (variable, value) in [("BACKSTAY_TO_DB", "dbname=t"), ("BACKSTAY_OUTPUT", "elsewhere")] {
        let line = ["restore", &id, "-i", "key.txt", "--", "tee", "got"];
        place.run(line).env(variable, value).good();
        assert_eq!(place.read("got"), b"hi\n", "{variable}");
        std::fs::remove_file(place.path("got")).unwrap();
        assert!(!place.path("elsewhere").exists());
    }
    let sheet = place.run(["key", "export", &id, "-i", "key.txt", "-o", "sheet.txt"]);
    sheet.env("BACKSTAY_KEY", place.path("key.txt")).good();
    let sheet = String::from_utf8(place.read("sheet.txt")).unwrap();
    assert!(sheet.contains(&id) && !sheet.contains("AGE-SECRET-KEY-"), "{sheet}");
}

#[test]
fn what_makes_something_else_of_a_verb_counts_on_the_command_line_only() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    for (variable, value) in [("BACKSTAY_RANGE", "0..2"), ("BACKSTAY_RAW", "true"), ("BACKSTAY_NO_MANIFEST", "true")] {
        let done = place.run(["cat", &id, "-i", "key.txt"]).env(variable, value).good();
        assert_eq!(done.stdout, b"content", "{variable}");
        done.says(variable);
    }
    let part = place.store().join(format!("{id}-0"));
    let mut bytes = std::fs::read(&part).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&part, bytes).unwrap();
    place.run(["verify", &id]).env("BACKSTAY_SUMS", "true").fails("part.digest", 20);
    place.write("config/backstay/backstay.toml", "sums = true\n");
    place.run(["verify", &id]).fails("usage.config", 2).says("`sums`");
}

#[test]
fn config_show_keeps_passwords_and_keys_to_itself() {
    let place = Place::new();
    place.write(
        "config/backstay/backstay.toml",
        "store = 's3://AK:hunter2@b/p'\nto_db = 'postgresql://u:hunter2@h/x'\nendpoint_url = 'https://u:hunter2@h/?sig=hunter2'\n\
         also = 'az://c/p?sig=hunter2'\ndsn = 'host=h password=hunter2'\nidentity = ['AGE-SECRET-KEY-1HUNTER2', 'key.txt']\n",
    );
    let shown = place.run(["config", "show", "--origin"]).env("BACKSTAY_STORE", "").good();
    assert!(!shown.out().to_lowercase().contains("hunter2"), "{}", shown.out());
    shown.says_out("store = \"s3://…@b/p\"").says_out("\"key.txt\"").says_out("az://c/p?…").says_out("https://…@h/?…");
    let json = place.run(["--json", "config", "show"]).env("BACKSTAY_STORE", "").good();
    assert!(!json.out().to_lowercase().contains("hunter2"), "{}", json.out());
}

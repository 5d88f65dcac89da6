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

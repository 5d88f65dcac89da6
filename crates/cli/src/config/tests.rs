use backstay::effort::Level;
use clap::CommandFactory as _;

use super::*;
use crate::args::Cli;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Files(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Settings of a command line, with the user's directory in this one.
    fn resolve(&self, line: &str, environment: &[(&str, &str)]) -> Result<Settings> {
        let command = Cli::command();
        let table = Table::of(&command);
        let matches = command.clone().try_get_matches_from(line.split(' ')).unwrap();
        let home = [("XDG_CONFIG_HOME", self.0.path().to_str().unwrap())];
        let environment: Vec<_> =
            home.iter().chain(environment).map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Settings::resolve(&table, &command, &matches, &environment)
    }
}

fn value<'a>(settings: &'a Settings, key: &str) -> Option<&'a str> {
    settings.get(key).map(|setting| setting.values[0].as_str())
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_files() {
    let files = Files::new(&[("backstay/backstay.toml", "store = 'file'\nregion = 'file'\nname = 'file'\n")]);
    let settings = files
        .resolve("backstay -s line list", &[("BACKSTAY_STORE", "environment"), ("BACKSTAY_REGION", "environment")])
        .unwrap();
    assert_eq!(value(&settings, "store"), Some("line"));
    assert_eq!(value(&settings, "region"), Some("environment"));
    assert_eq!(value(&settings, "name"), Some("file"));
    assert_eq!(settings.get("name").unwrap().origin, Origin::File(files.path("backstay/backstay.toml")));
}

#[test]
fn later_files_go_before_earlier_ones_and_a_profile_before_both() {
    let one = Files::new(&[
        ("etc/backstay.toml", "store = 'etc'\nregion = 'etc'\n[profile.pg]\nname = 'etc'\n"),
        ("etc/conf.d/20.toml", "region = '20'\n"),
        ("etc/conf.d/10.toml", "region = '10'\nendpoint_url = '10'\n"),
        ("etc/conf.d/30.txt", "region = 'not read'\n"),
        ("user/backstay.toml", "name = 'user'\n[profile.other]\nstore = 'other'\n"),
    ]);
    let files = Places::of(vec![one.path("etc"), one.path("user")]).files().unwrap();
    let table = Table::of(&Cli::command());
    let read: Vec<_> = files.iter().map(|path| file::read(&table, path).unwrap()).collect();
    let set = file::layered(&read, Some("pg")).unwrap();
    let values: Vec<_> = set.iter().map(|(key, setting)| format!("{key}={}", setting.values[0])).collect();
    assert_eq!(values, ["endpoint_url=10", "name=etc", "region=20", "store=etc"]);
}

#[test]
fn a_named_file_is_read_instead_of_the_others() {
    let files = Files::new(&[("backstay/backstay.toml", "region = 'standard'\n"), ("other.toml", "store = 'other'\n")]);
    let settings =
        files.resolve(&format!("backstay --config {} list", files.path("other.toml").display()), &[]).unwrap();
    assert_eq!((value(&settings, "store"), value(&settings, "region")), (Some("other"), None));
    let missing = files.resolve("backstay --config /nowhere.toml list", &[]).unwrap_err();
    assert_eq!(missing.code, "usage.config");
    assert!(missing.message.contains("/nowhere.toml"));
}

#[test]
fn the_profile_comes_from_the_line_or_the_environment() {
    let text = "store = 'none'\n[profile.a]\nstore = 'a'\n[profile.c]\nstore = 'c'\n";
    let files = Files::new(&[("backstay/backstay.toml", text)]);
    let store = |line: &str, environment: &[(&str, &str)]| {
        value(&files.resolve(line, environment).unwrap(), "store").map(str::to_owned)
    };
    assert_eq!(store("backstay list", &[]).unwrap(), "none");
    assert_eq!(store("backstay list", &[("BACKSTAY_PROFILE", "a")]).unwrap(), "a");
    assert_eq!(store("backstay -p c list", &[("BACKSTAY_PROFILE", "a")]).unwrap(), "c");
    let unknown = files.resolve("backstay -p aa list", &[]).unwrap_err();
    assert_eq!((unknown.code, unknown.hint()), ("usage.config", Some("did you mean `a`?")));
}

#[test]
fn an_unknown_key_names_the_nearest_one_even_in_a_profile_that_is_not_used() {
    for text in ["recipents = ['age1x']\n", "[profile.unused]\nrecipents = ['age1x']\n"] {
        let failure = Files::new(&[("backstay/backstay.toml", text)]).resolve("backstay list", &[]).unwrap_err();
        assert_eq!(failure.code, "usage.config");
        assert!(failure.message.contains("`recipents`"), "{}", failure.message);
        assert_eq!(failure.hint(), Some("did you mean `recipient`?"));
    }
}

#[test]
fn values_of_the_wrong_kind_name_file_and_key() {
    for (text, part) in [
        ("memory = 'much'\n", "`memory`"),
        ("json = 'yes'\n", "neither true nor false"),
        ("store = ['a', 'b']\n", "neither a text nor a number"),
        ("recipient = [1.5]\n", "list of texts"),
        ("progress = 'sometimes'\n", "auto, always, never"),
        ("store = \n", "line 1"),
        ("yes = true\n", "not an option"),
        ("[profile.a]\nprofile = 'b'\n", "not an option"),
        ("profile = 'b'\n", "BACKSTAY_PROFILE"),
    ] {
        let failure = Files::new(&[("backstay/backstay.toml", text)]).resolve("backstay list", &[]).unwrap_err();
        assert_eq!(failure.code, "usage.config", "{text}");
        assert!(
            failure.message.contains("backstay.toml") && failure.message.contains(part),
            "{text}: {}",
            failure.message
        );
    }
}

#[test]
fn an_unknown_variable_is_a_warning_that_names_the_nearest_and_not_its_value() {
    let settings =
        Files::new(&[]).resolve("backstay list", &[("BACKSTAY_PASSPHRASE", "hunter2"), ("OTHER", "x")]).unwrap();
    assert_eq!(
        settings.warnings,
        ["the variable BACKSTAY_PASSPHRASE means nothing here; did you mean BACKSTAY_PASSPHRASE_FILE?"]
    );
}

#[test]
fn variables_are_checked_like_arguments() {
    for (name, why) in [
        ("BACKSTAY_MEMORY", "not a size"),
        ("BACKSTAY_JSON", "neither true nor false"),
        ("BACKSTAY_PROGRESS", "auto, always"),
    ] {
        let failure = Files::new(&[]).resolve("backstay list", &[(name, "much")]).unwrap_err();
        assert_eq!(failure.code, "usage.config");
        assert!(failure.message.contains(name) && failure.message.contains(why), "{}", failure.message);
    }
    let settings =
        Files::new(&[]).resolve("backstay list", &[("BACKSTAY_JSON", "yes"), ("BACKSTAY_STORE", "")]).unwrap();
    assert_eq!((value(&settings, "json"), value(&settings, "store")), (Some("true"), None));
}

#[test]
fn lists_in_variables_are_separated_by_commas_or_line_feeds() {
    let settings = Files::new(&[])
        .resolve("backstay list", &[("BACKSTAY_RECIPIENT", "age1a, age1b\nssh-ed25519 AAAA me\n")])
        .unwrap();
    assert_eq!(settings.get("recipient").unwrap().values, ["age1a", "age1b", "ssh-ed25519 AAAA me"]);
}

#[test]
fn of_two_options_that_exclude_each_other_the_stronger_place_wins() {
    let files = Files::new(&[("backstay/backstay.toml", "recipient = 'age1x'\n")]);
    let settings = files.resolve("backstay backup --no-encryption", &[]).unwrap();
    assert_eq!((value(&settings, "no_encryption"), value(&settings, "recipient")), (Some("true"), None));
    let settings = files.resolve("backstay backup", &[("BACKSTAY_ASK_PASSPHRASE", "false")]).unwrap();
    assert_eq!(value(&settings, "recipient"), Some("age1x"));
    let files = Files::new(&[("backstay/backstay.toml", "recipient = 'age1x'\nraw_key = 'k'\n")]);
    let failure = files.resolve("backstay backup", &[]).unwrap_err();
    assert_eq!(failure.code, "usage.config");
    assert!(failure.message.contains("exclude each other"));
}

#[test]
fn a_variable_that_stands_before_the_profile_that_was_named_is_told() {
    let text = "region = 'r'\n[profile.offsite]\nstore = 'b'\nname = 'same'\nrecipient = 'age1x'\n";
    let files = Files::new(&[("backstay/backstay.toml", text)]);
    let environment = [("BACKSTAY_STORE", "a"), ("BACKSTAY_NAME", "same"), ("BACKSTAY_REGION", "other")];
    let settings = files.resolve("backstay -p offsite list", &environment).unwrap();
    assert_eq!(value(&settings, "store"), Some("a"));
    assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
    for told in ["BACKSTAY_STORE", "`store`", "`offsite`"] {
        assert!(settings.warnings[0].contains(told), "{:?}", settings.warnings);
    }
    // Another option may have taken its place.
    let settings = files.resolve("backstay -p offsite backup", &[("BACKSTAY_RAW_KEY", "k")]).unwrap();
    assert!(settings.warnings[0].contains("BACKSTAY_RAW_KEY stands before `recipient`"), "{:?}", settings.warnings);
    // Whoever says it on the command line, or names the profile in a variable too, means what he says.
    for (line, variable) in [("backstay -p offsite -s c list", "BACKSTAY_STORE"), ("backstay list", "BACKSTAY_STORE")] {
        let settings = files.resolve(line, &[(variable, "a"), ("BACKSTAY_PROFILE", "offsite")]).unwrap();
        assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    }
}

#[test]
fn openness_is_of_the_command_line_alone() {
    let settings = Files::new(&[]).resolve("backstay backup", &[("BACKSTAY_NO_ENCRYPTION", "1")]).unwrap();
    assert_eq!(value(&settings, "no_encryption"), None);
    assert!(settings.warnings[0].contains("say --no-encryption"), "{:?}", settings.warnings);
    let files = Files::new(&[("backstay/backstay.toml", "no_encryption = true\n")]);
    assert_eq!(files.resolve("backstay backup", &[]).unwrap_err().code, "usage.config");
}

#[test]
fn what_was_found_becomes_the_default_of_the_argument_itself() {
    let files = Files::new(&[(
        "backstay/backstay.toml",
        "recipient = ['age1a', 'age1b']\nhide_name = true\nverbose = 2\nlevel = -5\n",
    )]);
    let settings = files.resolve("backstay backup", &[]).unwrap();
    let matches = settings.fill(Cli::command()).try_get_matches_from(["backstay", "backup"]).unwrap();
    let (_, backup) = matches.subcommand().unwrap();
    assert_eq!(backup.get_many::<String>("recipient").unwrap().collect::<Vec<_>>(), ["age1a", "age1b"]);
    assert!(backup.get_flag("hide_name"));
    assert_eq!(backup.get_one::<Level>("level"), Some(&Level::Fixed(-5)));
    assert_eq!(matches.get_count("verbose"), 2);
    let matches = settings.fill(Cli::command()).try_get_matches_from(["backstay", "backup", "-r", "age1c"]).unwrap();
    assert_eq!(matches.subcommand().unwrap().1.get_many::<String>("recipient").unwrap().collect::<Vec<_>>(), ["age1c"]);
}

/// What some option or other takes.
const SAMPLES: [&str; 15] = [
    "true",
    "7",
    "64MiB",
    "72h",
    "0..5",
    "2026-01-31",
    "de2fe9e4-6535-423d-8709-dca87df7985c",
    "json",
    "openssl",
    "s3",
    "key=value",
    "report.md",
    "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000",
    "full",
    "sample",
];

/// A variable that was exported once, or a line in a file, must not disarm every dry run.
#[test]
fn that_one_is_sure_is_said_on_the_command_line_alone() {
    for (key, name) in [("yes", "BACKSTAY_YES"), ("force", "BACKSTAY_FORCE"), ("whole", "BACKSTAY_WHOLE")] {
        for said in ["true", "1", "no", "nonsense"] {
            let settings = Files::new(&[]).resolve("backstay list", &[(name, said)]).unwrap();
            assert!(settings.get(key).is_none() && settings.warnings[0].contains(&format!("say --{key}")), "{name}");
        }
        assert!(Files::new(&[]).resolve("backstay list", &[(name, "")]).unwrap().warnings.is_empty());
        let file = format!("{key} = true\n");
        let failure = Files::new(&[("backstay/backstay.toml", &file)]).resolve("backstay list", &[]).unwrap_err();
        assert!(failure.message.contains("not an option"), "{}", failure.message);
    }
}

#[test]
fn every_option_can_be_set_as_a_variable_and_in_a_file() {
    fn defaults(command: &Command, key: &str, found: &mut Vec<Vec<OsString>>) {
        let arguments = command.get_arguments().filter(|arg| arg.get_id() == key);
        found.extend(
            arguments.map(|arg| arg.get_default_values().iter().map(|value| value.to_os_string()).collect::<Vec<_>>()),
        );
        command.get_subcommands().for_each(|command| defaults(command, key, found));
    }
    let command = Cli::command();
    let table = Table::of(&command);
    assert!(table.keys().count() > 50);
    for (key, known) in table.iter().filter(|(key, _)| !table.must_be_spelled_out(key)) {
        let possible = known.possible_values();
        let signer = backstay_format::signature::SigningKey::from_seed(&[1; 32]).unwrap().signer().to_string();
        let root = "ab".repeat(32);
        let mut samples = possible.iter().map(String::as_str).chain(SAMPLES).chain([signer.as_str(), root.as_str()]);
        let sample = match known.kind {
            option::Kind::Switch => "true",
            _ => samples
                .find(|sample| known.refuse(sample).is_none() && known.default.as_deref() != Some(sample))
                .unwrap_or_else(|| panic!("a sample for {key}")),
        };
        let mut ways = vec![(Files::new(&[]), Some((variable(key), sample)))];
        if table.in_files(key).is_some() {
            let value = known.as_toml(&[sample.to_owned()]).unwrap();
            ways.push((Files::new(&[("backstay/backstay.toml", &format!("{key} = {value}\n"))]), None));
        }
        for (mut files, environment) in ways {
            let mut environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            if key == "config" || key == "profile" {
                // These change where the others come from, so what they name must be there.
                files = Files::new(&[("backstay/backstay.toml", &format!("[profile.{sample}]\n"))]);
            }
            let path = files.path("backstay/backstay.toml");
            if key == "config" {
                environment = vec![("BACKSTAY_CONFIG", path.to_str().unwrap())];
            }
            let expected = environment.first().map_or(sample, |(_, value)| value);
            let settings =
                files.resolve("backstay list", &environment).unwrap_or_else(|failure| panic!("{key}: {failure:?}"));
            let mut found = Vec::new();
            defaults(&settings.fill(command.clone()), key, &mut found);
            assert!(
                !found.is_empty() && found.iter().all(|values| *values == [expected]),
                "{key} = {expected}: {found:?}"
            );
        }
    }
}

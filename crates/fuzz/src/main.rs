//! `fuzz [SECONDS] [TARGET] [SEED]`: hammers every fuzz target, or one, for so many seconds each. `fuzz --list` prints their names. `fuzz --unpack
//! TARGET FOLDER` writes the target's seeds and kept inputs as files, `fuzz --pack TARGET FOLDER` keeps the files of a folder.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use backstay_fuzz::{Target, hammer, targets};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--list"] => {
            targets().iter().for_each(|target| println!("{}", target.name));
            ExitCode::SUCCESS
        }
        ["--unpack", name, folder] => on_folder(name, |target| target.unpack(Path::new(folder)).map(|()| None)),
        ["--pack", name, folder] => on_folder(name, |target| target.pack(Path::new(folder)).map(Some)),
        _ => hammer_all(&arguments),
    }
}

fn on_folder(name: &str, work: impl Fn(&Target) -> std::io::Result<Option<usize>>) -> ExitCode {
    let Some(target) = targets().into_iter().find(|target| target.name == name) else {
        eprintln!("fuzz: there is no target {name}: see `fuzz --list`");
        return ExitCode::from(2);
    };
    match work(&target) {
        Ok(bytes) => {
            bytes.iter().for_each(|bytes| println!("{name}: {bytes} bytes"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fuzz {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hammer_all(arguments: &[&str]) -> ExitCode {
    let seconds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(20);
    let only = arguments.get(1).filter(|name| !name.is_empty());
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |age| age.subsec_nanos().into());
    let seed: u64 = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(clock);
    let (mut passed, mut failed) = (0, 0);
    for target in targets().iter().filter(|target| only.is_none_or(|only| target.name == *only)) {
        match hammer(target, seed, Duration::from_secs(seconds)) {
            Ok(runs) if runs > 0 => {
                println!("fuzz {}: {runs} inputs, seed {seed}", target.name);
                passed += 1;
            }
            Ok(_) => {
                println!("fuzz {}: nothing was run", target.name);
                failed += 1;
            }
            Err(input) => {
                println!("fuzz {}: failed with seed {seed} on {}", target.name, backstay_format::text::to_hex(&input));
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

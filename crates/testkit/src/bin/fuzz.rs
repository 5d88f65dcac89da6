//! `fuzz [SECONDS] [TARGET] [SEED]`: hammers every fuzz target, or one, for so many seconds each. `fuzz --list` prints their names.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use backstay_testkit::fuzz::{hammer, targets};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "--list") {
        for target in targets() {
            println!("{}", target.name);
        }
        return ExitCode::SUCCESS;
    }
    let seconds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(20);
    let only = arguments.get(1).map(String::as_str).filter(|name| !name.is_empty());
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |age| age.subsec_nanos().into());
    let seed: u64 = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(clock);
    let (mut passed, mut failed) = (0, 0);
    for target in targets().iter().filter(|target| only.is_none_or(|only| target.name == only)) {
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

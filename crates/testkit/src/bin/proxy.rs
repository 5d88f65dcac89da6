//! The proxy of the testkit as a process, for shell scripts: `proxy UPSTREAM-PORT PORT-FILE LOG RULE...`. It writes its port to the file once
//! it listens, and runs until it is killed. A rule is `METHOD/NUMBER=FATE`, with `*` for any number, or `chaos=SEED/PERCENT`: then so many
//! requests of a hundred meet a fate by chance. Fates are `cut-request:BYTES`, `stall-request:BYTES`, `drop-answer`, `cut-answer:BYTES`,
//! `stall-answer:BYTES`, `answer:STATUS`, `answer:STATUS:SECONDS` with `Retry-After`, `answer-after:STATUS` and `delay:MILLISECONDS`. The log
//! gets a line for each request that met one.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use backstay_testkit::Proxy;
use backstay_testkit::proxy::{Fate, ProxiedRequest};

const USAGE: &str = "usage: proxy UPSTREAM-PORT PORT-FILE LOG [METHOD/NUMBER=FATE | chaos=SEED/PERCENT]...";

enum Rule {
    Scripted { method: String, number: Option<usize>, fate: Fate },
    Chaos { dice: u64, percent: u64 },
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let (which, fate) = text.split_once('=')?;
        if which == "chaos" {
            let (seed, percent) = fate.split_once('/')?;
            return Some(Self::Chaos { dice: seed.parse::<u64>().ok()? | 1, percent: percent.parse().ok()? });
        }
        let (method, number) = which.split_once('/')?;
        let number = if number == "*" { None } else { Some(number.parse().ok()?) };
        Some(Self::Scripted { method: method.to_owned(), number, fate: parse_fate(fate)? })
    }

    fn fate_of(&mut self, request: &ProxiedRequest) -> Option<Fate> {
        match self {
            Self::Scripted { method, number, fate } => {
                let meant = request.method == *method && number.is_none_or(|number| number == request.number);
                meant.then(|| fate.clone())
            }
            Self::Chaos { dice, percent } => (roll(dice) % 100 < *percent).then(|| by_chance(dice)),
        }
    }
}

fn parse_fate(text: &str) -> Option<Fate> {
    let mut words = text.split(':');
    let (kind, first, second) = (words.next()?, words.next(), words.next());
    let number = first.map(str::parse::<usize>).transpose().ok()?;
    let status = || number.and_then(|number| u16::try_from(number).ok());
    Some(match (kind, second) {
        ("cut-request", None) => Fate::CutRequest(number?),
        ("stall-request", None) => Fate::StallRequest(number?),
        ("drop-answer", None) => Fate::DropAnswer,
        ("cut-answer", None) => Fate::CutAnswer(number?),
        ("stall-answer", None) => Fate::StallAnswer(number?),
        ("answer", None) => Fate::AnswerInstead(status()?, "Scripted"),
        ("answer", Some(seconds)) => Fate::AskToWait(status()?, seconds.parse().ok()?),
        ("answer-after", None) => Fate::AnswerAfter(status()?, "Scripted"),
        ("delay", None) => Fate::Delay(Duration::from_millis(number? as u64)),
        _ => return None,
    })
}

/// xorshift64: the same seed gives the same fates.
fn roll(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}

/// Only what a patient client survives: nothing stands still for longer than a moment.
fn by_chance(dice: &mut u64) -> Fate {
    let bytes = (roll(dice) % 5_000_000) as usize;
    match roll(dice) % 9 {
        0 => Fate::CutRequest(bytes),
        1 => Fate::CutRequest(0),
        2 => Fate::DropAnswer,
        3 => Fate::CutAnswer(bytes),
        4 => Fate::AnswerInstead(500, "InternalError"),
        5 => Fate::AskToWait(503, 1),
        6 => Fate::AnswerInstead(429, "TooManyRequests"),
        7 => Fate::AnswerAfter(500, "InternalError"),
        _ => Fate::Delay(Duration::from_millis(roll(dice) % 500)),
    }
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [upstream, port_file, log, rules @ ..] = &arguments[..] else { return usage(USAGE) };
    let Ok(upstream) = upstream.parse::<u16>() else { return usage(USAGE) };
    let mut parsed = Vec::new();
    for rule in rules {
        match Rule::parse(rule) {
            Some(rule) => parsed.push(rule),
            None => return usage(&format!("the proxy knows no rule {rule}")),
        }
    }
    let mut log = File::options().create(true).append(true).open(log)?;
    let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, upstream)), move |request| {
        let fate = parsed.iter_mut().find_map(|rule| rule.fate_of(request)).unwrap_or(Fate::Pass);
        if fate != Fate::Pass {
            // Without the query, which may be signed.
            let path = request.target.split('?').next().unwrap_or_default();
            let _ = writeln!(log, "{} {} {path} {fate:?}", request.method, request.number);
        }
        fate
    });
    backstay_testkit::tell_port(Path::new(port_file), &proxy.endpoint)?;
    loop {
        std::thread::park();
    }
}

fn usage(text: &str) -> std::io::Result<()> {
    eprintln!("{text}");
    std::process::exit(2);
}

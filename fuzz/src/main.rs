//! Backstay's fuzz targets under libFuzzer, which keeps what reaches something new. One program for all of them, since linking it is dear: the
//! variable BACKSTAY_FUZZ_TARGET says which one runs. `scripts/fuzz` calls it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

fn choose() {
    let name = std::env::var("BACKSTAY_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = backstay_fuzz::targets().into_iter().find(|target| target.name == name) else {
        eprintln!("BACKSTAY_FUZZ_TARGET is `{name}`, which is none of the targets that `fuzz --list` prints");
        std::process::exit(2);
    };
    RUN.get_or_init(|| target.run);
}

fuzz_target!(init: choose(), |bytes: &[u8]| {
    if let Some(run) = RUN.get() {
        run(bytes);
    }
});

//! Archives made by stock tools, kept in `testdata/openssl`, and made anew by the script that made
//! them.

use std::path::{Path, PathBuf};

use backstay_format::openssl::{Candidates, Digest, DigestChoice, Kdf, Password, Reader};

use crate::stock;

const MD5: Kdf = Kdf::BytesToKey(Digest::Md5);
const SHA256: Kdf = Kdf::BytesToKey(Digest::Sha256);

/// Directory, number of parts, the derivation that must be found.
fn cases() -> [(&'static str, usize, Kdf); 9] {
    [
        ("azure-md5", 1, MD5),
        ("millis-sha256-from-1", 12, SHA256),
        ("multi-member-md5", 3, MD5),
        ("padded-md5", 12, MD5),
        ("pbkdf2-100000", 2, Kdf::new(Digest::Sha256, 100_000).unwrap()),
        ("pbkdf2-default", 2, Kdf::PBKDF2_DEFAULT),
        ("raw-sha256", 6, SHA256),
        ("seconds-md5", 2, MD5),
        ("sha1", 2, Kdf::BytesToKey(Digest::Sha1)),
    ]
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/openssl")
}

/// The parts of the one archive in `dir` in the order of their indices, or its single object.
fn parts(dir: &Path) -> Vec<Vec<u8>> {
    // `<guid>-<timestamp>` has five dashes; a sixth precedes the index.
    let mut objects: Vec<(u32, PathBuf)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let index = name.splitn(7, '-').nth(6).map_or(0, |index| index.parse().unwrap());
            (index, path)
        })
        .collect();
    objects.sort();
    objects.into_iter().map(|(_, path)| std::fs::read(path).unwrap()).collect()
}

fn read_all(root: &Path) {
    let dump = std::fs::read(root.join("dump.sql")).unwrap();
    assert!(dump.ends_with(b"-- PostgreSQL database cluster dump complete\n--\n"));
    for (name, count, kdf) in cases() {
        let parts = parts(&root.join(name));
        assert_eq!(parts.len(), count, "{name}");
        let password = Password::from_file_content(b"correct-horse\n");
        let reader = || match name {
            "raw-sha256" => Reader::raw(password.clone(), kdf),
            "pbkdf2-100000" => {
                Reader::gzip(password.clone(), Candidates::from_options(DigestChoice::Auto, 100_000).unwrap(), None)
            }
            _ => Reader::gzip(password.clone(), Candidates::auto(), None),
        };
        let (content, found, result) = stock::read_with_key(reader(), parts.iter().map(Vec::as_slice), 3);
        assert_eq!(result, Ok(dump.len() as u64), "{name}");
        assert_eq!(found, Some(kdf), "{name}");
        assert!(content == dump, "{name}");
    }
}

#[test]
fn every_committed_archive_is_read() {
    let directories =
        std::fs::read_dir(committed()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(directories, cases().len(), "every directory of testdata/openssl is a case");
    read_all(&committed());
}

#[test]
fn archives_made_anew_by_the_script_are_read() {
    let dir = stock::scratch("fixtures");
    let script = committed().join("make.sh");
    stock::run(&dir, &format!("'{}' .", script.display()), b"");
    read_all(&dir);
}

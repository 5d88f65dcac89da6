//! Which directory may be a spool, and that one run at a time works there.
//!
//! What lies in a spool and cannot be finished is deleted, without waiting and without asking. Elsewhere the same names are archives, or uploads
//! of others that are under way. So a directory is taken only if it is marked as a spool, or if nothing is in it; then it is marked. The mark is the
//! lock file, which stays; a directory that has it is never opened as a store.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use backstay_store::{Store, WORKPLACE_MARK as MARK};

use crate::error::{Error, Result};

/// What some file systems are made with: one that is there for the spool alone is no reason to refuse it.
const OF_A_FILE_SYSTEM: &str = "lost+found";

/// Takes this directory as the spool of a run with these stores, and makes it if need be. The lock is held as long as the file is open; the system lets
/// go of it whatever ends the process.
pub(super) fn take(folder: &Path, stores: &[&Store]) -> Result<File> {
    let failed = |source| Error::Io { what: format!("the spool {} cannot be opened", folder.display()), source };
    let is_new = !folder.try_exists().map_err(failed)?;
    fs::create_dir_all(folder).map_err(failed)?;
    let is_in_it = |store: &&&Store| store.directory().is_some_and(|directory| are_one(directory, folder));
    if let Some(store) = stores.iter().find(is_in_it) {
        if is_new {
            // It is empty, and was not to be made.
            let _ = fs::remove_dir(folder);
        }
        return Err(Error::SpoolIsStore { folder: folder.display().to_string(), store: store.url().to_owned() });
    }
    if let Some(found) = stranger(folder).map_err(failed)? {
        let found = found.to_string_lossy().into_owned();
        return Err(Error::SpoolIsForeign { folder: folder.display().to_string(), found });
    }
    let lock = File::options().create(true).append(true).open(folder.join(MARK)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::SpoolLocked { folder: folder.display().to_string() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Whether two paths lead to one directory, by whatever links and mounts.
fn are_one(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Something that lies in a directory which is no spool.
fn stranger(folder: &Path) -> io::Result<Option<OsString>> {
    let is_marked = || folder.join(MARK).try_exists();
    if is_marked()? {
        return Ok(None);
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name != OF_A_FILE_SYSTEM {
            // Another run may have taken it just now: it made the mark before anything else.
            return Ok((!is_marked()?).then_some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_with_anything_in_it_is_no_spool_unless_it_is_marked() {
        for there in ["0f7d3f6c-5a3c-4c1a-9d2e-8f1b6f0d3a11-1795294764530-0", ".backstay-tmp/x", "notes", ".hidden"] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(there);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "x").unwrap();
            let before = names(folder.path());
            let refused = take(folder.path(), &[]).unwrap_err();
            assert_eq!(refused.code(), "usage.arguments");
            let first = there.split('/').next().unwrap();
            assert!(refused.to_string().contains(first), "{refused}");
            assert!(refused.hint().unwrap().contains(MARK));
            // A refusal marks nothing, or the next one would be taken.
            assert_eq!(names(folder.path()), before);
            // As earlier versions left it.
            fs::write(folder.path().join(MARK), "").unwrap();
            take(folder.path(), &[]).unwrap();
        }
    }

    #[test]
    fn an_empty_directory_becomes_a_spool_and_stays_one() {
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join("new").join("deep");
        take(&deep, &[]).unwrap();
        assert_eq!(take(&parent.path().join("new"), &[]).unwrap_err().code(), "usage.arguments");
        let alone = tempfile::tempdir().unwrap();
        fs::create_dir(alone.path().join(OF_A_FILE_SYSTEM)).unwrap();
        let lock = take(alone.path(), &[]).unwrap();
        fs::write(alone.path().join("part"), "x").unwrap();
        assert_eq!(take(alone.path(), &[]).unwrap_err().code(), "store.locked");
        drop(lock);
        take(alone.path(), &[]).unwrap();
    }

    #[test]
    fn a_store_is_no_spool_by_whatever_name_it_goes() {
        let parent = tempfile::tempdir().unwrap();
        let (directory, other) = (parent.path().join("store"), Store::memory());
        let store = Store::at_directory(&directory);
        let stores = [&other, &store];
        // It is not there yet, and is not made by a command that is refused.
        assert_eq!(take(&directory, &stores).unwrap_err().code(), "usage.arguments");
        assert!(!directory.exists());
        fs::create_dir(&directory).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        for name in [directory.clone(), link, directory.join("../store/.")] {
            let refused = take(&name, &stores).unwrap_err();
            assert_eq!(refused.code(), "usage.arguments");
            assert!(refused.to_string().contains("is the store"), "{refused}");
            // Marked or not.
            assert!(names(&directory).is_empty());
        }
        fs::write(directory.join(MARK), "").unwrap();
        assert_eq!(take(&directory, &stores).unwrap_err().code(), "usage.arguments");
        // In the store's folder there is room for one: a store has no folders.
        take(&directory.join("spool"), &stores).unwrap();
    }
}

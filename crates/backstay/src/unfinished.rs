//! What must not outlive a process that ends in the middle of something: files that are not whole, spools, commands that are being fed.
//!
//! Whoever drops a run leaves nothing of that kind. A program that ends without dropping anything, because the user said twice that it should stop,
//! calls [`clear_away`] first.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::offspring::Offspring;

static UNFINISHED: Mutex<Vec<(u64, Unfinished)>> = Mutex::new(Vec::new());

/// Something that must not stay.
#[derive(Debug, Clone)]
pub(crate) enum Unfinished {
    File(PathBuf),
    Folder(PathBuf),
    Command(Arc<Offspring>),
}

/// Keeps something on the list until this is dropped.
#[derive(Debug)]
pub(crate) struct Noted(u64);

impl Unfinished {
    pub(crate) fn note(self) -> Noted {
        let mut list = list();
        let number = list.last().map_or(0, |(last, _)| last + 1);
        list.push((number, self));
        Noted(number)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        list().retain(|(number, _)| *number != self.0);
    }
}

/// Removes what is not whole and ends the commands that are being fed, which then do not take the end of this process for the end of their input.
/// To be called right before the process ends.
pub fn clear_away() {
    let list: Vec<_> = list().iter().map(|(_, unfinished)| unfinished.clone()).collect();
    clear(&list);
}

fn clear(list: &[Unfinished]) {
    // Commands first: they are what acts.
    for unfinished in list {
        if let Unfinished::Command(offspring) = unfinished {
            offspring.end();
        }
    }
    for unfinished in list {
        // What is gone already needs no removal, and what cannot be removed nobody will hear of any more.
        match unfinished {
            Unfinished::File(path) => drop(fs::remove_file(path)),
            Unfinished::Folder(path) => drop(fs::remove_dir_all(path)),
            Unfinished::Command(_) => {}
        }
    }
}

fn list() -> MutexGuard<'static, Vec<(u64, Unfinished)>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::offspring::Before;

    #[test]
    fn files_folders_and_commands_with_all_that_they_started_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "half").unwrap();
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("folder").join("part"), "sealed").unwrap();
        let before = Before::now();
        let mut child = Command::new("sh").args(["-c", "sleep 100 | cat & wait"]).spawn().unwrap();
        let offspring = Arc::new(before.started(Some(child.id())));
        let noted = [
            Unfinished::File(path("file")),
            Unfinished::File(path("gone")),
            Unfinished::Folder(path("folder")),
            Unfinished::Command(offspring),
        ];
        clear(&noted);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn what_is_dropped_is_off_the_list() {
        let on_the_list = |path: &PathBuf| {
            let is_it = |(_, noted): &(u64, Unfinished)| matches!(noted, Unfinished::File(file) if file == path);
            list().iter().any(is_it)
        };
        let path = PathBuf::from("never written: the list alone is looked at");
        let noted = Unfinished::File(path.clone()).note();
        assert!(on_the_list(&path));
        drop(noted);
        assert!(!on_the_list(&path));
    }
}

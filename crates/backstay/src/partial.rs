//! A file that has its name only when it is whole: until then it is another one beside it.
//!
//! That one has a random name of its own and is created, never opened: two runs that write to one file do not write into each other, the later one
//! to be whole stays, and a link that somebody put there is not followed. It is on the disk before it gets its name, and goes if it never gets it.
//! Only a process that is killed leaves it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstay_format::text::to_hex;
use bytes::Bytes;

use crate::context::Context;
use crate::unfinished::{Noted, Unfinished};

/// The longest name that file systems take.
const LONGEST: usize = 255;

/// A file that is not whole yet.
#[derive(Debug)]
pub struct PartialFile {
    file: Arc<File>,
    partial: PathBuf,
    path: PathBuf,
    is_named: bool,
    _noted: Noted,
}

impl PartialFile {
    /// Begins the file that is to be called `path`. A file that has that name keeps it until the new one is whole, and is replaced then; of a link, the
    /// link itself. The new one has the owner and the mode of the one that it replaces: what only its owner could read stays so.
    ///
    /// # Errors
    /// Those of the file system. What has the name and is no file, such as a device, a pipe or a directory, is refused, and so is `-`.
    pub fn create(path: &Path, context: &Context) -> io::Result<PartialFile> {
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let Some(name) = path.file_name() else { return refuse("it is not a file's name") };
        if path.as_os_str() == "-" {
            return refuse("standard output is what `backstay cat` writes to; a file of this name is ./-");
        }
        // What `/dev/stdout` leads to may well be a file, and the link must stay.
        let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
        if folder.is_some_and(|folder| folder == Path::new("/dev") || folder.starts_with("/proc")) {
            return refuse("no file is made there: `backstay cat` writes to a device");
        }
        let replaced = fs::metadata(path).ok();
        if let Some(there) = replaced.as_ref().filter(|there| !there.is_file()) {
            let kind = there.file_type();
            return refuse(match () {
                () if kind.is_dir() => "it is a directory",
                () if kind.is_fifo() => "it is a pipe, which a file would replace: `backstay cat` writes into it",
                () => "it is a device, which a file would replace: `backstay cat` writes to it",
            });
        }
        let partial = path.with_file_name(partial_name(name, &to_hex(&context.random::<8>())));
        let file = Arc::new(File::create_new(&partial)?);
        let noted = Unfinished::File(partial.clone()).note();
        if let Some(there) = replaced {
            // Only root may give files away. The mode matters more, and comes after: a new owner may clear bits of it.
            let _ = fchown(&file, Some(there.uid()), Some(there.gid()));
            file.set_permissions(there.permissions())?;
        }
        Ok(PartialFile { file, partial, path: path.to_owned(), is_named: false, _noted: noted })
    }

    /// The file, to be written to by whoever may block.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// What it is to be called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes these bytes next.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn write(&self, bytes: Bytes) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        in_background(move || (&*file).write_all(&bytes)).await
    }

    /// The file is whole: it gets its name.
    ///
    /// # Errors
    /// Those of the file system; then the file is gone, unless it was the folder that could not be brought to the disk.
    pub async fn finish(self) -> io::Result<()> {
        in_background(move || self.finish_here()).await
    }

    /// The same on this thread.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_here(mut self) -> io::Result<()> {
        settled(self.file.sync_all())?;
        fs::rename(&self.partial, &self.path)?;
        self.is_named = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(folder) {
            Ok(folder) => settled(folder.sync_all()),
            // One may write into a folder and not be allowed to read it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_named {
            // What was written is not the whole.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// `NAME.<random>.partial`, with as much of the name as there is room for.
fn partial_name(name: &OsStr, random: &str) -> OsString {
    let suffix = format!(".{random}.partial");
    let kept = name.len().min(LONGEST - suffix.len());
    let mut partial = OsStr::from_bytes(&name.as_bytes()[..kept]).to_owned();
    partial.push(suffix);
    partial
}

/// Some file systems cannot be told to write something to the disk. That is no failure of the file.
fn settled(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Runs what blocks where it may.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|joined| Err(io::Error::other(joined)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn context() -> Context {
        Context::system(Some(1)).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn two_that_are_to_have_one_name_do_not_mix_and_the_last_stays() {
        let (folder, context) = (tempfile::tempdir().unwrap(), context());
        let path = folder.path().join("dump.sql");
        let (one, two) = (PartialFile::create(&path, &context).unwrap(), PartialFile::create(&path, &context).unwrap());
        assert_eq!(names(folder.path()).len(), 2);
        one.write("first, and longer".into()).await.unwrap();
        two.write("second".into()).await.unwrap();
        one.write("!".into()).await.unwrap();
        assert!(!path.exists());
        one.finish().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first, and longer!");
        two.finish().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["dump.sql"]);
    }

    #[tokio::test]
    async fn what_is_dropped_or_has_no_place_leaves_nothing() {
        let (folder, context) = (tempfile::tempdir().unwrap(), context());
        let path = folder.path().join("dump.sql");
        let partial = PartialFile::create(&path, &context).unwrap();
        partial.write("half".into()).await.unwrap();
        drop(partial);
        let partial = PartialFile::create(&path, &context).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(partial.finish().await.is_err());
        assert_eq!(names(folder.path()), ["dump.sql"]);
        assert_eq!(PartialFile::create(Path::new("/"), &context).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_link_of_that_name_is_replaced_and_never_written_through() {
        let (folder, context) = (tempfile::tempdir().unwrap(), context());
        let path = |name: &str| folder.path().join(name);
        fs::write(path("precious"), "precious").unwrap();
        symlink("precious", path("link")).unwrap();
        let partial = PartialFile::create(&path("link"), &context).unwrap();
        partial.write("content".into()).await.unwrap();
        partial.finish().await.unwrap();
        assert!(fs::symlink_metadata(path("link")).unwrap().is_file());
        assert_eq!(fs::read(path("link")).unwrap(), b"content");
        assert_eq!(fs::read(path("precious")).unwrap(), b"precious");
    }

    #[test]
    fn devices_pipes_and_directories_are_refused_before_anything_is_written_and_stay() {
        let (folder, context) = (tempfile::tempdir().unwrap(), context());
        let path = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        fs::create_dir(path("directory")).unwrap();
        symlink("/dev/null", path("device")).unwrap();
        let before = names(folder.path());
        for (name, why) in [("pipe", "a pipe"), ("directory", "a directory"), ("device", "a device")] {
            let error = PartialFile::create(&path(name), &context).unwrap_err();
            assert!(error.to_string().contains(why), "{name}: {error}");
        }
        for device in ["/dev/null", "/dev/stdout", "-"] {
            let error = PartialFile::create(Path::new(device), &context).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{device}: {error}");
        }
        assert_eq!(names(folder.path()), before);
    }

    #[tokio::test]
    async fn a_file_that_only_its_owner_could_read_stays_so() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, context) = (tempfile::tempdir().unwrap(), context());
        let path = folder.path().join("dump.sql");
        for mode in [0o600, 0o640] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let partial = PartialFile::create(&path, &context).unwrap();
            partial.write("new".into()).await.unwrap();
            partial.finish().await.unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            assert_eq!(fs::read(&path).unwrap(), b"new");
        }
    }

    #[test]
    fn a_link_that_was_planted_under_the_partial_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let context = context().with_random(|bytes| bytes.fill(7));
        let path = folder.path().join("dump.sql");
        symlink("planted", folder.path().join("dump.sql.0707070707070707.partial")).unwrap();
        assert_eq!(PartialFile::create(&path, &context).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!folder.path().join("planted").exists());
    }

    #[test]
    fn the_longest_names_have_room() {
        let (folder, context) = (tempfile::tempdir().unwrap(), context());
        let path = folder.path().join("x".repeat(LONGEST));
        PartialFile::create(&path, &context).unwrap().finish_here().unwrap();
        assert!(path.is_file());
    }
}

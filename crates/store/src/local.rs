//! A directory as an object store. object_store has one, `LocalFileSystem`, but it stages an upload beside its target as `<name>#1`, which
//! looks like a part of the archive to anybody who lists the directory or concatenates `<id>-*`; it cannot address names of
//! that shape, and it wants the directory to exist before the first object does. Here the bytes go to `.backstay-tmp/` in the same
//! directory, are synced, and appear under their name in one step that fails if the name is taken. A killed writer leaves at most a
//! file in that folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as Location;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The folder for files that are not objects yet. It lies in the store's directory, because a file can only be published
/// in one step within its own file system.
const STAGING: &str = ".backstay-tmp";

/// Files whose metadata is read in one go while listing.
const STAT_BATCH: usize = 256;

/// A directory that holds objects as plain files.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    directory: PathBuf,
}

impl Local {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self, location: &Location) -> PathBuf {
        self.directory.join(location.as_ref())
    }

    /// Copies and multipart uploads are not part of what a store is asked for.
    fn not_implemented(&self, operation: &str) -> object_store::Error {
        object_store::Error::NotImplemented { operation: operation.into(), implementer: self.to_string() }
    }
}

impl std::fmt::Display for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Local({})", self.directory.display())
    }
}

#[async_trait]
impl ObjectStore for Local {
    async fn put_opts(&self, location: &Location, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let replace = match options.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => return Err(self.not_implemented("put_opts with mode update")),
        };
        if !options.attributes.is_empty() {
            return Err(self.not_implemented("put_opts with attributes"));
        }
        let directory = self.directory.clone();
        let name = location.clone();
        in_background(move || {
            let mut staged = Staged::create(&directory)?;
            for chunk in &payload {
                staged.write(chunk)?;
            }
            staged.publish(name.as_ref(), replace)
        })
        .await
        .map_err(|error| into_object_store(error, location.as_ref()))?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn get_opts(&self, location: &Location, options: GetOptions) -> Result<GetResult> {
        let path = self.path(location);
        let opened = {
            let path = path.clone();
            in_background(move || {
                let file = File::open(&path)?;
                let metadata = file.metadata()?;
                Ok((file, Entry::of(String::new(), &metadata)?))
            })
            .await
        };
        let (file, entry) = match opened.map_err(|error| into_object_store(error, location.as_ref()))? {
            (file, Some(entry)) => (file, entry),
            // A folder is no object.
            (_, None) => {
                return Err(into_object_store(io::ErrorKind::NotFound.into(), location.as_ref()));
            }
        };
        let meta = entry.into_meta(location.clone());
        options.check_preconditions(&meta)?;
        let range = match options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| object_store::Error::Generic { store: "file", source: error.into() })?,
            None => 0..meta.size,
        };
        Ok(GetResult {
            payload: GetResultPayload::File(file, path),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Location>>) -> BoxStream<'static, Result<Location>> {
        let directory = self.directory.clone();
        locations
            .and_then(move |location| {
                let path = directory.join(location.as_ref());
                async move {
                    in_background(move || fs::remove_file(path))
                        .await
                        .map_err(|error| into_object_store(error, location.as_ref()))?;
                    Ok(location)
                }
            })
            .boxed()
    }

    /// The objects of the directory itself: a store has no folders.
    fn list(&self, prefix: Option<&Location>) -> BoxStream<'static, Result<ObjectMeta>> {
        if prefix.is_some() {
            return stream::empty().boxed();
        }
        list(self.directory.clone(), |_| true)
            .map(|entry| {
                let entry = entry.map_err(|error| into_object_store(error, ""))?;
                let location = Location::parse(&entry.name)?;
                Ok(entry.into_meta(location))
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Location>) -> Result<ListResult> {
        let objects = self.list(prefix).try_collect().await?;
        Ok(ListResult { common_prefixes: Vec::new(), objects, extensions: Default::default() })
    }

    async fn put_multipart_opts(&self, _: &Location, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(self.not_implemented("put_multipart_opts"))
    }

    async fn copy_opts(&self, _: &Location, _: &Location, _: CopyOptions) -> Result<()> {
        Err(self.not_implemented("copy_opts"))
    }
}

/// A file in the staging folder. Dropping it removes it; publishing gives it its name.
#[derive(Debug)]
pub(crate) struct Staged {
    directory: PathBuf,
    path: PathBuf,
    file: File,
}

impl Staged {
    /// Creates the file, and before it the store's directory and the staging folder where they are missing. The directory's parent
    /// must exist: what looks like a missing path is often a file system that is not mounted or a typing error.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let folder = directory.join(STAGING);
        loop {
            let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{:x}.{}.{serial}", clock.as_nanos(), std::process::id()));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    return Ok(Self { directory: directory.to_owned(), path, file });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    create_directory(directory)?;
                    create_directory(&folder)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the bytes durable and gives them their name; with `replace` an object of that name is replaced, without it it is kept
    /// and the error is `AlreadyExists`.
    pub(crate) fn publish(self, name: &str, replace: bool) -> io::Result<()> {
        let target = self.directory.join(name);
        self.file.sync_all()?;
        let named = if replace { fs::rename(&self.path, &target) } else { create_name(&self.path, &target) };
        match named {
            // The name may be our own, given just before a crash: whoever finds it so has to be able to rely on it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                sync_directory(&self.directory)?;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => sync_directory(&self.directory),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing to remove, and a file that cannot be removed is found by `staged`.
        let _ = fs::remove_file(&self.path);
    }
}

/// Gives a staged file its name unless the name is taken. A hard link does that on every POSIX file system, and on NFS it is the only
/// way; where links are not supported (FAT, some FUSE file systems) the kernel's rename without replacement does.
fn create_name(staged: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(staged, target) {
        // A link whose answer was lost on the network was made all the same; the repeated one then says that it exists.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && same_file(staged, target) => Ok(()),
        Err(error) if links_are_not_supported(&error) => rename_without_replacement(staged, target),
        other => other,
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::symlink_metadata(a), fs::symlink_metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn links_are_not_supported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_without_replacement(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_without_replacement(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the file system supports neither hard links nor renaming without replacement",
    ))
}

/// Creates one directory durably; its parent must exist.
fn create_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => path.parent().map_or(Ok(()), |parent| {
            sync_directory(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        // For one a symbolic link that leads nowhere: whoever looks behind it finds nothing, and nothing can be made there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is there and is no directory", path.display()),
        )),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The files in the staging folder, in the order of their names.
pub(crate) fn staged(directory: &Path) -> io::Result<Vec<StagedFile>> {
    let entries = match fs::read_dir(directory.join(STAGING)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Writers come and go meanwhile, and a name that is not UTF-8 is none of theirs.
        let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
        if metadata.is_file() {
            files.push(StagedFile { name, size: metadata.len(), modified: metadata.modified()? });
        }
    }
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Removes a file from the staging folder; one that is gone counts as removed.
pub(crate) fn remove_staged(directory: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(directory.join(STAGING).join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// What a writer is about to publish, or what one left that was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StagedFile {
    /// Its name in the staging folder.
    pub name: String,
    /// Bytes written so far.
    pub size: u64,
    /// When the last ones were.
    pub modified: SystemTime,
}

/// An object of a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
}

impl Entry {
    /// `None` if it is no file.
    fn of(name: String, metadata: &fs::Metadata) -> io::Result<Option<Self>> {
        if !metadata.is_file() {
            return Ok(None);
        }
        let modified = metadata.modified()?;
        let micros = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let etag = format!("\"{:x}-{micros:x}-{:x}\"", metadata.ino(), metadata.len());
        Ok(Some(Self { name, size: metadata.len(), modified, etag }))
    }

    fn into_meta(self, location: Location) -> ObjectMeta {
        ObjectMeta {
            location,
            last_modified: self.modified.into(),
            size: self.size,
            e_tag: Some(self.etag),
            version: None,
        }
    }
}

/// The objects of a directory whose names are wanted, in the order of their names. A directory has no order of its own, so the names are held; their
/// metadata is read as the stream is.
pub(crate) fn list(
    directory: PathBuf,
    wanted: impl Fn(&str) -> bool + Send + 'static,
) -> BoxStream<'static, io::Result<Entry>> {
    let names = {
        let directory = directory.clone();
        in_background(move || names(&directory, wanted))
    };
    stream::once(names)
        .map_ok(move |names| {
            let directory = directory.clone();
            stream::iter(names)
                .chunks(STAT_BATCH)
                .then(move |names| {
                    let directory = directory.clone();
                    in_background(move || {
                        names
                            .into_iter()
                            .filter_map(|name| entry(&directory, name).transpose())
                            .collect::<io::Result<Vec<_>>>()
                    })
                })
                .map_ok(|entries| stream::iter(entries).map(Ok))
                .try_flatten()
        })
        .try_flatten()
        .boxed()
}

fn names(directory: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Box<str>>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Objects have UTF-8 names; a file with another one was put here by somebody else.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if wanted(&name) && !entry.file_type()?.is_dir() {
            names.push(name.into_boxed_str());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// `None` for what is no file, or not any more.
fn entry(directory: &Path, name: Box<str>) -> io::Result<Option<Entry>> {
    match fs::metadata(directory.join(&*name)) {
        Ok(metadata) => Entry::of(name.into(), &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What to do after a file operation of this kind of failure in this directory.
pub(crate) fn advice(kind: Option<io::ErrorKind>, directory: &Path) -> String {
    use io::ErrorKind as K;
    let directory = directory.display();
    match kind {
        Some(K::StorageFull | K::QuotaExceeded) => {
            format!("make room on the file system of {directory}, or use another one, and run it again")
        }
        Some(K::PermissionDenied) => format!("let the user who runs this read and write in {directory}"),
        Some(K::ReadOnlyFilesystem) => {
            format!(
                "the file system of {directory} is read-only: mounted so, or since its disk failed, which the system's log says"
            )
        }
        _ => format!("look at {directory}, its file system and its disk; the system's log may say more"),
    }
}

/// Runs blocking work on tokio's threads for it.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(joined) => Err(io::Error::other(joined)),
    }
}

/// The variant of object_store's error that fits.
pub(crate) fn into_object_store(error: io::Error, name: &str) -> object_store::Error {
    let path = name.to_owned();
    match error.kind() {
        io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => object_store::Error::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            object_store::Error::PermissionDenied { path, source: error.into() }
        }
        _ => object_store::Error::Generic { store: "file", source: error.into() },
    }
}

/// What a directory is whatever it is called: the number of the nearest ancestor that is there, and the names below it.
pub(crate) fn identity(directory: &Path) -> Option<(u64, u64, Vec<OsString>)> {
    let absolute = std::path::absolute(directory).ok()?;
    let mut below = Vec::new();
    let mut at: &Path = &absolute;
    loop {
        if let Ok(metadata) = fs::metadata(at) {
            below.reverse();
            return Some((metadata.dev(), metadata.ino(), below));
        }
        below.push(at.file_name()?.to_owned());
        at = at.parent()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_replaced_by_either_way_of_giving_them() {
        for give in [create_name, rename_without_replacement] {
            let directory = tempfile::tempdir().unwrap();
            let (staged, target) = (directory.path().join("staged"), directory.path().join("target"));
            fs::write(&staged, "new").unwrap();
            give(&staged, &target).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "new");
            fs::write(directory.path().join("other"), "other").unwrap();
            let error = give(&directory.path().join("other"), &target).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        }
    }

    #[test]
    fn a_directory_is_the_same_by_every_name() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::create_dir(path("there")).unwrap();
        std::os::unix::fs::symlink(path("there"), path("link")).unwrap();
        let there = identity(&path("there"));
        assert!(there.is_some());
        for same in ["link", "./there/.", "link/../there", "there/"] {
            assert_eq!(identity(&path(same)), there, "{same}");
        }
        // What is not there yet.
        assert_eq!(identity(&path("link/new/s")), identity(&path("there/./new//s")));
        assert_ne!(identity(&path("there/new")), identity(&path("there/other")));
        assert_ne!(identity(&path("there/new")), there);
    }

    #[test]
    fn a_link_that_was_made_although_its_answer_was_lost_counts_as_made() {
        let directory = tempfile::tempdir().unwrap();
        let (staged, target) = (directory.path().join("staged"), directory.path().join("target"));
        fs::write(&staged, "new").unwrap();
        fs::hard_link(&staged, &target).unwrap();
        create_name(&staged, &target).unwrap();
    }

    #[test]
    fn only_a_lack_of_links_leads_to_the_other_way() {
        let error = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(links_are_not_supported(&error(rustix::io::Errno::PERM)));
        assert!(links_are_not_supported(&error(rustix::io::Errno::OPNOTSUPP)));
        for errno in
            [rustix::io::Errno::EXIST, rustix::io::Errno::ACCESS, rustix::io::Errno::NOSPC, rustix::io::Errno::ROFS]
        {
            assert!(!links_are_not_supported(&error(errno)));
        }
    }
}

//! The inputs that a search with coverage has found, kept as text: one file for each target, one input on each line, in base64.
//!
//! They are few, since of those that reach the same only the smallest is kept. A test runs all of them, and both loops begin with them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backstay_format::text::{from_base64, to_base64};

use crate::Target;

/// The most bytes that are kept for a target. The shortest come first: the long ones are mostly a seed with a small change.
const MOST: usize = 24 << 10;

/// Where a target's inputs are kept.
pub fn file(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(format!("{target}.txt"))
}

impl Target {
    /// The inputs that are kept for it; none before anything was found.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is not base64.
    pub fn corpus(&self) -> io::Result<Vec<Vec<u8>>> {
        let path = file(self.name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        let wrong = |n| io::Error::other(format!("{}:{n}: this is not base64", path.display()));
        (1..).zip(text.lines()).map(|(n, line)| from_base64(line).ok_or_else(|| wrong(n))).collect()
    }

    /// Writes its seeds and the inputs that are kept as files, as libFuzzer wants them.
    ///
    /// # Errors
    /// Of the folder, and as [`Target::corpus`].
    pub fn unpack(&self, folder: &Path) -> io::Result<()> {
        for (n, input) in self.seeds.iter().cloned().chain(self.corpus()?).enumerate() {
            fs::write(folder.join(format!("kept-{n}")), input)?;
        }
        Ok(())
    }

    /// Keeps the files of a folder, and nothing else; those that were kept and are not there are gone. Gives how many bytes they take.
    ///
    /// # Errors
    /// Of the folder.
    pub fn pack(&self, folder: &Path) -> io::Result<usize> {
        let files = fs::read_dir(folder)?.map(|file| fs::read(file?.path()));
        let mut lines: Vec<String> =
            files.map(|input| input.map(|bytes| to_base64(&bytes))).collect::<io::Result<_>>()?;
        lines.sort_unstable_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
        lines.dedup();
        let mut room = MOST;
        lines.retain(|line| {
            let fits = line.len() < room;
            room = if fits { room - line.len() - 1 } else { 0 };
            fits
        });
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        fs::create_dir_all(file(self.name).parent().expect("it is in a folder"))?;
        fs::write(file(self.name), &text)?;
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::targets;

    #[test]
    fn every_input_that_is_kept_is_read() {
        let mut kept = 0;
        for target in targets() {
            for input in target.corpus().unwrap() {
                (target.run)(&input);
                kept += 1;
            }
        }
        assert!(kept > 700, "only {kept} inputs are kept");
    }

    #[test]
    fn each_file_is_that_of_a_target() {
        let folder = super::file("none");
        for file in std::fs::read_dir(folder.parent().unwrap()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            assert!(targets().iter().any(|target| file == format!("{}.txt", target.name)), "{file}");
        }
    }
}

//! A pipe that is read in large pieces.
//!
//! A dump is written 8 KiB at a time. A reader that takes each piece as it comes is woken for each, by a writer that has to
//! wake it, and on a machine whose cores the database needs that costs as much as a third of compressing. So the pipe is made larger,
//! and a reader that found little in it lets it fill for a moment before it looks again.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// The pipe's size. Linux makes it 64 KiB, and lets every user have up to 1 MiB; of that, less stays in the caches.
const CAPACITY: usize = 256 << 10;
/// Less than this is little.
const LITTLE: usize = CAPACITY / 4;
/// For how long it is let fill. Only a writer of more than 1 GB/s, which would fill it, finds it full for that.
const MOMENT: Duration = Duration::from_micros(250);

/// A file that is perhaps a pipe.
pub(super) struct Pipe {
    file: File,
    /// Whether it could be made larger. What is no pipe cannot, nor can the pipes of a user who has too many.
    large: bool,
}

impl Pipe {
    pub(super) fn new(file: File) -> Pipe {
        let large = rustix::pipe::fcntl_setpipe_size(&file, CAPACITY).is_ok_and(|size| size >= CAPACITY);
        Pipe { file, large }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if self.large && (1..LITTLE).contains(&read) && read < buffer.len() {
            std::thread::sleep(MOMENT);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_pipe_is_made_larger_and_gives_what_was_written_to_it() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut pipe = Pipe::new(File::from(std::os::fd::OwnedFd::from(reader)));
        assert_eq!(rustix::pipe::fcntl_getpipe_size(&pipe.file).unwrap(), CAPACITY);
        let written: Vec<u8> = (0..=250).cycle().take(3 * CAPACITY).collect();
        let copy = written.clone();
        let writing = std::thread::spawn(move || copy.chunks(8 << 10).try_for_each(|piece| writer.write_all(piece)));
        let mut read = Vec::new();
        pipe.read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert!(read == written);
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let mut file = Pipe::new(File::open("Cargo.toml").unwrap());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert!(!file.large && text.starts_with("[package]"));
    }
}

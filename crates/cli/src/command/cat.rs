//! `cat`: an archive's content on standard output.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backstay::restore::Target;
use clap::Args;

use super::restore::Reading;
use crate::args::select::Selected;
use crate::failure::{Failure, Result};
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay cat latest -i key.txt | psql -X
  backstay cat latest -i key.txt --range 0..1MiB | head
  backstay cat latest -i key.txt --raw | zstd -d > dump.sql

Whoever reads the pipe may act on its beginning before the end is known to be good. Every byte is
authentic, but only exit status 0 says that it was all; --atomic checks everything before the first
byte comes out.";

/// Write an archive's content to standard output
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cat {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    reading: Reading,
}

impl Cat {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        session.output.make_way_for_content()?;
        let refused = Arc::new(AtomicBool::new(false));
        let target = match io::stdout().is_terminal() {
            true => Target::Writer(Box::new(AtTerminal { begun: false, refused: Arc::clone(&refused) })),
            false => Target::Stdout,
        };
        let restored = self.reading.restore(&self.selected, target, session).await.map_err(|failure| {
            if refused.load(Ordering::Relaxed) {
                let failure =
                    Failure::new("usage.terminal", "the content is binary data, and would be written to the terminal");
                return failure.with_hint("redirect it into a file, or into the program that reads it");
            }
            failure.of_stdout()
        })?;
        session.output.result_beside_data("restored", &restored);
        Ok(0)
    }
}

/// A terminal, which shows text: binary data would set it to something else.
struct AtTerminal {
    begun: bool,
    refused: Arc<AtomicBool>,
}

/// Bytes that tell whether content is text.
const BEGINNING: usize = 4 << 10;

impl Write for AtTerminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.begun && !is_text(&bytes[..bytes.len().min(BEGINNING)]) {
            self.refused.store(true, Ordering::Relaxed);
            return Err(io::Error::other("it is binary data"));
        }
        self.begun |= !bytes.is_empty();
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Text in UTF-8 or an encoding of a single byte, which has no zeros and few other controls.
fn is_text(bytes: &[u8]) -> bool {
    let is_control =
        |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t' | b'\x0c' | b'\x1b' | 8);
    !bytes.contains(&0) && bytes.iter().filter(|byte| is_control(byte)).count() * 50 <= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_what_compressors_and_dumps_give() {
        for text in ["", "SELECT 1;\n", "größe\t\u{1b}[1mx\r\n"] {
            assert!(is_text(text.as_bytes()), "{text}");
        }
        assert!(is_text(b"gr\xf6\xdfe\n"));
        for bytes in [&b"PGDMP\x01\x0e\0"[..], b"\x28\xb5\x2f\xfd\x04\x01", b"\x1f\x8b\x08\x00"] {
            assert!(!is_text(bytes), "{bytes:?}");
        }
    }
}

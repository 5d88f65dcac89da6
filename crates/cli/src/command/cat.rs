//! `cat`: an archive's content on standard output.

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
        let restored =
            self.reading.restore(&self.selected, Target::Stdout, session).await.map_err(Failure::of_stdout)?;
        session.output.result_beside_data("restored", &restored);
        Ok(0)
    }
}

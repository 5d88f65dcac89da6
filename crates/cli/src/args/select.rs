//! Which archive, or which archives.

use backstay::catalog::{self, Filter};
use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;
use clap::Args;
use jiff::Timestamp;

use super::value::parse_time;
use crate::failure::{Failure, Result};

/// The archives that come into question.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Narrow {
    /// The name of the source
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The guid of the source
    #[arg(long, value_name = "GUID")]
    pub(crate) guid: Option<Guid>,
    /// A tag that the archives have
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Only archives begun before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) before: Option<Timestamp>,
}

impl Narrow {
    /// The library's form of it.
    ///
    /// # Errors
    /// `usage.arguments` for several tags: one narrows, two could mean either or both.
    pub(crate) fn filter(&self, incomplete: bool) -> Result<Filter> {
        if self.tag.len() > 1 {
            return Err(Failure::usage(format!("{} tags were given, archives are selected by one", self.tag.len())));
        }
        Ok(Filter {
            guid: self.guid.clone(),
            name: self.name.clone(),
            tag: self.tag.first().cloned(),
            before: self.before,
            incomplete,
            ..Filter::default()
        })
    }
}

/// One archive.
#[derive(Debug, Clone, Args)]
pub(crate) struct Selected {
    /// The archive or backup set: its id, the beginning of it, `latest`, `latest~1` for the one before, NAME or NAME~1
    #[arg(value_name = "ARCHIVE")]
    pub(crate) archive: String,
    #[command(flatten)]
    pub(crate) narrow: Narrow,
}

impl Selected {
    /// Finds it.
    pub(crate) async fn find(&self, store: &Store) -> Result<ArchiveId> {
        Ok(catalog::select(store, &self.archive, &self.narrow.filter(false)?).await?)
    }

    /// Finds it, where a backup set will do too.
    pub(crate) async fn find_any(&self, store: &Store) -> Result<catalog::Selected> {
        Ok(catalog::select_any(store, &self.archive, &self.narrow.filter(false)?).await?)
    }
}

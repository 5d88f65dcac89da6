//! How PostgreSQL's text dumps announce themselves, and how they say that they are complete.
//!
//! `pg_dump` and `pg_dumpall` write a comment at both ends. When they die between the two, the shell may not notice, so a
//! backup holds content that begins like a dump to ending like one. Newer versions write an `\unrestrict` line after the
//! final comment, and a cluster dump contains the database dumps whole: only its own ending counts.

use backstay::chunk::Announced;

/// The rules for text dumps of one database and of a whole cluster. Other output of these programs announces nothing and is
/// held to nothing.
pub fn announcements() -> Vec<Announced> {
    [
        ("-- PostgreSQL database cluster dump", "-- PostgreSQL database cluster dump complete"),
        ("-- PostgreSQL database dump", "-- PostgreSQL database dump complete"),
    ]
    .map(|(head, tail)| Announced { head: head.to_owned(), tail: tail.to_owned() })
    .into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use backstay::backup::{BackupOptions, Format, Padding};
    use backstay::chunk::{Checks, EndMarker};
    use backstay::keys::Encryption;
    use backstay::source::Source;
    use backstay::{Context, Silent};
    use backstay_format::header::Codec;
    use backstay_format::segment::Aead;
    use backstay_store::Store;

    use super::*;

    /// Of `pg_dump` and `pg_dumpall` 15.20, and the first of them as versions before `\restrict` wrote it.
    const DATABASE: &str = include_str!("../../testdata/pg_dump-15.20.sql");
    const CLUSTER: &str = include_str!("../../testdata/pg_dumpall-15.20.sql");
    const OLD: &str = include_str!("../../testdata/pg_dump-unrestricted.sql");

    /// Backs content up with these rules, and tells what came of it.
    fn outcome(content: &str) -> &'static str {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let format = Format::Native {
            aead: Aead::Aes256Gcm,
            codec: Codec::Zstd,
            encryption: Encryption::Open,
            padding: Padding::None,
            signing_key: None,
        };
        let guid = backstay::guid::from_name("pg-main").unwrap();
        let checks = Checks { end: EndMarker::Announced(announcements()), ..Checks::default() };
        let options = BackupOptions { checks, ..BackupOptions::new(guid, "pg-main".to_owned(), format) };
        let source = Source::Reader(Box::new(Cursor::new(content.as_bytes().to_vec())));
        let context = Context::system(Some(1)).unwrap();
        let done = runtime.block_on(backstay::backup(&Store::memory(), source, options, &context, Arc::new(Silent)));
        done.map_or_else(|error| error.code(), |_| "committed")
    }

    #[test]
    fn whole_dumps_are_committed() {
        for dump in [DATABASE, CLUSTER, OLD] {
            assert_eq!(outcome(dump), "committed", "{dump}");
        }
    }

    #[test]
    fn a_dump_that_is_cut_short_anywhere_is_refused() {
        for dump in [DATABASE, CLUSTER, OLD] {
            let last = dump.rfind(" complete").unwrap();
            for cut in [120, dump.len() / 2, last, last + " complet".len()] {
                assert_eq!(outcome(&dump[..cut]), "source.trailer", "cut at {cut} of {dump}");
            }
        }
    }

    #[test]
    fn a_cluster_dump_that_ends_with_a_whole_database_is_refused() {
        let end_of_a_database = "-- PostgreSQL database dump complete\n--\n";
        let cut = CLUSTER.rfind(end_of_a_database).unwrap() + end_of_a_database.len();
        assert_eq!(outcome(&CLUSTER[..cut]), "source.trailer");
    }

    #[test]
    fn what_announces_nothing_is_held_to_nothing() {
        for content in ["PGDMP\x01\x0e\x00", "COPY t FROM stdin;\n1\n\\.\n", "-- PostgreSQL is a database\n"] {
            assert_eq!(outcome(content), "committed");
        }
    }
}

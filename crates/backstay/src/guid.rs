//! A source's guid from its name, so that no state needs keeping (`spec/archive.md`, "Names").

use backstay_format::Guid;
use uuid::{Uuid, uuid};

use crate::error::{Error, Result};

/// The namespace of Backstay's sources (RFC 9562 §5.5).
const NAMESPACE: Uuid = uuid!("cd82aa5c-5b38-5970-b109-74576c6afd71");

/// Names that two unrelated hosts are likely to have: their archives would be mixed, and pruned together.
const GENERIC: [&str; 11] = [
    "localhost",
    "postgres",
    "pg",
    "db",
    "database",
    "backup",
    "server",
    "host",
    "main",
    "test",
    "localhost.localdomain",
];

/// The guid of the source with this name: the same wherever and whenever it is asked for.
///
/// # Errors
/// `usage.arguments` for an empty or generic name.
pub fn from_name(name: &str) -> Result<Guid> {
    if name.trim().is_empty() || GENERIC.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Error::Usage {
            why: format!("the name `{name}` is too general to tell sources apart: give a telling --name, or a --guid"),
        });
    }
    Ok(Uuid::new_v5(&NAMESPACE, name.as_bytes()).hyphenated().to_string().parse()?)
}

/// The guid of a member of the sets of this source: the version 5 UUID of the member's name in the namespace of the set's guid.
///
/// # Errors
/// None for a guid that was parsed; `internal` otherwise.
pub fn of_member(set: &Guid, name: &str) -> Result<Guid> {
    let namespace = Uuid::parse_str(set.as_str()).map_err(|error| Error::Internal { why: error.to_string() })?;
    Ok(Uuid::new_v5(&namespace, name.as_bytes()).hyphenated().to_string().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_always_gives_the_same_guid() {
        let guid = from_name("pg-main").unwrap();
        assert_eq!(guid, from_name("pg-main").unwrap());
        assert_ne!(guid, from_name("pg-main2").unwrap());
        assert_eq!(guid.as_str(), "a5ccaebc-1fd3-5e3a-8b45-b04103c48c7e");
    }

    #[test]
    fn each_member_of_each_set_has_a_guid_of_its_own() {
        let (one, two) = (from_name("pg-main").unwrap(), from_name("pg-main2").unwrap());
        assert_eq!(of_member(&one, "shop").unwrap().as_str(), "c9afd0e6-1365-57a2-8cf1-29d26386ef92");
        assert_ne!(of_member(&one, "shop").unwrap(), of_member(&two, "shop").unwrap());
    }

    #[test]
    fn general_names_are_refused() {
        for name in ["", " ", "localhost", "Postgres", "db"] {
            assert_eq!(from_name(name).unwrap_err().code(), "usage.arguments", "{name}");
        }
    }
}

//! Versions of PostgreSQL: of a server, of a program, of what a dump was made with.

use std::fmt;

/// A version, as `server_version_num` writes it: 150020 for 15.20, 90624 for 9.6.24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(transparent)]
pub struct Version(u32);

impl Version {
    /// Of this `server_version_num`.
    pub fn from_num(num: u32) -> Version {
        Version(num)
    }

    /// Reads `15.20`, `9.6.24`, `18beta1`, `17rc1`, `19devel`, with or without more words after it.
    pub fn parse(text: &str) -> Option<Version> {
        let word = text.split_whitespace().next()?;
        let number = |text: &str| -> Option<u32> {
            let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok().filter(|number| *number < 100)
        };
        let mut parts = word.split('.');
        let major = number(parts.next()?)?;
        let minor = parts.next().map_or(Some(0), number)?;
        Some(Version(match major {
            10.. => major * 10_000 + minor,
            _ => major * 10_000 + minor * 100 + parts.next().and_then(number).unwrap_or(0),
        }))
    }

    /// What a program says to `--version`: `psql (PostgreSQL) 15.20 (Debian 15.20-1)`.
    pub fn of_program(line: &str) -> Option<Version> {
        Version::parse(line.split_once("(PostgreSQL) ")?.1)
    }

    /// What has to be the same for two versions to understand each other's dumps: 15, or 9.6 as 906.
    pub(crate) fn release(self) -> u32 {
        if self.0 >= 100_000 { self.0 / 10_000 * 100 } else { self.0 / 100 }
    }

    /// Whether it belongs to an older release. Minor versions do not count: their dumps are the same.
    pub fn is_older_release_than(self, other: Version) -> bool {
        self.release() < other.release()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version(num) = self;
        match num {
            100_000.. => write!(f, "{}.{}", num / 10_000, num % 10_000),
            _ => write!(f, "{}.{}.{}", num / 10_000, num / 100 % 100, num % 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_programs_and_dumps_write_them() {
        let num = |text| Version::parse(text).map(|version| version.0);
        assert_eq!(num("15.20 (Debian 15.20-0+deb12u1)"), Some(150_020));
        assert_eq!(num("9.6.24"), Some(90_624));
        assert_eq!((num("18beta1"), num("17rc1"), num("19devel")), (Some(180_000), Some(170_000), Some(190_000)));
        assert_eq!((num(""), num("unknown"), num("1000.1")), (None, None, None));
        assert_eq!(
            Version::of_program("psql (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n").unwrap().to_string(),
            "15.20"
        );
        assert_eq!(Version::parse("9.6.24").unwrap().to_string(), "9.6.24");
    }

    #[test]
    fn only_releases_are_compared() {
        let older =
            |one: &str, other: &str| Version::parse(one).unwrap().is_older_release_than(Version::parse(other).unwrap());
        assert!(older("14.9", "15.0") && older("9.6.24", "10.1") && older("9.5.1", "9.6.0"));
        assert!(!older("15.1", "15.20") && !older("9.6.1", "9.6.24") && !older("18.0", "17.9"));
    }
}

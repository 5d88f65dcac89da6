//! How the members of a set of dumps are called as files.

use backstay::set::Member;
use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;

/// The role of the member that holds roles, tablespaces and settings of the whole server.
pub const GLOBALS: &str = "globals";
/// The role of a member that is a database.
pub const DATABASE: &str = "database";

/// File systems take names of 255 bytes; this leaves room for `.partial`.
const LONGEST: usize = 200;

/// The name of the file for a member: `globals.sql`, or the database's name and `.dump`. Everything but letters, digits, `.`, `_`
/// and `-` is percent-encoded, a `.` or `-` in the beginning too, so that it is a plain name in every directory and on every
/// command line. What gets too long ends in its own digest.
pub fn member_file(member: &Member) -> String {
    if member.role.as_deref() == Some(GLOBALS) {
        return "globals.sql".to_owned();
    }
    let mut name = String::new();
    for (at, byte) in member.name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => name.push(char::from(byte)),
            b'.' | b'-' if at > 0 => name.push(char::from(byte)),
            _ => name += &format!("%{byte:02X}"),
        }
    }
    if name.len() > LONGEST {
        let digest = to_hex(&sha256(member.name.as_bytes()));
        name.truncate(LONGEST - 17);
        name = format!("{name}~{}", &digest[..16]);
    }
    match member.role.as_deref() {
        Some(DATABASE) => name + ".dump",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, role: &str) -> String {
        let id = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap();
        member_file(&Member { name: name.to_owned(), id, root: [0; 32], role: Some(role.to_owned()) })
    }

    #[test]
    fn no_name_leaves_the_directory_or_is_taken_for_an_option() {
        assert_eq!(file("globals", GLOBALS), "globals.sql");
        assert_eq!(file("globals", DATABASE), "globals.dump");
        assert_eq!(file("globals/", GLOBALS), "globals.sql");
        assert_eq!(file("shop_2.old-x", DATABASE), "shop_2.old-x.dump");
        assert_eq!(file("..", DATABASE), "%2E..dump");
        assert_eq!(file("../../etc/passwd", DATABASE), "%2E.%2F..%2Fetc%2Fpasswd.dump");
        assert_eq!(file("-d\n x", DATABASE), "%2Dd%0A%20x.dump");
        assert_eq!(file("größe%", DATABASE), "gr%C3%B6%C3%9Fe%25.dump");
    }

    #[test]
    fn long_names_stay_different() {
        let (one, two) = ("ü".repeat(200), "ü".repeat(199) + "u");
        assert!(file(&one, DATABASE).len() <= LONGEST + 5);
        assert_ne!(file(&one, DATABASE), file(&two, DATABASE));
    }
}

//! A connection string: `postgresql://host/db`, `host=… dbname=…`, or the name of a database.
//!
//! It is handed to psql as an argument, which every user of the machine can read, so one that holds a password is refused. Passwords
//! come from where PostgreSQL's own programs find them, and Backstay never sees them. An empty one is refused too: it comes from a variable
//! that is not set, and would lead to whatever server the environment names.

use std::fmt;

use crate::error::{Error, Result};

/// A connection string that names something, without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn(String);

/// Settings of a connection whose value is a secret.
const SECRETS: [&str; 5] = ["password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

impl Dsn {
    /// Takes a connection string.
    ///
    /// # Errors
    /// `usage.arguments` when there is a password in it, or nothing.
    pub fn parse(text: &str) -> Result<Dsn> {
        if text.trim().is_empty() {
            return Err(Error::EmptyDsn);
        }
        let uri = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let secret = match uri {
            // What a reader of URIs passes over, or a terminal does not show, hides no word.
            Some(rest) => has_secret_in_uri(&rest.replace(|c: char| c.is_control() || c == ' ', "")),
            None => pairs(text).iter().any(|(keyword, _)| SECRETS.contains(&keyword.as_str())),
        };
        if secret { Err(Error::PasswordInDsn) } else { Ok(Dsn(text.to_owned())) }
    }

    /// As psql takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a URI without its scheme has `user:password@`, or `?password=`.
fn has_secret_in_uri(rest: &str) -> bool {
    // libpq looks for the first @ up to the first slash, whatever else stands there, and takes what is before it for user and password.
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, hosts) = authority.split_once('@').unwrap_or(("", authority));
    let hosts = hosts.split('?').next().unwrap_or_default();
    // What libpq refuses is not for everybody to read either: a password with an @ or a slash that is not written as %40 or %2F.
    let unescaped = hosts.rsplit_once('@').is_some_and(|(more, _)| more.contains(':'))
        || (rest.contains('@') && hosts.split(',').any(has_no_port));
    let mut parameters = rest.split_once('?').map(|(_, query)| query).unwrap_or_default().split('&');
    user.contains(':')
        || unescaped
        || parameters.any(|parameter| {
            let keyword = parameter.split('=').next().unwrap_or_default();
            SECRETS.contains(&decoded(keyword).as_str())
        })
}

/// Whether what stands in the place of a port is none.
fn has_no_port(host: &str) -> bool {
    let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    behind.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `%70assword` is `password` to libpq.
fn decoded(text: &str) -> String {
    let (mut bytes, mut decoded) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or_default();
        decoded.push(if byte == b'%' {
            u8::try_from(hex(bytes.next()) * 16 + hex(bytes.next())).unwrap_or_default()
        } else {
            byte
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// `keyword = value` pairs, whose values may be quoted.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let (mut pairs, mut rest) = (Vec::new(), text);
    while let Some((keyword, after)) = rest.split_once('=') {
        let value = after.trim_start();
        let quoted = value.starts_with('\'');
        let (mut plain, mut escaped, mut end) = (String::new(), false, value.len());
        for (at, c) in value.char_indices().skip(usize::from(quoted)) {
            let ends = if quoted { c == '\'' } else { c.is_whitespace() };
            if ends && !escaped {
                end = at + usize::from(quoted);
                break;
            }
            escaped = c == '\\' && !escaped;
            if !escaped {
                plain.push(c);
            }
        }
        pairs.push((keyword.trim().to_owned(), plain));
        rest = &value[end..];
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_refused_wherever_it_stands() {
        for text in [
            "postgresql://me:secret@host/db",
            "postgres://me:@host",
            "postgresql://host/db?password=secret",
            "postgresql://host/db?sslmode=require&%70assword=secret",
            "postgresql://host?sslpassword=x",
            "postgres://host/db?%70assword\u{1e}=x",
            "host=h password=secret",
            "password = 'secret'",
            "host='a b\\' c' password=x",
            "dbname='x=y' sslpassword=z",
            "postgresql://me:se?cret@host/db",
            "postgresql://host:5432?application_name=a@b",
            "postgresql://me:sec@ret@host/db",
            "postgresql://me@x:secret@host/db",
            "postgresql://me:sec/ret@host/db",
            "host=h oauth_client_secret=x",
        ] {
            assert!(matches!(Dsn::parse(text), Err(Error::PasswordInDsn)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_psqls_to_judge() {
        for text in [
            "shop",
            "postgresql://",
            "postgresql://[::1]:5432/db?application_name=a@b",
            "postgresql://me@[::1],h2:5433?application_name=a@b:c",
            "postgresql://host?user=a@b",
            "postgresql://me@host:5432/db?sslmode=require",
            "postgresql:///db?host=/run/a:b",
            "postgresql://host/db?application_name=password",
            "host=h user=me dbname='password=x'",
            "host=h passfile=/etc/pass",
            "service=password",
        ] {
            assert_eq!(Dsn::parse(text).unwrap().as_str(), text, "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_leads_nowhere() {
        for text in ["", " ", "\t"] {
            assert!(matches!(Dsn::parse(text), Err(Error::EmptyDsn)), "{text:?}");
        }
    }

    #[test]
    fn values_are_read_without_their_quotes() {
        let wanted = [("host".to_owned(), "h".to_owned()), ("dbname".to_owned(), "it's \\ a=b".to_owned())];
        assert_eq!(pairs("host = h dbname='it\\'s \\\\ a=b'"), wanted);
    }
}

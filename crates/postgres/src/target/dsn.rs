//! A connection string: `postgresql://host/db`, `host=… dbname=…`, or the name of a database.
//!
//! It is handed to psql as an argument, which every user of the machine can read, so one that holds a password is refused. Passwords
//! come from where PostgreSQL's own programs find them, and Backstay never sees them.

use std::fmt;

use crate::error::{Error, Result};

/// A connection string without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn(String);

/// Settings of a connection whose value is a secret.
const SECRETS: [&str; 2] = ["password", "sslpassword"];

impl Dsn {
    /// Takes a connection string.
    ///
    /// # Errors
    /// `usage.arguments` when there is a password in it.
    pub fn parse(text: &str) -> Result<Dsn> {
        let uri = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let secret = match uri {
            Some(rest) => has_secret_in_uri(rest),
            None => keywords(text).iter().any(|keyword| SECRETS.contains(&keyword.as_str())),
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
        // An empty one is what PGHOST and its like say.
        f.write_str(if self.0.is_empty() { "the server of the environment" } else { &self.0 })
    }
}

/// Whether a URI without its scheme has `user:password@`, or `?password=`.
fn has_secret_in_uri(rest: &str) -> bool {
    // libpq looks for the user up to the first of these, so that an @ in a parameter is none.
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let mut parameters = rest.split_once('?').map(|(_, query)| query).unwrap_or_default().split('&');
    user.is_some_and(|user| user.contains(':'))
        || parameters.any(|parameter| {
            let keyword = parameter.split('=').next().unwrap_or_default();
            SECRETS.contains(&decoded(keyword).as_str())
        })
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

/// The keywords of `keyword = value` pairs, whose values may be quoted.
fn keywords(text: &str) -> Vec<String> {
    let (mut keywords, mut rest) = (Vec::new(), text);
    while let Some((keyword, after)) = rest.split_once('=') {
        keywords.push(keyword.trim().to_owned());
        let value = after.trim_start();
        let quoted = value.starts_with('\'');
        let (mut escaped, mut end) = (false, value.len());
        for (at, c) in value.char_indices().skip(usize::from(quoted)) {
            let ends = if quoted { c == '\'' } else { c.is_whitespace() };
            if ends && !escaped {
                end = at + usize::from(quoted);
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        rest = &value[end..];
    }
    keywords
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
            "host=h password=secret",
            "password = 'secret'",
            "host='a b\\' c' password=x",
            "dbname='x=y' sslpassword=z",
        ] {
            assert!(matches!(Dsn::parse(text), Err(Error::PasswordInDsn)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_psqls_to_judge() {
        for text in [
            "",
            "shop",
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
}

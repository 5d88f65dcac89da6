//! Store URLs and object names, checked once at the edge.

use std::path::PathBuf;

use crate::Error;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// `memory:`
    Memory,
    /// A plain path or `file://`.
    Directory(PathBuf),
    /// `s3://`, `az://` (or `azure://`) and `gs://`.
    Bucket { cloud: Cloud, bucket: String, prefix: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    S3,
    Azure,
    Gcs,
}

impl Cloud {
    /// What the store calls the thing that holds objects.
    pub(crate) fn container(self) -> &'static str {
        match self {
            Self::S3 | Self::Gcs => "bucket",
            Self::Azure => "container",
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Gcs => "gs",
        }
    }
}

impl Location {
    /// Reads a store URL or a plain path.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::Url { url: without_user_info(text), reason: reason.into() };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text == "memory:" || text == "memory://" {
            return Ok(Self::Memory);
        }
        let Some((scheme, rest)) = scheme(text) else {
            return Ok(Self::Directory(PathBuf::from(text)));
        };
        let cloud = match scheme {
            "file" => {
                return Ok(Self::Directory(
                    file_path(text).ok_or_else(|| invalid("a file url has an absolute path and no host"))?,
                ));
            }
            "s3" => Cloud::S3,
            "az" | "azure" => Cloud::Azure,
            "gs" => Cloud::Gcs,
            other => return Err(invalid(&format!("the scheme `{other}` is not known"))),
        };
        if rest.contains('@') && rest.find('@') < rest.find('/').or(Some(rest.len())) {
            return Err(invalid("credentials do not belong in a url"));
        }
        if rest.contains(['?', '#']) {
            return Err(invalid("it has a query or a fragment"));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(invalid(&format!("it names no {}", cloud.container())));
        }
        let prefix = prefix.trim_matches('/');
        if !prefix.is_empty() && prefix.split('/').any(|segment| segment_fault(segment).is_some()) {
            return Err(invalid("the prefix has an empty segment, `.`, `..` or a control character"));
        }
        Ok(Self::Bucket { cloud, bucket: bucket.into(), prefix: prefix.into() })
    }

    /// The location as messages show it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory => "memory:".into(),
            Self::Directory(path) => path.display().to_string(),
            Self::Bucket { cloud, bucket, prefix } if prefix.is_empty() => format!("{}://{bucket}", cloud.scheme()),
            Self::Bucket { cloud, bucket, prefix } => format!("{}://{bucket}/{prefix}", cloud.scheme()),
        }
    }
}

/// Splits `scheme://rest`; a path like `./a:b` has no scheme.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let plausible = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    plausible.then_some((scheme, rest))
}

fn file_path(text: &str) -> Option<PathBuf> {
    url::Url::parse(text).ok()?.to_file_path().ok()
}

fn without_user_info(text: &str) -> String {
    match (text.find("://"), text.find('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}…{}", &text[..scheme + 3], &text[at..])
        }
        _ => text.into(),
    }
}

/// Checks an object's name: the names of the archive format all pass, and so does whatever else may lie in a bucket.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    match segment_fault(name) {
        Some(reason) => Err(Error::Name { name: name.escape_debug().to_string(), reason }),
        None => Ok(()),
    }
}

fn segment_fault(segment: &str) -> Option<&'static str> {
    if segment.is_empty() {
        Some("it is empty")
    } else if segment == "." || segment == ".." {
        Some("it is a relative path")
    } else if segment.contains('/') {
        Some("it contains a slash")
    } else if segment.chars().any(|c| c.is_ascii_control()) {
        Some("it contains a control character")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(cloud: Cloud, bucket: &str, prefix: &str) -> Location {
        Location::Bucket { cloud, bucket: bucket.into(), prefix: prefix.into() }
    }

    #[test]
    fn urls_of_all_kinds_are_read() {
        for (text, location) in [
            ("s3://b", bucket(Cloud::S3, "b", "")),
            ("s3://b/", bucket(Cloud::S3, "b", "")),
            ("s3://b/p/q/", bucket(Cloud::S3, "b", "p/q")),
            ("az://c/p", bucket(Cloud::Azure, "c", "p")),
            ("azure://c", bucket(Cloud::Azure, "c", "")),
            ("gs://b/p", bucket(Cloud::Gcs, "b", "p")),
            ("file:///srv/a%20b", Location::Directory("/srv/a b".into())),
            ("/srv/a b#1", Location::Directory("/srv/a b#1".into())),
            ("relative/x:y", Location::Directory("relative/x:y".into())),
            ("memory:", Location::Memory),
        ] {
            assert_eq!(Location::parse(text).unwrap(), location, "{text}");
        }
    }

    #[test]
    fn wrong_urls_are_refused_without_repeating_their_secrets() {
        for text in [
            "",
            "s3://",
            "s3:///p",
            "ftp://h/p",
            "s3://b/a//b",
            "s3://b/../c",
            "s3://b/p?x=1",
            "file://host/p",
            "file://relative",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.code(), "usage.store-url", "{text}");
            assert!(error.hint().is_some());
        }
        let error = Location::parse("s3://AKIA:hunter2@b/p").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn names_are_single_segments() {
        for name in ["", ".", "..", "a/b", "a\nb", "\0"] {
            assert_eq!(check_name(name).unwrap_err().code(), "name.invalid", "{name:?}");
        }
        for name in ["a-0", "a b", "a%2Fb", "ä#1?*", "...", "~"] {
            check_name(name).unwrap();
        }
    }
}

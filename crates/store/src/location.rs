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
        let invalid = |reason: &str| Error::Url { url: without_secrets(text), reason: reason.into() };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text == "memory:" || text == "memory://" {
            return Ok(Self::Memory);
        }
        let Some((scheme, rest)) = scheme(text) else {
            return match word_before_colon(text) {
                None => Ok(Self::Directory(PathBuf::from(text))),
                Some((word, rest)) => Err(invalid(&meant(word, rest))),
            };
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
    is_scheme(scheme).then_some((scheme, rest))
}

/// Splits `word:rest`, as restic and rclone name buckets. With a slash before the colon it is a path.
fn word_before_colon(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(':')?;
    is_scheme(word).then_some((word, rest))
}

/// What was most likely meant by `word:rest`, which as the name of a directory would be made without a word.
fn meant(word: &str, rest: &str) -> String {
    let bucket = rest.trim_start_matches('/');
    let url = match word.to_ascii_lowercase().as_str() {
        "s3" => format!("s3://{bucket}"),
        "gs" | "gcs" => format!("gs://{bucket}"),
        "az" | "azure" | "azureblob" => format!("az://{bucket}"),
        "file" => format!("file:///{bucket}"),
        _ => return format!("`{word}:` is no kind of store; a directory of that name is ./{word}:…"),
    };
    match rest.contains(['@', '?', '#']) {
        true => "it is neither a url nor a path".to_owned(),
        false => format!("as a url it is {url}, and a directory of that name is ./{word}:{rest}"),
    }
}

fn is_scheme(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn file_path(text: &str) -> Option<PathBuf> {
    url::Url::parse(text).ok()?.to_file_path().ok()
}

/// A URL as messages may show it: without what stands before the host, which may be a key, and without the query, which may be a signature.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let (text, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let host = text.find("://").map(|scheme| scheme + 3).or_else(|| Some(text.find(':')? + 1));
    let shown = match (host, text.rfind('@')) {
        (Some(host), Some(at)) if host <= at => format!("{}…{}", &text[..host], &text[at..]),
        _ => text.to_owned(),
    };
    if query.is_empty() { shown } else { format!("{shown}{}…", &query[..1]) }
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
            ("./s3:b", Location::Directory("./s3:b".into())),
            ("12:30", Location::Directory("12:30".into())),
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
        for text in [
            "s3://AKIA:hunter2@b/p",
            "az://c/p?sv=1&sig=hunter2",
            "https://a.blob.core.windows.net/c?sig=hunter2",
            "az://c/p#hunter2",
            "rest:https://u:hunter2@h/",
            "s3:AKIA:hunter2@b",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn another_programs_name_of_a_bucket_is_no_directory() {
        for (text, told) in [
            ("s3:mybucket", "s3://mybucket"),
            ("S3:b", "./S3:b"),
            ("s3:/b/p", "s3://b/p"),
            ("gs:b", "gs://b"),
            ("azure:c:/", "az://c"),
            ("file:srv", "file:///srv"),
            ("b2:x", "./b2:"),
            ("c:/windows", "./c:"),
        ] {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.code(), "usage.store-url", "{text}");
            assert!(error.to_string().contains(told), "{error}");
        }
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

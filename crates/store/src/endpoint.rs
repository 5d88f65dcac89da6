//! The address of a store that is not the cloud's own. Plain HTTP is spoken only when an endpoint says so, scheme included.

use url::Url;

use crate::Error;
use crate::location::without_secrets;

/// `http(s)://host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: Url,
    text: String,
}

impl Endpoint {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| {
            // The user info or the query, if that is what is wrong with it, may be a secret.
            Error::Url { url: without_secrets(text), reason: reason.into() }
        };
        let url = Url::parse(text).map_err(|error| invalid(&format!("not an endpoint url: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("an endpoint begins with https:// or http://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("credentials do not belong in an endpoint url"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("an endpoint has no query and no fragment"));
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url, text })
    }

    /// Without a slash at the end.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and port as they stand in a request's URI.
    pub(crate) fn authority(&self) -> String {
        self.url.authority().to_owned()
    }

    /// Whether the host is an address or this machine, and not a name of the cloud's.
    #[cfg(feature = "azure")]
    pub(crate) fn is_address(&self) -> bool {
        match self.url.host() {
            Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => true,
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }

    /// The same endpoint with `label` before the name of its host.
    #[cfg(feature = "s3")]
    pub(crate) fn with_host_prefix(&self, label: &str) -> Result<Self, Error> {
        let reason =
            "a bucket cannot stand before this host: it is an address, or the bucket is no part of a host name";
        let invalid = || Error::Url { url: self.text.clone(), reason: reason.into() };
        let Some(url::Host::Domain(host)) = self.url.host() else { return Err(invalid()) };
        let mut url = self.url.clone();
        url.set_host(Some(&format!("{label}.{host}"))).map_err(|_| invalid())?;
        Self::parse(url.as_str())
    }

    #[cfg(feature = "azure")]
    pub(crate) fn has_no_path(&self) -> bool {
        self.url.path() == "/"
    }

    pub(crate) fn is_plain_http(&self) -> bool {
        self.url.scheme() == "http"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_of_a_host() {
        let endpoint = Endpoint::parse("http://127.0.0.1:9000/").unwrap();
        assert_eq!((endpoint.as_str(), endpoint.authority().as_str()), ("http://127.0.0.1:9000", "127.0.0.1:9000"));
        assert!(endpoint.is_plain_http());
        let endpoint = Endpoint::parse("https://s3.example.com/path").unwrap();
        assert_eq!(
            (endpoint.as_str(), endpoint.authority().as_str()),
            ("https://s3.example.com/path", "s3.example.com")
        );
        assert!(!endpoint.is_plain_http());
        assert_eq!(Endpoint::parse("https://h:443").unwrap().as_str(), "https://h");
    }

    #[cfg(feature = "s3")]
    #[test]
    fn a_bucket_can_stand_before_a_hosts_name_and_not_before_an_address() {
        let with = |text| Endpoint::parse(text).unwrap().with_host_prefix("b");
        assert_eq!(with("https://s3.example.com:9000/p").unwrap().as_str(), "https://b.s3.example.com:9000/p");
        assert_eq!(with("http://127.0.0.1:9000").unwrap_err().code(), "usage.store-url");
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "s3.example.com",
            "127.0.0.1:9000",
            "ftp://h",
            "http://h/?sig=hunter2",
            "http://h/#x",
            "http://user:hunter2@h",
            "user:hunter2@h",
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert_eq!(error.code(), "usage.store-url", "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}

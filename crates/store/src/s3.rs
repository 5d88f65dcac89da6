//! S3 and what speaks like it. object_store builds the requests and reads the answers; signing is done here, once for each attempt, because
//! the digest of a body is known already and goes out three times over: as what is signed, as the checksum that the store verifies and
//! keeps, and in the archive's manifest.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpConnector as _, HttpRequest};
use object_store::list::PaginatedListStore;

use crate::Error;
use crate::bucket::BucketRequests;
use crate::credentials::Environment;
use crate::credentials::aws::{self, AwsCredentials};
use crate::endpoint::Endpoint;
use crate::http::{Connector, Outgoing, ca_file, certificates, client_options, no_retries};
use crate::open::{Addressing, Opened, Pages, StoreOptions};
use crate::requests::Counters;
use crate::upload::BodySha256;

static CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
static CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
static CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");

const DEFAULT_REGION: &str = "us-east-1";

/// Opens a bucket; no request is sent to it.
pub(crate) async fn open(
    bucket: &str,
    url: &str,
    options: &StoreOptions,
    env: &Environment,
    counters: &Arc<Counters>,
) -> Result<Opened, Error> {
    let found = aws::find(url, options.aws_profile.as_deref(), env).await?;
    let region = options
        .region
        .clone()
        .or_else(|| env.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).map(|(_, region)| region.to_owned()))
        .or(found.region)
        .unwrap_or_else(|| DEFAULT_REGION.into());
    let configured = options
        .endpoint_url
        .clone()
        .or_else(|| env.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]).map(|(_, endpoint)| endpoint.to_owned()))
        .or(found.endpoint_url);
    let custom = configured.as_deref().map(Endpoint::parse).transpose()?;
    let (endpoint, virtual_hosted) = match (&custom, options.addressing) {
        (Some(endpoint), Some(Addressing::Virtual)) => (endpoint.with_host_prefix(bucket)?, true),
        (Some(endpoint), _) => (endpoint.clone(), false),
        (None, addressing) => amazon(bucket, &region, addressing)?,
    };

    let mut certificates = ca_bundle(env, url)?;
    certificates.extend(ca_file(options.ca_file.as_deref())?);
    let mut headers = HeaderMap::new();
    if options.requester_pays {
        headers.insert("x-amz-request-payer", HeaderValue::from_static("requester"));
    }
    let connector = Connector::new(endpoint.authority(), options, certificates, headers, Arc::clone(counters));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&region)
        .with_endpoint(endpoint.as_str())
        .with_virtual_hosted_style_request(virtual_hosted)
        .with_client_options(client_options(endpoint.is_plain_http()))
        .with_http_connector(connector.clone())
        .with_retry(no_retries())
        // Signed by `Signer`.
        .with_skip_signature(true)
        // A bulk delete is no use for one object, and not every store has it.
        .with_disable_bulk_delete(true);
    builder = match found.credentials {
        AwsCredentials::Provider(provider) => builder.with_credentials(provider),
        AwsCredentials::Builder(settings) => {
            settings.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value))
        }
    };
    let s3 = Arc::new(builder.build().map_err(|error| unusable(url, &error))?);
    let settings = client_options(endpoint.is_plain_http());
    let client = connector.connect(&settings).map_err(|error| unusable(url, &error))?;
    let bucket_url = match virtual_hosted {
        true => format!("{}/", endpoint.as_str()),
        false => format!("{}/{bucket}", endpoint.as_str()),
    };
    connector.prepare_with(Arc::new(Signer { credentials: Arc::clone(s3.credentials()), region }));
    Ok(Opened {
        objects: Arc::clone(&s3) as Arc<dyn ObjectStore>,
        pages: Pages(s3 as Arc<dyn PaginatedListStore>),
        credential_source: found.source,
        endpoint: custom.map(|endpoint| endpoint.as_str().to_owned()),
        bucket: Some(BucketRequests { client, url: bucket_url }),
        #[cfg(feature = "azure")]
        blocks: None,
    })
}

/// The certificates of the authorities in the file that AWS_CA_BUNDLE names, for stores with an authority of their own.
fn ca_bundle(env: &Environment, url: &str) -> Result<Vec<reqwest::Certificate>, Error> {
    let Some(path) = env.get("AWS_CA_BUNDLE") else { return Ok(Vec::new()) };
    let unusable = |reason: String| Error::Credentials {
        store: url.into(),
        reason: format!("AWS_CA_BUNDLE names {path}: {reason}"),
        hint: "let AWS_CA_BUNDLE name a file of certificates in PEM, or unset it".into(),
    };
    certificates(path.as_ref()).map_err(unusable)
}

fn unusable(url: &str, error: &object_store::Error) -> Error {
    Error::Credentials {
        store: url.into(),
        reason: error.to_string(),
        hint: "check the AWS_* variables and the profile".into(),
    }
}

/// Amazon's own endpoint of a bucket, and whether the bucket is part of its host name. A dot in the bucket's name would be one too many
/// for the certificate, so such a bucket goes into the path unless told otherwise.
fn amazon(bucket: &str, region: &str, addressing: Option<Addressing>) -> Result<(Endpoint, bool), Error> {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let in_host = addressing.map_or(!bucket.contains('.'), |addressing| addressing == Addressing::Virtual);
    let host = if in_host {
        format!("https://{bucket}.s3.{region}.{domain}")
    } else {
        format!("https://s3.{region}.{domain}")
    };
    Ok((Endpoint::parse(&host)?, in_host))
}

/// Signs each request as it leaves.
#[derive(Debug)]
struct Signer {
    credentials: AwsCredentialProvider,
    region: String,
}

#[async_trait]
impl Outgoing for Signer {
    async fn prepare(&self, request: &mut HttpRequest) -> object_store::Result<()> {
        let digest = request.extensions().get::<BodySha256>().map(|digest| digest.0);
        if let Some(digest) = digest {
            let value = HeaderValue::try_from(BASE64_STANDARD.encode(digest)).expect("base64 is ASCII");
            request.headers_mut().insert(&CHECKSUM, value);
            // As Amazon's own tools do: some servers look for this one when a lock demands a digest.
            request.headers_mut().insert(&CHECKSUM_ALGORITHM, HeaderValue::from_static("SHA256"));
        }
        if request.method() == Method::HEAD {
            request.headers_mut().insert(&CHECKSUM_MODE, HeaderValue::from_static("ENABLED"));
        }
        request.headers_mut().remove(AUTHORIZATION);
        let credential = self.credentials.get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(request, digest.as_ref().map(<[u8; 32]>::as_slice))
    }
}

/// The settings of a credential source that object_store reads itself.
pub(crate) type BuilderSettings = Vec<(AmazonS3ConfigKey, String)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_endpoint_has_the_bucket_in_its_host_unless_a_dot_forbids_it() {
        let of = |bucket, region| {
            let (endpoint, in_host) = amazon(bucket, region, None).unwrap();
            (endpoint.as_str().to_owned(), in_host)
        };
        assert_eq!(of("b", "eu-west-1"), ("https://b.s3.eu-west-1.amazonaws.com".into(), true));
        assert_eq!(of("a.b", "us-east-1"), ("https://s3.us-east-1.amazonaws.com".into(), false));
        assert_eq!(of("b", "cn-north-1"), ("https://b.s3.cn-north-1.amazonaws.com.cn".into(), true));
        let (endpoint, in_host) = amazon("b", "eu-west-1", Some(Addressing::Path)).unwrap();
        assert_eq!((endpoint.as_str(), in_host), ("https://s3.eu-west-1.amazonaws.com", false));
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let env = Environment::from_pairs([("AWS_CA_BUNDLE", path.to_str().unwrap())]);
        assert!(ca_bundle(&Environment::default(), "s3://b").unwrap().is_empty());
        assert_eq!(ca_bundle(&env, "s3://b").unwrap_err().code(), "usage.credentials");
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(ca_bundle(&env, "s3://b").unwrap_err().code(), "usage.credentials");
    }

    #[tokio::test]
    async fn endpoints_come_from_the_option_the_variables_and_the_profile_in_this_order() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let config = "[default]\naws_access_key_id=a\naws_secret_access_key=b\nendpoint_url=https://profile.example\n";
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        let mut pairs = vec![("HOME", home.path().to_str().unwrap())];
        let mut options = StoreOptions::default();
        let url = async |options: &StoreOptions, pairs: &[(&str, &str)]| {
            crate::Store::open("s3://b", options, &Environment::from_pairs(pairs.iter().copied()))
                .await
                .unwrap()
                .url()
                .to_owned()
        };
        assert_eq!(url(&options, &pairs).await, "s3://b at https://profile.example");
        pairs.push(("AWS_ENDPOINT_URL", "https://general.example"));
        assert_eq!(url(&options, &pairs).await, "s3://b at https://general.example");
        pairs.push(("AWS_ENDPOINT_URL_S3", "https://s3.example"));
        assert_eq!(url(&options, &pairs).await, "s3://b at https://s3.example");
        options.endpoint_url = Some("http://option.example:1/".into());
        assert_eq!(url(&options, &pairs).await, "s3://b at http://option.example:1");
    }
}

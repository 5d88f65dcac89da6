//! Google Cloud Storage. object_store sends the requests and gets the tokens; where the credentials are is found out here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::list::PaginatedListStore;
use object_store::{ObjectStore, StaticCredentialProvider};

use crate::Error;
use crate::credentials::Environment;
use crate::endpoint::Endpoint;
use crate::http::{Connector, ca_file, client_options, no_retries};
use crate::open::{Opened, Pages, StoreOptions};
use crate::requests::Counters;

const GOOGLE: &str = "https://storage.googleapis.com";

/// Where the credentials are.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    ServiceAccount(PathBuf, &'static str),
    ServiceAccountKey(String),
    Application(PathBuf),
    Emulator,
    Metadata,
}

/// Opens a bucket; no request is sent to it.
pub(crate) fn open(
    bucket: &str,
    url: &str,
    options: &StoreOptions,
    env: &Environment,
    counters: &Arc<Counters>,
) -> Result<Opened, Error> {
    let unusable = |reason: String| {
        Error::Credentials {
        store: url.into(),
        reason,
        hint: "let GOOGLE_APPLICATION_CREDENTIALS name a service account's key, or run `gcloud auth application-default login`".into(),
    }
    };
    let source = find(env);
    let emulator = env
        .get("STORAGE_EMULATOR_HOST")
        .map(|host| if host.contains("://") { host.into() } else { format!("http://{host}") });
    let custom = match options.endpoint_url.clone().or(emulator) {
        Some(endpoint) => Some(endpoint),
        None => base_url(&source).map_err(unusable)?,
    };
    let custom = custom.as_deref().map(Endpoint::parse).transpose()?;
    let endpoint = match &custom {
        Some(endpoint) => endpoint.clone(),
        None => Endpoint::parse(GOOGLE)?,
    };
    if let Source::Application(path) = &source {
        known_kind(path).map_err(unusable)?;
    }
    let (certificates, headers) = (ca_file(options.ca_file.as_deref())?, headers(url, options, env)?);
    let connector = Connector::new(endpoint.authority(), options, certificates, headers, Arc::clone(counters));
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_base_url(endpoint.as_str())
        .with_client_options(client_options(endpoint.is_plain_http()))
        .with_http_connector(connector)
        .with_retry(no_retries());
    builder = match &source {
        Source::ServiceAccount(path, _) => builder.with_service_account_path(path.to_string_lossy()),
        Source::ServiceAccountKey(key) => builder.with_service_account_key(key),
        Source::Application(path) => builder.with_application_credentials(path.to_string_lossy()),
        // That nothing is signed is no reason for object_store not to ask for a token before it sends or deletes an object.
        Source::Emulator => builder
            .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: String::new() })))
            .with_skip_signature(true),
        Source::Metadata => builder,
    };
    let gcs = Arc::new(builder.build().map_err(|error| unusable(error.to_string()))?);
    Ok(Opened {
        objects: Arc::clone(&gcs) as Arc<dyn ObjectStore>,
        pages: Pages(gcs as Arc<dyn PaginatedListStore>),
        credential_source: shown(&source),
        endpoint: custom.map(|endpoint| endpoint.as_str().to_owned()),
        #[cfg(feature = "s3")]
        bucket: None,
        #[cfg(feature = "azure")]
        blocks: None,
    })
}

/// Headers of every request.
fn headers(url: &str, options: &StoreOptions, env: &Environment) -> Result<HeaderMap, Error> {
    if options.addressing.is_some() {
        let (option, reason) = ("a style of addressing", "only S3 has more than one");
        return Err(Error::UnsupportedOption { store: url.into(), option, reason });
    }
    let mut headers = HeaderMap::new();
    if options.requester_pays {
        let variable = "GOOGLE_CLOUD_QUOTA_PROJECT";
        let project = env.get(variable).and_then(|project| HeaderValue::from_str(project).ok());
        let project = project.ok_or_else(|| Error::Option {
            what: "requests that the asker pays".into(),
            reason: format!("{variable} does not name the project that pays"),
        })?;
        headers.insert("x-goog-user-project", project);
    }
    Ok(headers)
}

/// In the order of Google's own libraries.
fn find(env: &Environment) -> Source {
    if env.get("STORAGE_EMULATOR_HOST").is_some() {
        return Source::Emulator;
    }
    if let Some(path) = env.get("GOOGLE_APPLICATION_CREDENTIALS") {
        return if is_service_account(path) {
            Source::ServiceAccount(path.into(), "GOOGLE_APPLICATION_CREDENTIALS")
        } else {
            Source::Application(path.into())
        };
    }
    for variable in ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"] {
        if let Some(path) = env.get(variable) {
            return Source::ServiceAccount(path.into(), variable);
        }
    }
    if let Some(key) = env.get("GOOGLE_SERVICE_ACCOUNT_KEY") {
        return Source::ServiceAccountKey(key.into());
    }
    let folder = env.get("CLOUDSDK_CONFIG").map(PathBuf::from).or_else(|| Some(env.home()?.join(".config/gcloud")));
    match folder.map(|folder| folder.join("application_default_credentials.json")) {
        Some(path) if path.is_file() => Source::Application(path),
        _ => Source::Metadata,
    }
}

/// A key of a service account that names its own endpoint is read as such a key whatever its type says: that is how test servers are given.
fn is_service_account(path: &str) -> bool {
    let Ok(text) = std::fs::read(path) else {
        return false;
    };
    serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|json| json.get("private_key").is_some())
}

/// Refuses application default credentials of a kind that object_store cannot use, by its name.
fn known_kind(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|_| format!("{shown} is no JSON"))?;
    match json.get("type").and_then(serde_json::Value::as_str).unwrap_or_default() {
        "authorized_user" | "service_account" => Ok(()),
        kind => Err(format!(
            "{shown} has credentials of type `{kind}`; those of a service account and of a user who logged in are supported"
        )),
    }
}

/// The endpoint that a service account's key names, if it does.
fn base_url(source: &Source) -> Result<Option<String>, String> {
    let text = match source {
        Source::ServiceAccount(path, variable) => {
            std::fs::read_to_string(path).map_err(|error| format!("{variable} names {}: {error}", path.display()))?
        }
        Source::ServiceAccountKey(key) => key.clone(),
        Source::Application(_) | Source::Emulator | Source::Metadata => return Ok(None),
    };
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|_| "the service account's key is no JSON".to_owned())?;
    Ok(json.get("gcs_base_url").and_then(serde_json::Value::as_str).map(str::to_owned))
}

fn shown(source: &Source) -> String {
    match source {
        Source::ServiceAccount(_, variable) => format!("service account ({variable})"),
        Source::ServiceAccountKey(_) => "service account (GOOGLE_SERVICE_ACCOUNT_KEY)".into(),
        Source::Application(path) => {
            format!("application default credentials ({})", path.display())
        }
        Source::Emulator => "storage emulator (STORAGE_EMULATOR_HOST)".into(),
        Source::Metadata => "metadata server".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_looked_for_in_googles_order() {
        let home = tempfile::tempdir().unwrap();
        let home_pair = ("HOME", home.path().to_str().unwrap());
        assert_eq!(find(&Environment::from_pairs([home_pair])), Source::Metadata);
        let default = home.path().join(".config/gcloud/application_default_credentials.json");
        std::fs::create_dir_all(default.parent().unwrap()).unwrap();
        std::fs::write(&default, r#"{"type":"authorized_user"}"#).unwrap();
        assert_eq!(find(&Environment::from_pairs([home_pair])), Source::Application(default.clone()));
        let key = home.path().join("key.json");
        std::fs::write(&key, r#"{"private_key":""}"#).unwrap();
        let variable = "GOOGLE_APPLICATION_CREDENTIALS";
        let named = |path: &Path| find(&Environment::from_pairs([home_pair, (variable, path.to_str().unwrap())]));
        assert_eq!(named(&key), Source::ServiceAccount(key.clone(), variable));
        assert_eq!(named(&default), Source::Application(default));
    }

    #[tokio::test]
    async fn a_service_accounts_key_may_name_the_endpoint() {
        let key = r#"{"gcs_base_url":"http://127.0.0.1:9","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;
        let env = Environment::from_pairs([("GOOGLE_SERVICE_ACCOUNT_KEY", key)]);
        let store = crate::Store::open("gs://b/p", &StoreOptions::default(), &env).await.unwrap();
        assert_eq!(store.url(), "gs://b/p at http://127.0.0.1:9");
        let env = Environment::from_pairs([("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")]);
        let error = crate::Store::open("gs://b/p", &StoreOptions::default(), &env).await.unwrap_err();
        assert_eq!(error.code(), "usage.credentials");
        assert!(error.to_string().contains("/nowhere/key.json"), "{error}");
    }
}

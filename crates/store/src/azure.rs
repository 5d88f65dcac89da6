//! Azure Blob Storage. object_store sends the requests; the many names under which people keep an account and its key are told apart here.

use std::sync::Arc;

use http::HeaderMap;
use object_store::ObjectStore;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::HttpConnector as _;
use object_store::list::PaginatedListStore;
use url::Url;

use crate::Error;
use crate::blocks::BlockBlobs;
use crate::credentials::Environment;
use crate::credentials::azure::{self, Account};
use crate::endpoint::Endpoint;
use crate::http::{Connector, ca_file, client_options, no_retries};
use crate::open::{Opened, Pages, StoreOptions};
use crate::requests::Counters;

/// Opens a container; no request is sent to it.
pub(crate) fn open(
    container: &str,
    url: &str,
    options: &StoreOptions,
    env: &Environment,
    counters: &Arc<Counters>,
) -> Result<Opened, Error> {
    let unsupported = |option, reason| Err(Error::UnsupportedOption { store: url.into(), option, reason });
    if options.addressing.is_some() {
        return unsupported("a style of addressing", "only S3 has more than one");
    }
    if options.requester_pays {
        return unsupported("requests that the asker pays", "Azure has no such thing");
    }
    let account = azure::find(url, env)?;
    let custom = options.endpoint_url.clone().or_else(|| account.endpoint.clone());
    let custom = custom.as_deref().map(|text| with_account(text, &account)).transpose()?;
    let endpoint = match &custom {
        Some(endpoint) => endpoint.clone(),
        None => Endpoint::parse(&format!("https://{}.blob.{}", account.name, account.suffix))?,
    };
    let certificates = ca_file(options.ca_file.as_deref())?;
    let connector = Connector::new(endpoint.authority(), options, certificates, HeaderMap::new(), Arc::clone(counters));
    let builder = MicrosoftAzureBuilder::new()
        .with_account(&account.name)
        .with_container_name(container)
        .with_endpoint(endpoint.as_str().to_owned())
        .with_client_options(client_options(endpoint.is_plain_http()))
        .with_http_connector(connector.clone())
        .with_retry(no_retries());
    let builder = account
        .settings
        .into_iter()
        .fold(builder, |builder, (key, value): (AzureConfigKey, String)| builder.with_config(key, value));
    let unusable = |error: object_store::Error| Error::Credentials {
        store: url.into(),
        reason: error.to_string(),
        hint: "check the AZURE_* variables".into(),
    };
    let azure = Arc::new(builder.build().map_err(unusable)?);
    let client = connector.connect(&client_options(endpoint.is_plain_http())).map_err(unusable)?;
    let address = format!("{}/{container}", endpoint.as_str());
    let address = Url::parse(&address).map_err(|error| Error::Url { url: address, reason: error.to_string() })?;
    let blocks = BlockBlobs::new(Arc::clone(&azure), client, account.name, address);
    Ok(Opened {
        objects: Arc::clone(&azure) as Arc<dyn ObjectStore>,
        pages: Pages(azure as Arc<dyn PaginatedListStore>),
        credential_source: account.source,
        endpoint: custom.map(|endpoint| endpoint.as_str().to_owned()),
        #[cfg(feature = "s3")]
        bucket: None,
        blocks: Some(blocks),
    })
}

/// An endpoint that is an address and no name, an emulator's for one, has the account in its path.
fn with_account(text: &str, account: &Account) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::parse(text)?;
    if endpoint.is_address() && endpoint.has_no_path() {
        return Endpoint::parse(&format!("{}/{}", endpoint.as_str(), account.name));
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_the_account_into_their_path_and_names_do_not() {
        let env = Environment::from_pairs([("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_KEY", "a2V5")]);
        let account = azure::find("az://c", &env).unwrap();
        let of = |text| with_account(text, &account).unwrap().as_str().to_owned();
        assert_eq!(of("http://127.0.0.1:10000"), "http://127.0.0.1:10000/acc");
        assert_eq!(of("http://localhost:10000/"), "http://localhost:10000/acc");
        assert_eq!(of("http://127.0.0.1:10000/acc"), "http://127.0.0.1:10000/acc");
        assert_eq!(of("https://acc.blob.example.com"), "https://acc.blob.example.com");
    }

    #[tokio::test]
    async fn a_container_is_opened_without_a_request() {
        let env = Environment::from_pairs([("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_KEY", "a2V5")]);
        let store = crate::Store::open("az://c/p", &StoreOptions::default(), &env).await.unwrap();
        assert_eq!((store.url(), store.credential_source()), ("az://c/p", Some("account key (AZURE_STORAGE_KEY)")));
        assert_eq!(store.requests(), crate::RequestCounts::default());
    }
}

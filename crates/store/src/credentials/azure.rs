//! Azure accounts and credentials, in the families of variables that Azure's own tools, its SDKs and other backup programs use.

use object_store::azure::AzureConfigKey;

use super::Environment;
use crate::Error;

/// The account and key of Azure's storage emulators, which are published and no secret.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000";

const DEFAULT_SUFFIX: &str = "core.windows.net";

/// What was found.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// `core.windows.net`, or that of a national cloud.
    pub(crate) suffix: String,
    /// Where neither makes the address.
    pub(crate) endpoint: Option<String>,
    pub(crate) settings: Vec<(AzureConfigKey, String)>,
    /// The place, for people.
    pub(crate) source: String,
}

const ACCOUNT: &[&str] = &["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_ACCOUNT_NAME"];
const KEY: &[&str] =
    &["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_ACCOUNT_KEY"];
const SAS: &[&str] = &["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY", "AZURE_ACCOUNT_SAS"];
const SUFFIX: &[&str] = &["AZURE_ENDPOINT_SUFFIX"];
const ENDPOINT: &[&str] = &["AZURE_STORAGE_SERVICE_ENDPOINT", "AZURE_STORAGE_BLOB_ENDPOINT", "AZURE_STORAGE_ENDPOINT"];

/// Finds the account and the credentials for the store at `url`: a connection string, a key, a shared access signature, a federated token, a client
/// secret, the managed identity, in this order.
pub(crate) fn find(url: &str, env: &Environment) -> Result<Account, Error> {
    if let Some(text) = env.get("AZURE_STORAGE_CONNECTION_STRING") {
        return connection_string(text).map_err(|reason| Error::Credentials {
            store: url.into(),
            reason: format!("AZURE_STORAGE_CONNECTION_STRING: {reason}"),
            hint: "copy the connection string from the account's access keys".into(),
        });
    }
    if env.get("AZURE_STORAGE_USE_EMULATOR").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1") {
        let mut account = emulator(env.get("AZURITE_BLOB_STORAGE_URL"));
        if let (Some((_, name)), Some((_, key))) = (env.first(ACCOUNT), env.first(KEY)) {
            account.name = name.into();
            account.settings = vec![(AzureConfigKey::AccessKey, key.into())];
        }
        return Ok(account);
    }
    let Some((_, name)) = env.first(ACCOUNT) else {
        return Err(Error::Credentials {
            store: url.into(),
            reason: "no storage account is named".into(),
            hint: "set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or AZURE_STORAGE_CONNECTION_STRING".into(),
        });
    };
    let (settings, source) = credentials(env);
    Ok(Account {
        name: name.into(),
        suffix: env.first(SUFFIX).map_or(DEFAULT_SUFFIX, |(_, suffix)| suffix).into(),
        endpoint: env.first(ENDPOINT).map(|(_, endpoint)| endpoint.into()),
        settings,
        source,
    })
}

fn credentials(env: &Environment) -> (Vec<(AzureConfigKey, String)>, String) {
    let all = |wanted: &[(AzureConfigKey, &str)]| -> Option<Vec<(AzureConfigKey, String)>> {
        wanted.iter().map(|(key, name)| Some((*key, env.get(name)?.to_owned()))).collect()
    };
    let optional = |key, name| env.get(name).map(|value| (key, value.to_owned()));
    if let Some((variable, key)) = env.first(KEY) {
        return (vec![(AzureConfigKey::AccessKey, key.into())], format!("account key ({variable})"));
    }
    if let Some((variable, sas)) = env.first(SAS) {
        return (vec![(AzureConfigKey::SasKey, sas.into())], format!("shared access signature ({variable})"));
    }
    let client = [(AzureConfigKey::ClientId, "AZURE_CLIENT_ID"), (AzureConfigKey::AuthorityId, "AZURE_TENANT_ID")];
    let authority = optional(AzureConfigKey::AuthorityHost, "AZURE_AUTHORITY_HOST");
    for (key, variable, what) in [
        (AzureConfigKey::FederatedTokenFile, "AZURE_FEDERATED_TOKEN_FILE", "workload identity"),
        (AzureConfigKey::ClientSecret, "AZURE_CLIENT_SECRET", "client secret"),
    ] {
        if let Some(mut settings) = all(&[client[0], client[1], (key, variable)]) {
            settings.extend(authority);
            return (settings, format!("{what} ({variable})"));
        }
    }
    let identity = [
        optional(AzureConfigKey::ClientId, "AZURE_CLIENT_ID"),
        optional(AzureConfigKey::MsiEndpoint, "IDENTITY_ENDPOINT"),
    ];
    (identity.into_iter().flatten().collect(), "managed identity".into())
}

fn emulator(endpoint: Option<&str>) -> Account {
    Account {
        name: EMULATOR_ACCOUNT.into(),
        suffix: DEFAULT_SUFFIX.into(),
        endpoint: Some(endpoint.unwrap_or(EMULATOR_ENDPOINT).into()),
        settings: vec![(AzureConfigKey::AccessKey, EMULATOR_KEY.into())],
        source: "storage emulator".into(),
    }
}

/// Reads `Name=value;Name=value`; a value may contain `=`. No value is part of an error.
fn connection_string(text: &str) -> Result<Account, &'static str> {
    let mut fields = std::collections::BTreeMap::new();
    for field in text.split(';').map(str::trim).filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').ok_or("a field has no `=`")?;
        fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_empty());
    if take("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(emulator(None));
    }
    let suffix = take("endpointsuffix").unwrap_or_else(|| DEFAULT_SUFFIX.into());
    let endpoint = take("blobendpoint");
    let name = match (take("accountname"), &endpoint) {
        (Some(name), _) => name,
        // With a shared access signature the account is in the endpoint alone.
        (None, Some(endpoint)) => account_in(endpoint).ok_or("it names no account")?,
        (None, None) => return Err("it names no account"),
    };
    // DefaultEndpointsProtocol is not looked at: plain http takes an endpoint that says so.
    let settings = match (take("accountkey"), take("sharedaccesssignature")) {
        (Some(key), _) => vec![(AzureConfigKey::AccessKey, key)],
        (None, Some(sas)) => vec![(AzureConfigKey::SasKey, sas)],
        (None, None) => return Err("it has neither AccountKey nor SharedAccessSignature"),
    };
    Ok(Account {
        name,
        suffix,
        endpoint,
        settings,
        source: "connection string (AZURE_STORAGE_CONNECTION_STRING)".into(),
    })
}

/// `https://NAME.blob.…`
fn account_in(endpoint: &str) -> Option<String> {
    let host = endpoint.split_once("://")?.1.split('/').next()?;
    let (name, rest) = host.split_once('.')?;
    rest.starts_with("blob.").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Account {
        find("az://c", &Environment::from_pairs(pairs.iter().copied())).unwrap()
    }

    #[test]
    fn the_families_of_variables_mean_the_same() {
        for (account, key) in [
            ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
            ("AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"),
        ] {
            let found = of(&[(account, "acc"), (key, "k")]);
            assert_eq!((found.name.as_str(), found.settings), ("acc", vec![(AzureConfigKey::AccessKey, "k".into())]));
            assert_eq!(found.source, format!("account key ({key})"));
        }
        for sas in SAS {
            assert_eq!(
                of(&[("AZURE_STORAGE_ACCOUNT", "acc"), (*sas, "sv=1")]).settings,
                [(AzureConfigKey::SasKey, "sv=1".to_owned())]
            );
        }
        assert_eq!(
            of(&[("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_ENDPOINT_SUFFIX", "core.chinacloudapi.cn")]).suffix,
            "core.chinacloudapi.cn"
        );
    }

    #[test]
    fn identities_come_after_keys() {
        let client = [("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")];
        let with = |name| of(&[&client[..], &[(name, "x")]].concat()).source;
        assert_eq!(with("AZURE_FEDERATED_TOKEN_FILE"), "workload identity (AZURE_FEDERATED_TOKEN_FILE)");
        assert_eq!(with("AZURE_CLIENT_SECRET"), "client secret (AZURE_CLIENT_SECRET)");
        assert_eq!(with("AZURE_STORAGE_KEY"), "account key (AZURE_STORAGE_KEY)");
        assert_eq!(with("OTHER"), "managed identity");
    }

    #[test]
    fn connection_strings_are_read() {
        let found = connection_string(
            "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5==;EndpointSuffix=core.windows.net",
        )
        .unwrap();
        assert_eq!((found.name.as_str(), found.settings), ("acc", vec![(AzureConfigKey::AccessKey, "a2V5==".into())]));
        let found =
            connection_string("BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D")
                .unwrap();
        assert_eq!(
            (found.name.as_str(), found.settings),
            ("acc", vec![(AzureConfigKey::SasKey, "sv=1&sig=x%3D".into())])
        );
        assert_eq!(connection_string("UseDevelopmentStorage=true").unwrap().name, EMULATOR_ACCOUNT);
        for text in ["", "AccountName=acc", "AccountKey=k", "nonsense"] {
            let env = Environment::from_pairs([("AZURE_STORAGE_CONNECTION_STRING", format!("{text};x=hunter2"))]);
            let error = find("az://c", &env).unwrap_err();
            assert_eq!(error.code(), "usage.credentials");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn without_an_account_the_hint_names_the_variables() {
        let error = find("az://c", &Environment::default()).unwrap_err();
        assert_eq!(error.code(), "usage.credentials");
        assert!(error.hint().unwrap().contains("AZURE_STORAGE_ACCOUNT"));
    }
}

//! Azure: keys, shared access signatures and connection strings, which azurite checks; and the identities of Microsoft Entra, whose tokens it takes
//! over TLS alone, so that there the requests are looked at.

use std::sync::LazyLock;

use backstay_testkit::azurite::{self, ACCOUNT, Azurite, KEY};
use backstay_testkit::recorder::Answer;
use backstay_testkit::{Recorder, recorder::Recorded};

use super::{credulous, file, open, parameter, path, works};

/// The emulator, with a container.
fn emulator() -> &'static Azurite {
    static MADE: LazyLock<()> = LazyLock::new(|| Azurite::shared().create_container("container"));
    LazyLock::force(&MADE);
    Azurite::shared()
}

#[tokio::test]
async fn each_family_of_variables_is_read() {
    let endpoint = emulator().endpoint.as_str();
    for (n, (account, key, at)) in [
        ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_BLOB_ENDPOINT"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SERVICE_ENDPOINT"),
        ("AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY", "AZURE_STORAGE_ENDPOINT"),
        ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_BLOB_ENDPOINT"),
    ]
    .into_iter()
    .enumerate()
    {
        let store = open("az://container/keys", &[(account, ACCOUNT), (key, KEY), (at, endpoint)]).await.unwrap();
        assert_eq!(store.credential_source(), Some(format!("account key ({key})").as_str()));
        works(&store, &format!("x-{n}")).await;
    }
}

#[tokio::test]
async fn shared_access_signatures_are_read_with_and_without_their_question_mark() {
    let endpoint = emulator().endpoint.as_str();
    let signature = azurite::shared_access_signature();
    for (n, variable) in
        ["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY", "AZURE_ACCOUNT_SAS"].into_iter().enumerate()
    {
        for (m, text) in [signature.clone(), format!("?{signature}")].into_iter().enumerate() {
            let variables =
                [("AZURE_STORAGE_ACCOUNT", ACCOUNT), (variable, text.as_str()), ("AZURE_STORAGE_ENDPOINT", endpoint)];
            let store = open("az://container/sas", &variables).await.unwrap();
            assert_eq!(store.credential_source(), Some(format!("shared access signature ({variable})").as_str()));
            works(&store, &format!("x-{n}-{m}")).await;
        }
    }
}

#[tokio::test]
async fn connection_strings_with_a_key_and_with_a_signature_are_read() {
    let endpoint = &emulator().endpoint;
    let signature = azurite::shared_access_signature();
    for (n, text) in [
        format!("AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint}/{ACCOUNT};"),
        format!("DefaultEndpointsProtocol=http;AccountName={ACCOUNT};BlobEndpoint={endpoint};SharedAccessSignature={signature}"),
    ]
    .into_iter()
    .enumerate()
    {
        let store = open("az://container/string", &[("AZURE_STORAGE_CONNECTION_STRING", &text)]).await.unwrap();
        assert_eq!(store.credential_source(), Some("connection string (AZURE_STORAGE_CONNECTION_STRING)"));
        works(&store, &format!("x-{n}")).await;
    }
}

#[tokio::test]
async fn the_emulators_own_variables_are_read() {
    let endpoint = emulator().endpoint.as_str();
    let variables = [("AZURE_STORAGE_USE_EMULATOR", "true"), ("AZURITE_BLOB_STORAGE_URL", endpoint)];
    let store = open("az://container/emulator", &variables).await.unwrap();
    assert_eq!(store.credential_source(), Some("storage emulator"));
    works(&store, "x-0").await;
}

/// What gives out tokens.
fn token_service() -> Recorder {
    Recorder::start(|_| {
        Answer::ok(r#"{"access_token":"tok","expires_in":3600,"expires_on":"4102444800","token_type":"Bearer"}"#)
    })
}

/// What the service and the store were asked by a store that these variables open.
async fn asked(variables: &[(&str, &str)], source: &str, service: &Recorder) -> Recorded {
    let server = credulous();
    let account = [("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_ENDPOINT", server.endpoint.as_str())];
    let store = open("az://container", &[&account[..], variables].concat()).await.unwrap();
    assert_eq!(store.credential_source(), Some(source));
    for _ in 0..2 {
        store.get("x-0", 1).await.unwrap();
    }
    let requests = server.taken();
    assert_eq!((requests[0].path.as_str(), requests[0].field("authorization")), ("/acc/container/x-0", "Bearer tok"));
    let mut tokens = service.taken();
    assert_eq!((tokens.len(), requests.len()), (1, 2), "a token is kept");
    tokens.remove(0)
}

#[tokio::test]
async fn a_client_secret_is_exchanged_for_a_token() {
    let service = token_service();
    let variables = [
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_CLIENT_SECRET", "secret"),
        ("AZURE_AUTHORITY_HOST", service.endpoint.as_str()),
    ];
    let asked = asked(&variables, "client secret (AZURE_CLIENT_SECRET)", &service).await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/tenant/oauth2/v2.0/token"));
    let form = asked.form();
    for (name, value) in [
        ("client_id", "client"),
        ("client_secret", "secret"),
        ("grant_type", "client_credentials"),
        ("scope", "https://storage.azure.com/.default"),
    ] {
        assert_eq!(parameter(&form, name), value);
    }
}

#[tokio::test]
async fn a_federated_token_is_read_from_its_file_and_exchanged() {
    let service = token_service();
    let token = file("federated");
    let variables = [
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_FEDERATED_TOKEN_FILE", path(&token)),
        ("AZURE_AUTHORITY_HOST", service.endpoint.as_str()),
    ];
    let asked = asked(&variables, "workload identity (AZURE_FEDERATED_TOKEN_FILE)", &service).await;
    assert_eq!(asked.path, "/tenant/oauth2/v2.0/token");
    let form = asked.form();
    assert_eq!(parameter(&form, "client_id"), "client");
    assert_eq!(parameter(&form, "client_assertion"), "federated");
    assert_eq!(parameter(&form, "client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
}

#[tokio::test]
async fn the_managed_identity_is_asked_for_by_its_client_id() {
    let service = token_service();
    let endpoint = format!("{}/metadata/identity/oauth2/token", service.endpoint);
    let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("AZURE_CLIENT_ID", "client")];
    let asked = asked(&variables, "managed identity", &service).await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/metadata/identity/oauth2/token"));
    assert_eq!(asked.field("metadata"), "true");
    assert_eq!(asked.parameter("resource"), "https://storage.azure.com");
    assert_eq!(asked.parameter("client_id"), "client");
}

#[tokio::test]
async fn a_refused_secret_is_an_error_of_the_credentials() {
    let service = Recorder::start(|_| Answer::status(401, r#"{"error":"invalid_client"}"#));
    let variables = [
        ("AZURE_STORAGE_ACCOUNT", "acc"),
        ("AZURE_STORAGE_ENDPOINT", emulator().endpoint.as_str()),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
        ("AZURE_AUTHORITY_HOST", service.endpoint.as_str()),
    ];
    let store = open("az://container", &variables).await.unwrap();
    let error = store.get("x-0", 1).await.unwrap_err();
    assert_eq!(error.code(), "usage.credentials", "{error}");
    assert!(error.to_string().contains("401") && !error.to_string().contains("hunter2"), "{error}");
    assert_eq!(service.taken().len(), 1, "it is not repeated");
}

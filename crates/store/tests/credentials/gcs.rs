//! GCS: the key of a service account from each place that may hold it, which the server checks by its signature; an emulator. The metadata server and a
//! user who logged in are tested with the program, since object_store reads their variables from the process.

use backstay_store::Error;
use backstay_testkit::GcsServer;

use super::{file, open, path, works};

#[tokio::test]
async fn a_service_accounts_key_is_read_from_each_place() {
    let server = GcsServer::with_bucket("bucket");
    let key = server.service_account_here();
    let kept = file(&key);
    for (variable, value) in [
        ("GOOGLE_APPLICATION_CREDENTIALS", path(&kept)),
        ("GOOGLE_SERVICE_ACCOUNT", path(&kept)),
        ("GOOGLE_SERVICE_ACCOUNT_PATH", path(&kept)),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", &key),
    ] {
        let store = open("gs://bucket", &[(variable, value)]).await.unwrap();
        assert_eq!(store.credential_source(), Some(format!("service account ({variable})").as_str()));
        works(&store, variable).await;
    }
}

#[tokio::test]
async fn an_emulator_is_asked_without_any_token() {
    let server = GcsServer::with_bucket("bucket");
    let host = server.endpoint.strip_prefix("http://").unwrap();
    for text in [host, &server.endpoint] {
        let store = open("gs://bucket", &[("STORAGE_EMULATOR_HOST", text)]).await.unwrap();
        // This server asks for one.
        assert_eq!(store.get("x-0", 1).await.unwrap_err().code(), "store.denied");
    }
    server.open_to_all();
    works(&open("gs://bucket", &[("STORAGE_EMULATOR_HOST", host)]).await.unwrap(), "x-0").await;
}

#[tokio::test]
async fn the_key_of_another_account_is_denied() {
    let server = GcsServer::with_bucket("bucket");
    let strange = GcsServer::strange_account();
    let strange = strange.replacen('{', &format!("{{\"gcs_base_url\":\"{}\",", server.endpoint), 1);
    let store = open("gs://bucket", &[("GOOGLE_SERVICE_ACCOUNT_KEY", &strange)]).await.unwrap();
    let error = store.get("x-0", 1).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }) && error.to_string().contains("signature"), "{error}");
}

#[tokio::test]
async fn the_login_of_a_user_is_looked_for_where_gcloud_keeps_its_configuration() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let user = r#"{"type":"authorized_user","client_id":"id","client_secret":"shh","refresh_token":"again"}"#;
    let of_home = home.path().join(".config/gcloud");
    std::fs::create_dir_all(&of_home).unwrap();
    for folder in [of_home.as_path(), elsewhere.path()] {
        std::fs::write(folder.join("application_default_credentials.json"), user).unwrap();
    }
    let home = home.path().to_str().unwrap();
    for (variables, folder) in [
        (vec![("HOME", home)], of_home.as_path()),
        (vec![("HOME", home), ("CLOUDSDK_CONFIG", elsewhere.path().to_str().unwrap())], elsewhere.path()),
    ] {
        let store = open("gs://bucket", &variables).await.unwrap();
        let source = store.credential_source().unwrap().to_owned();
        assert!(source.contains(folder.to_str().unwrap()), "{source}");
    }
    // Nothing is there: nobody logged in, and the machine itself is asked.
    let empty = tempfile::tempdir().unwrap();
    let variables = [("HOME", home), ("CLOUDSDK_CONFIG", empty.path().to_str().unwrap())];
    let store = open("gs://bucket", &variables).await.unwrap();
    assert!(store.credential_source().unwrap().contains("metadata"), "{:?}", store.credential_source());
}

#[tokio::test]
async fn credentials_of_a_kind_that_is_not_supported_are_named() {
    for kind in ["external_account", "impersonated_service_account"] {
        let kept = file(&format!(r#"{{"type":"{kind}"}}"#));
        let error = open("gs://bucket", &[("GOOGLE_APPLICATION_CREDENTIALS", path(&kept))]).await.unwrap_err();
        assert_eq!(error.code(), "usage.credentials");
        assert!(error.to_string().contains(kind), "{error}");
    }
}

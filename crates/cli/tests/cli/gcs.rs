//! Credentials of Google that object_store reads from the process's own environment, so that only the program shows that they are read: the metadata
//! server of an instance, and a user who logged in.

use backstay_testkit::recorder::Answer;
use backstay_testkit::{GcsServer, Recorder};

use crate::harness::{Place, Run};

const TOKEN: &str = r#"{"access_token":"tok","expires_in":3600,"token_type":"Bearer"}"#;

/// A store that takes the token, and a backup to it, with what a proxy of this machine may say left out.
fn backup<'p>(place: &'p Place, server: &GcsServer) -> Run<'p> {
    server.accept_token("tok");
    let arguments = ["backup", "-s", "gs://bucket/pg", "--endpoint-url", &server.endpoint, "-r", &place.recipient];
    place.run(arguments).env("NO_PROXY", "127.0.0.1").stdin("content")
}

#[test]
fn the_metadata_server_is_asked_for_a_token() {
    let (place, server) = (Place::new(), GcsServer::with_bucket("bucket"));
    let metadata = Recorder::start(|_| Answer::ok(TOKEN));
    backup(&place, &server).env("GCE_METADATA_HOST", metadata.authority()).good();
    let taken = metadata.taken();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(taken[0].path, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!(taken[0].field("metadata-flavor"), "Google");
}

#[test]
fn the_token_of_a_user_who_logged_in_is_refreshed() {
    let (place, server) = (Place::new(), GcsServer::with_bucket("bucket"));
    // Google's address is not to be changed, so that it is played behind a proxy, with a certificate of its name.
    let (google, certificate) = Recorder::start_behind_proxy("accounts.google.com", |_| Answer::ok(TOKEN));
    let user = r#"{"type":"authorized_user","client_id":"id","client_secret":"shh","refresh_token":"again"}"#;
    let trusted = place.write("google.pem", certificate);
    let named = place.write("user.json", user);
    // Named by the variable, and where `gcloud auth application-default login` puts it.
    place.write(".config/gcloud/application_default_credentials.json", user);
    for variable in [Some("GOOGLE_APPLICATION_CREDENTIALS"), None] {
        let mut run = backup(&place, &server).env("HTTPS_PROXY", &google.endpoint).env("SSL_CERT_FILE", &trusted);
        if let Some(variable) = variable {
            run = run.env(variable, &named);
        }
        run.good();
        let taken = google.taken();
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert_eq!((taken[0].method.as_str(), taken[0].path.as_str()), ("POST", "/o/oauth2/token"));
        let form = taken[0].form();
        for (name, value) in
            [("grant_type", "refresh_token"), ("client_id", "id"), ("client_secret", "shh"), ("refresh_token", "again")]
        {
            assert!(form.contains(&(name.to_owned(), value.to_owned())), "{form:?}");
        }
    }
}

//! AWS: the environment, profiles, a web identity, a container, an instance. The S3 server checks every signature.

use backstay_testkit::recorder::{Answer, Recorded};
use backstay_testkit::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use backstay_testkit::{Recorder, sha256};

use super::{credulous, file, open, path, works};

/// Keys as metadata services give them out.
fn keys() -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2020-01-01T00:00:00Z","AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{SECRET_KEY}","Token":"session","Expiration":"2099-01-01T00:00:00Z"}}"#
    )
}

/// The metadata service of an instance with a role.
fn metadata_service() -> Recorder {
    Recorder::start(|asked: &Recorded| {
        let role = "/latest/meta-data/iam/security-credentials/";
        let has_token = asked.field("x-aws-ec2-metadata-token") == "tok";
        match asked.path.as_str() {
            "/latest/api/token" if asked.method == "PUT" => Answer::ok("tok"),
            path if path == role && has_token => Answer::ok("backup-role"),
            path if path.strip_prefix(role) == Some("backup-role") && has_token => Answer::ok(keys()),
            _ => Answer::status(404, ""),
        }
    })
}

#[tokio::test]
async fn keys_and_endpoint_of_the_environment_are_used() {
    let server = S3Server::with_bucket("bucket");
    for endpoint in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let variables =
            [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY), (endpoint, &server.endpoint)];
        let store = open("s3://bucket", &variables);
        let store = store.await.unwrap();
        assert_eq!(store.credential_source(), Some("environment (AWS_ACCESS_KEY_ID)"));
        works(&store, endpoint).await;
    }
}

#[tokio::test]
async fn the_session_token_and_the_region_of_the_environment_are_signed() {
    for (variable, region) in [("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "eu-north-1")] {
        let server = credulous();
        let variables = [
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "session"),
            (variable, region),
            ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
        ];
        let store = open("s3://bucket", &variables);
        store.await.unwrap().get("x-0", 1).await.unwrap();
        let asked = &server.taken()[0];
        assert_eq!(asked.field("x-amz-security-token"), "session");
        let authorization = asked.field("authorization");
        assert!(authorization.contains("Credential=AKIA/"), "{authorization}");
        assert!(authorization.contains(&format!("/{region}/s3/aws4_request")), "{authorization}");
        assert!(authorization.contains("x-amz-security-token"), "the token is signed: {authorization}");
    }
}

#[tokio::test]
async fn profiles_are_read_from_both_files_wherever_they_are() {
    let server = S3Server::with_bucket("bucket");
    let config = file(&format!("[profile work]\nendpoint_url = {}\nregion = us-east-1\n", server.endpoint));
    let keys = file(&format!("[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"));
    let variables =
        [("AWS_PROFILE", "work"), ("AWS_CONFIG_FILE", path(&config)), ("AWS_SHARED_CREDENTIALS_FILE", path(&keys))];
    let store = open("s3://bucket", &variables);
    let store = store.await.unwrap();
    assert_eq!(store.credential_source(), Some("profile `work`"));
    works(&store, "x-0").await;
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_keys() {
    let server = S3Server::with_bucket("bucket");
    let answer = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>\
         <SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    // The token is a secret of its own: this service is asked over TLS alone.
    let (sts, authority) = Recorder::start_tls(move |_| Answer::ok(answer.clone()));
    let (token, authority) = (file("eyJ0b2tlbg"), file(&authority));
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path(&token)),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup"),
        ("AWS_ROLE_SESSION_NAME", "nightly"),
        ("AWS_ENDPOINT_URL_STS", sts.endpoint.as_str()),
        ("AWS_CA_BUNDLE", path(&authority)),
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
    ];
    let store = open("s3://bucket", &variables).await.unwrap();
    assert_eq!(store.credential_source(), Some("web identity token (AWS_WEB_IDENTITY_TOKEN_FILE)"));
    works(&store, "x-0").await;
    let taken = sts.taken();
    let [asked] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(asked.method, "POST");
    for (name, value) in [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", "arn:aws:iam::1:role/backup"),
        ("RoleSessionName", "nightly"),
        ("WebIdentityToken", "eyJ0b2tlbg"),
    ] {
        assert_eq!(asked.parameter(name), value);
    }
}

#[tokio::test]
async fn a_container_is_asked_with_the_token_of_its_file() {
    let server = S3Server::with_bucket("bucket");
    let agent = Recorder::start(|_| Answer::ok(keys()));
    let (token, uri) = (file("pod-token"), format!("{}/v1/credentials", agent.endpoint));
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path(&token)),
    ];
    let store = open("s3://bucket", &variables).await.unwrap();
    assert_eq!(store.credential_source(), Some("container credentials"));
    works(&store, "x-0").await;
    let taken = agent.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].path.as_str(), taken[0].field("authorization")), ("/v1/credentials", "pod-token"));

    // Without it the instance would be asked in its place, whose role is another one.
    let error = open("s3://bucket", &variables[..2]).await.unwrap_err();
    assert_eq!(error.code(), "usage.credentials");
    assert!(error.to_string().contains("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), "{error}");
}

#[tokio::test]
async fn keys_of_the_instances_role_are_fetched_once_and_used() {
    let server = S3Server::with_bucket("bucket");
    let service = metadata_service();
    let variables = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.endpoint.as_str()),
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
    ];
    let store = open("s3://bucket", &variables).await.unwrap();
    assert_eq!(store.credential_source(), Some("instance metadata"));
    for n in 0..3 {
        store.create(&format!("x-{n}"), "a".into(), sha256(b"a")).await.unwrap();
    }
    let asked: Vec<String> = service.taken().into_iter().map(|asked| asked.path).collect();
    let role = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(asked, ["/latest/api/token", role, &format!("{role}backup-role")]);
    // Requests for keys are not the store's.
    assert_eq!(store.requests().attempts, 3);
}

#[tokio::test]
async fn where_no_instance_answers_the_error_is_about_credentials_and_not_about_the_store() {
    let server = S3Server::with_bucket("bucket");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let variables =
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody.as_str()), ("AWS_ENDPOINT_URL", server.endpoint.as_str())];
    let store = open("s3://bucket", &variables).await.unwrap();
    for error in
        [store.create("x-0", "a".into(), sha256(b"a")).await.unwrap_err(), store.get("x-0", 1).await.unwrap_err()]
    {
        assert_eq!(error.code(), "usage.credentials", "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert!(error.hint().is_some());
    }
    assert_eq!(store.requests().attempts, 0);
}

#[tokio::test]
async fn secrets_are_in_no_debug_output() {
    let server = S3Server::with_bucket("bucket");
    let env = backstay_store::Environment::from_pairs(server.variables(&server.endpoint));
    let store = server.open("s3://bucket").await;
    let shown = format!("{env:?} {store:?}");
    assert!(!shown.contains(SECRET_KEY), "{shown}");
    assert!(shown.contains("AWS_SECRET_ACCESS_KEY"));
}

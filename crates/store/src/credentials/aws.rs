//! AWS credentials, looked for where and in the order in which AWS's own tools do: a profile named by option, the environment, a profile
//! named by the environment, a web identity, the default profile, the container, the instance.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::aws::{AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};

use super::Environment;
use super::process::CredentialProcess;
use super::profile::{self, Profile};
use crate::Error;
use crate::s3::BuilderSettings;

/// What was found.
pub(crate) struct Found {
    pub(crate) credentials: AwsCredentials,
    /// The place, for people.
    pub(crate) source: String,
    /// The profile's region and endpoint.
    pub(crate) region: Option<String>,
    pub(crate) endpoint_url: Option<String>,
}

pub(crate) enum AwsCredentials {
    Provider(AwsCredentialProvider),
    /// A source that object_store can read itself.
    Builder(BuilderSettings),
}

/// Settings by which a profile leans on another service, and whose keys expire. AWS's SDKs resolve them; we would need a client of
/// two more services for it, and the AWS CLI that made such a profile can hand out the keys.
const INDIRECT: &[&str] = &[
    "role_arn",
    "source_profile",
    "credential_source",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "login_session",
];

/// Finds the credentials for the store at `url`.
pub(crate) async fn find(url: &str, profile_option: Option<&str>, env: &Environment) -> Result<Found, Error> {
    let named = profile_option.or_else(|| env.get("AWS_PROFILE"));
    let name = named.unwrap_or("default");
    let profile = profile::load(name, env).map_err(|unreadable| Error::Credentials {
        store: url.into(),
        reason: format!("cannot read {}: {}", unreadable.path.display(), unreadable.error),
        hint: "make the file readable, or set AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE".into(),
    })?;
    if profile.is_none() && named.is_some() {
        return Err(Error::Credentials {
            store: url.into(),
            reason: format!("there is no profile `{name}` in ~/.aws/config or ~/.aws/credentials"),
            hint: "correct the profile's name, or unset AWS_PROFILE".into(),
        });
    }
    let region = setting(profile.as_ref(), "region");
    let endpoint_url = setting(profile.as_ref(), "endpoint_url");
    let found = |credentials, source: String| Found { credentials, source, region, endpoint_url };

    if profile_option.is_none()
        && let Some(credential) = environment_keys(url, env)?
    {
        return Ok(found(fixed(credential), "environment (AWS_ACCESS_KEY_ID)".into()));
    }
    if named.is_none()
        && let Some(settings) = web_identity(env)
    {
        return Ok(found(AwsCredentials::Builder(settings), "web identity token (AWS_WEB_IDENTITY_TOKEN_FILE)".into()));
    }
    if let Some(profile) = &profile
        && let Some(credentials) = of_profile(url, name, profile).await?
    {
        return Ok(found(credentials, format!("profile `{name}`")));
    }
    if named.is_some() {
        return Err(Error::Credentials {
            store: url.into(),
            reason: format!("profile `{name}` has no keys"),
            hint: format!(
                "add aws_access_key_id and aws_secret_access_key, or credential_process, to profile `{name}`"
            ),
        });
    }
    if let Some(settings) = container(url, env)? {
        return Ok(found(AwsCredentials::Builder(settings), "container credentials".into()));
    }
    if env.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(Error::Credentials {
            store: url.into(),
            reason: "found none, and AWS_EC2_METADATA_DISABLED forbids to ask the instance".into(),
            hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile".into(),
        });
    }
    Ok(found(AwsCredentials::Builder(instance(env)), "instance metadata".into()))
}

fn setting(profile: Option<&Profile>, key: &str) -> Option<String> {
    profile.and_then(|profile| profile.get(key)).map(str::to_owned)
}

fn fixed(credential: AwsCredential) -> AwsCredentials {
    AwsCredentials::Provider(Arc::new(StaticCredentialProvider::new(credential)))
}

fn environment_keys(url: &str, env: &Environment) -> Result<Option<AwsCredential>, Error> {
    let missing = |name: &str, other: &str| Error::Credentials {
        store: url.into(),
        reason: format!("{other} is set and {name} is not"),
        hint: format!("set {name} too, or unset both"),
    };
    match (env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(missing("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        (None, Some(_)) => Err(missing("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        (Some(key_id), Some(secret_key)) => Ok(Some(AwsCredential {
            key_id: key_id.into(),
            secret_key: secret_key.into(),
            token: env.get("AWS_SESSION_TOKEN").map(str::to_owned),
        })),
    }
}

/// The keys of a profile, from the profile itself or from the command that it names.
async fn of_profile(url: &str, name: &str, profile: &Profile) -> Result<Option<AwsCredentials>, Error> {
    if let Some(key) = profile.first_of(INDIRECT) {
        return Err(Error::Credentials {
            store: url.into(),
            reason: format!(
                "profile `{name}` has {key}, and profiles that assume a role or sign on elsewhere are not resolved here"
            ),
            hint: format!(
                "make a profile with `credential_process = aws configure export-credentials --profile {name}`, or set the variables that `aws configure export-credentials --profile {name} --format env` prints"
            ),
        });
    }
    if let (Some(key_id), Some(secret_key)) = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
        return Ok(Some(fixed(AwsCredential {
            key_id: key_id.into(),
            secret_key: secret_key.into(),
            token: profile.get("aws_session_token").map(str::to_owned),
        })));
    }
    let Some(command) = profile.get("credential_process") else {
        return Ok(None);
    };
    let process = CredentialProcess::new(command);
    // Asked once here, so that a wrong command is an error of the configuration and not of the first request.
    process.credential().await.map_err(|error| Error::Credentials {
        store: url.into(),
        reason: format!("credential_process of profile `{name}`: {error}"),
        hint: "run the command by hand; it has to print JSON with Version, AccessKeyId and SecretAccessKey".into(),
    })?;
    Ok(Some(AwsCredentials::Provider(Arc::new(process))))
}

/// Takes those of the variables that are set.
fn settings(env: &Environment, variables: &[(&str, AmazonS3ConfigKey)]) -> BuilderSettings {
    variables.iter().filter_map(|(name, key)| Some((*key, env.get(name)?.to_owned()))).collect()
}

fn web_identity(env: &Environment) -> Option<BuilderSettings> {
    env.get("AWS_WEB_IDENTITY_TOKEN_FILE")?;
    env.get("AWS_ROLE_ARN")?;
    Some(settings(
        env,
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
            ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
            ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
            ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
        ],
    ))
}

fn container(url: &str, env: &Environment) -> Result<Option<BuilderSettings>, Error> {
    let Some((variable, _)) =
        env.first(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    else {
        return Ok(None);
    };
    // Without the file object_store would ask the instance, whose role is another one.
    if variable == "AWS_CONTAINER_CREDENTIALS_FULL_URI" && env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").is_none() {
        return Err(Error::Credentials {
            store: url.into(),
            reason: format!("{variable} is set and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not"),
            hint: "set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE too; a token in a variable is not read".into(),
        });
    }
    Ok(Some(settings(
        env,
        &[
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
        ],
    )))
}

fn instance(env: &Environment) -> BuilderSettings {
    settings(env, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];

    const FILES: &str = "
[default]
aws_access_key_id = default
aws_secret_access_key = hunter2
[profile named]
aws_access_key_id = named
aws_secret_access_key = hunter2
region = eu-west-1
[profile role]
role_arn = arn:aws:iam::1:role/backup
source_profile = default
[profile sso]
sso_session = work
aws_access_key_id = stale
aws_secret_access_key = hunter2
[profile empty]
region = eu-west-1
[profile broken]
credential_process = sh -c 'echo hunter2'
";

    struct Host {
        home: tempfile::TempDir,
    }

    impl Host {
        fn new(config: &str) -> Self {
            let home = tempfile::tempdir().unwrap();
            std::fs::create_dir(home.path().join(".aws")).unwrap();
            std::fs::write(home.path().join(".aws/config"), config).unwrap();
            Self { home }
        }

        async fn find(&self, option: Option<&str>, pairs: &[(&str, &str)]) -> Result<Found, Error> {
            let home = ("HOME", self.home.path().to_str().unwrap());
            find("s3://b", option, &Environment::from_pairs(pairs.iter().copied().chain([home]))).await
        }

        async fn source(&self, option: Option<&str>, pairs: &[(&str, &str)]) -> String {
            self.find(option, pairs).await.unwrap().source
        }
    }

    #[tokio::test]
    async fn sources_are_looked_at_in_the_order_of_awss_tools() {
        let host = Host::new(FILES);
        let named = ("AWS_PROFILE", "named");
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn")];
        let container = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x");
        assert_eq!(host.source(Some("named"), &KEYS).await, "profile `named`");
        assert_eq!(host.source(None, &[&KEYS[..], &[named], &web].concat()).await, "environment (AWS_ACCESS_KEY_ID)");
        assert_eq!(host.source(None, &[&[named][..], &web].concat()).await, "profile `named`");
        assert_eq!(host.source(None, &web).await, "web identity token (AWS_WEB_IDENTITY_TOKEN_FILE)");
        assert_eq!(host.source(None, &[container]).await, "profile `default`");
        let bare = Host::new("");
        assert_eq!(bare.source(None, &[container]).await, "container credentials");
        assert_eq!(bare.source(None, &[]).await, "instance metadata");
        assert_eq!(host.find(None, &[named]).await.unwrap().region.as_deref(), Some("eu-west-1"));
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_refused_with_the_profiles_name_and_without_secrets() {
        let host = Host::new(FILES);
        for (option, pairs, expected) in [
            (Some("role"), &[][..], "role_arn"),
            (None, &[("AWS_PROFILE", "role")][..], "profile `role`"),
            (Some("sso"), &[][..], "sso_session"),
            (Some("empty"), &[][..], "profile `empty`"),
            (Some("nobody"), &[][..], "profile `nobody`"),
            (None, &[("AWS_PROFILE", "nobody")][..], "profile `nobody`"),
            (Some("broken"), &[][..], "profile `broken`"),
            (None, &KEYS[..1], "AWS_SECRET_ACCESS_KEY"),
            (None, &KEYS[1..], "AWS_ACCESS_KEY_ID"),
        ] {
            let error = host.find(option, pairs).await.err().unwrap();
            assert_eq!(error.code(), "usage.credentials");
            let message = format!("{error} {}", error.hint().unwrap());
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        let error = host.find(Some("role"), &[]).await.err().unwrap();
        assert!(error.hint().unwrap().contains("export-credentials --profile role"));
        let disabled = Host::new("").find(None, &[("AWS_EC2_METADATA_DISABLED", "true")]).await.err().unwrap();
        assert_eq!(disabled.code(), "usage.credentials");
    }

    #[tokio::test]
    async fn a_session_token_goes_with_its_keys() {
        let host = Host::new("[default]\naws_access_key_id = a\naws_secret_access_key = b\naws_session_token = t\n");
        for pairs in [&[][..], &[&KEYS[..], &[("AWS_SESSION_TOKEN", "t")]].concat()] {
            let AwsCredentials::Provider(provider) = host.find(None, pairs).await.unwrap().credentials else {
                panic!("no keys")
            };
            assert_eq!(provider.get_credential().await.unwrap().token.as_deref(), Some("t"));
        }
    }
}

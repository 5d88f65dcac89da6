//! Profiles of `~/.aws/config` and `~/.aws/credentials`, as far as a backup host needs them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Environment;

/// The settings of one profile, both files taken together; `credentials` wins.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    settings: BTreeMap<String, String>,
}

impl Profile {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// The first of these settings that the profile has.
    pub(crate) fn first_of<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().copied().find(|key| self.settings.contains_key(*key))
    }
}

impl std::fmt::Debug for Profile {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

/// A file that is there and cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}

/// Reads the profile called `name`; `None` if neither file has it.
pub(crate) fn load(name: &str, env: &Environment) -> Result<Option<Profile>, Unreadable> {
    let config = read(env, "AWS_CONFIG_FILE", "config")?;
    let credentials = read(env, "AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
    let in_config = if name == "default" {
        section(&config, "default").or_else(|| section(&config, "profile default"))
    } else {
        section(&config, &format!("profile {name}"))
    };
    let in_credentials = section(&credentials, name);
    if in_config.is_none() && in_credentials.is_none() {
        return Ok(None);
    }
    let mut settings = in_config.unwrap_or_default();
    settings.extend(in_credentials.unwrap_or_default());
    Ok(Some(Profile { settings }))
}

fn read(env: &Environment, variable: &str, name: &str) -> Result<String, Unreadable> {
    let path = match (env.get(variable), env.home()) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(home)) => home.join(".aws").join(name),
        (None, None) => return Ok(String::new()),
    };
    read_if_there(&path).map_err(|error| Unreadable { path, error })
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// The settings of a section. Indented lines belong to the setting above them (`s3 =` has some), which is none of ours.
fn section(text: &str, wanted: &str) -> Option<BTreeMap<String, String>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = trimmed.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default();
            inside = name.split_whitespace().eq(wanted.split_whitespace());
            if inside {
                found.get_or_insert_default();
            }
        } else if inside
            && !line.starts_with([' ', '\t'])
            && let Some((key, value)) = trimmed.split_once('=')
        {
            let value = value.split(" #").next().unwrap_or_default().trim();
            if !value.is_empty() {
                found.get_or_insert_default().insert(key.trim().to_ascii_lowercase(), value.into());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
# a comment
[default]
region = eu-central-1   # where we are
s3 =
    max_concurrent_requests = 20
    region = not-this-one
output=json

[profile  backup]
region=eu-west-1
endpoint_url = https://s3.example.com
; role_arn = commented out
credential_process = \"/opt/my tool\" --flag=a

[profile empty]
[sso-session backup]
sso_start_url = https://example.com
";
    const CREDENTIALS: &str =
        "[backup]\naws_access_key_id = AKIA\nAWS_SECRET_ACCESS_KEY = a=b/c+d\n[only]\naws_access_key_id=x\n";

    fn home() -> (tempfile::TempDir, Environment) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        let env = Environment::from_pairs([("HOME", home.path().to_str().unwrap())]);
        (home, env)
    }

    #[test]
    fn both_files_make_one_profile() {
        let (_home, env) = home();
        let backup = load("backup", &env).unwrap().unwrap();
        assert_eq!(backup.get("region"), Some("eu-west-1"));
        assert_eq!(backup.get("aws_access_key_id"), Some("AKIA"));
        assert_eq!(backup.get("aws_secret_access_key"), Some("a=b/c+d"));
        assert_eq!(backup.get("credential_process"), Some("\"/opt/my tool\" --flag=a"));
        assert_eq!(backup.get("role_arn"), None);
        assert_eq!(backup.get("sso_start_url"), None);
        let default = load("default", &env).unwrap().unwrap();
        assert_eq!(default.get("region"), Some("eu-central-1"));
        assert_eq!(default.get("max_concurrent_requests"), None);
        assert!(load("only", &env).unwrap().is_some());
        assert_eq!(load("empty", &env).unwrap(), Some(Profile::default()));
        assert_eq!(load("nobody", &env).unwrap(), None);
    }

    #[test]
    fn files_elsewhere_are_named_by_variables_and_missing_ones_are_empty() {
        let (home, _) = home();
        let config = home.path().join(".aws/config");
        let env = Environment::from_pairs([("AWS_CONFIG_FILE", config.to_str().unwrap())]);
        assert_eq!(load("backup", &env).unwrap().unwrap().get("aws_access_key_id"), None);
        assert_eq!(load("backup", &Environment::default()).unwrap(), None);
        let env = Environment::from_pairs([("AWS_CONFIG_FILE", home.path().to_str().unwrap())]);
        assert_eq!(load("backup", &env).unwrap_err().path, home.path());
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let (_home, env) = home();
        let shown = format!("{:?}", load("backup", &env).unwrap());
        assert!(shown.contains("aws_secret_access_key") && !shown.contains("a=b/c+d"), "{shown}");
    }
}

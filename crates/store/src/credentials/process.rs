//! `credential_process`: a command that prints AWS keys as JSON. It is run without a shell, once, and again shortly before what it
//! printed expires.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::process::Command;
use tokio::sync::Mutex;

/// Time that a command is given; it may have to ask another service.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys are renewed this long before they expire.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Runs the command and keeps its answer.
#[derive(Debug)]
pub(crate) struct CredentialProcess {
    command: String,
    kept: Mutex<Option<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    credential: Arc<AwsCredential>,
    expires: Option<Timestamp>,
}

/// Why there are no keys. The command's output is never part of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("the command line is empty or a quote in it is not closed")]
    CommandLine,
    #[error("cannot run `{program}`: {error}")]
    Run { program: String, error: std::io::Error },
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    Late,
    #[error("it failed with {status}: {stderr}")]
    Failed { status: std::process::ExitStatus, stderr: String },
    #[error("its output is not the JSON that AWS describes: {0}")]
    Output(&'static str),
}

impl CredentialProcess {
    pub(crate) fn new(command: &str) -> Self {
        Self { command: command.into(), kept: Mutex::new(None) }
    }

    /// The keys, from the command if there are none or they are about to expire.
    pub(crate) async fn credential(&self) -> Result<Arc<AwsCredential>, ProcessError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = &*kept
            && kept
                .expires
                .is_none_or(|expires| Timestamp::now().duration_until(expires) > MARGIN.try_into().unwrap_or_default())
        {
            return Ok(Arc::clone(&kept.credential));
        }
        let fresh = parse(&run(&self.command).await?)?;
        *kept = Some(fresh.clone());
        Ok(fresh.credential)
    }
}

#[async_trait]
impl CredentialProvider for CredentialProcess {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.credential()
            .await
            .map_err(|error| object_store::Error::Generic { store: "credential_process", source: Box::new(error) })
    }
}

async fn run(command: &str) -> Result<Vec<u8>, ProcessError> {
    let words = split(command).ok_or(ProcessError::CommandLine)?;
    let [program, arguments @ ..] = words.as_slice() else {
        return Err(ProcessError::CommandLine);
    };
    let running = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .map_err(|_| ProcessError::Late)?
        .map_err(|error| ProcessError::Run { program: program.clone(), error })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(ProcessError::Failed { status: output.status, stderr: stderr.trim().chars().take(500).collect() })
}

fn parse(output: &[u8]) -> Result<Kept, ProcessError> {
    let json: serde_json::Value = serde_json::from_slice(output).map_err(|_| ProcessError::Output("no JSON"))?;
    let text = |key| json.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    if json.get("Version").and_then(serde_json::Value::as_u64) != Some(1) {
        return Err(ProcessError::Output("Version is not 1"));
    }
    let expires = match text("Expiration") {
        Some(time) => Some(time.parse().map_err(|_| ProcessError::Output("Expiration is no time"))?),
        None => None,
    };
    let credential = AwsCredential {
        key_id: text("AccessKeyId").ok_or(ProcessError::Output("no AccessKeyId"))?,
        secret_key: text("SecretAccessKey").ok_or(ProcessError::Output("no SecretAccessKey"))?,
        token: text("SessionToken"),
    };
    Ok(Kept { credential: Arc::new(credential), expires })
}

/// Splits a command line at spaces outside quotes; `None` if a quote stays open.
fn split(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_like_a_shell_would_and_nothing_else_is() {
        let words = |text: &str| split(text).unwrap();
        assert_eq!(words("a b  c"), ["a", "b", "c"]);
        assert_eq!(
            words(r#""/opt/my tool" --x='a "b"' c\ d "e\"f" """#),
            ["/opt/my tool", "--x=a \"b\"", "c d", "e\"f", ""]
        );
        assert_eq!(words("a $HOME;b|c"), ["a", "$HOME;b|c"]);
        assert_eq!(split("a \"b"), None);
        assert_eq!(words("  "), [""; 0]);
    }

    #[test]
    fn output_has_to_be_what_aws_describes() {
        let good = br#"{"Version":1,"AccessKeyId":"k","SecretAccessKey":"s","SessionToken":"t","Expiration":"2030-01-02T03:04:05+00:00"}"#;
        let kept = parse(good).unwrap();
        assert_eq!((kept.credential.key_id.as_str(), kept.credential.token.as_deref()), ("k", Some("t")));
        assert!(kept.expires.is_some());
        for bad in [
            &b""[..],
            b"{}",
            br#"{"Version":2}"#,
            br#"{"Version":1,"AccessKeyId":"k"}"#,
            br#"{"Version":1,"AccessKeyId":"k","SecretAccessKey":"s","Expiration":"x"}"#,
        ] {
            parse(bad).unwrap_err();
        }
    }

    #[tokio::test]
    async fn keys_are_kept_until_shortly_before_they_expire() {
        let directory = tempfile::tempdir().unwrap();
        let runs = directory.path().join("runs");
        let command = |expires: Timestamp| {
            format!(
                "sh -c 'echo x >> {}; echo {{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"k\\\",\\\"SecretAccessKey\\\":\\\"s\\\",\\\"Expiration\\\":\\\"{expires}\\\"}}'",
                runs.display()
            )
        };
        let count = || std::fs::read_to_string(&runs).unwrap().lines().count();
        let later = CredentialProcess::new(&command(Timestamp::now() + Duration::from_secs(3600)));
        for _ in 0..3 {
            assert_eq!(later.credential().await.unwrap().key_id, "k");
        }
        assert_eq!(count(), 1);
        let soon = CredentialProcess::new(&command(Timestamp::now() + Duration::from_secs(60)));
        for _ in 0..3 {
            soon.credential().await.unwrap();
        }
        assert_eq!(count(), 4);
    }

    #[tokio::test]
    async fn failing_commands_are_reported_without_their_output() {
        let failed = CredentialProcess::new("sh -c 'echo hunter2; echo why >&2; exit 3'")
            .credential()
            .await
            .unwrap_err()
            .to_string();
        assert!(failed.contains("why") && failed.contains('3') && !failed.contains("hunter2"), "{failed}");
        let missing = CredentialProcess::new("/nowhere/tool").credential().await.unwrap_err().to_string();
        assert!(missing.contains("/nowhere/tool"), "{missing}");
        let garbage = CredentialProcess::new("echo hunter2").credential().await.unwrap_err().to_string();
        assert!(!garbage.contains("hunter2"), "{garbage}");
    }
}

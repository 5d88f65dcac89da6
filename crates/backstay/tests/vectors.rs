//! Every file in `spec/vectors` is a test of its own: the archive it describes is read, and what the file expects must
//! happen. `spec/reference/test_vectors.py` does the same with the independent reader.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::secrecy::SecretString;
use backstay::policy::ProfileName;
use backstay::restore::Target;
use backstay::salvage::{SalvageOptions, salvage};
use backstay::verify::{Depth, verify};
use backstay::{RestoreOptions, Silent, restore, set};
use backstay_format::key::{Keyring, raw_key};
use backstay_format::openssl::{self, Digest, Kdf, Password};
use backstay_format::schedule::sha256;
use backstay_format::signature::Signer;
use backstay_format::text::{from_base64, from_hex, to_hex};
use backstay_store::Store;
use common::{Sink, context};
use libtest_mimic::{Arguments, Failed, Trial};

/// How many there are at least: a folder that went missing is not a passed test.
const AT_LEAST: usize = 120;

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let count = files.len();
    let mut trials: Vec<Trial> = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Trial::test(name, move || run(&path).map_err(Failed::from))
        })
        .collect();
    trials.push(Trial::test("there_are_enough_vectors", move || {
        if count >= AT_LEAST {
            Ok(())
        } else {
            Err(format!("{count} vectors, at least {AT_LEAST} are expected").into())
        }
    }));
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(path: &Path) -> Result<(), String> {
    let vector = Vector::parse(&fs::read_to_string(path).map_err(|error| error.to_string())?)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(vector.check())
}

/// A JSON string that has no character beyond ASCII.
fn ascii(text: &str) -> String {
    let mut escaped = String::new();
    for character in serde_json::Value::from(text).to_string().chars() {
        match character.is_ascii() {
            true => escaped.push(character),
            false => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(escaped, "\\u{unit:04x}");
            }),
        }
    }
    escaped
}

/// One vector.
#[derive(Default)]
struct Vector {
    archive: String,
    command: String,
    options: RestoreOptions,
    keyring: Keyring,
    expect: Vec<String>,
    warn: Option<String>,
    content_length: Option<u64>,
    content_sha256: Option<String>,
    released: Option<usize>,
    /// An option that is refused before anything is read.
    refused: Option<openssl::Error>,
    objects: Vec<(String, Vec<u8>)>,
}

impl Vector {
    fn parse(text: &str) -> Result<Vector, String> {
        let mut vector = Vector::default();
        let mut lengths: Vec<usize> = Vec::new();
        let (mut kdf_md, mut kdf_iterations) = (None, None);
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(object) = line.strip_prefix("object ") {
                let (name, length) = object.rsplit_once(' ').ok_or("an object line lacks its length")?;
                lengths.push(length.parse().map_err(|_| "a length is not a number")?);
                vector.objects.push((name.to_owned(), Vec::new()));
            } else if let Some((_, bytes)) = vector.objects.last_mut() {
                if let Some(fill) = line.strip_prefix("fill ") {
                    let (byte, count) = fill.split_once(' ').ok_or("a fill line lacks its count")?;
                    let [byte] = from_hex::<1>(byte).ok_or("a fill line lacks its byte")?;
                    let count: usize = count.parse().map_err(|_| "a count is not a number")?;
                    bytes.resize(bytes.len() + count, byte);
                } else {
                    bytes.extend(from_base64(line).ok_or("a line is not base64")?);
                }
            } else {
                let (field, value) = line
                    .split_once(": ")
                    .or_else(|| line.strip_suffix(':').map(|field| (field, "")))
                    .ok_or("a line is no field")?;
                match field {
                    "name" | "note" => {}
                    "archive" => vector.archive = value.to_owned(),
                    "command" => vector.command = value.to_owned(),
                    "args" => vector.argument(value, &mut kdf_md, &mut kdf_iterations)?,
                    "key" => vector.key(value)?,
                    "expect" => vector.expect = value.split(' ').map(str::to_owned).collect(),
                    "warn" => vector.warn = Some(value.to_owned()),
                    "content-length" => vector.content_length = value.parse().ok(),
                    "content-sha256" => vector.content_sha256 = Some(value.to_owned()),
                    "released" => vector.released = value.parse().ok(),
                    _ => return Err(format!("the field `{field}` is unknown")),
                }
            }
        }
        if kdf_md.is_some() || kdf_iterations.is_some() {
            match Kdf::new(kdf_md.unwrap_or(Digest::Sha256), kdf_iterations.unwrap_or(0)) {
                Ok(kdf) => vector.options.policy.openssl.kdf = Some(kdf),
                Err(error) => vector.refused = Some(error),
            }
        }
        let broken = vector.objects.iter().zip(lengths).find(|((_, bytes), length)| bytes.len() != *length);
        match broken {
            Some(((name, bytes), length)) => Err(format!("{name} has {} bytes, not {length}", bytes.len())),
            None => Ok(vector),
        }
    }

    fn argument(
        &mut self,
        argument: &str,
        md: &mut Option<Digest>,
        iterations: &mut Option<u32>,
    ) -> Result<(), String> {
        let (option, value) = argument.split_once(' ').unwrap_or((argument, ""));
        let options = &mut self.options;
        let policy = &mut options.policy;
        let wrong = || format!("`{argument}` is not understood");
        match (option, value) {
            ("--no-manifest", "") => policy.no_manifest = true,
            ("--allow-open", "") => policy.allow_open = true,
            ("--require-seal", "") => policy.require_seal = true,
            ("--format", "native") => policy.format = Some(ProfileName::Native),
            ("--format", "openssl") => policy.format = Some(ProfileName::Openssl),
            ("--md", value) => *md = Some(value.parse().map_err(|_| wrong())?),
            ("--pbkdf2", value) => *iterations = Some(value.parse().map_err(|_| wrong())?),
            ("--payload", "raw") => policy.openssl.raw = true,
            ("--signer", value) => policy.signer = Some(Signer::parse(value).map_err(|error| error.to_string())?),
            ("--root", value) => policy.root = Some(from_hex(value).ok_or_else(wrong)?),
            ("--receipt", value) => policy.receipt = Some(value.parse().map_err(|_| wrong())?),
            ("--max-output", value) => options.max_output = Some(value.parse().map_err(|_| wrong())?),
            ("--range", value) => {
                let (from, to) = value.split_once('-').ok_or_else(wrong)?;
                options.range = Some(from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<(), String> {
        let (kind, value) = key.split_once(' ').ok_or("a key lacks its value")?;
        match kind {
            "raw" => self.keyring.add_raw(raw_key(value.as_bytes()).ok_or("a raw key is not one")?),
            "identity" => {
                let identity = value.parse::<age::x25519::Identity>().map_err(str::to_owned)?;
                self.keyring.add_identity(Box::new(identity));
            }
            "passphrase" => self.keyring.add_passphrase(SecretString::from(value.to_owned())),
            "password" => self.keyring.add_password(Password::new(value.as_bytes().to_vec())),
            _ => return Err(format!("the key `{kind}` is unknown")),
        }
        Ok(())
    }

    async fn check(self) -> Result<(), String> {
        if let Some(error) = &self.refused {
            return self.judge(error.code(), &error.to_string(), &[]);
        }
        let store = Store::memory();
        for (name, bytes) in &self.objects {
            let digest = sha256(bytes);
            store.create(name, bytes.clone().into(), digest).await.map_err(|error| error.to_string())?;
        }
        let id = match self.archive.parse() {
            Ok(id) => id,
            Err(error) => return self.judge(backstay_format::Error::code(&error), &error.to_string(), &[]),
        };
        let (observer, context) = (Arc::new(Silent), context());
        let depth = match self.command.as_str() {
            "restore" => {
                let sink = Sink::default();
                let target = Target::Writer(Box::new(sink.clone()));
                let result = restore(&store, &id, &self.keyring, target, &self.options, &context, observer).await;
                let content = sink.taken();
                return match result {
                    Ok(restored) => {
                        // An open archive is not authentic either, and that takes no warning: it was asked for.
                        let warned = self.warn.as_deref() == Some("openssl.unauthenticated");
                        if restored.authentic == (warned || self.options.policy.allow_open) {
                            return Err(format!("authentic is {}", restored.authentic));
                        }
                        self.judge("ok", "", &content)
                    }
                    Err(error) => self.judge(error.code(), &error.to_string(), &content),
                };
            }
            "salvage" => {
                let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
                let path = folder.path().join("content");
                let policy = self.options.policy.clone();
                let options = SalvageOptions { policy, output: Some(path.clone()), ..SalvageOptions::default() };
                return match salvage(&store, &id, &self.keyring, &options, &context, observer).await {
                    Ok(salvaged) => {
                        let content = fs::read(path).map_err(|error| error.to_string())?;
                        let first = salvaged.findings.first();
                        let (code, text) = first.map_or(("ok", ""), |finding| (finding.code, &finding.text));
                        self.judge(code, text, &content)
                    }
                    Err(error) => self.judge(error.code(), &error.to_string(), &[]),
                };
            }
            "set" => {
                let policy = &self.options.policy;
                let members = async {
                    let opened = set::open(&store, &id, &self.keyring, policy).await?;
                    set::demand_complete(&store, &opened.set, &context).await?;
                    let line = |member: &set::Member| {
                        format!("{} {} {}\n", member.id, to_hex(&member.root), ascii(&member.name))
                    };
                    Ok::<_, backstay::Error>(opened.set.members.iter().map(line).collect::<String>())
                };
                return match members.await {
                    Ok(lines) => self.judge("ok", "", lines.as_bytes()),
                    Err(error) => self.judge(error.code(), &error.to_string(), &[]),
                };
            }
            "verify quick" => Depth::Quick,
            "verify full" => Depth::Full,
            "verify deep" => Depth::Deep,
            other => return Err(format!("the command `{other}` is unknown")),
        };
        match verify(&store, &id, &self.keyring, depth, &self.options.policy, &context, observer).await {
            Ok(report) => match report.findings.first() {
                None => self.judge("ok", "", &[]),
                Some(finding) => self.judge(finding.code, &finding.text, &[]),
            },
            Err(error) => self.judge(error.code(), &error.to_string(), &[]),
        }
    }

    fn judge(&self, code: &str, text: &str, content: &[u8]) -> Result<(), String> {
        let mut wrong = String::new();
        if !self.expect.iter().any(|expected| expected == code) {
            let _ = write!(wrong, "expected {:?}, got {code}: {text}; ", self.expect);
        }
        let is_told = self.content_length.is_some() && self.command == "salvage";
        if is_told || (code == "ok" && matches!(self.command.as_str(), "restore" | "set")) {
            if self.content_length.is_none_or(|length| length != content.len() as u64) {
                let _ = write!(wrong, "{} bytes came out, not {:?}; ", content.len(), self.content_length);
            }
            if self.content_sha256.as_deref() != Some(&to_hex(&sha256(content))) {
                wrong += "the content is another one; ";
            }
        }
        if code != "ok" && self.released.is_some_and(|released| content.len() > released) {
            let _ = write!(wrong, "{} bytes were released, at most {:?} may be", content.len(), self.released);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

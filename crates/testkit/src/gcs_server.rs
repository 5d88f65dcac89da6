//! A server for what Backstay asks of Google Cloud Storage through object_store 0.14: single objects and pages of a listing, by the XML API.
//!
//! It is ours, since no emulator in reach answers these requests. It was written against two things: the source of object_store's GCS client,
//! for what is sent (the path encoded with its slashes, `x-goog-if-generation-match`, `list-type=2`, bearer tokens and the JWT that a
//! service account signs itself) and what has to come back (`ETag`, `Last-Modified`, `x-goog-generation`); and Google's public
//! reference of the XML API, for statuses, error codes, limits and checksums. It was never compared with Google's service, so that
//! what both sources leave open is open here too. Tokens are checked: their signature, issuer, scope and times.
//!
//! Multipart uploads and copies inside the store are not there, since Backstay makes neither; they are answered with 501, so that a first
//! use of one would be noticed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use hyper::http::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use crate::handler::{self, Front};
use crate::runtime::ServerThread;

/// Most objects of a page.
const PAGE: usize = 1000;
/// How far a token's times may lie ahead.
const SKEW: i64 = 300;
const EMAIL: &str = "backup@testkit.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    generation: u64,
    modified: Timestamp,
}

impl Object {
    /// Of an object that was sent whole, the tag is its MD5.
    fn tag(&self) -> String {
        format!("\"{}\"", self.md5().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    fn md5(&self) -> [u8; 16] {
        Md5::digest(&self.bytes).into()
    }
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    generation: u64,
    /// Tokens that are taken beside those that the service account signs.
    tokens: Vec<String>,
    open: bool,
}

/// A running server, which keeps everything in memory; dropping it stops it.
pub struct GcsServer {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    key: Arc<KeyPair>,
    server: ServerThread,
}

impl std::fmt::Debug for GcsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GcsServer").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl GcsServer {
    /// Starts a server with one bucket.
    #[must_use]
    pub fn with_bucket(name: &str) -> Self {
        let state = State { buckets: BTreeMap::from([(name.to_owned(), BTreeMap::new())]), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let key = Arc::new(KeyPair::generate(KeySize::Rsa2048).expect("a key"));
        let (shared, public) = (Arc::clone(&state), Arc::clone(&key));
        let server = handler::serve("gcs-server", Front::Plain, move |request| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match authorized(&state, &public, request.headers()) {
                Ok(()) => state.answer(&request),
                Err(why) => refusal(&request, StatusCode::UNAUTHORIZED, "AuthenticationRequired", &why),
            }
        });
        Self { endpoint: format!("http://{}", server.address()), state, key, server }
    }

    /// Address of the server, for a proxy before it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes this token too, as if a token service had given it out.
    pub fn accept_token(&self, token: &str) {
        self.state().tokens.push(token.to_owned());
    }

    /// Asks nobody for a token any more, as emulators do not.
    pub fn open_to_all(&self) {
        self.state().open = true;
    }

    /// The file that a service account's key is given out as.
    #[must_use]
    pub fn service_account(&self) -> String {
        service_account(&self.key)
    }

    /// The same with this server's address in it, as test servers are given out.
    #[must_use]
    pub fn service_account_here(&self) -> String {
        self.service_account().replacen('{', &format!("{{\"gcs_base_url\":\"{}\",", self.endpoint), 1)
    }

    /// The same of an account that the server does not know.
    #[must_use]
    pub fn strange_account() -> String {
        service_account(&KeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    /// The stored bytes of an object.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.state().buckets.get(bucket)?.get(key).map(|object| object.bytes.clone())
    }

    /// Flips a bit of a stored object.
    pub fn flip_bit(&self, bucket: &str, key: &str, byte: usize) {
        let mut state = self.state();
        let object = state.buckets.get_mut(bucket).and_then(|objects| objects.get_mut(key)).expect("it is there");
        let mut bytes = object.bytes.to_vec();
        bytes[byte] ^= 1;
        object.bytes = bytes.into();
    }
}

fn service_account(key: &KeyPair) -> String {
    let der: Pkcs8V1Der<'_> = key.as_der().expect("a key has an encoding");
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64_STANDARD
            .encode(der.as_ref())
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect::<Vec<_>>()
            .join("\n")
    );
    serde_json::json!({
        "type": "service_account",
        "project_id": "testkit",
        "private_key_id": "key-1",
        "private_key": pem,
        "client_email": EMAIL,
        "token_uri": "https://oauth2.googleapis.com/token",
    })
    .to_string()
}

/// Whether the request carries a token that counts.
fn authorized(state: &State, key: &KeyPair, head: &HeaderMap) -> Result<(), String> {
    if state.open {
        return Ok(());
    }
    let field = head.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = field.strip_prefix("Bearer ").unwrap_or_default();
    if token.is_empty() {
        return Err("Authentication required.".into());
    }
    if state.tokens.iter().any(|known| known == token) {
        return Ok(());
    }
    let invalid = |what: &str| format!("Invalid JWT: {what}.");
    let (message, signature) = token.rsplit_once('.').ok_or("Invalid token.")?;
    let decoded = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid("it is not base64"));
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
        .verify(message.as_bytes(), &decoded(signature)?)
        .map_err(|_| invalid("signature"))?;
    let (_, claims) = message.split_once('.').ok_or_else(|| invalid("it has no claims"))?;
    let claims: serde_json::Value = serde_json::from_slice(&decoded(claims)?).map_err(|_| invalid("claims"))?;
    let time = |name: &str| claims[name].as_i64().unwrap_or_default();
    let now = Timestamp::now().as_second();
    if claims["iss"] != EMAIL || claims["sub"] != EMAIL || claims["scope"] != SCOPE {
        return Err(invalid("issuer or scope"));
    }
    if time("iat") > now + SKEW || time("exp") < now || time("exp") - time("iat") > 3600 {
        return Err(invalid("token must be a short-lived one and in a reasonable timeframe"));
    }
    Ok(())
}

impl State {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (bucket, key) = (handler::percent_decoded(bucket), handler::percent_decoded(key));
        let query = handler::query(request.uri().query());
        let parameter = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let generation = self.generation + 1;
        let Some(objects) = self.buckets.get_mut(&bucket) else {
            return refusal(request, StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist.");
        };
        let elsewhere = ["uploads", "uploadId"].into_iter().any(|name| parameter(name).is_some());
        if elsewhere || request.headers().contains_key("x-goog-copy-source") {
            return refusal(request, StatusCode::NOT_IMPLEMENTED, "NotImplemented", "not in this server");
        }
        match *request.method() {
            Method::GET if key.is_empty() && parameter("list-type") == Some("2") => list(request, objects, &parameter),
            Method::PUT if !key.is_empty() => {
                let response = put(request, objects, key, generation);
                if response.status().is_success() {
                    self.generation = generation;
                }
                response
            }
            Method::GET | Method::HEAD if !key.is_empty() => {
                get(request, objects.get(&key), parameter("generation").and_then(|text| text.parse().ok()))
            }
            Method::DELETE if !key.is_empty() => match objects.remove(&key) {
                Some(_) => plain(StatusCode::NO_CONTENT),
                None => no_such_key(request),
            },
            _ => refusal(request, StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "not for this resource"),
        }
    }
}

fn put(
    request: &Request<Bytes>,
    objects: &mut BTreeMap<String, Object>,
    key: String,
    generation: u64,
) -> Response<Bytes> {
    let invalid = || refusal(request, StatusCode::BAD_REQUEST, "InvalidArgument", "Invalid argument.");
    if key.len() > 1024 {
        return refusal(request, StatusCode::BAD_REQUEST, "KeyTooLong", "The specified object name is too long.");
    }
    if let Some(wanted) = field(request, "x-goog-if-generation-match") {
        let Ok(wanted) = wanted.parse::<u64>() else { return invalid() };
        let current = objects.get(&key).map_or(0, |object| object.generation);
        if wanted != current {
            let why = "At least one of the pre-conditions you specified did not hold.";
            return refusal(request, StatusCode::PRECONDITION_FAILED, "PreconditionFailed", why);
        }
    }
    let object = Object { bytes: request.body().clone(), generation, modified: Timestamp::now() };
    let of_hash =
        field(request, "x-goog-hash").and_then(|hash| hash.split(',').find_map(|one| one.trim().strip_prefix("md5=")));
    for digest in [field(request, "content-md5"), of_hash].into_iter().flatten() {
        match BASE64_STANDARD.decode(digest) {
            Ok(digest) if digest == object.md5() => {}
            Ok(_) => return refusal(request, StatusCode::BAD_REQUEST, "BadDigest", "The Content-MD5 did not match."),
            Err(_) => return invalid(),
        }
    }
    let response = described(StatusCode::OK, &object).header(CONTENT_LENGTH, 0).body(Bytes::new());
    objects.insert(key, object);
    response.expect("a response")
}

fn get(request: &Request<Bytes>, object: Option<&Object>, generation: Option<u64>) -> Response<Bytes> {
    let Some(object) = object.filter(|object| generation.is_none_or(|wanted| wanted == object.generation)) else {
        return no_such_key(request);
    };
    let names = |list: &str| list.split(',').any(|tag| tag.trim() == "*" || tag.trim() == object.tag());
    if field(request, IF_MATCH.as_str()).is_some_and(|list| !names(list)) {
        return refusal(request, StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "The tag is another one.");
    }
    if field(request, IF_NONE_MATCH.as_str()).is_some_and(names) {
        return described(StatusCode::NOT_MODIFIED, object).body(Bytes::new()).expect("a response");
    }
    let size = object.bytes.len();
    let range = match field(request, RANGE.as_str()).map(|text| range_of(text, size)) {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => {
            let why = "The requested range cannot be satisfied.";
            return refusal(request, StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", why);
        }
    };
    let (status, bytes) = match &range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, object.bytes.slice(range.clone())),
        None => (StatusCode::OK, object.bytes.clone()),
    };
    let mut response = described(status, object).header(CONTENT_LENGTH, bytes.len());
    if let Some(range) = range {
        response = response.header(CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    let body = if request.method() == Method::HEAD { Bytes::new() } else { bytes };
    response.body(body).expect("a response")
}

/// `bytes=5-9`, `bytes=5-` or `bytes=-5`; `None` if nothing of the object lies in it.
fn range_of(text: &str, size: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) => first..size,
        (Err(_), Ok(last)) => size.saturating_sub(last)..size,
        (Err(_), Err(_)) => return None,
    };
    (!range.is_empty()).then_some(range)
}

fn list<'q>(
    request: &Request<Bytes>,
    objects: &BTreeMap<String, Object>,
    parameter: &impl Fn(&str) -> Option<&'q str>,
) -> Response<Bytes> {
    let (prefix, delimiter) = (parameter("prefix").unwrap_or_default(), parameter("delimiter").unwrap_or_default());
    let page = parameter("max-keys").and_then(|text| text.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let token = match parameter("continuation-token").map(|token| BASE64_STANDARD.decode(token)) {
        None => None,
        Some(Ok(last)) => Some(String::from_utf8_lossy(&last).into_owned()),
        Some(Err(_)) => {
            return refusal(request, StatusCode::BAD_REQUEST, "InvalidArgument", "The continuation token is not ours.");
        }
    };
    let after = token.as_deref().max(parameter("start-after"));
    let (mut contents, mut folders) = (Vec::new(), Vec::<String>::new());
    let (mut last, mut more) = (String::new(), false);
    for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let below = (!delimiter.is_empty()).then(|| key[prefix.len()..].find(delimiter)).flatten();
        let folder = below.map(|at| &key[..prefix.len() + at + delimiter.len()]);
        let shown = folder.unwrap_or(key);
        if after.is_some_and(|after| shown <= after) || folders.last().is_some_and(|folder| folder == shown) {
            continue;
        }
        if contents.len() + folders.len() == page {
            more = true;
            break;
        }
        shown.clone_into(&mut last);
        match folder {
            Some(folder) => folders.push(folder.to_owned()),
            None => contents.push((key, object)),
        }
    }
    let mut xml = String::from(
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>",
    );
    for (key, object) in contents {
        xml += &format!(
            "<Contents><Key>{}</Key><Generation>{}</Generation><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
            escaped(key),
            object.generation,
            object.modified.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"),
            escaped(&object.tag()),
            object.bytes.len()
        );
    }
    for folder in folders {
        xml += &format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escaped(&folder));
    }
    xml += &format!("<IsTruncated>{more}</IsTruncated>");
    if more {
        xml += &format!("<NextContinuationToken>{}</NextContinuationToken>", BASE64_STANDARD.encode(last));
    }
    xml += "</ListBucketResult>";
    Response::builder().header("content-type", "application/xml").body(xml.into()).expect("a response")
}

fn field<'r>(request: &'r Request<Bytes>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

fn described(status: StatusCode, object: &Object) -> hyper::http::response::Builder {
    Response::builder()
        .status(status)
        .header(ETAG, object.tag())
        .header(LAST_MODIFIED, object.modified.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .header("x-goog-generation", object.generation)
        .header("x-goog-metageneration", 1)
        .header("x-goog-stored-content-length", object.bytes.len())
        .header("x-goog-hash", format!("md5={}", BASE64_STANDARD.encode(object.md5())))
}

fn plain(status: StatusCode) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::new()).expect("a response")
}

fn no_such_key(request: &Request<Bytes>) -> Response<Bytes> {
    refusal(request, StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
}

fn refusal(request: &Request<Bytes>, status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    let xml = format!(
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{}</Message></Error>",
        escaped(message)
    );
    let body = if request.method() == Method::HEAD { Bytes::new() } else { xml.into() };
    Response::builder().status(status).header("content-type", "application/xml").body(body).expect("a response")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

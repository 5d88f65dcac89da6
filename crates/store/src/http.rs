//! The one place where a store's requests leave and answers arrive. It counts them, signs them where the cloud is S3, notes what the
//! answers say beyond what object_store passes on, and gives up a request that has stopped moving. What a request may take in all follows from
//! what it moves: a large part over a thin line is slow, not stuck, and a page of a listing that comes byte by byte is stuck.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientConfigKey, ClientOptions, RetryConfig};
use tokio::time::{Instant, Sleep};

use crate::Error;
use crate::attempt::Exchange;
use crate::creation::NewObject;
use crate::open::StoreOptions;
use crate::rate::RateLimit;
use crate::requests::{Counters, Request};

/// Bytes handed to the connection at a time; how finely the progress of an upload is seen.
const SLICE: usize = 64 * 1024;

/// Most of an error's body that is read; the store's code and message are at its beginning.
const ERROR_BODY: usize = 64 * 1024;

/// Most of a page of a listing that is read. The longest is Azure's, of 5000 names of 1024 characters each, which may take six bytes where they are
/// escaped, and two KiB of what else is told of an object; Amazon's and Google's have 1000 names. A server that sends more is none of these.
const LISTING: usize = 64 << 20;

/// The fewest bytes a second that are a movement at all.
const SLOWEST: u64 = 1024;

/// Time to reach a host. object_store shortens it for a credential service, which is near or not there at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Changes a request on its way out; S3 signs here.
#[async_trait]
pub(crate) trait Outgoing: std::fmt::Debug + Send + Sync + 'static {
    /// Called once for each attempt at a request to the store.
    async fn prepare(&self, request: &mut HttpRequest) -> object_store::Result<()>;
}

/// Makes the HTTP clients of one store, and of the credential services that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Host and port of the store; a request to anywhere else is one for credentials.
    authority: String,
    stall: Duration,
    upload_limit: Option<RateLimit>,
    download_limit: Option<RateLimit>,
    request_limit: Option<RateLimit>,
    certificates: Vec<reqwest::Certificate>,
    /// Headers of every request to the store.
    headers: HeaderMap,
    counters: Arc<Counters>,
    outgoing: OnceLock<Arc<dyn Outgoing>>,
}

impl Connector {
    pub(crate) fn new(
        authority: String,
        options: &StoreOptions,
        certificates: Vec<reqwest::Certificate>,
        headers: HeaderMap,
        counters: Arc<Counters>,
    ) -> Self {
        let shared = Shared {
            authority,
            stall: options.stall,
            upload_limit: options.upload_limit.clone(),
            download_limit: options.download_limit.clone(),
            request_limit: options.request_limit.clone(),
            certificates,
            headers,
            counters,
            outgoing: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sets what prepares the requests; possible once the object store is built, which is where its credentials come from.
    #[cfg(feature = "s3")]
    pub(crate) fn prepare_with(&self, outgoing: Arc<dyn Outgoing>) {
        let first = self.shared.outgoing.set(outgoing).is_ok();
        debug_assert!(first, "a connector belongs to one store");
    }
}

/// The certificates of the file that an option names.
pub(crate) fn ca_file(path: Option<&Path>) -> Result<Vec<reqwest::Certificate>, Error> {
    let Some(path) = path else { return Ok(Vec::new()) };
    certificates(path).map_err(|reason| Error::Option { what: format!("the ca file {}", path.display()), reason })
}

/// The certificates in a file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// object_store's own retries, off: see `retry.rs`.
pub(crate) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// What the connector wants to be told by object_store's builders.
pub(crate) fn client_options(allow_http: bool) -> ClientOptions {
    ClientOptions::new().with_allow_http(allow_http).with_connect_timeout(CONNECT_TIMEOUT)
}

/// Reads back a duration as object_store writes it.
fn seconds(text: &str) -> Option<Duration> {
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let setting = |key| options.get_config_value(&key);
        let http_allowed = setting(ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let connect_timeout =
            setting(ClientConfigKey::ConnectTimeout).and_then(|value| seconds(&value)).unwrap_or(CONNECT_TIMEOUT);
        let client = || {
            reqwest::Client::builder()
                .user_agent(concat!("backstay/", env!("CARGO_PKG_VERSION")))
                .https_only(!http_allowed)
                .connect_timeout(connect_timeout)
                // Each part has a connection of its own: one stream with many flows in it would be as slow as its one socket.
                .http1_only()
                .tls_certs_merge(self.shared.certificates.iter().cloned())
                // A redirected request would have to be signed again.
                .redirect(reqwest::redirect::Policy::none())
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
        };
        let failed = |error| object_store::Error::Generic { store: "http", source: Box::new(error) };
        let direct = client().no_proxy().build().map_err(failed)?;
        let client = client().build().map_err(failed)?;
        Ok(HttpClient::new(Service { client, direct, shared: Arc::clone(&self.shared) }))
    }
}

/// One HTTP client with everything around it.
#[derive(Debug)]
struct Service {
    /// Goes through the proxy that the environment names, if it does.
    client: reqwest::Client,
    /// Goes past it: a machine's metadata service is on the machine, and without TLS, unlike every other one that gives out credentials.
    direct: reqwest::Client,
    shared: Arc<Shared>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let exchange = Exchange::current().unwrap_or_default();
        if !self.is_to_store(request.uri()) {
            let host = request.uri().host().unwrap_or_default().to_owned();
            exchange.update(|seen| seen.elsewhere = Some(host));
            let answer = self.send(request).await?;
            exchange.update(|seen| {
                seen.status = Some(answer.status());
                seen.clock = clock_advice(answer.headers());
            });
            return Ok(answer);
        }
        if let Some(NewObject(headers)) = request.extensions().get().cloned() {
            request.headers_mut().extend(headers);
        }
        request.headers_mut().extend(self.shared.headers.clone());
        // Before it is signed: a signature is as old as its date.
        if let Some(limit) = &self.shared.request_limit {
            tokio::time::sleep_until(limit.turn()).await;
        }
        if let Some(outgoing) = self.shared.outgoing.get() {
            outgoing.prepare(&mut request).await.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        }
        let kind = kind(&request);
        let query = request.uri().query().filter(|query| query.contains("sig=")).map(str::to_owned);
        self.shared.counters.count(kind);
        exchange.update(|seen| *seen = Default::default());
        let answer = self.send(request).await;
        exchange.update(|seen| {
            seen.sent = !matches!(&answer, Err(error) if error.kind() == HttpErrorKind::Connect);
        });
        let answer = answer?;
        self.shared.counters.note_answer();
        if let Some(offset) = header(answer.headers(), "date").and_then(crate::clock::offset) {
            self.shared.counters.note_clock(offset);
        }
        exchange.update(|seen| {
            seen.status = Some(answer.status());
            seen.sha256 = header(answer.headers(), "x-amz-checksum-sha256").and_then(digest);
        });
        if kind == Request::List && answer.status().is_success() {
            let (parts, body) = answer.into_parts();
            let Some(body) = at_most(LISTING, body).await? else {
                return Err(no_listing(&format!("has more than {} MiB, which no page of one has", LISTING >> 20)));
            };
            return if is_listing(&body) {
                Ok(HttpResponse::from_parts(parts, body.into()))
            } else {
                Err(no_listing("is none"))
            };
        }
        if answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let body = beginning(body).await?;
        let text = String::from_utf8_lossy(&body);
        exchange.update(|seen| {
            seen.code = header(&parts.headers, "x-ms-error-code").map(str::to_owned).or_else(|| element(&text, "Code"));
            seen.message = element(&text, "Message");
            seen.clock = clock_advice(&parts.headers);
            seen.expired = query
                .as_deref()
                .zip(header(&parts.headers, "date"))
                .and_then(|(query, date)| crate::clock::expired(query, date));
            seen.retry_after = header(&parts.headers, "retry-after").and_then(pause);
            seen.region =
                header(&parts.headers, "x-amz-bucket-region").map(str::to_owned).or_else(|| element(&text, "Region"));
        });
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}

impl Service {
    fn is_to_store(&self, uri: &Uri) -> bool {
        uri.authority().is_some_and(|authority| authority.as_str() == self.shared.authority)
    }

    /// Sends a request, and waits for the head of the answer as long as the body moves.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let to_store = self.is_to_store(request.uri());
        let (parts, body) = request.into_parts();
        let url = reqwest::Url::parse(&parts.uri.to_string())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut outgoing = reqwest::Request::new(parts.method, url);
        *outgoing.headers_mut() = parts.headers;
        let pace = Arc::new(Mutex::new(Pace::begin(self.shared.stall)));
        if body.content_length() > 0 {
            let (limit, pace) = (self.shared.upload_limit.clone(), Arc::clone(&pace));
            let upload = Upload { body, slice: Bytes::new(), handed: None, pace, limit, turn: None };
            *outgoing.body_mut() = Some(reqwest::Body::wrap(upload));
        }
        let nearby = outgoing.url().scheme() == "http" && !to_store;
        let client = if nearby { &self.direct } else { &self.client };
        let mut call = std::pin::pin!(client.execute(outgoing));
        let answer = loop {
            let until = locked(&pace).until;
            tokio::select! {
                biased;
                answer = &mut call => break answer.map_err(http_error)?,
                () = tokio::time::sleep_until(until) => {
                    let pace = locked(&pace);
                    if pace.until <= Instant::now() {
                        return Err(pace.stalled());
                    }
                }
            }
        };
        let (parts, body) = http::Response::from(answer).into_parts();
        let body = Download {
            body,
            pace: Pace::begin(self.shared.stall),
            since: Instant::now(),
            patience: Box::pin(tokio::time::sleep(self.shared.stall)),
            waiting: false,
            limit: self.shared.download_limit.clone(),
            turn: None,
        };
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

/// Until when a body has to be further than it is: each time it has moved so many bytes, it gets as long again.
#[derive(Debug)]
struct Pace {
    stall: Duration,
    /// Bytes that moved since it last got more time.
    moved: u64,
    until: Instant,
}

impl Pace {
    fn begin(stall: Duration) -> Self {
        Self { stall, moved: 0, until: Instant::now() + stall }
    }

    fn note(&mut self, bytes: u64) {
        self.moved += bytes;
        if u128::from(self.moved) * 1000 >= u128::from(SLOWEST) * self.stall.as_millis() {
            self.renew();
        }
    }

    fn renew(&mut self) {
        *self = Self::begin(self.stall);
    }

    /// This time does not count.
    fn rest(&mut self, time: Duration) {
        self.until += time;
    }

    fn stalled(&self) -> HttpError {
        HttpError::new(HttpErrorKind::Timeout, Stalled { stall: self.stall, moved: self.moved })
    }
}

fn locked(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of a request, in slices: the connection asks for the next one when it has room.
struct Upload {
    body: HttpRequestBody,
    slice: Bytes,
    /// Bytes that the connection was given last; it has passed them on when it asks for more. None before it first asks.
    handed: Option<u64>,
    pace: Arc<Mutex<Pace>>,
    limit: Option<RateLimit>,
    /// The time that is booked for the next slice.
    turn: Option<Pin<Box<Sleep>>>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match self.handed.replace(0) {
            // It is connected only now.
            None => locked(&self.pace).renew(),
            Some(bytes) => locked(&self.pace).note(bytes),
        }
        while self.slice.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.slice = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let mut length = self.slice.len().min(SLICE);
        if let Some(limit) = &self.limit {
            length = length.min(limit.slice());
            let until = match &self.turn {
                Some(turn) => turn.deadline(),
                None => {
                    let until = limit.book(length as u64);
                    // Waiting for one's turn is not standing still.
                    locked(&self.pace).rest(until.saturating_duration_since(Instant::now()));
                    until
                }
            };
            let turn = self.turn.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            ready!(turn.as_mut().poll(context));
            self.turn = None;
        }
        let slice = self.slice.split_to(length);
        self.handed = Some(length as u64);
        if self.is_end_stream() {
            // From the last bytes on the store has its time to answer.
            locked(&self.pace).renew();
        }
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.slice.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.slice.len() as u64 + self.body.size_hint().lower())
    }
}

/// The body of an answer. The time runs only while the reader waits for the network, not while the network waits for the reader.
struct Download {
    body: reqwest::Body,
    pace: Pace,
    /// When the reader got the last bytes.
    since: Instant,
    patience: Pin<Box<Sleep>>,
    waiting: bool,
    limit: Option<RateLimit>,
    /// The time that was booked for the bytes that came last.
    turn: Option<Pin<Box<Sleep>>>,
}

impl Body for Download {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(context));
            self.turn = None;
        }
        if !self.waiting {
            let away = self.since.elapsed();
            self.pace.rest(away);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waiting = false;
            self.since = Instant::now();
            if let Some(Ok(frame)) = &frame
                && let Some(bytes) = frame.data_ref()
            {
                let length = bytes.len() as u64;
                self.turn = self.limit.as_ref().map(|limit| Box::pin(tokio::time::sleep_until(limit.book(length))));
                self.pace.note(length);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(http_error)));
        }
        if !self.waiting {
            self.waiting = true;
            let until = self.pace.until;
            self.patience.as_mut().reset(until);
        }
        ready!(self.patience.as_mut().poll(context));
        Poll::Ready(Some(Err(self.pace.stalled())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{} moved for {:.1} s", match moved { 0 => "nothing".to_owned(), bytes => format!("only {bytes} bytes") }, stall.as_secs_f64())]
struct Stalled {
    stall: Duration,
    moved: u64,
}

fn http_error(error: reqwest::Error) -> HttpError {
    let kind = if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_timeout() {
        HttpErrorKind::Timeout
    } else {
        HttpErrorKind::Interrupted
    };
    // The URL may carry a signature.
    HttpError::new(kind, error.without_url())
}

fn kind(request: &HttpRequest) -> Request {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::GET if query.contains("list-type=2") || query.contains("comp=list") => Request::List,
        Method::GET => Request::Get,
        Method::HEAD => Request::Head,
        Method::PUT => Request::Put,
        Method::DELETE => Request::Delete,
        // How Azure is asked to delete.
        Method::POST if query.contains("comp=batch") => Request::Delete,
        _ => Request::Other,
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn clock_advice(headers: &HeaderMap) -> Option<String> {
    crate::clock::advice(header(headers, "date")?, std::time::SystemTime::now())
}

/// Whether this is how S3, Google Cloud Storage and Azure begin a listing. object_store takes whatever else is XML for one without objects, and
/// an empty store is no good news where a proxy, or the door of a network, answers with a page of its own.
fn is_listing(body: &[u8]) -> bool {
    let beginning = String::from_utf8_lossy(&body[..body.len().min(1024)]);
    beginning.contains("<ListBucketResult") || beginning.contains("<EnumerationResults")
}

/// As permanent as what rustls says of a bad certificate: it is not the store that answers.
fn no_listing(what: &str) -> HttpError {
    let text = format!("the answer to a listing {what}: something else than a store answers at this address");
    HttpError::new(HttpErrorKind::Decode, std::io::Error::new(std::io::ErrorKind::InvalidData, text))
}

/// The seconds of a `Retry-After`. It may be a date as well, which no store sends and which would be worth as much as this machine's clock.
fn pause(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

/// A digest in base64; the checksum of checksums of a multipart object (`…-3`) is none of the object's bytes.
fn digest(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// The text of the first element of that name. Error bodies are read for the sake of messages; they are not worth an XML parser.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    Some(text).filter(|text| !text.is_empty())
}

async fn beginning(body: HttpResponseBody) -> Result<Bytes, HttpError> {
    let mut stream = body.bytes_stream();
    let mut kept = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        kept.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY - kept.len())]);
        if kept.len() == ERROR_BODY {
            break;
        }
    }
    Ok(kept.into())
}

/// The whole body, unless it is longer.
async fn at_most(limit: usize, body: HttpResponseBody) -> Result<Option<Bytes>, HttpError> {
    let mut stream = body.bytes_stream();
    let mut kept = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        if chunk.len() > limit - kept.len() {
            return Ok(None);
        }
        kept.extend_from_slice(&chunk);
    }
    Ok(Some(kept.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_no_further() {
        let body = |length: usize| HttpResponseBody::from(Bytes::from(vec![7; length]));
        assert_eq!(at_most(10, body(10)).await.unwrap().unwrap().len(), 10);
        assert!(at_most(10, body(11)).await.unwrap().is_none());
        assert_eq!(at_most(0, body(0)).await.unwrap().unwrap().len(), 0);
    }

    #[test]
    fn error_bodies_are_read_for_code_and_message() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>a &lt;b&gt; &amp;amp;</Message><Region/></Error>";
        assert_eq!(element(xml, "Code").as_deref(), Some("NoSuchBucket"));
        assert_eq!(element(xml, "Message").as_deref(), Some("a <b> &amp;"));
        assert_eq!(element(xml, "Region"), None);
        assert_eq!(element("<Code>", "Code"), None);
        assert_eq!(element("</Code><Code>", "Code"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_move_a_kib_a_second_and_time_that_is_not_its_own_does_not_count() {
        let (stall, second) = (Duration::from_secs(10), Duration::from_secs(1));
        let mut pace = Pace::begin(stall);
        let begun = pace.until - stall;
        tokio::time::advance(second).await;
        pace.note(10 * SLOWEST - 1);
        assert_eq!(pace.until, begun + stall);
        assert!(pace.stalled().to_string().contains("10239 bytes"), "{}", pace.stalled());
        pace.rest(second * 5);
        assert_eq!(pace.until, begun + stall + second * 5);
        pace.note(1);
        assert_eq!((pace.until, pace.moved), (begun + second + stall, 0));
    }

    #[test]
    fn only_a_whole_objects_checksum_is_a_digest() {
        let text = BASE64_STANDARD.encode([7; 32]);
        assert_eq!(digest(&text), Some([7; 32]));
        assert_eq!(digest(&format!("{text}-3")), None);
        assert_eq!(digest(&BASE64_STANDARD.encode([7; 31])), None);
    }

    #[test]
    fn a_page_of_somebody_else_is_no_listing() {
        assert!(is_listing(b"<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"/>"));
        assert!(is_listing(b"\xef\xbb\xbf<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"x\">"));
        assert!(!is_listing(b"<html><body/></html>") && !is_listing(b"") && !is_listing(b"<Error/>"));
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_not_as_a_date() {
        assert_eq!(pause(" 120 "), Some(Duration::from_secs(120)));
        for other in ["", "-1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(pause(other), None, "{other}");
        }
    }

    #[test]
    fn the_connectors_settings_survive_object_stores_spelling() {
        let setting = |options: &ClientOptions, key| options.get_config_value(&key).unwrap();
        let options = client_options(true);
        assert_eq!(setting(&options, ClientConfigKey::AllowHttp), "true");
        assert_eq!(seconds(&setting(&options, ClientConfigKey::ConnectTimeout)), Some(CONNECT_TIMEOUT));
        let near = options.with_connect_timeout(Duration::from_secs(1));
        assert_eq!(seconds(&setting(&near, ClientConfigKey::ConnectTimeout)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn requests_are_told_apart() {
        let of = |method: &str, uri: &str| {
            let request = http::Request::builder().method(method).uri(uri).body(HttpRequestBody::empty()).unwrap();
            kind(&request)
        };
        assert_eq!(of("PUT", "http://h/b/k"), Request::Put);
        assert_eq!(of("GET", "http://h/b/k"), Request::Get);
        assert_eq!(of("HEAD", "http://h/b/k"), Request::Head);
        assert_eq!(of("DELETE", "http://h/b/k"), Request::Delete);
        assert_eq!(of("GET", "http://h/b?list-type=2&prefix=k"), Request::List);
        assert_eq!(of("GET", "http://h/c?restype=container&comp=list"), Request::List);
        assert_eq!(of("POST", "http://h/c?comp=batch"), Request::Delete);
        assert_eq!(of("POST", "http://h/c"), Request::Other);
    }
}

//! A service that keeps what it was asked and answers as a script says: what credentials come from (token endpoints, metadata services) where no
//! real one can be had, and stores whose answers no server in reach gives. It shows what a client sends, not that the real service takes it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::{Request, Response};

use crate::handler::{self, Front};
use crate::runtime::ServerThread;
use crate::tls;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The parameters of the query, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// Fields of the head, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
}

impl Recorded {
    fn of(request: &Request<Bytes>) -> Self {
        Self {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: handler::query(request.uri().query()),
            fields: request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: String::from_utf8_lossy(request.body()).into_owned(),
        }
    }

    /// A field of the head; empty if it was not sent.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        find(&self.fields, name)
    }

    /// A field of the head, if it was sent.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query; empty if it was not sent.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        find(&self.query, name)
    }

    /// The body's parameters, of a form.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        handler::query(Some(&self.body))
    }
}

fn find<'p>(pairs: &'p [(String, String)], name: &str) -> &'p str {
    pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

/// What is answered: a status, fields of the head, and a body.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    /// 200 with this body.
    pub fn ok(body: impl Into<String>) -> Self {
        Self::status(200, body)
    }

    /// This status with this body.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self { status, fields: Vec::new(), body: body.into() }
    }

    /// The same with a field in its head.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// A running service; dropping it stops it.
pub struct Recorder {
    /// `http://127.0.0.1:PORT`, or `https`.
    pub endpoint: String,
    log: Arc<Mutex<Vec<Recorded>>>,
    server: ServerThread,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts a service that answers as `script` says.
    pub fn start(script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_as("http", Front::Plain, script)
    }

    /// A store that says yes to every object and keeps none: enough of S3's, Google's and Azure's XML for objects to be created, looked for,
    /// listed and deleted.
    #[must_use]
    pub fn store() -> Self {
        Self::start(|asked| {
            let (status, body) = match asked.method.as_str() {
                "PUT" => (201, ""),
                "DELETE" => (204, ""),
                "GET" if asked.parameter("list-type") == "2" => {
                    (200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
                }
                "GET" if asked.parameter("comp") == "list" => {
                    (200, "<EnumerationResults><Blobs/></EnumerationResults>")
                }
                _ => (404, "<Error><Code>NoSuchKey</Code><Message>nothing is kept here</Message></Error>"),
            };
            let answer = Answer::status(status, body).with("etag", "\"recorded\"");
            answer.with("last-modified", "Sat, 01 Jan 2000 00:00:00 GMT")
        })
    }

    /// The same over TLS, and the certificate to trust it by, in PEM.
    pub fn start_tls(script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> (Self, String) {
        let (acceptor, certificate) = tls::server("IP:127.0.0.1");
        (Self::start_as("https", Front::Tls(acceptor), script), certificate)
    }

    /// A proxy behind which the server with this name, and the certificate to trust that server by, is played: for what has a fixed address.
    pub fn start_behind_proxy(
        name: &str,
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> (Self, String) {
        let (acceptor, certificate) = tls::server(&format!("DNS:{name}"));
        (Self::start_as("http", Front::Tunnel(acceptor), script), certificate)
    }

    fn start_as(scheme: &str, front: Front, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let server = handler::serve("recorder", front, move |request| {
            let recorded = Recorded::of(&request);
            let answer = script(&recorded);
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
            let mut response = Response::builder().status(answer.status);
            for (name, value) in answer.fields {
                response = response.header(name, value);
            }
            response.body(answer.body.into()).expect("a scripted answer is one")
        });
        Self { endpoint: format!("{scheme}://{}", server.address()), log, server }
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> String {
        self.server.address().to_string()
    }

    /// What was asked since the last call of this.
    #[must_use]
    pub fn taken(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

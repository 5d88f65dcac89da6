//! moto: S3 with versions, tags and locks, in memory. It checks neither signatures nor checksums, so that a test of these against it would prove
//! nothing; that is what [`S3Server`](crate::S3Server) is for.

use std::net::SocketAddr;
use std::sync::LazyLock;

use crate::child::{ChildServer, installed};
use crate::wire;

/// A running moto; dropping it stops it.
#[derive(Debug)]
pub struct Moto {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    server: ChildServer,
}

impl Moto {
    /// Starts moto, which takes some seconds.
    ///
    /// # Panics
    /// If it is not installed: a test that could not run must not look like one that passed.
    #[must_use]
    pub fn start() -> Self {
        let server = ChildServer::start(&installed("venv/bin/moto_server"), &["-H", "127.0.0.1", "-p", "0"]);
        Self { endpoint: format!("http://{}", server.address()), server }
    }

    /// The one moto of this process; it ends with it.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Moto> = LazyLock::new(Moto::start);
        &SHARED
    }

    /// Address of the server, for a proxy before it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) {
        self.ask("PUT", &format!("/{name}"), b"");
    }

    /// Sends a request of the S3 API, whose signature moto does not look at, and gives the answer's body.
    pub fn ask(&self, method: &str, target: &str, body: &[u8]) -> String {
        // The scope of the signature is how moto tells which service is meant.
        let credential =
            "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=any";
        wire::ask(self.address(), method, target, &[("authorization", credential)], body)
    }

    /// The variables with which a program reaches this server.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "any"),
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

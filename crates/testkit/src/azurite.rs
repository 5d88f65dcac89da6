//! Azurite: Microsoft's own emulator of Azure's storage, in memory. It checks signatures.

use std::net::SocketAddr;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::child::{ChildServer, installed};
use crate::wire;

/// The account that the emulator is published with.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const VERSION: &str = "2021-08-06";

/// A running azurite; dropping it stops it.
#[derive(Debug)]
pub struct Azurite {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    server: ChildServer,
}

impl Azurite {
    /// Starts azurite, which takes some seconds.
    ///
    /// # Panics
    /// If it is not installed: a test that could not run must not look like one that passed.
    #[must_use]
    pub fn start() -> Self {
        let script = installed("azurite/node_modules/azurite/dist/src/blob/main.js");
        let server = ChildServer::start(
            &installed("azurite/node"),
            &[
                script.to_str().expect("a path in this repository"),
                "--inMemoryPersistence",
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                "0",
                "--skipApiVersionCheck",
                "--disableTelemetry",
            ],
        );
        Self { endpoint: format!("http://{}", server.address()), server }
    }

    /// The one azurite of this process; it ends with it.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Azurite> = LazyLock::new(Azurite::start);
        &SHARED
    }

    /// Address of the server, for a proxy before it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes a container.
    pub fn create_container(&self, name: &str) {
        create_container(self.address(), name);
    }

    /// The variables with which a program reaches this server.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
            ("AZURE_STORAGE_KEY", KEY),
            ("AZURE_STORAGE_ENDPOINT", self.endpoint.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

/// Makes a container on the azurite that listens there.
pub fn create_container(address: SocketAddr, name: &str) {
    let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    );
    let authorization = format!("SharedKey {ACCOUNT}:{}", signature(&signed));
    let fields = [("x-ms-date", date.as_str()), ("x-ms-version", VERSION), ("authorization", &authorization)];
    wire::ask(address, "PUT", &format!("/{ACCOUNT}/{name}?restype=container"), &fields, b"");
}

/// A shared access signature of the account that allows everything with blobs for an hour, as the portal gives it out.
#[must_use]
pub fn shared_access_signature() -> String {
    let expiry = (Timestamp::now() + SignedDuration::from_hours(1)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (permissions, services, types) = ("rwdlac", "b", "sco");
    let signed = format!("{ACCOUNT}\n{permissions}\n{services}\n{types}\n\n{expiry}\n\nhttps,http\n{VERSION}\n\n");
    let signature = signature(&signed).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let expiry = expiry.replace(':', "%3A");
    format!("sv={VERSION}&ss={services}&srt={types}&sp={permissions}&se={expiry}&spr=https%2Chttp&sig={signature}")
}

fn signature(text: &str) -> String {
    let key = BASE64_STANDARD.decode(KEY).expect("a published key");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes());
    BASE64_STANDARD.encode(tag)
}

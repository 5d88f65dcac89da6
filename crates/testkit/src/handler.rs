//! An HTTP server that is one function from a whole request to a whole answer, for services small enough to be written that way.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::runtime::ServerThread;

/// What stands between a connection and its requests.
#[derive(Clone)]
pub(crate) enum Front {
    /// Nothing.
    Plain,
    /// TLS.
    Tls(TlsAcceptor),
    /// The client takes us for its proxy, and asks for a tunnel to the server that it then finds here.
    Tunnel(TlsAcceptor),
}

/// Starts a server that answers each request with what `answer` makes of it.
pub(crate) fn serve(
    name: &str,
    front: Front,
    answer: impl Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
) -> ServerThread {
    let answer = Arc::new(answer);
    ServerThread::start(name, move |listener: TcpListener| async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                continue;
            };
            let _ = socket.set_nodelay(true);
            let (answer, front) = (Arc::clone(&answer), front.clone());
            // A client that goes away, or does not trust us, is the client's business.
            tokio::spawn(async move {
                let mut socket = socket;
                let tls = match front {
                    Front::Plain => return serve_connection(socket, answer).await,
                    Front::Tls(tls) => tls,
                    Front::Tunnel(tls) => match open_tunnel(&mut socket).await {
                        Ok(()) => tls,
                        Err(_) => return,
                    },
                };
                if let Ok(socket) = tls.accept(socket).await {
                    serve_connection(socket, answer).await;
                }
            });
        }
    })
}

/// Reads the request for a tunnel byte by byte, since what follows is not ours, and grants it.
async fn open_tunnel(socket: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    assert!(head.starts_with(b"CONNECT "), "{}", String::from_utf8_lossy(&head));
    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await
}

async fn serve_connection<F>(socket: impl AsyncRead + AsyncWrite + Unpin, answer: Arc<F>)
where
    F: Fn(Request<Bytes>) -> Response<Bytes>,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(answer(Request::from_parts(head, body)).map(Full::new))
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

/// The parameters of a query, decoded.
pub(crate) fn query(text: Option<&str>) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decoded(&text.replace('+', " "));
    text.unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// `%20` and its like as the characters that they stand for.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code.filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("names are UTF-8")
}

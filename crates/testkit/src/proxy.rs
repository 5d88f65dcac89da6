//! A proxy in front of a real server, in which each HTTP request meets a fate of the test's choosing: lost on the way there, lost on the way
//! back, answered by somebody else, delayed, or stuck. One request for each connection, so that what is cut is cut for one request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::runtime::ServerThread;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes, and so does its answer.
    Pass,
    /// The connection breaks once this many bytes of the body have been passed on.
    CutRequest(usize),
    /// Nothing more is read of the body after this many bytes, and nothing is answered.
    StallRequest(usize),
    /// The server does what it is asked, and its answer is lost.
    DropAnswer,
    /// The connection breaks once this many bytes of the answer's body have been passed on.
    CutAnswer(usize),
    /// The answer stops after this many bytes of its body, and the connection stays.
    StallAnswer(usize),
    /// This status is answered, and the server never hears of the request.
    AnswerInstead(u16, &'static str),
    /// This status is answered, with the wish to be asked again after so many seconds (`Retry-After`) and not before.
    AskToWait(u16, u64),
    /// The server does what it is asked, and this status is answered in its place.
    AnswerAfter(u16, &'static str),
    /// It passes after a while.
    Delay(Duration),
}

/// A request as the proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedRequest {
    /// `PUT`, `GET`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// How many requests of this method came, this one included.
    pub number: usize,
}

type Script = Box<dyn FnMut(&ProxiedRequest) -> Fate + Send>;

/// A running proxy; dropping it breaks its connections.
pub struct Proxy {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    _server: ServerThread,
}

struct State {
    script: Script,
    log: Vec<ProxiedRequest>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A script for one request: the `number`-th of `method` meets `fate`, all others pass.
pub fn nth(method: &'static str, number: usize, fate: Fate) -> impl FnMut(&ProxiedRequest) -> Fate + Send + 'static {
    move |request| {
        if request.method == method && request.number == number { fate.clone() } else { Fate::Pass }
    }
}

impl Proxy {
    /// Starts a proxy before `upstream`; `script` is asked for the fate of each request.
    #[must_use]
    pub fn start(upstream: SocketAddr, script: impl FnMut(&ProxiedRequest) -> Fate + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State { script: Box::new(script), log: Vec::new() }));
        let shared = Arc::clone(&state);
        let server = ServerThread::start("proxy", move |listener: TcpListener| async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Broken connections are what this is about.
                    let _ = serve(client, upstream, &state).await;
                });
            }
        });
        Self { endpoint: format!("http://{}", server.address()), state, _server: server }
    }

    /// All requests so far.
    #[must_use]
    pub fn log(&self) -> Vec<ProxiedRequest> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).log.clone()
    }

    /// How many requests of `method` came.
    #[must_use]
    pub fn count(&self, method: &str) -> usize {
        self.log().iter().filter(|request| request.method == method).count()
    }

    /// Replaces the script.
    pub fn set_script(&self, script: impl FnMut(&ProxiedRequest) -> Fate + Send + 'static) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).script = Box::new(script);
    }
}

impl State {
    fn fate_of(&mut self, method: &str, target: &str) -> Fate {
        let number = self.log.iter().filter(|request| request.method == method).count() + 1;
        let request = ProxiedRequest { method: method.into(), target: target.into(), number };
        let fate = (self.script)(&request);
        self.log.push(request);
        fate
    }
}

/// The head of a message, up to and with its empty line, and what was read beyond it.
struct Head {
    text: String,
    beyond: Vec<u8>,
}

impl Head {
    async fn read(socket: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let beyond = bytes.split_off(end + 4);
                return Ok(Some(Self { text: String::from_utf8_lossy(&bytes).into_owned(), beyond }));
            }
            if socket.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn length(&self) -> usize {
        assert!(self.field("transfer-encoding").is_none(), "the proxy reads bodies of known length");
        self.field("content-length").map_or(0, |length| length.parse().expect("a number"))
    }

    /// The head with a field that makes the server close the connection after its answer.
    fn closing(&self) -> String {
        self.text.replacen("\r\n", "\r\nconnection: close\r\n", 1)
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(head) = Head::read(&mut client).await? else {
        return Ok(());
    };
    let mut words = head.text.split(' ');
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let fate = state.lock().unwrap_or_else(PoisonError::into_inner).fate_of(&method, &target);
    let length = head.length();
    match fate {
        Fate::CutRequest(after) | Fate::StallRequest(after) => {
            let mut server = TcpStream::connect(upstream).await?;
            server.write_all(head.closing().as_bytes()).await?;
            pass_body(&mut client, &mut server, &head.beyond, length.min(after)).await?;
            if let Fate::StallRequest(_) = fate {
                std::future::pending::<()>().await;
            }
            reset(client);
            reset(server);
        }
        Fate::AnswerInstead(status, code) => {
            pass_body(&mut client, &mut tokio::io::sink(), &head.beyond, length).await?;
            answer(&mut client, &method, status, code, None).await?;
        }
        Fate::AskToWait(status, seconds) => {
            pass_body(&mut client, &mut tokio::io::sink(), &head.beyond, length).await?;
            answer(&mut client, &method, status, "SlowDown", Some(seconds)).await?;
        }
        Fate::AnswerAfter(status, code) => {
            ask(&mut client, upstream, &head, length).await?;
            answer(&mut client, &method, status, code, None).await?;
        }
        Fate::DropAnswer => {
            ask(&mut client, upstream, &head, length).await?;
            reset(client);
        }
        Fate::CutAnswer(after) | Fate::StallAnswer(after) => {
            let answer = ask(&mut client, upstream, &head, length).await?;
            let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
            client.write_all(&answer[..answer.len().min(body + after)]).await?;
            client.flush().await?;
            if let Fate::StallAnswer(_) = fate {
                std::future::pending::<()>().await;
            }
            // Closed and not reset: a reset could overtake the bytes before it.
        }
        Fate::Pass | Fate::Delay(_) => {
            if let Fate::Delay(time) = fate {
                tokio::time::sleep(time).await;
            }
            let answer = ask(&mut client, upstream, &head, length).await?;
            client.write_all(&answer).await?;
            client.shutdown().await?;
        }
    }
    Ok(())
}

/// Passes a request on and returns the whole answer, which may come before the body has been passed on.
async fn ask(client: &mut TcpStream, upstream: SocketAddr, head: &Head, length: usize) -> std::io::Result<Vec<u8>> {
    let (mut from_server, mut to_server) = TcpStream::connect(upstream).await?.into_split();
    let mut answer = Vec::new();
    let ask = async {
        to_server.write_all(head.closing().as_bytes()).await?;
        pass_body(client, &mut to_server, &head.beyond, length).await
    };
    // A server that has answered already may not want the rest of the body.
    let (_, read) = tokio::join!(ask, from_server.read_to_end(&mut answer));
    if answer.is_empty() {
        read?;
    }
    Ok(answer)
}

async fn pass_body(
    client: &mut TcpStream,
    to: &mut (impl AsyncWriteExt + Unpin),
    beyond: &[u8],
    length: usize,
) -> std::io::Result<()> {
    let first = beyond.len().min(length);
    to.write_all(&beyond[..first]).await?;
    tokio::io::copy(&mut client.take((length - first) as u64), to).await?;
    to.flush().await
}

async fn answer(
    client: &mut TcpStream,
    method: &str,
    status: u16,
    code: &str,
    retry_after: Option<u64>,
) -> std::io::Result<()> {
    let body = if method == "HEAD" {
        String::new()
    } else {
        format!("<Error><Code>{code}</Code><Message>the proxy says so</Message></Error>")
    };
    let wish = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Scripted\r\n{wish}content-length: {length}\r\nconnection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    client.shutdown().await
}

/// Closes a connection with a reset, as a machine that went down would.
fn reset(socket: TcpStream) {
    let _ = socket.set_zero_linger();
    drop(socket);
}

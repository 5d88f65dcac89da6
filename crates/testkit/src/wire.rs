//! One HTTP request over one connection, for what a test has to arrange on a server before the product comes: a container, a bucket's settings.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Sends a request and gives the answer's body.
///
/// # Panics
/// If the answer is not a success.
pub(crate) fn ask(address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> String {
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut connection = TcpStream::connect(address).expect("the server listens");
    connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body)).expect("the request is sent");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("the answer is read");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.starts_with("HTTP/1.1 2"), "{method} {target}: {answer}");
    body.to_owned()
}

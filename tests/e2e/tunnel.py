"""Two small servers before an S3 server: one that ends TLS with a given certificate, and a proxy as companies have them.

    tunnel.py tls PORT_FILE UPSTREAM_PORT CERTIFICATE KEY
    tunnel.py proxy PORT_FILE LOG [HOST=PORT ...]

The proxy takes CONNECT, and requests that name their host; whatever they name is looked up among the pairs, and is else where it says. What
was asked of it stands in LOG, one line each.
"""

import os
import socket
import ssl
import sys
import threading


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def join(client, server):
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)


def serve(port_file, handle):
    listener = socket.create_server(("127.0.0.1", 0))
    with open(port_file + ".new", "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(port_file + ".new", port_file)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=handle, args=(client,), daemon=True).start()


def tls(port_file, upstream, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def handle(client):
        try:
            client = context.wrap_socket(client, server_side=True)
        except (OSError, ssl.SSLError):
            return
        join(client, socket.create_connection(("127.0.0.1", int(upstream))))

    serve(port_file, handle)


def head_of(client):
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(65536)
        if not data:
            return None
        head += data
    return head


def proxy(port_file, log, *known):
    known = dict(pair.split("=") for pair in known)

    def connect(host):
        port = known.get(host.split(":")[0])
        if port is not None:
            return socket.create_connection(("127.0.0.1", int(port)))
        name, _, port = host.partition(":")
        return socket.create_connection((name, int(port or 80)))

    def handle(client):
        head = head_of(client)
        if head is None:
            return
        method, target, _ = head.split(b"\r\n")[0].decode("ascii").split(" ")
        with open(log, "a", encoding="ascii") as file:
            file.write(f"{method} {target}\n")
        if method == "CONNECT":
            server = connect(target)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            # One request for each connection, since only the first line's host is read.
            host, slash, path = target.removeprefix("http://").partition("/")
            server = connect(host)
            head = head.replace(target.encode(), (slash + path).encode(), 1)
            head = head.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
            server.sendall(head)
        join(client, server)

    serve(port_file, handle)


if __name__ == "__main__":
    {"tls": tls, "proxy": proxy}[sys.argv[1]](*sys.argv[2:])

"""A server that answers everything with the same page and status 200, as the door of a wireless network does: web-page.py PORT-FILE."""

import http.server
import os
import sys

PAGE = b"<html><body><h1>Welcome! Please sign in.</h1></body></html>\n"


class Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(PAGE)))
        self.send_header("etag", '"x"')
        self.send_header("last-modified", "Fri, 21 Feb 2025 09:26:40 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(PAGE)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
with open(sys.argv[1] + ".tmp", "w") as file:
    print(server.server_port, file=file)
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
server.serve_forever()

"""A web server on loopback that misbehaves as it is told, and serves as a proxy too."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from tests.loopback import LoopbackServer


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


class UnreliableServer(LoopbackServer):
    """Gives the first answer to the first request, and so on; the last one to all that follow."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.answers = answers
        super().__init__(_handler(self), tls)
        self.url = f"{'https' if tls else 'http'}://{self.host}/cifar-10-python.tar.gz"

    @property
    def ranges(self) -> list[str | None]:
        return [request.range for request in self.requests]

    def next_answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            return self.answers[min(len(self.requests), len(self.answers)) - 1]


class Handler(BaseHTTPRequestHandler):
    server_of_test: UnreliableServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self.server_of_test.next_answer(Request(self.command, self.path, dict(self.headers.items())))(self)

    do_CONNECT = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def begin(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()

    def wait(self, seconds: float | None) -> None:
        self.server_of_test.closing.wait(seconds)


Answer = Callable[[Handler], None]


def _handler(server: UnreliableServer) -> type[Handler]:
    return type("HandlerOfTest", (Handler,), {"server_of_test": server})


def sends(
    data: bytes,
    *,
    ranges: bool = True,
    etag: str | None = None,
    modified: str | None = None,
    length: int | None = None,
    chunked: bool = False,
    unframed: bool = False,
    content_range: str | None = None,
    stop_after: int | None = None,
    how: str = "close",
    piece: int = 1 << 16,
    delay: float = 0,
) -> Answer:
    """Send a file, honestly unless told otherwise.

    ``length`` is announced in place of the true one, ``content_range`` likewise; ``stop_after`` bytes of the
    body it ends: by "close", "reset" or "stall". A ``piece`` is sent every ``delay`` seconds.
    """

    def answer(handler: Handler) -> None:
        wanted = handler.headers.get("Range")
        if wanted and handler.headers.get("If-Range", etag or modified) not in (etag, modified):
            wanted = None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if ranges and wanted else 0
        if start >= len(data):
            handler.begin(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": 0})
            return
        body = data[start:]
        announced = None if chunked or unframed else length if length is not None else len(body)
        headers: dict[str, object] = {"Content-Length": announced, "ETag": etag, "Last-Modified": modified}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        if start:
            headers["Content-Range"] = content_range or f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.begin(206 if start else 200, headers)
        _send_body(handler, body[:stop_after], chunked, piece, delay)
        if stop_after is not None and stop_after < len(body):
            _stop(handler, how)
        elif chunked:
            handler.wfile.write(b"0\r\n\r\n")

    return answer


def says(status: int, page: str = "", **headers: object) -> Answer:
    """Answer with a status, an HTML page and headers, whose names have _ for -."""

    def answer(handler: Handler) -> None:
        body = page.encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.begin(status, {"Content-Type": "text/html", "Content-Length": len(body), **named})
        handler.wfile.write(body)

    return answer


def hangs(handler: Handler) -> None:
    """Take the request and never answer."""
    handler.wait(None)


def closes(handler: Handler) -> None:
    """Take the request and hang up."""


def babbles(handler: Handler) -> None:
    """Answer with what is no HTTP."""
    handler.wfile.write(b"220 ready for mail\r\n" * 3)


def tunnels(handler: Handler) -> None:
    """Connect on to where a proxy's client wants to go, and pass bytes to and fro."""
    host, _, port = handler.path.rpartition(":")
    with socket.create_connection((host, int(port))) as server:
        handler.begin(200, {})
        to = {handler.connection: server, server: handler.connection}
        while True:
            for ready in select.select(list(to), [], [])[0]:
                data = ready.recv(1 << 16)
                if not data:
                    return
                to[ready].sendall(data)


def _send_body(handler: Handler, body: bytes, chunked: bool, piece: int, delay: float) -> None:
    if handler.command == "HEAD":
        return
    for begin in range(0, len(body), piece):
        part = body[begin : begin + piece]
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if delay:
            handler.wait(delay)


def _stop(handler: Handler, how: str) -> None:
    if how == "stall":
        handler.wait(None)
    if how == "reset":
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(handler.connection.detach())

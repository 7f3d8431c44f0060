"""Send HTTP and HTTPS requests through the proxies that the environment names, and retry after transient failures.

Proxies come from ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; trusted certificates from
``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, and in addition from ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE``.

urllib3 makes the connections: it depends on nothing and leaves certificates and redirects to its caller. httpx and
requests depend on six and four packages and trust certifi's certificates in place of the machine's. None of the
three limits the time of a whole transfer (https://github.com/encode/httpx/issues/1450), hence the timer in `Client`.
urllib3 does not read the environment, hence `urllib.request.getproxies`.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import string
import threading
import urllib.request
from base64 import b64encode
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import tenacity
import urllib3

from pipeline.progress.monitor import Monitor
from pipeline.web.urls import SCHEMES, without_secrets

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FIRST_PAUSE = 0.5
"""Seconds between the first two attempts; each further pause is twice as long."""

# urllib3 logs whole URLs, which may hold secrets: each at DEBUG, and those with broken headers at WARNING.
for _module in ("connection", "connectionpool", "poolmanager"):
    logging.getLogger(f"urllib3.{_module}").addFilter(lambda _: False)


class TransferError(Exception):
    """A request or a transfer fails; the message follows ``URL:``."""


class BrokenTransferError(TransferError):
    """A request or a transfer fails, but the next attempt may succeed."""


def retrying(source: str, attempts: int, monitor: Monitor) -> tenacity.Retrying:
    """Return a caller that repeats a function after each `BrokenTransferError`, up to ``attempts`` calls in all."""

    def report(state: tenacity.RetryCallState) -> None:
        error, left = state.outcome and state.outcome.exception(), attempts - state.attempt_number
        monitor.log(
            f"{without_secrets(source)}: {error} Trying again in {state.upcoming_sleep:g} s; attempts left: {left}."
        )

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(BrokenTransferError),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=FIRST_PAUSE),
        before_sleep=report,
        reraise=True,
    )


class Client:
    """Sends requests and, in a ``with`` block, limits their time and turns their errors into `TransferError`.

    Parameters
    ----------
    connect_timeout, stall_timeout : float
        Seconds to wait for a connection, TLS included, and for the next byte.
    time_limit : float
        Seconds that the block may take. A socket's timeout restarts with each byte, and a server may send headers
        for ever.
    """

    def __init__(self, *, connect_timeout: float, stall_timeout: float, time_limit: float) -> None:
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=stall_timeout)
        self._time_limit = time_limit
        self._timer = threading.Timer(time_limit, self._end)
        self._timer.daemon = True
        self._is_late = False
        self._socket: Any = None
        self._response: urllib3.BaseHTTPResponse | None = None
        self._server = self._peer = ""

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._timer.cancel()
        if self._response:
            self._response.close()
        expected = (TransferError, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)
        if error and not isinstance(error, expected):
            return
        if self._is_late:  # without an error, too: a response without a length seems to end when it is cut off
            raise TransferError(f"took longer than {self._time_limit:g} seconds (time_limit).") from None
        if isinstance(error, Exception) and not isinstance(error, TransferError):
            raise self._described(error) from None

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None = None, *, redirects: int = 10
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, follow redirects, and return the response once its headers have come.

        Its body can be read with ``read1`` until the next request or the end of the block.
        """
        for _ in range(redirects + 1):
            if self._response:
                self._response.close()
            self._response = self._send(method, url, headers, body)
            location = self._response.get_redirect_location()
            if not location:
                return self._response
            url = _redirected(url, location)
        raise TransferError(f"redirects to {without_secrets(url)}; expected at most {redirects} redirects.")

    def _send(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> urllib3.BaseHTTPResponse:
        manager = _manager(url, self._timeout)
        self._socket = None
        self._server = urlsplit(url).netloc
        self._peer = f"the proxy {manager.proxy.netloc}" if manager.proxy else self._server
        self._watch(manager.connection_from_url(url))
        return manager.request(
            method,
            url,
            headers={"User-Agent": "faster-deep-learning", **headers},
            body=body,
            redirect=False,
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,
        )

    def _watch(self, pool: Any) -> None:
        """Keep the socket of a pool's connection, so that `_end` can shut it down.

        urllib3 hands out the socket only with the response, and a server may send headers for ever.
        """

        class Watched(pool.ConnectionCls):  # type: ignore[misc]
            def connect(connection) -> None:  # noqa: N805
                super().connect()
                self._socket = connection.sock
                if self._is_late:
                    self._end()

        pool.ConnectionCls = Watched

    def _end(self) -> None:
        """Shut the connection down, which wakes up the thread that waits for it."""
        self._is_late = True
        with suppress(OSError, AttributeError):  # it is closed, or there is none yet
            self._socket.shutdown(socket.SHUT_RDWR)

    def _described(self, error: Exception) -> TransferError:
        cause = _root_cause(error)
        if isinstance(error, ValueError):
            return TransferError(f"answered with something that makes no sense ({without_secrets(str(error))}).")
        if not self._socket:
            return self._unreachable(cause)
        if isinstance(cause, TimeoutError):
            return BrokenTransferError(f"sent nothing for {self._timeout.read_timeout:g} seconds (stall_timeout).")
        return BrokenTransferError(f"broke off the connection ({without_secrets(str(cause)) or type(cause).__name__}).")

    def _unreachable(self, cause: BaseException) -> TransferError:
        """Explain why there is no connection with a server, or with the proxy on the way to it."""
        match cause:
            case socket.gaierror():
                return BrokenTransferError(
                    f"the name of {self._peer} cannot be resolved ({cause.strerror}): "
                    "is this machine on the network, or must HTTPS_PROXY name its proxy?"
                )
            case ssl.SSLCertVerificationError():
                return TransferError(
                    f"the certificate of {self._server} is not trusted ({cause.verify_message}): is this machine's "
                    "clock right? Certificates of your own go into SSL_CERT_FILE, now "
                    f"{os.environ.get('SSL_CERT_FILE', 'not set')}."
                )
            case TimeoutError():
                reason = f"no connection within {self._timeout.connect_timeout:g} seconds (connect_timeout)"
            case ConnectionRefusedError():
                reason = "the connection was refused"
            case OSError() if str(cause).startswith("Tunnel connection failed"):
                return TransferError(
                    f"{self._peer} refuses to connect to {self._server} ({str(cause).partition(': ')[2]}): "
                    "correct HTTPS_PROXY (http://NAME:PASSWORD@HOST:PORT), or list the server in NO_PROXY."
                )
            case _:
                reason = without_secrets(str(cause))
        return BrokenTransferError(f"{self._peer} cannot be reached ({reason}).")


def _manager(url: str, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Return a maker of connections for a URL, through the proxy that the environment names, if any."""
    target = urlsplit(url)
    tls = _tls_context() if target.scheme == "https" else None
    options: dict[str, Any] = {"timeout": timeout, "retries": False, "ssl_context": tls}
    proxies = urllib.request.getproxies()
    given = proxies.get(target.scheme) or proxies.get("all", "")
    if not given or urllib.request.proxy_bypass(target.netloc):
        return urllib3.PoolManager(**options)
    proxy = _checked_proxy(given, f"{target.scheme.upper()}_PROXY")
    login, _, host = proxy.netloc.rpartition("@")
    headers = {"Proxy-Authorization": f"Basic {b64encode(unquote(login).encode()).decode()}"} if login else {}
    return urllib3.ProxyManager(f"{proxy.scheme}://{host}", proxy_headers=headers, proxy_ssl_context=tls, **options)


def _checked_proxy(given: str, variable: str) -> SplitResult:
    """Parse the URL of a proxy. It may hold a password, so no message repeats it."""
    with suppress(ValueError):
        proxy = urlsplit(given if "//" in given else f"http://{given}")
        if proxy.hostname and proxy.port != 0 and proxy.path in ("", "/"):
            if proxy.scheme in SCHEMES:
                return proxy
            raise TransferError(
                f"the environment asks for a {proxy.scheme} proxy; expected an HTTP one: "
                f"set {variable}=http://HOST:PORT, or list the server in NO_PROXY."
            )
    raise TransferError(
        f"{variable} or ALL_PROXY is no URL of a proxy; expected http://HOST:PORT or "
        "http://NAME:PASSWORD@HOST:PORT, where %2F stands for / and %40 for @."
    )


def _tls_context() -> ssl.SSLContext:
    """Return the machine's certificates and those of `BUNDLE_VARIABLES`; `ssl` itself reads SSL_CERT_FILE and _DIR."""
    context = ssl.create_default_context()
    for variable in BUNDLE_VARIABLES:
        if bundle := os.environ.get(variable):
            try:
                context.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
            except OSError as error:
                raise TransferError(
                    f"{variable} is {bundle!r}, which cannot be read as certificates ({error}). Correct or unset it."
                ) from None
    return context


def _redirected(url: str, location: str) -> str:
    """Return the URL that a redirect leads to; refuse schemes other than HTTP and HTTPS, and HTTP after HTTPS."""
    target = urljoin(url, quote(location, string.punctuation, "latin-1"))  # some servers send UTF-8 unquoted
    scheme, place = urlsplit(target)[:2]
    if "@" in place:
        raise TransferError(f"redirects to {without_secrets(target)} with a name or a password; expected none.")
    allowed = ("https",) if urlsplit(url).scheme == "https" else SCHEMES
    if scheme not in allowed:
        raise TransferError(
            f"redirects to {without_secrets(target)}; a redirect from {urlsplit(url).scheme} must lead to "
            f"{' or '.join(allowed)}."
        )
    return target


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost of the errors that urllib3 wrapped."""
    nested = [getattr(error, "original_error", None), error.__cause__, *error.args]
    return next((_root_cause(inner) for inner in nested if isinstance(inner, BaseException)), error)

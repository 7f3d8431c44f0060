"""A real S3 server on loopback, SeaweedFS, and places in its bucket, one for each test."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from obstore.store import S3Store

BUCKET = "results"
IDENTITIES = {"writer": ["Admin"], "reader": ["Read", "List"]}
"""Who may do what in the bucket; the names are those of the access keys."""

PORTS = ("master", "volume", "filer", "s3", "admin")
"""The parts of SeaweedFS; each has a port for HTTP and one for gRPC."""

KEEP = """
exec 3<&0
"$@" </dev/null &
server=$!
{ read -r line <&3; kill -9 $server; } &
wait $server
rm -rf "$FOLDER" $SOCKETS
"""
"""Run the server until the tests close their end of a pipe, or die. Asked to end, it would take 25 s."""


class ObjectStore:
    """SeaweedFS in a temporary folder: 1 s until it answers, then 120 to 260 MB of memory."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address
        self._numbers = itertools.count(1)
        for left in (2, 1, 0):
            try:
                self._start()
                return
            except OSError:  # another process took one of the ports meanwhile
                if not left:
                    raise

    def _start(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="object-store-"))
        (folder / "s3.json").write_text(json.dumps({"identities": [_identity(name) for name in IDENTITIES]}))
        ports = dict(zip(itertools.product(PORTS, ("", ".grpc")), free_ports(2 * len(PORTS)), strict=True))
        self.endpoint = f"http://{self._address}:{ports['s3', '']}"
        with tempfile.TemporaryFile() as log:
            self._keeper = subprocess.Popen(
                ["sh", "-c", KEEP, "sh", _program(), *_flags(self._address, folder, ports)],
                cwd=folder,
                env={
                    "HOME": str(folder),  # nobody's own settings
                    "PATH": os.defpath,
                    "FOLDER": str(folder),
                    "SOCKETS": " ".join(f"/tmp/seaweedfs-*-{port}.sock" for port in ports.values()),
                },
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it ends after the tests, not when a person types Ctrl-C
            )
            try:
                self._wait()
            except OSError as error:
                self.close()
                log.seek(0)
                error.add_note(log.read().decode())
                raise

    def _wait(self) -> None:
        """Wait until the server takes objects."""
        import obstore

        store = self.bucket().open()
        for _ in range(300):
            with contextlib.suppress(obstore.exceptions.BaseError):
                obstore.put(store, "ready", b"")
                return
            if self._keeper.poll() is not None:
                raise OSError("SeaweedFS has ended")
            time.sleep(0.1)
        raise OSError("SeaweedFS takes no objects")

    def close(self) -> None:
        self._keeper.communicate()

    def bucket(self) -> Place:
        """Return the whole bucket, as one who may write."""
        return Place(f"s3://{BUCKET}", "writer", self.endpoint)

    def place(self) -> Place:
        """Return an empty prefix of the bucket, as one who may write."""
        return replace(self.bucket(), url=f"s3://{BUCKET}/{next(self._numbers)}")


@dataclass(frozen=True)
class Place:
    """A prefix of the bucket, as one of the identities sees it at an endpoint."""

    url: str
    identity: str
    endpoint: str

    def read_only(self) -> Place:
        return replace(self, identity="reader")

    def at(self, endpoint: str) -> Place:
        return replace(self, endpoint=endpoint)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name the endpoint and have the credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.identity,
            "AWS_SECRET_ACCESS_KEY": _secret(self.identity),
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def open(self, seconds: int = 20) -> S3Store:
        """Open the prefix, to look and to change things without the pipeline; each request is tried once."""
        from obstore.store import S3Store

        return S3Store.from_url(
            self.url,
            access_key_id=self.identity,
            secret_access_key=_secret(self.identity),
            region="us-east-1",
            endpoint=self.endpoint,
            client_options={"allow_http": True, "timeout": f"{seconds}s"},
            retry_config={"max_retries": 0},
        )


def _program() -> str:
    """Find SeaweedFS beside Python, or skip the test."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent))
    if not found:
        pytest.skip("there is no SeaweedFS for this machine: its package has no wheel for Macs with Intel")
    return found


def _identity(name: str) -> dict[str, object]:
    keys = {"accessKey": name, "secretKey": _secret(name)}
    return {"name": name, "credentials": [keys], "actions": IDENTITIES[name]}


def _secret(identity: str) -> str:
    return f"secret-of-the-{identity}"


def _flags(address: str, folder: Path, ports: dict[tuple[str, str], int]) -> Iterator[str]:
    """Name SeaweedFS's parts and limit them: at one address, without telemetry, consoles and catalogues."""
    yield from ("mini", f"-dir={folder}", f"-s3.config={folder / 's3.json'}", f"-bucket={BUCKET}")
    yield from (f"-ip={address}", f"-ip.bind={address}", "-master.telemetry=false")
    yield from ("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0")
    yield from (f"-{part}.port{kind}={port}" for (part, kind), port in ports.items())


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]

"""The S3 server of the tests and the proxy before it: each breaks a remote just as the name of a fault says."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
)

from tests import object_faults as faults
from tests.checkout import ROOT

CONTENT = b"0123456789"

START = """
import time
from tests.object_store import ObjectStore
server = ObjectStore()
print(server.endpoint, flush=True)
time.sleep(60)
"""


def read(store, path="cas/1"):
    return bytes(obstore.get(store, path).bytes())


def listed(store):
    return [item["path"] for page in obstore.list(store) for item in page]


@pytest.fixture
def written(place):
    """A place with one object."""
    obstore.put(place.open(), "cas/1", CONTENT)
    return place


class TestServer:
    def test_keeps_what_is_written_in_a_place_of_its_own(self, object_store, written):
        assert read(written.open()) == CONTENT
        assert listed(written.open()) == ["cas/1"]
        assert listed(object_store.place().open()) == []
        obstore.delete(written.open(), "cas/1")
        assert listed(written.open()) == []

    def test_of_racing_writers_exactly_one_wins(self, place):
        start, won = threading.Barrier(8), []

        def write(number):
            store = place.open()
            start.wait()
            try:
                obstore.put(store, "ac/1", b"%d" % number, mode="create")
                won.append(b"%d" % number)
            except AlreadyExistsError:
                pass

        writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert won == [read(place.open(), "ac/1")]

    def test_lets_the_reader_read_and_nobody_else(self, written):
        reader = written.read_only().open()
        assert read(reader) == CONTENT
        assert listed(reader) == ["cas/1"]
        with pytest.raises(PermissionDeniedError):
            obstore.put(reader, "cas/1", b"other")
        with pytest.raises(GenericError, match="AccessDenied"):
            obstore.delete(reader, "cas/1")
        assert read(written.open()) == CONTENT

    def test_ends_with_the_process_that_started_it(self):
        started = subprocess.Popen([sys.executable, "-c", START], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        endpoint = urlsplit(started.stdout.readline().strip())
        assert listens(endpoint)
        started.send_signal(signal.SIGKILL)
        started.communicate()
        assert wait_until(lambda: not listens(endpoint))


class TestFaults:
    """What obstore says where a remote breaks; with no fault the proxy changes nothing."""

    @pytest.fixture
    def store(self, proxy, written):
        return written.at(proxy.endpoint).open()

    def test_none(self, proxy, store):
        obstore.put(store, "ac/1", CONTENT, mode="create")
        with pytest.raises(AlreadyExistsError):
            obstore.put(store, "ac/1", b"other", mode="create")
        assert read(store, "ac/1") == CONTENT
        assert obstore.head(store, "ac/1")["size"] == len(CONTENT)
        assert listed(store) == ["ac/1", "cas/1"]
        obstore.delete(store, "ac/1")
        assert [request.method for request in proxy.requests] == ["PUT", "PUT", "GET", "HEAD", "GET", "POST"]
        assert proxy.count("PUT", "/ac/") == 2

    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            (faults.hangs_up, "error sending request"),
            (faults.breaks_off, "request or response body error"),
            (faults.says(503, "SlowDown"), "503 Service Unavailable: .*SlowDown"),
            (faults.says(403, "AccessDenied"), "403 Forbidden: .*AccessDenied"),
        ],
    )
    def test_that_end_in_an_error(self, proxy, store, fault, told):
        proxy.breaks(fault, "GET", "cas/")
        with pytest.raises(BaseError, match=told):
            read(store)
        proxy.heals()
        assert read(store) == CONTENT

    @pytest.mark.parametrize("fault", [faults.hangs, faults.drips])
    def test_that_take_too_long(self, proxy, written, fault):
        proxy.breaks(fault, "GET")
        with pytest.raises(BaseError, match="TimedOut"):
            read(written.at(proxy.endpoint).open(seconds=1))

    @pytest.mark.parametrize(
        ("fault", "content"),
        [
            (faults.wrong_bytes, CONTENT.translate(bytes(reversed(range(256))))),
            (faults.shorter, CONTENT[:5]),
            (faults.longer, CONTENT + b"more"),
        ],
    )
    def test_that_lie(self, proxy, store, fault, content):
        proxy.breaks(fault, "GET")
        assert read(store) == content

    def test_an_object_without_end(self, proxy, store):
        proxy.breaks(faults.endless, "GET")
        got = obstore.get(store, "cas/1")
        assert got.meta["size"] == 10 << 30
        assert set(next(iter(got.stream(min_chunk_size=1 << 20)))) == {0}

    def test_a_full_disk(self, proxy, store):
        proxy.breaks(faults.says(507, "InsufficientStorage"), "PUT")
        with pytest.raises(BaseError, match="507"):
            obstore.put(store, "cas/2", CONTENT)
        assert listed(store) == ["cas/1"]

    def test_a_server_that_ignores_conditions(self, proxy, store, object_store):
        proxy.breaks(faults.unconditional(object_store.bucket()), "PUT")
        obstore.put(store, "cas/1", b"other", mode="create")
        assert read(store) == b"other"

    def test_lost_answers(self, proxy, store):
        proxy.breaks(faults.loses_answer, "PUT", every=2)
        obstore.put(store, "cas/2", CONTENT)
        with pytest.raises(BaseError):
            obstore.put(store, "cas/3", CONTENT)
        assert listed(store) == ["cas/1", "cas/2", "cas/3"]

    def test_some_by_chance(self, proxy, store):
        proxy.breaks(faults.hangs_up, "HEAD", chance=0.5)
        states = [is_there(store) for _ in range(40)]
        assert 5 < sum(states) < 35

    def test_nobody(self, written):
        with pytest.raises(BaseError, match="ConnectionRefused"):
            read(written.at(faults.nobody()).open())


def is_there(store):
    try:
        obstore.head(store, "cas/1")
    except BaseError:
        return False
    return True


def listens(endpoint):
    with socket.socket() as client:
        return client.connect_ex((endpoint.hostname, endpoint.port)) == 0


def wait_until(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False

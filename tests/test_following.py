"""Data that is taken as its source has it: from real servers on loopback, some of which answer badly."""

from __future__ import annotations

import gzip
import random
import shutil

import pytest

from pipeline.data import upstream
from pipeline.data.archive import ARCHIVE_NAME, Limits
from pipeline.data.transfer import Version
from pipeline.errors import DownloadError, SettingError
from pipeline.files.digests import file_digest
from pipeline.progress.monitor import SILENT
from pipeline.web import connection
from tests.checkout import QUICK, STAGES, small_archive
from tests.unreliable_server import UnreliableServer, closes, says, sends

ARCHIVE = gzip.compress(random.Random(1).randbytes(200_000), mtime=0)
OTHER = gzip.compress(random.Random(2).randbytes(200_000), mtime=0)
HALF = len(ARCHIVE) // 2
MONDAY, TUESDAY = "Mon, 02 Nov 2026 10:00:00 GMT", "Tue, 03 Nov 2026 10:00:00 GMT"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)


def limits(attempts=1):
    return Limits(minimum_rate=0, connect_timeout=5, stall_timeout=5, time_limit=60, attempts=attempts)


def ask(server, attempts=1):
    return upstream.ask(server.url, limits(attempts))


def fetch(folder, server, version, attempts=1):
    upstream.fetch(
        folder,
        partial=folder.parent / "archive.part",
        source=server.url,
        **version._asdict(),
        limits=limits(attempts),
        monitor=SILENT,
    )
    return (folder / ARCHIVE_NAME).read_bytes()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


class TestAsk:
    def test_returns_what_the_server_says_without_the_file(self):
        with UnreliableServer(sends(ARCHIVE, etag='"a"', modified=MONDAY)) as server:
            assert ask(server) == Version('"a"', MONDAY, len(ARCHIVE))
            assert [request.method for request in server.requests] == ["HEAD"]

    def test_asks_once_in_a_process(self):
        with UnreliableServer(sends(ARCHIVE, etag='"a"')) as server:
            assert ask(server) == ask(server)
            assert len(server.requests) == 1

    @pytest.mark.parametrize("status", [405, 501])
    def test_serves_itself_where_a_server_has_no_head(self, status):
        with UnreliableServer(says(status), sends(ARCHIVE, modified=MONDAY)) as server:
            assert ask(server) == Version("", MONDAY, len(ARCHIVE))
            assert [request.method for request in server.requests] == ["HEAD", "GET"]

    def test_tries_again_after_what_may_pass(self):
        with UnreliableServer(says(503), closes, sends(ARCHIVE, etag='"a"')) as server:
            assert ask(server, attempts=3).etag == '"a"'

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (says(404), "answered 404"),
            (says(503), "answered 503"),
            (closes, "broke off the connection"),
            (sends(ARCHIVE), "sends neither ETag nor Last-Modified"),
        ],
    )
    def test_an_answer_that_is_none_is_an_error(self, answer, fault):
        with UnreliableServer(answer) as server, pytest.raises(DownloadError, match=fault):
            ask(server)

    @pytest.mark.parametrize(
        "url", ["file:///tmp/archive", "ftp://host/archive", "nonsense", "http://name:word@127.0.0.1:9/a"]
    )
    def test_what_cannot_be_asked_is_refused(self, url):
        with pytest.raises(SettingError):
            upstream.ask(url, limits())


class TestFetch:
    def test_takes_the_version(self, folder):
        with UnreliableServer(sends(ARCHIVE, etag='"a"', modified=MONDAY)) as server:
            assert fetch(folder, server, ask(server)) == ARCHIVE

    @pytest.mark.parametrize("validators", [{"etag": '"a"'}, {"modified": MONDAY}])
    def test_goes_on_where_the_server_broke_off(self, folder, validators):
        broken, whole = sends(ARCHIVE, stop_after=HALF, **validators), sends(ARCHIVE, **validators)
        with UnreliableServer(whole, broken, whole) as server:
            assert fetch(folder, server, ask(server), attempts=2) == ARCHIVE
            assert server.ranges[2] is not None
            assert server.requests[2].headers["If-Range"] == next(iter(validators.values()))

    def test_goes_on_in_the_next_run(self, folder):
        broken, whole = (sends(ARCHIVE, etag='"a"', stop_after=stop) for stop in (HALF, None))
        with UnreliableServer(whole, broken, whole) as server:
            version = ask(server)
            with pytest.raises(DownloadError, match="cannot be followed"):
                fetch(folder, server, version)
            assert fetch(folder, server, version) == ARCHIVE
            assert server.ranges[2] is not None

    def test_trusts_a_weak_tag_for_no_rest(self, folder):
        broken, whole = (sends(ARCHIVE, etag='W/"a"', stop_after=stop) for stop in (HALF, None))
        with UnreliableServer(whole, broken, whole) as server:
            version = ask(server)
            with pytest.raises(DownloadError):
                fetch(folder, server, version)
            assert fetch(folder, server, version) == ARCHIVE
            assert server.ranges[2] is None

    def test_never_mixes_two_versions_of_weak_tags(self, folder):
        asked, broken = (sends(ARCHIVE, etag='W/"a"', stop_after=stop) for stop in (None, HALF))
        with UnreliableServer(asked, broken, sends(OTHER, etag='W/"b"')) as server:
            with pytest.raises(DownloadError, match="has another version"):
                fetch(folder, server, ask(server), attempts=2)
            assert list(folder.iterdir()) == []

    def test_never_mixes_two_versions_of_a_server_that_ignores_if_range(self, folder):
        def ignores_if_range(handler):
            del handler.headers["If-Range"]
            sends(OTHER, etag='"b"')(handler)

        asked, broken = (sends(ARCHIVE, etag='"a"', stop_after=stop) for stop in (None, HALF))
        with UnreliableServer(asked, broken, ignores_if_range) as server:
            with pytest.raises(DownloadError, match="has another version"):
                fetch(folder, server, ask(server), attempts=2)
            assert list(folder.iterdir()) == []

    def test_refuses_a_version_that_came_in_between(self, folder):
        with UnreliableServer(sends(ARCHIVE, etag='"a"'), sends(OTHER, etag='"b"')) as server:
            with pytest.raises(DownloadError, match="has another version than it had a moment ago"):
                fetch(folder, server, ask(server))
            assert list(folder.iterdir()) == []

    def test_never_mixes_two_versions(self, folder):
        broken = sends(ARCHIVE, etag='"a"', stop_after=HALF)
        with UnreliableServer(sends(ARCHIVE, etag='"a"'), broken, sends(OTHER, etag='"b"')) as server:
            with pytest.raises(DownloadError, match="has another version"):
                fetch(folder, server, ask(server), attempts=2)
            assert list(folder.iterdir()) == []


class Source:
    """A server whose file may be exchanged."""

    def __init__(self, archive):
        self.put(archive, '"first"')

    def put(self, archive, etag):
        self._answer = sends(archive.read_bytes(), etag=etag)

    def __call__(self, handler):
        self._answer(handler)


@pytest.fixture(scope="module")
def finished(states, tmp_path_factory):
    checkout = states.copy("new", tmp_path_factory.mktemp("following") / "checkout")
    source = Source(checkout.archive)
    with UnreliableServer(source) as server:
        checkout.set("DownloadCIFAR", follow_source="true", sha256="", sources=server.url, attempts="1")
        checkout.flags = lambda: list(QUICK)
        assert checkout.run() == dict.fromkeys(STAGES, "computed")
        yield checkout, source, server


class TestRuns:
    """The pipeline itself, following a source."""

    def test_do_nothing_where_the_source_is_as_it_was(self, finished):
        checkout, _, server = finished
        before = len(server.requests)
        assert set(checkout.run().values()) == {"reused"}
        assert [request.method for request in server.requests[before:]] == ["HEAD"]

    def test_fetch_a_new_version_and_do_what_follows(self, finished):
        checkout, source, _ = finished
        source.put(small_archive(checkout.folder / "new" / "archive.tar.gz", seed=5), '"second"')
        assert 'etag "first" -> "second"' in checkout.status()["DownloadCIFAR"]["why"]
        assert checkout.run() == dict.fromkeys(STAGES, "computed")
        source.put(checkout.archive, '"first"')
        assert set(checkout.run().values()) == {"reused"}

    def test_fetch_and_do_nothing_more_where_a_new_version_has_the_same_bytes(self, finished):
        checkout, source, _ = finished
        source.put(checkout.archive, '"third"')
        outcomes = checkout.run()
        assert outcomes.pop("DownloadCIFAR") == "computed"
        assert set(outcomes.values()) == {"adopted"}
        source.put(checkout.archive, '"first"')

    def test_fail_where_the_source_cannot_be_asked(self, finished, tmp_path):
        checkout, source, _ = finished
        source._answer = says(503)
        checkout.run(status=40)
        source.put(checkout.archive, '"first"')
        assert "The archive cannot be followed." in checkout.output
        assert "Traceback" not in checkout.output

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--DownloadCIFAR-sha256", "ab" * 32), "but sha256 pins the archive"),
            (("--DownloadCIFAR-sources", "http://a/b http://c/d"), "with 2 sources; expected one URL"),
            (("--DownloadCIFAR-sources", "file:///a"), "cannot be followed; expected an http or https URL"),
        ],
    )
    def test_refuse_settings_that_contradict_each_other(self, finished, flags, message):
        finished[0].run(*flags, status=40)
        assert message in finished[0].output

    def test_ask_nobody_unless_they_are_told_to(self, finished, tmp_path):
        checkout, _, server = finished
        digest = file_digest(checkout.archive)
        copy = checkout.copy(tmp_path / "checkout")
        copy.flags = lambda: [*QUICK, "--DownloadCIFAR-sha256", digest, "--DownloadCIFAR-follow-source", "false"]
        assert copy.run()["DownloadCIFAR"] == "computed"
        before = len(server.requests)
        assert set(copy.run().values()) == {"reused"}
        assert len(server.requests) == before
        shutil.rmtree(copy.folder)

from __future__ import annotations

import gzip
import hashlib
import math
import os
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data import download, transfer
from pipeline.data.archive import PUBLISHED_BYTES, PUBLISHED_SHA256, SOURCES, Limits, remembered_file_digest
from pipeline.errors import DownloadError, SettingError
from pipeline.files.json_cache import read_sealed, write_sealed
from pipeline.progress.monitor import SILENT
from pipeline.web import connection
from tests.monitors import RecordingMonitor
from tests.unreliable_server import Answer, Handler, UnreliableServer, babbles, closes, hangs, says, sends, tunnels

ARCHIVE = gzip.compress(random.Random(1).randbytes(400_000), mtime=0)
OTHER_ARCHIVE = gzip.compress(random.Random(2).randbytes(400_000), mtime=0)
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
HALF = len(ARCHIVE) // 2
ERROR_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Log in to\n Caf&eacute; Wi-Fi</title></head><body>Please</body></html>"
)


class Download:
    """A place to fetch to, with the stage's settings made quick."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"
        self.output.mkdir()
        self.partial = folder / "cache" / f"{SHA256}.part"
        self.monitor = RecordingMonitor()

    @property
    def archive(self) -> Path:
        return self.output / download.ARCHIVE_NAME

    def begin_with(self, data: bytes) -> None:
        self.partial.parent.mkdir(exist_ok=True)
        self.partial.write_bytes(data)

    def fetch(self, *sources: str, **changed: object) -> None:
        limits = {"connect_timeout": 5, "stall_timeout": 5, "time_limit": 60, "minimum_rate": 0, "attempts": 3}
        limits |= {name: changed.pop(name) for name in limits if name in changed}
        given = {"partial": self.partial, "sha256": SHA256, "monitor": self.monitor} | changed
        download.fetch(self.output, sources=sources, limits=Limits(**limits), **given)

    def failure(self, *sources: str, **changed: object) -> str:
        with pytest.raises(DownloadError) as caught:
            self.fetch(*sources, **changed)
        assert not self.archive.exists()
        return str(caught.value)

    def succeeded(self) -> bool:
        return (
            self.archive.read_bytes() == ARCHIVE
            and [file.name for file in self.output.iterdir()] == [download.ARCHIVE_NAME]
            and not self.partial.exists()
        )


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *connection.BUNDLE_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)


@pytest.fixture
def job(tmp_path: Path) -> Download:
    return Download(tmp_path)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "authority.pem")


def unused_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


class TestHonestServer:
    def test_archive_gets_its_name(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges == [None]

    def test_progress_counts_bytes_of_all(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        done = [step for step, _, _ in job.monitor.steps]
        assert done == sorted(done)
        assert done[-1] == len(ARCHIVE)
        assert {step[1:] for step in job.monitor.steps} == {(len(ARCHIVE), "B")}

    def test_source_is_told(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.monitor.lines == [f"Fetching {server.url}"]

    @pytest.mark.parametrize("how", [{"chunked": True}, {"unframed": True}])
    def test_size_may_be_unknown(self, job: Download, how: dict[str, bool]) -> None:
        with UnreliableServer(sends(ARCHIVE, **how)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert {step[1:] for step in job.monitor.steps} == {(math.inf, "B")}

    def test_redirects_are_followed(self, job: Download) -> None:
        with (
            UnreliableServer(sends(ARCHIVE)) as there,
            UnreliableServer(says(302, Location=there.url), says(301, Location="/elsewhere"), sends(ARCHIVE)) as here,
        ):
            job.fetch(here.url)
            assert job.succeeded()
            job.fetch(here.url)
        assert [request.path for request in here.requests[1:]] == ["/cifar-10-python.tar.gz", "/elsewhere"]

    def test_redirect_may_be_in_utf_8(self, job: Download) -> None:
        with UnreliableServer(says(302, Location="/\u00e4%20b".encode().decode("latin-1")), sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.requests[1].path == "/%C3%A4%20b"

    def test_range_survives_a_redirect(self, job: Download) -> None:
        job.begin_with(ARCHIVE[:HALF])
        with (
            UnreliableServer(sends(ARCHIVE)) as there,
            UnreliableServer(says(307, Location=there.url)) as here,
        ):
            job.fetch(here.url)
        assert job.succeeded()
        assert there.ranges == [f"bytes={HALF}-"]

    def test_complete_partial_file_needs_no_server(self, job: Download) -> None:
        job.begin_with(ARCHIVE)
        job.fetch(f"http://{unused_address()}/")
        assert job.succeeded()


class TestResuming:
    @pytest.mark.parametrize("how", ["close", "reset", "stall"])
    def test_goes_on_where_it_stopped(self, job: Download, how: str) -> None:
        with UnreliableServer(sends(ARCHIVE, stop_after=HALF, how=how), sends(ARCHIVE)) as server:
            job.fetch(server.url, stall_timeout=0.3)
        assert job.succeeded()
        resumed_at = int(server.ranges[1].removeprefix("bytes=").rstrip("-"))
        assert 0 < resumed_at <= HALF
        assert job.monitor.logged(f"Resuming at byte {resumed_at:,}")

    def test_connected_server_may_take_its_time(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, piece=HALF, delay=0.8)) as server:
            job.fetch(server.url, connect_timeout=0.5, stall_timeout=30)
        assert job.succeeded()
        assert len(server.requests) == 1

    def test_broken_chunks_are_resumed(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, chunked=True, stop_after=HALF), sends(ARCHIVE, chunked=True)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges == [None, f"bytes={HALF}-"]

    def test_next_run_goes_on(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, stop_after=HALF)) as server:
            message = job.failure(server.url, attempts=1)
        assert f"The {HALF:,} bytes that came are kept" in message
        assert job.partial.read_bytes() == ARCHIVE[:HALF]
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges == [f"bytes={HALF}-"]

    def test_entity_tag_guards_the_rest(self, job: Download) -> None:
        with UnreliableServer(
            sends(OTHER_ARCHIVE, etag='"old"', stop_after=HALF), sends(ARCHIVE, etag='"new"')
        ) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.requests[1].headers["If-Range"] == '"old"'
        assert len(server.requests) == 2

    def test_weak_entity_tag_is_not_used(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, etag='W/"1"', stop_after=HALF), sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert "If-Range" not in server.requests[1].headers

    def test_server_without_ranges_begins_anew(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, stop_after=HALF), sends(ARCHIVE, ranges=False)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert job.monitor.logged(f"the {HALF:,} bytes that were there are dropped")

    @pytest.mark.parametrize("wrong", ["bytes 0-99/400000", "bytes */400000", "nonsense"])
    def test_wrong_range_is_discarded(self, job: Download, wrong: str) -> None:
        job.begin_with(ARCHIVE[:HALF])
        with UnreliableServer(sends(ARCHIVE, content_range=wrong)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges == [f"bytes={HALF}-", None]
        assert job.monitor.logged(repr(wrong))

    @pytest.mark.parametrize("surplus", [0, 1000])
    def test_partial_file_as_long_as_the_archive(self, job: Download, surplus: int) -> None:
        job.begin_with(OTHER_ARCHIVE[: len(ARCHIVE)] + bytes(surplus))
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges[-1] is None

    def test_partial_file_is_not_trusted(self, job: Download) -> None:
        job.begin_with(OTHER_ARCHIVE[:HALF])
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges == [f"bytes={HALF}-", None]
        assert job.monitor.logged("starting over")

    def test_page_in_place_of_the_rest_costs_nothing(self, job: Download) -> None:
        job.begin_with(ARCHIVE[:HALF])
        with UnreliableServer(says(200, ERROR_PAGE)) as server:
            job.failure(server.url)
        assert job.partial.read_bytes() == ARCHIVE[:HALF]

    def test_attempts_are_bounded(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, stop_after=10)) as server:
            message = job.failure(server.url, attempts=4)
        assert len(server.requests) == 4
        assert f"ended after 40 of {len(ARCHIVE):,} bytes" in message

    @pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_killed_process_leaves_what_came(self, job: Download, blow: signal.Signals) -> None:
        program = (
            "import sys; from pathlib import Path; from pipeline.data import archive, download;"
            "from pipeline.progress.monitor import SILENT;"
            "output, partial, sha256, url = sys.argv[1:];"
            "limits = archive.Limits("
            "minimum_rate=0, connect_timeout=5, stall_timeout=60, time_limit=600, attempts=1);"
            "download.fetch("
            "Path(output), partial=Path(partial), sha256=sha256, sources=[url], limits=limits, monitor=SILENT)"
        )
        with UnreliableServer(sends(ARCHIVE, stop_after=HALF, how="stall"), sends(ARCHIVE)) as server:
            process = subprocess.Popen(
                [sys.executable, "-c", program, job.output, job.partial, SHA256, server.url],
                cwd=Path(__file__).parents[1],
                stderr=subprocess.DEVNULL,
            )
            try:
                while process.poll() is None and not (job.partial.exists() and job.partial.stat().st_size == HALF):
                    time.sleep(0.01)
                process.send_signal(blow)
            finally:
                assert process.wait() != 0
            assert list(job.output.iterdir()) == []
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges == [None, f"bytes={HALF}-"]


class TestSeveralSources:
    @pytest.fixture(autouse=True)
    def _short_window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfer, "RATE_WINDOW", 0.2)

    def test_slow_source_is_left_with_its_bytes(self, job: Download) -> None:
        with (
            UnreliableServer(sends(ARCHIVE, piece=100, delay=0.01)) as slow,
            UnreliableServer(sends(ARCHIVE)) as fast,
        ):
            job.fetch(slow.url, fast.url, minimum_rate=1e3)
        assert job.succeeded()
        assert len(slow.requests) == 1
        assert fast.ranges[0].startswith("bytes=")
        assert job.monitor.logged("expected at least 1,000.0 kB/s")

    def test_last_source_may_be_slow(self, job: Download) -> None:
        with (
            UnreliableServer(says(404)) as gone,
            UnreliableServer(sends(ARCHIVE, piece=10_000, delay=0.01)) as slow,
        ):
            job.fetch(gone.url, slow.url, minimum_rate=1e6)
        assert job.succeeded()
        assert slow.ranges == [None]

    def test_fastest_of_slow_sources_is_kept(self, job: Download) -> None:
        with (
            UnreliableServer(sends(ARCHIVE, piece=100, delay=0.02)) as slower,
            UnreliableServer(sends(ARCHIVE, piece=10_000, delay=0.02)) as faster,
        ):
            job.fetch(slower.url, faster.url, minimum_rate=1e6)
        assert job.succeeded()
        assert (len(slower.requests), len(faster.requests)) == (1, 1)

    def test_fastest_of_slow_sources_is_returned_to(self, job: Download) -> None:
        with (
            UnreliableServer(sends(ARCHIVE, piece=5_000, delay=0.02)) as faster,
            UnreliableServer(sends(ARCHIVE, piece=50, delay=0.02)) as slower,
        ):
            job.fetch(faster.url, slower.url, minimum_rate=1e6)
        assert job.succeeded()
        assert (len(faster.requests), len(slower.requests)) == (2, 1)

    def test_slow_source_is_left_but_once(self, job: Download) -> None:
        """The one that was faster is now the slower one, but leaving it again could go on for ever."""
        with (
            UnreliableServer(
                sends(ARCHIVE, piece=20_000, delay=0.02), sends(ARCHIVE, piece=3_000, delay=0.02)
            ) as slackening,
            UnreliableServer(sends(ARCHIVE, piece=5_000, delay=0.02)) as steady,
        ):
            job.fetch(slackening.url, steady.url, minimum_rate=1e6)
        assert job.succeeded()
        assert (len(slackening.requests), len(steady.requests)) == (2, 1)

    def test_bytes_carry_over_from_a_broken_source(self, job: Download) -> None:
        with (
            UnreliableServer(sends(ARCHIVE, stop_after=HALF), says(503)) as broken,
            UnreliableServer(sends(ARCHIVE)) as sound,
        ):
            job.fetch(broken.url, sound.url)
        assert job.succeeded()
        assert sound.ranges == [f"bytes={HALF}-"]

    def test_mixture_is_fetched_again_from_one(self, job: Download) -> None:
        with (
            UnreliableServer(sends(OTHER_ARCHIVE, stop_after=HALF), says(404)) as wrong,
            UnreliableServer(sends(ARCHIVE)) as right,
        ):
            job.fetch(wrong.url, right.url)
        assert job.succeeded()
        assert right.ranges == [f"bytes={HALF}-", None]

    def test_each_gets_a_chance_alone(self, job: Download) -> None:
        """The right source comes first but breaks off, the wrong one spoils its bytes, and the right one is back."""
        with (
            UnreliableServer(sends(ARCHIVE, piece=1_000, delay=0.02), sends(ARCHIVE)) as right,
            UnreliableServer(sends(OTHER_ARCHIVE)) as wrong,
        ):
            job.fetch(right.url, wrong.url, minimum_rate=1e3)
        assert job.succeeded()
        assert wrong.ranges[1:] == [None]
        assert right.ranges == [None, None]

    def test_wrong_archive_is_given_up(self, job: Download) -> None:
        with (
            UnreliableServer(sends(OTHER_ARCHIVE)) as wrong,
            UnreliableServer(sends(ARCHIVE)) as right,
        ):
            job.fetch(wrong.url, right.url)
        assert job.succeeded()
        assert (len(wrong.requests), right.ranges) == (1, [None])

    def test_failures_are_all_told(self, job: Download) -> None:
        with UnreliableServer(says(404)) as first, UnreliableServer(says(410)) as second:
            message = job.failure(first.url, second.url)
        assert f"{first.url}: answered 404 Not Found" in message
        assert f"{second.url}: answered 410 Gone" in message
        assert "luigi.cfg" in message
        assert "make pipeline ARCHIVE=path" in message
        assert "make demo" in message

    def test_archive_on_disk_is_a_source(self, job: Download, tmp_path: Path) -> None:
        path = tmp_path / "an archive.tar.gz"
        path.write_bytes(ARCHIVE)
        job.fetch("file:///no/such/archive", path.as_uri())
        assert job.succeeded()
        assert job.monitor.logged("/no/such/archive cannot be read (No such file or directory)")

    def test_wrong_archive_on_disk_spoils_nothing(self, job: Download, tmp_path: Path) -> None:
        path = tmp_path / "archive.tar.gz"
        path.write_bytes(OTHER_ARCHIVE)
        job.begin_with(ARCHIVE[:HALF])
        assert hashlib.sha256(OTHER_ARCHIVE).hexdigest() in job.failure(path.as_uri())
        assert job.partial.read_bytes() == ARCHIVE[:HALF]


class TestLies:
    def test_more_bytes_announced_than_there_are(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, length=len(ARCHIVE) + 1000)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert len(server.requests) == 1

    def test_fewer_bytes_announced_than_there_are(self, job: Download) -> None:
        with (
            UnreliableServer(sends(ARCHIVE, length=HALF)) as liar,
            UnreliableServer(sends(ARCHIVE)) as honest,
        ):
            message = job.failure(liar.url)
            job.fetch(liar.url, honest.url)
        assert f"all {HALF:,} bytes have SHA-256" in message
        assert job.succeeded()

    def test_wrong_sha256_names_both(self, job: Download) -> None:
        with UnreliableServer(sends(OTHER_ARCHIVE)) as server:
            message = job.failure(server.url)
        assert hashlib.sha256(OTHER_ARCHIVE).hexdigest() in message
        assert f"expected {SHA256}" in message
        assert not job.partial.exists()

    def test_page_with_status_200(self, job: Download) -> None:
        with UnreliableServer(says(200, ERROR_PAGE)) as server:
            message = job.failure(server.url)
        assert "an HTML page titled 'Log in to Café Wi-Fi' in place of the archive" in message
        assert len(server.requests) == 1
        assert not job.partial.exists()

    def test_page_without_a_title(self, job: Download) -> None:
        with UnreliableServer(says(200, "<html>Come back later</html>")) as server:
            assert "sent an HTML page in place of the archive" in job.failure(server.url)

    def test_neither_gzip_nor_a_page(self, job: Download) -> None:
        with UnreliableServer(sends(b"PK\x03\x04 is how zip files begin")) as server:
            message = job.failure(server.url)
        assert r"begins with b'PK'; expected b'\x1f\x8b'" in message

    def test_empty_answer(self, job: Download) -> None:
        with UnreliableServer(says(200)) as server:
            assert "sent no bytes" in job.failure(server.url)

    def test_announced_size_is_bounded(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, length=1 << 40)) as server:
            assert f"announces {1 << 40:,} bytes; expected {2 << 30:,} at most" in job.failure(server.url)

    def test_published_size_is_the_bound(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, length=PUBLISHED_BYTES + 1)) as server:
            message = job.failure(server.url, sha256=PUBLISHED_SHA256)
        assert f"announces {PUBLISHED_BYTES + 1:,} bytes; expected {PUBLISHED_BYTES:,}." in message

    def test_size_that_is_not_announced_is_bounded(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfer, "MAXIMUM_BYTES", HALF)
        with UnreliableServer(sends(ARCHIVE, chunked=True)) as server:
            assert f"sends more than {HALF:,} bytes" in job.failure(server.url)
        assert not job.partial.exists() or job.partial.stat().st_size <= HALF

    def test_no_http(self, job: Download) -> None:
        with UnreliableServer(babbles) as server:
            assert "220 ready for mail" in job.failure(server.url)

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([ARCHIVE, OTHER_ARCHIVE, ARCHIVE[:HALF], ARCHIVE + ARCHIVE]),
                st.fixed_dictionaries(
                    {},
                    optional={
                        "ranges": st.booleans(),
                        "chunked": st.booleans(),
                        "etag": st.sampled_from(['"1"', '"2"', 'W/"1"']),
                        "length": st.sampled_from([10, HALF, len(ARCHIVE) + 10]),
                        "content_range": st.sampled_from(["bytes 0-9/10", "bytes 10-9/*", "bytes"]),
                        "stop_after": st.sampled_from([0, 1, HALF, len(ARCHIVE)]),
                        "how": st.sampled_from(["close", "reset"]),
                    },
                ),
            ),
            min_size=1,
            max_size=6,
        ),
        st.sampled_from([b"", ARCHIVE[:HALF], OTHER_ARCHIVE, b"junk"]),
    )
    def test_whatever_comes_only_the_archive_gets_its_name(
        self, tmp_path_factory: pytest.TempPathFactory, script: list[tuple[bytes, dict[str, object]]], left: bytes
    ) -> None:
        job = Download(tmp_path_factory.mktemp("job"))
        job.begin_with(left)
        with UnreliableServer(*(sends(data, **faults) for data, faults in script)) as server:
            try:
                job.fetch(server.url, server.url)
            except DownloadError:
                assert not job.archive.exists()
            else:
                assert job.succeeded()
        assert len(server.requests) <= 2 * 2 * (3 + 2)


class TestSecrets:
    """What must not be seen: passwords, and queries of URLs, which may be signatures."""

    def everything_told(self, job: Download, *sources: str, **changed: object) -> str:
        return job.failure(*sources, **changed) + "\n".join(job.monitor.lines)

    def test_query_of_a_source(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE, stop_after=10), says(503), says(404)) as server:
            told = self.everything_told(job, f"{server.url}?signature=s3cret#s3cret")
        assert f"{server.url}?..." in told
        assert "Trying again" in told
        assert "s3cret" not in told

    @pytest.mark.parametrize("place", ["ftp://host/a?signature=s3cret", "https://name:s3cret@127.0.0.1:1/a"])
    def test_place_of_a_redirect(self, job: Download, place: str) -> None:
        with UnreliableServer(says(302, Location=place)) as server:
            told = self.everything_told(job, server.url)
        assert "redirects to " in told
        assert "s3cret" not in told

    @pytest.mark.parametrize("source", ["https://name:s3cret@host/a", "https://name:s3/s3cret@host/a?b=s3cret"])
    def test_password_of_a_source(self, job: Download, source: str) -> None:
        with pytest.raises(SettingError, match="is no source of the archive") as caught:
            job.fetch(source)
        assert "s3" not in str(caught.value)

    @pytest.mark.parametrize(
        "proxy",
        ["http://name:s3/s3cret@host:1", "http://name:s3cret@host:port", "http:///name:s3cret", "s3cret:s3cret"],
    )
    def test_password_of_a_proxy_that_makes_no_sense(
        self, job: Download, monkeypatch: pytest.MonkeyPatch, proxy: str
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        told = self.everything_told(job, "http://archive.invalid/a")
        assert "HTTP_PROXY or ALL_PROXY is no URL of a proxy; expected http://HOST:PORT" in told
        assert "s3" not in told

    def test_password_of_a_proxy_that_refuses(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        with UnreliableServer(says(403)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://name:s3cret@{proxy.host}")
            told = self.everything_told(job, "https://archive.invalid/a?signature=s3cret")
        assert proxy.host in told
        assert "s3cret" not in told

    def test_query_is_not_logged(self, job: Download, caplog: pytest.LogCaptureFixture) -> None:
        def answer(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 404 Gone\r\nno header\r\nContent-Length: 0\r\n\r\n")

        caplog.set_level("DEBUG")
        with UnreliableServer(answer) as server:
            job.failure(f"{server.url}?signature=s3cret")
        assert "s3cret" not in caplog.text

    def test_answer_that_speaks_to_the_terminal(self, job: Download) -> None:
        def answer(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 404 \x1b[2JGone\r\nContent-Length: 0\r\n\r\n")

        with UnreliableServer(answer) as server:
            told = self.everything_told(job, server.url)
        assert "answered 404" in told
        assert "\x1b" not in told


class TestTimeLimit:
    """A server that never stops sending, each byte in time."""

    def send_for_ever(self, beginning: bytes, piece: bytes) -> Answer:
        def answer(handler: Handler) -> None:
            handler.wfile.write(beginning)
            while not handler.server_of_test.closing.wait(0.02):
                handler.wfile.write(piece)

        return answer

    @pytest.mark.parametrize(
        ("beginning", "piece"),
        [
            (b"HTTP/1.1 200 ", b"x"),
            (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\x1f\x8b\r\n", b"1\r\nx\r\n"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n\x1f\x8b", b"x"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n<html>", b"x"),
            (b"HTTP/1.1 200 OK\r\n\r\n\x1f\x8b", b"x"),
        ],
        ids=["status", "headers", "chunks", "body", "page", "body without a length"],
    )
    def test_is_given_up(self, job: Download, beginning: bytes, piece: bytes) -> None:
        with UnreliableServer(self.send_for_ever(beginning, piece)) as server:
            message = job.failure(server.url, time_limit=1)
        assert "took longer than 1 seconds (time_limit)" in message
        assert len(server.requests) == 1

    def test_headers_after_the_last_byte(self, job: Download) -> None:
        beginning = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(ARCHIVE), ARCHIVE)
        with UnreliableServer(self.send_for_ever(beginning, b"X: y\r\n")) as server:
            job.fetch(server.url, time_limit=1)
        assert job.succeeded()


class TestRefusals:
    @pytest.mark.parametrize(("status", "requests"), [(403, 1), (404, 1), (429, 3), (500, 3), (503, 3)])
    def test_status(self, job: Download, status: int, requests: int) -> None:
        with UnreliableServer(says(status, ERROR_PAGE)) as server:
            message = job.failure(server.url)
        assert f"{server.url}: answered {status} " in message
        assert len(server.requests) == requests
        assert not job.partial.exists()

    def test_busy_server_is_asked_again(self, job: Download) -> None:
        with UnreliableServer(says(503, ERROR_PAGE), sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()

    def test_circle_of_redirects(self, job: Download) -> None:
        with UnreliableServer(says(302, Location="/cifar-10-python.tar.gz")) as server:
            assert f"redirects to {server.url}; expected at most 10 redirects" in job.failure(server.url)

    @pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/archive"])
    def test_redirect_out_of_the_web(self, job: Download, place: str) -> None:
        with UnreliableServer(says(302, Location=place)) as server:
            assert place in job.failure(server.url)

    def test_redirect_to_nonsense(self, job: Download) -> None:
        with UnreliableServer(says(302, Location="http://[")) as server:
            assert "makes no sense (Invalid IPv6 URL)" in job.failure(server.url)

    def test_refused_connection(self, job: Download) -> None:
        address = unused_address()
        assert f"{address} cannot be reached (the connection was refused)" in job.failure(f"http://{address}/a")

    def test_unknown_name(self, job: Download) -> None:
        message = job.failure("http://archive.invalid/a", attempts=1)
        assert "the name of archive.invalid cannot be resolved" in message
        assert "HTTPS_PROXY" in message

    def test_server_that_never_answers(self, job: Download) -> None:
        with UnreliableServer(hangs) as server:
            message = job.failure(server.url, attempts=1, stall_timeout=0.2)
        assert "sent nothing for 0.2 seconds (stall_timeout)" in message

    def test_server_that_accepts_no_connection(self, job: Download) -> None:
        """A listener whose queue is full leaves a client waiting."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            with socket.create_connection(listener.getsockname()):
                port = listener.getsockname()[1]
                message = job.failure(f"http://127.0.0.1:{port}/a", attempts=1, connect_timeout=0.2)
        assert "no connection within 0.2 seconds (connect_timeout)" in message

    def test_server_that_never_shakes_hands(self, job: Download) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            message = job.failure(f"https://127.0.0.1:{port}/a", attempts=1, connect_timeout=0.2)
        assert "no connection within 0.2 seconds (connect_timeout)" in message

    def test_server_that_hangs_up(self, job: Download) -> None:
        with UnreliableServer(closes) as server:
            assert "broke off the connection (Remote end closed connection" in job.failure(server.url)


class TestProxies:
    def test_login_at_a_proxy(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        with UnreliableServer(says(403), sends(ARCHIVE)) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"http://name:p%40ss@{proxy.host}")
            job.failure("https://archive.invalid/a")
            job.fetch("http://archive.invalid/a")
        assert [request.headers["Proxy-Authorization"] for request in proxy.requests] == ["Basic bmFtZTpwQHNz"] * 2

    def test_http_proxy(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        with UnreliableServer(sends(ARCHIVE)) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
            monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
            job.fetch("http://archive.invalid/a")
        assert job.succeeded()
        assert proxy.requests[0].path == "http://archive.invalid/a"

    def test_proxy_for_all(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        with UnreliableServer(sends(ARCHIVE)) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"http://{proxy.host}")
            job.fetch("http://archive.invalid/a")
        assert job.succeeded()

    def test_no_proxy(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://{unused_address()}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()

    def test_proxy_that_is_not_there(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        address = unused_address()
        monkeypatch.setenv("HTTP_PROXY", f"http://name:secret@{address}")
        message = job.failure("http://archive.invalid/a")
        assert f"the proxy {address} cannot be reached (the connection was refused)" in message
        assert "secret" not in message

    def test_proxy_that_wants_a_password(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        with UnreliableServer(says(407, ERROR_PAGE)) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
            message = job.failure("http://archive.invalid/a")
        assert "the proxy asks for a name and a password (407)" in message

    def test_proxy_that_refuses_a_tunnel(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        with UnreliableServer(says(403)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
            message = job.failure("https://archive.invalid/a")
        assert f"the proxy {proxy.host} refuses to connect to archive.invalid (403 Forbidden)" in message
        assert [request.method for request in proxy.requests] == ["CONNECT"]

    def test_tunnel(
        self, job: Download, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, authority_file: str
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", authority_file)
        with UnreliableServer(sends(ARCHIVE), tls=tls) as server, UnreliableServer(tunnels) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
            job.fetch(server.url)
        assert job.succeeded()
        assert proxy.requests[0].path == server.host

    def test_socks_proxy(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
        assert "asks for a socks5 proxy; expected an HTTP one" in job.failure("https://archive.invalid/a")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()


class TestCertificates:
    @pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_private_authority(
        self,
        job: Download,
        monkeypatch: pytest.MonkeyPatch,
        tls: ssl.SSLContext,
        authority_file: str,
        variable: str,
    ) -> None:
        monkeypatch.setenv(variable, authority_file)
        with UnreliableServer(sends(ARCHIVE, stop_after=HALF, how="stall"), sends(ARCHIVE), tls=tls) as server:
            job.fetch(server.url, stall_timeout=0.3)
        assert job.succeeded()
        assert server.ranges == [None, f"bytes={HALF}-"]

    @pytest.mark.parametrize(
        "variable", ["PYTHONHTTPSVERIFY", "SSL_NO_VERIFY", "CURL_INSECURE", "GIT_SSL_NO_VERIFY", "REQUESTS_CA_BUNDLE"]
    )
    def test_no_variable_switches_them_off(
        self, job: Download, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, variable: str
    ) -> None:
        monkeypatch.setenv(variable, "" if variable == "REQUESTS_CA_BUNDLE" else "0")
        with UnreliableServer(sends(ARCHIVE), tls=tls) as server:
            assert "is not trusted" in job.failure(server.url)
        assert server.requests == []

    def test_unknown_authority(self, job: Download, tls: ssl.SSLContext) -> None:
        with UnreliableServer(sends(ARCHIVE), tls=tls) as server:
            message = job.failure(server.url)
        assert f"the certificate of {server.host} is not trusted (unable to get local issuer certificate)" in message
        assert "SSL_CERT_FILE, now not set" in message
        assert server.requests == []

    def test_bundle_that_is_not_there(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle")
        assert "REQUESTS_CA_BUNDLE is '/no/such/bundle'" in job.failure("https://127.0.0.1/a")

    def test_server_without_tls(self, job: Download) -> None:
        with UnreliableServer(sends(ARCHIVE)) as server:
            message = job.failure(server.url.replace("http:", "https:"))
        assert f"{server.host} cannot be reached ([SSL" in message

    def test_redirect_down_to_http_is_refused(
        self, job: Download, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, authority_file: str
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", authority_file)
        with (
            UnreliableServer(sends(ARCHIVE)) as plain,
            UnreliableServer(says(302, Location=plain.url), tls=tls) as secure,
        ):
            message = job.failure(secure.url)
        assert f"redirects to {plain.url}; a redirect from https must lead to https" in message
        assert plain.requests == []

    def test_redirect_up_to_https_is_followed(
        self, job: Download, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, authority_file: str
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", authority_file)
        with (
            UnreliableServer(sends(ARCHIVE), tls=tls) as secure,
            UnreliableServer(says(302, Location=secure.url)) as plain,
        ):
            job.fetch(plain.url)
        assert job.succeeded()


class TestDisk:
    def test_too_small_disk_is_seen_before_it_is_full(self, job: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfer, "MAXIMUM_BYTES", 1 << 62)
        with UnreliableServer(sends(ARCHIVE, length=1 << 60)) as server:
            message = job.failure(server.url)
        assert f"it needs {1 << 60:,} more bytes and finds" in message
        assert len(server.requests) == 1
        assert not job.partial.exists()

    def test_disk_that_fills_up(self, job: Download) -> None:
        """A limit on the size of files stands for a disk that fills while the bytes come."""
        with file_size_limit(HALF), UnreliableServer(sends(ARCHIVE)) as server:
            message = job.failure(server.url)
        assert "cannot grow (File too large)" in message
        assert "more bytes and finds" in message
        assert job.partial.read_bytes() == ARCHIVE[:HALF]
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url)
        assert job.succeeded()
        assert server.ranges == [f"bytes={HALF}-"]

    @pytest.mark.parametrize(
        ("chunked", "reason"), [(True, "No space left on device"), (False, "the disk is too small")]
    )
    def test_full_disk(self, job: Download, chunked: bool, reason: str) -> None:
        job.partial.parent.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", job.partial.parent]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk is not allowed here")
        try:
            with UnreliableServer(sends(ARCHIVE, chunked=chunked)) as server:
                message = job.failure(server.url)
        finally:
            subprocess.run(["umount", job.partial.parent], check=True)
        assert f"cannot grow ({reason})" in message
        assert "bytes free" in message
        assert len(server.requests) == 1

    def test_disk_too_small_for_a_copy(self, job: Download, tmp_path: Path) -> None:
        source = tmp_path / "mine.tar.gz"
        source.write_bytes(ARCHIVE)
        with file_size_limit(HALF), pytest.raises(DownloadError, match="cannot grow"):
            download.take_local(job.output, source=source, sha256=SHA256, monitor=SILENT)
        assert list(job.output.iterdir()) == []

    @pytest.fixture
    def elsewhere(self, tmp_path: Path) -> Iterator[Path]:
        """The path of a partial file on another file system."""
        memory = Path("/dev/shm")
        if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is but one file system")
        partial = memory / f"{os.getpid()}-{SHA256}.part"
        yield partial
        partial.unlink(missing_ok=True)

    def test_cache_on_another_file_system(self, job: Download, elsewhere: Path) -> None:
        with UnreliableServer(sends(ARCHIVE)) as server:
            job.fetch(server.url, partial=elsewhere)
        assert not elsewhere.exists()
        assert job.succeeded()

    def test_disk_too_small_for_what_comes_from_another(self, job: Download, elsewhere: Path) -> None:
        elsewhere.write_bytes(ARCHIVE)
        with file_size_limit(HALF):
            message = job.failure("http://127.0.0.1/a", partial=elsewhere)
        assert f"cannot be moved to {job.output} (File too large). Make room there" in message
        assert "type the same command again" in message
        assert list(job.output.iterdir()) == []
        job.fetch("http://127.0.0.1/a", partial=elsewhere)
        assert job.archive.read_bytes() == ARCHIVE

    def test_output_that_is_not_there(self, job: Download) -> None:
        job.begin_with(ARCHIVE)
        job.output.rmdir()
        assert f"cannot be moved to {job.output} (No such file or directory)" in job.failure("http://127.0.0.1/a")
        assert job.partial.read_bytes() == ARCHIVE

    def test_cache_that_cannot_be_written(self, job: Download, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        message = job.failure("http://127.0.0.1/a", partial=tmp_path / "file" / "x.part")
        assert "x.part cannot be opened for a download" in message


class TestSettings:
    @pytest.mark.parametrize(
        "source",
        ["ftp://host/a", "cifar-10-python.tar.gz", "http:///a", "http://host:port/a", "https://h/a b", "file://host/a"],
    )
    def test_source_must_be_a_url(self, job: Download, source: str) -> None:
        with pytest.raises(SettingError, match=r"is no source of the archive; expected https://HOST/PATH"):
            job.fetch(source)

    def test_password_is_not_repeated(self, job: Download) -> None:
        with pytest.raises(SettingError) as caught:
            job.fetch("https://name:secret@host/a")
        assert "secret" not in str(caught.value)

    def test_there_must_be_a_source(self, job: Download) -> None:
        with pytest.raises(SettingError, match="there is no source"):
            job.fetch()

    def test_sha256_must_be_one(self, job: Download) -> None:
        with pytest.raises(SettingError, match="expected 64 hexadecimal digits"):
            job.fetch("http://127.0.0.1/a", sha256="c58f30108f718f92721af3b95e74349a")  # an MD5

    def test_attempts_must_be_positive(self, job: Download) -> None:
        with pytest.raises(SettingError, match="attempts is 0"):
            job.fetch("http://127.0.0.1/a", attempts=0)

    @pytest.mark.parametrize("source", SOURCES)
    def test_published_sources_are_allowed(self, job: Download, source: str) -> None:
        job.begin_with(ARCHIVE)
        job.fetch(source)
        assert job.succeeded()


class TestTakeLocal:
    def test_archive_is_copied(self, job: Download, tmp_path: Path) -> None:
        source = tmp_path / "mine.tar.gz"
        source.write_bytes(ARCHIVE)
        download.take_local(job.output, source=source, sha256=SHA256, monitor=job.monitor)
        assert job.succeeded()
        assert source.read_bytes() == ARCHIVE
        assert job.monitor.steps[-1] == (len(ARCHIVE), len(ARCHIVE), "B")

    def test_wrong_archive_names_both_digests(self, job: Download, tmp_path: Path) -> None:
        source = tmp_path / "mine.tar.gz"
        source.write_bytes(OTHER_ARCHIVE)
        with pytest.raises(DownloadError) as caught:
            download.take_local(job.output, source=source, sha256=SHA256, monitor=SILENT)
        assert str(source) in str(caught.value)
        assert hashlib.sha256(OTHER_ARCHIVE).hexdigest() in str(caught.value)
        assert SHA256 in str(caught.value)
        assert list(job.output.iterdir()) == []

    def test_an_empty_file_is_named(self, job: Download, tmp_path: Path) -> None:
        source = tmp_path / "mine.tar.gz"
        source.touch()
        with pytest.raises(DownloadError, match=r"mine\.tar\.gz is empty; expected a gzipped tar"):
            download.take_local(job.output, source=source, sha256=hashlib.sha256().hexdigest(), monitor=SILENT)
        assert list(job.output.iterdir()) == []

    def test_a_remembered_digest_that_is_wrong_is_forgotten(self, job: Download, tmp_path: Path) -> None:
        source, memory = tmp_path / "mine.tar.gz", tmp_path / "digests.json"
        source.write_bytes(OTHER_ARCHIVE)
        remembered_file_digest(source, memory)
        wrong = {name: [*entry[:-1], SHA256] for name, entry in read_sealed(memory).items()}
        write_sealed(memory, wrong)
        assert remembered_file_digest(source, memory) == SHA256
        with pytest.raises(DownloadError, match="type the same command again"):
            download.take_local(job.output, source=source, sha256=SHA256, memory=memory, monitor=SILENT)
        assert remembered_file_digest(source, memory) == hashlib.sha256(OTHER_ARCHIVE).hexdigest()

    @pytest.mark.parametrize(
        ("source", "reason"),
        [("/no/such", "No such file or directory"), ("/usr", "a folder"), ("/dev/zero", "a character device")],
    )
    def test_what_is_no_file(self, job: Download, source: str, reason: str) -> None:
        with pytest.raises(DownloadError, match=reason):
            download.take_local(job.output, source=Path(source), sha256=SHA256, monitor=SILENT)
        assert list(job.output.iterdir()) == []

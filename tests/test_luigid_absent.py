"""Runs that are to use a luigid which is not there; test_luigid.py has those with one that is."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import tasks  # noqa: F401, its filter is what is tested


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    made = states.copy("new", tmp_path_factory.mktemp("lasting") / "checkout")
    made.set("core", local_scheduler="false")
    return made


def refused(checkout, *flags):
    command = checkout.command("GrayscaleFlat", "--DownloadCIFAR-archive", str(checkout.archive), *flags)
    done = checkout.call(*command, timeout=20)
    assert done.returncode == 40
    assert not (checkout.folder / "data").exists()
    return done.stdout + done.stderr


class TestNoLuigid:
    @pytest.mark.parametrize(
        ("flag", "value", "shown"),
        [
            ("--scheduler-port", "9", "http://localhost:9/"),
            ("--scheduler-url", "http://name:s3cret@127.0.0.1:9/path", "http://127.0.0.1:9/path"),
            ("--scheduler-url", "nonsense", "nonsense"),
        ],
    )
    def test_is_told_at_once(self, checkout, flag, value, shown):
        assert refused(checkout, flag, value) == (
            f"ERROR: no scheduler answers at {shown}. Start luigid there, or use none: --local-scheduler.\n"
        )

    @pytest.mark.parametrize(
        "answer",
        [b"", b"<html>", b"\xff", b"{}", b"[]", b'"x"', b'{"response": 5}', b'{"response": {"enabled": 1, "more": 2}}'],
    )
    def test_where_something_else_answers(self, checkout, answer):
        class Other(BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Other) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            printed = refused(checkout, "--scheduler-host", "127.0.0.1", "--scheduler-port", str(server.server_port))
            server.shutdown()
        assert printed.startswith("ERROR: the server at http://127.0.0.1:")
        assert "/ is no luigid. Name one with --scheduler-host and --scheduler-port, or use" in printed
        assert printed.count("\n") == 1


def test_a_traceback_of_nothing_is_not_printed(caplog):
    logging.getLogger("luigi-interface").warning("Failed connecting", exc_info=True)

    assert "Failed connecting" in caplog.text
    assert "NoneType" not in caplog.text

"""What people type about a remote, and what they are told."""

from __future__ import annotations

import pytest

from tests.checkout import STAGES

NOWHERE = "http://127.0.0.1:9"

CLOUDS = {
    "az": {
        "AZURE_STORAGE_ACCOUNT_NAME": "me",
        "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0",
        "AZURE_STORAGE_ENDPOINT": NOWHERE,
    },
    "gs": {"GOOGLE_SKIP_SIGNATURE": "true", "GOOGLE_BASE_URL": NOWHERE},
}
"""Environment variables with an account, and the address of its server, by the beginning of a URL.

obstore refuses the address, since it is not encrypted, and names it.
"""


@pytest.mark.parametrize("scheme", CLOUDS)
def test_first_part_of_a_url_is_the_bucket(scheme, states, monkeypatch):
    for name, value in CLOUDS[scheme].items():
        monkeypatch.setenv(name, value)
    checkout = states.shared("new")
    told = checkout.pipeline("status", *checkout.flags(), "--store-remote", f"{scheme}://results/mine")
    assert f"{scheme}://results/mine: GET {NOWHERE}/results/mine/ac/DownloadCIFAR/" in told.replace("%2F", "/")


@pytest.fixture
def gone(tmp_path):
    """The URL of a folder on a disk that is not mounted."""
    return f"file://{tmp_path}/mount/results"


@pytest.mark.parametrize("command", [["verify", "--in-remote"], ["gc", "--in-remote", "--dry-run"]])
def test_remote_that_fails_is_named(command, gone, states):
    told = states.shared("new").pipeline(*command, "--store-remote", gone, status=1)
    assert told == f"{gone}: there is no folder {gone[7:-8]} (is its disk mounted?).\n"


def test_gc_names_the_command_that_removes_from_the_remote(states, tmp_path):
    checkout, remote = states.shared("trained"), f"file://{tmp_path}/remote"
    checkout.pipeline("push", *checkout.flags(), "--store-remote", remote)
    told = checkout.pipeline("gc", "--in-remote", "--keep-days=0", "--store-remote", remote, status=1)
    assert "Type `python -m pipeline gc --in-remote --yes`, or `make gc REMOTE=URL YES=1`" in told


def test_network_in_the_remote_is_found_where_the_remote_is_named(states, tmp_path):
    first, second = states.shared("trained"), states.copy("new", tmp_path / "second")
    remote = f"--store-remote=file://{tmp_path}/remote"
    first.pipeline("push", *first.flags(), remote)
    second.run(remote)
    export = ["export", "--format", "safetensors"]
    told = second.pipeline(*export, status=1)
    assert "the files of outputs/latest/TrainCNN are in a remote, and none is set. Give it with --store-remote" in told
    second.pipeline(*export, remote)
    assert (second.folder / "outputs" / "cnn.safetensors").exists()


def test_message_of_a_server_has_nothing_of_its_page(place, states, monkeypatch):
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    checkout = states.shared("new")
    told = checkout.pipeline("status", *checkout.flags(), "--store-remote", place.url)
    assert "403 Forbidden. Work goes on without it." in told


def test_forced_stage_keeps_what_it_makes(checkout, tmp_path):
    """A report names its run, so that another one differs from that in the remote."""
    remote = f"--store-remote=file://{tmp_path}/remote"
    checkout.pipeline("push", *checkout.flags(), remote)
    assert checkout.run("--force", "Report", remote) == dict.fromkeys(STAGES, "reused") | {"Report": "computed"}
    assert checkout.run(remote) == dict.fromkeys(STAGES, "reused")

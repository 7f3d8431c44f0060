"""What befalls a remote, each fault for real: a warning names it, and every result is right all the same."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import obstore
import pytest

from pipeline.files.digests import json_digest
from pipeline.progress.monitor import SILENT
from pipeline.store.record import Record, parsed
from pipeline.store.remote import objects, shared, upkeep
from tests import killing, small_stages
from tests import object_faults as faults
from tests.machines import NAMES, Machine

COMPUTED = dict.fromkeys(NAMES, "computed")
REUSED = dict.fromkeys(NAMES, "reused")
EVIL = "../" * 4 + "evil"
KILLS = int(os.environ.get("KILLS", "0"))
"""How many kills. `make faults` sets it."""


@pytest.fixture(scope="module")
def filled(object_store, tmp_path_factory):
    """A place in which a machine has put its results; the tests only read it."""
    place = object_store.place()
    machine = Machine(tmp_path_factory.mktemp("first") / "machine", place.url, place.environment)
    assert machine.run() == COMPUTED
    return place


@pytest.fixture
def reader(filled, proxy, tmp_path):
    """Another machine, which may not write there, and sees it through the proxy."""
    return Machine(tmp_path / "reader", filled.url, filled.at(proxy.endpoint).environment, writes=False)


@pytest.fixture
def writer(place, proxy, tmp_path):
    """A machine that sees an empty place through the proxy."""
    return Machine(tmp_path / "writer", place.url, place.at(proxy.endpoint).environment)


def another(machine, folder):
    """Return another machine that has the same remote."""
    return Machine(folder, machine.url, machine.environment)


def test_no_fault_and_no_warning(reader, proxy):
    assert reader.run() == REUSED
    assert reader.warnings == []
    assert Counter(request.method for request in proxy.requests) == {"HEAD": 1, "GET": 4}  # the gate, records, a file


def test_each_small_file_is_one_request(writer, proxy):
    assert writer.run() == COMPUTED
    assert [proxy.count(method, "/cas/") for method in ("PUT", "POST")] == [3, 0]


def test_large_file_goes_in_parts(writer, proxy, tmp_path):
    content = random.Random(0).randbytes(11 << 20)
    (tmp_path / "large").write_bytes(content)
    with writer.variables():
        remote = writer.open().objects
        remote.upload("cas/large", tmp_path / "large")
        assert remote.digest("cas/large", len(content)) == hashlib.sha256(content).hexdigest()
    assert proxy.count("PUT", "/cas/large.*partNumber=") == 3


DEAD = {
    "no answer": (faults.hangs, "no byte came or went for 3 seconds"),
    "a byte a second": (faults.drips, "no byte came or went for 3 seconds"),
    "hangs up": (faults.hangs_up, "error sending request"),
    "too busy": (faults.says(503, "SlowDown"), "503 Service Unavailable"),
    "forbidden": (faults.says(403, "AccessDenied"), "403 Forbidden"),
}


def impatient(monkeypatch, fault):
    """Wait for three seconds only, where nothing else ends the wait."""
    if "3 seconds" in DEAD[fault][1]:
        monkeypatch.setattr(objects, "PATIENCE", 3)


class TestRemoteThatCannotBeRead:
    @pytest.mark.parametrize("fault", DEAD)
    def test_is_named_once_and_left_out(self, fault, reader, proxy, monkeypatch):
        impatient(monkeypatch, fault)
        proxy.breaks(DEAD[fault][0])
        assert reader.run() == COMPUTED
        assert_left_out(reader, DEAD[fault][1])
        assert proxy.count("GET", "/cas/") == 0

    def test_since_nobody_listens(self, reader):
        reader.environment["AWS_ENDPOINT_URL"] = faults.nobody()
        assert reader.run() == COMPUTED
        assert_left_out(reader, "error sending request")

    @pytest.mark.parametrize("writes", [True, False])
    def test_since_there_is_no_such_bucket(self, writes, place, tmp_path, proxy):
        """Of which a server says that the object is not there."""
        machine = Machine(tmp_path / "machine", "s3://nothing/x", place.at(proxy.endpoint).environment, writes=writes)
        proxy.breaks(faults.says(404, "NoSuchBucket"))
        assert machine.run() == COMPUTED
        assert_left_out(machine, "there is no such bucket")

    def test_since_there_is_no_such_folder(self, tmp_path):
        """A run that may write creates it."""
        machine = Machine(tmp_path / "machine", f"file://{tmp_path}/nothing", writes=False)
        assert machine.run() == COMPUTED
        assert_left_out(machine, f"there is no folder {tmp_path}/nothing")
        assert not (tmp_path / "nothing").exists()

    @pytest.mark.parametrize("fault", ["no answer", "hangs up"])
    def test_after_its_records_were(self, fault, reader, proxy, monkeypatch):
        impatient(monkeypatch, fault)
        proxy.breaks(DEAD[fault][0], "GET", "/cas/")
        assert reader.run() == REUSED | {"Third": "computed"}
        assert_left_out(reader, DEAD[fault][1])

    def test_now_and_then_is_asked_again(self, reader, proxy):
        proxy.breaks(faults.says(503, "SlowDown"), every=2)
        assert reader.run() == REUSED
        assert reader.warnings == []


LIES = {
    "wrong bytes": faults.wrong_bytes,
    "too short": faults.shorter,
    "too long": faults.longer,
    "without end": faults.endless,
}


class TestRemoteThatLies:
    @pytest.mark.parametrize("lie", LIES)
    def test_about_records(self, lie, reader, proxy):
        proxy.breaks(LIES[lie], "GET", "/ac/(First|Third)")
        assert reader.run() == COMPUTED | {"Second": "reused"}
        first, third = reader.warnings
        assert first.startswith(f"{reader.url}: ac/First/{reader.stages[0].key} is not the record of a result. ")
        assert third.startswith(f"{reader.url}: ac/Third/{reader.stages[2].key} is not the record of a result. ")

    @pytest.mark.parametrize(
        ("lie", "told"),
        [
            ("wrong bytes", "has other content"),
            ("too short", "has 8 bytes, not 16"),
            ("too long", "has more than 16 bytes"),
            ("without end", "has more than 16 bytes"),
        ],
    )
    def test_about_files(self, lie, told, reader, proxy, filled):
        proxy.breaks(LIES[lie], "GET", "/cas/")
        assert reader.run() == REUSED | {"Third": "computed"}
        record = parsed(read(filled, f"ac/Third/{reader.stages[2].key}"))
        name = f"cas/{record.files['text']['sha256']}"
        assert reader.warnings[0].startswith(f"{reader.url}: {name} {told}; it is text of Third {record.key}. ")
        assert len(reader.warnings) == 3  # each stage makes what it cannot fetch

    def test_about_the_length_of_a_file(self, reader, proxy):
        proxy.breaks(faults.breaks_off, "GET", "/cas/")
        assert reader.run() == REUSED | {"Third": "computed"}
        assert_left_out(reader, "request or response body error")


def sealed(**changes):
    """Change a record, and seal it as if it were right."""

    def change(record):
        changed = replace(record, **{name: value(record) for name, value in changes.items()})
        files = {name: file["sha256"] for name, file in changed.files.items() if isinstance(file, dict)}
        return replace(changed, content=json_digest(files)).sealed().text.encode()

    return change


def with_file(name, **about):
    """Let a record name another file than its own."""
    return sealed(files=lambda record: {name: record.files["text"] | about})


WRONG_RECORDS = {
    "NoText": (lambda _: b"\xff" * 100, "is not the record of a result"),
    "NoEndOfLists": (lambda _: b"[" * 100_000, "is not the record of a result"),
    "AnotherType": (lambda _: b"[1, 2]", "is not the record of a result"),
    "ATypeWithin": (sealed(inputs=lambda _: {"before": 1}), "is not the record of a result"),
    "AListOfFiles": (lambda record: replace(record, files=[]).sealed().text.encode(), "is not the record of a result"),
    "ATimeThatIsNone": (sealed(started=lambda _: "yesterday"), "is not the record of a result"),
    "SecondsInWords": (sealed(seconds=lambda _: "many"), "is not the record of a result"),
    "SecondsThatAreNone": (sealed(seconds=lambda _: float("nan")), "is not the record of a result"),
    "AnAdoptedNumber": (sealed(adopted_from=lambda _: 5), "is not the record of a result"),
    "AColouredHost": (sealed(host=lambda _: "\x1b[31mhost"), "is not the record of a result"),
    "AVersionOfTwo": (sealed(versions=lambda _: {"numpy": ["1", "2"]}), "is not the record of a result"),
    "FiveMegabytes": (lambda record: record.text.encode() + b" " * (5 << 20), "is not the record of a result"),
    "ASealThatIsBroken": (lambda record: record.text.replace(record.key, "0" * 16).encode(), "is not the record"),
    "AnotherKey": (sealed(key=lambda record: record.key[::-1]), "is the record of another result"),
    "AnotherStage": (sealed(stage=lambda _: "First"), "is the record of another result"),
    "OtherParameters": (sealed(parameters=lambda _: {"text": "first"}), "has other parameters or code than its key"),
    "OtherInputs": (sealed(inputs=lambda _: {}), "has other inputs than its key"),
    "AFileAbove": (with_file(EVIL), "names a file '[./]+evil'"),
    "AnAbsolutePath": (with_file("/evil"), "names a file '/evil'"),
    "AHiddenFile": (with_file(".evil"), "names a file '.evil'"),
    "ALineInAName": (with_file("evil\n"), "names a file 'evil\\\\n'"),
    "AFileOfTheStore": (with_file("stage.json"), "names a file 'stage.json'"),
    "ARecordOfAFailure": (with_file("failed.json"), "names a file 'failed.json'"),
    "ALongName": (with_file("e" * 256), "names a file 'eee"),
    "NoKey": (sealed(adopted_from=lambda _: ["x"]), "is not the record of a result"),
    "AFailureWithFiles": (sealed(measured=lambda _: {"failure": "nan"}), "is not the record of a result"),
    "NoDigest": (with_file("text", sha256="../evil"), "has no size and digest for text"),
    "ANegativeSize": (with_file("text", bytes=-1), "has no size and digest for text"),
    "ASizeWithoutEnd": (with_file("text", bytes=1 << 80), f"has {1 << 80} bytes, and [0-9]+ are free"),
    "AFileThatIsNotThere": (with_file("text", sha256="0" * 64), f"cas/{'0' * 64} is missing"),
}


@pytest.fixture(scope="module")
def told_of_records(tmp_path_factory):
    """What a machine says that finds such records in the remote, each of them in the place of a right one."""
    folder = tmp_path_factory.mktemp("wrong")
    first = Machine(folder / "first", f"file://{folder}/remote")
    first.run(WRONG_RECORDS)
    for stage in first.stages:
        path = folder / "remote" / "ac" / stage.name / stage.key
        path.write_bytes(WRONG_RECORDS[stage.name][0](parsed(path.read_bytes())))
    second = Machine(folder / "second", first.url, writes=False)
    second.run(WRONG_RECORDS)
    assert list(folder.parent.rglob("*evil*")) == []
    return second.warnings


OF_ITS_STAGE = {"OtherParameters", "OtherInputs", "ASizeWithoutEnd", "AFileThatIsNotThere"}
"""Records that can be right for all that their remote shows, or whose file it lacks."""


def test_verify_and_gc_bear_wrong_records(told_of_records, tmp_path):
    """What a run says that `make verify` removes, it removes."""
    folder = Path(told_of_records[0].removeprefix("file://").split("/remote: ")[0]) / "remote"
    remote = Machine(tmp_path / "machine", f"file://{shutil.copytree(folder, tmp_path / 'remote')}").open()
    assert {found.name.split("/")[1] for found in upkeep.unused(remote.objects, 0)} == set(WRONG_RECORDS)
    wrong = {line.split(": ac/")[1].split("/")[0] for line in upkeep.verify(remote, SILENT)}
    assert wrong >= set(WRONG_RECORDS) - OF_ITS_STAGE


def test_verify_removes_a_wrong_record_of_a_failure(tmp_path):
    remote = Machine(tmp_path / "machine", f"file://{tmp_path}/remote").open()
    remote.objects.put("failed/First/1234", b"wrong")
    (told,) = upkeep.verify(remote, SILENT)
    assert told.startswith(f"{remote.url}: failed/First/1234 is not the record of ")
    assert upkeep.verify(remote, SILENT) == []


def test_verify_finds_nothing_wrong_in_what_is_written_meanwhile(tmp_path, monkeypatch):
    machine = Machine(tmp_path / "machine", f"file://{tmp_path}/remote")
    entries = objects.Objects.entries

    def entries_before_the_run(*arguments):
        found = entries(*arguments)
        monkeypatch.setattr(objects.Objects, "entries", entries)
        machine.run()
        return found

    monkeypatch.setattr(objects.Objects, "entries", entries_before_the_run)
    assert upkeep.verify(machine.open(), SILENT) == []
    assert another(machine, tmp_path / "second").run() == REUSED


@pytest.mark.parametrize("what", WRONG_RECORDS)
def test_wrong_record_is_named_once_and_not_used(what, told_of_records):
    (told,) = (warning for warning in told_of_records if re.search(rf"\b{what}\b", warning))
    assert re.match("file://", told)
    assert re.search(WRONG_RECORDS[what][1], told)


def test_wrong_record_that_comes_while_a_stage_is_made_is_not_used(tmp_path, monkeypatch):
    first = Machine(tmp_path / "first", f"file://{tmp_path}/elsewhere")
    first.run()
    record = Record.read(first.stages[0].path)
    second = Machine(tmp_path / "second", f"file://{tmp_path}/remote")
    write = small_stages.write

    def write_meanwhile(*arguments, **named):
        path = tmp_path / "remote" / "ac" / "First" / record.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(with_file(EVIL, sha256="0" * 64)(record))
        write(*arguments, **named)

    monkeypatch.setattr(small_stages, "write", write_meanwhile)
    assert second.run() == COMPUTED
    (warning,) = second.warnings
    assert "names a file '../../../../evil'" in warning
    assert list(tmp_path.rglob("*evil*")) == []


def test_wrong_pointers_to_equal_results_are_not_followed(tmp_path):
    pointers = {"Above": EVIL.encode(), "Missing": b"0" * 16, "NoText": b"\xff" * 16, "Long": b"0" * 9999, "Empty": b""}
    stages = ["First", *pointers]
    first = Machine(tmp_path / "first", f"file://{tmp_path}/remote")
    first.run(stages)
    for name, pointer in pointers.items():
        (path,) = (tmp_path / "remote" / "equal" / name).iterdir()
        path.write_bytes(pointer)
    shutil.rmtree(tmp_path / "remote" / "ac")
    second = Machine(tmp_path / "second", first.url)
    assert second.run(stages) == dict.fromkeys(stages, "computed")
    assert second.warnings == []


class TestRemoteThatCannotBeWritten:
    @pytest.mark.parametrize("fault", ["no answer", "hangs up", "forbidden"])
    def test_has_no_record_without_its_files(self, fault, writer, place, proxy, monkeypatch):
        impatient(monkeypatch, fault)
        proxy.breaks(DEAD[fault][0], "PUT POST", "/cas/")
        assert writer.run() == COMPUTED
        assert_left_out(writer, DEAD[fault][1])
        assert listed(place, "ac") == []

    def test_since_it_is_full(self, writer, place, proxy):
        proxy.breaks(faults.says(507, "InsufficientStorage"), "PUT POST", "/cas/")
        assert writer.run() == COMPUTED
        assert_left_out(writer, "507 Insufficient Storage")
        assert listed(place, "ac") == []

    def test_by_this_user(self, writer, place):
        writer.environment = place.read_only().environment
        """It is read all the same."""
        assert writer.run() == COMPUTED
        (warning,) = writer.warnings
        assert "403 Forbidden. Results are only taken from it, as with remote_mode = read." in warning

    def test_is_left_out_by_all_workers(self, states, place, proxy, tmp_path, monkeypatch):
        for name, value in place.at(proxy.endpoint).environment.items():
            monkeypatch.setenv(name, value)
        checkout = states.copy("new", tmp_path / "checkout")
        checkout.set("store", remote=place.url)
        proxy.breaks(faults.hangs_up, "PUT", "/cas/")
        checkout.run("--workers", "2", task="GrayscaleFlat")
        assert checkout.output.count("Work goes on without it") == 1
        assert len({path for method, path in proxy.requests if method == "PUT" and "/cas/" in path}) == 1

    def test_is_asked_again_after_some_minutes(self, writer, proxy, monkeypatch):
        proxy.breaks(faults.says(403, "AccessDenied"), "PUT POST", "/cas/")
        monkeypatch.setattr(shared, "PAUSE", 0)
        writer.run()
        assert len(writer.warnings) == 3

    def test_under_a_condition(self, writer, place, proxy, object_store, tmp_path):
        """Some servers ignore a condition that they do not know."""
        proxy.breaks(faults.unconditional(object_store.bucket()), "PUT")
        assert writer.run() == COMPUTED
        (warning,) = writer.warnings
        assert warning.startswith(f"{writer.url}: it ignores conditional writes: ")
        assert len(listed(place, "ac")) == 3
        second = another(writer, tmp_path / "second")
        assert second.run() == REUSED

    def test_at_the_first_try(self, writer, proxy):
        """The answer to the first write is lost: that it is there when it is tried again is right."""
        faults_to_come = iter([faults.loses_answer])

        def befalls(request):
            next(faults_to_come, faults.nothing)(request)

        proxy.breaks(befalls, "PUT", "/probe/")
        assert writer.run() == COMPUTED
        assert writer.warnings == []

    def test_with_an_answer_each_time(self, writer, place, proxy):
        proxy.breaks(faults.loses_answer, "PUT", every=3)
        assert writer.run() == COMPUTED
        assert writer.warnings == []
        assert len(listed(place, "ac")) == 3


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_whatever_a_remote_does_at_random_it_holds_nothing_wrong(seed, writer, proxy, tmp_path):
    kinds = [*LIES.values(), faults.breaks_off, faults.hangs_up, DEAD["too busy"][0], faults.loses_answer]
    random.Random(seed).shuffle(kinds)
    for kind in kinds:
        methods = "GET" if kind in LIES.values() else "GET PUT POST HEAD"
        proxy.breaks(kind, methods, "/(ac|cas|equal)/", chance=0.05)
    for number in range(3):
        another(writer, tmp_path / str(number)).run()
    proxy.heals()
    last = another(writer, tmp_path / "last")
    last.run()
    assert last.warnings == []
    with last.variables():
        assert upkeep.verify(last.open(), SILENT) == []
        assert another(last, tmp_path / "after").run() == REUSED


@pytest.mark.slow
class TestKills:
    """Two machines are killed again and again while they share a remote that breaks at random."""

    EPOCHS = ("--TrainMLP-epochs", "20", "--TrainCNN-epochs", "3")
    KINDS = (faults.hangs_up, faults.loses_answer, faults.says(503, "SlowDown"), faults.breaks_off, faults.wrong_bytes)

    def test_lose_nothing_and_change_nothing(self, states, object_store, proxy, tmp_path, monkeypatch):
        undisturbed = states.copy("new", tmp_path / "undisturbed")
        undisturbed.run(*self.EPOCHS)
        machines = [states.copy("new", tmp_path / name) for name in ("one", "two")]
        moments = random.Random(KILLS)
        for number in range(KILLS // 10 or 1):
            place = object_store.place()
            for name, value in place.at(proxy.endpoint).environment.items():
                monkeypatch.setenv(name, value)
            for machine in machines:
                machine.set("store", remote=place.url)
                shutil.rmtree(machine.folder / "data", ignore_errors=True)
                shutil.rmtree(machine.folder / "outputs", ignore_errors=True)
            for kind in self.KINDS:
                proxy.breaks(kind, "GET" if kind is faults.wrong_bytes else "GET HEAD PUT POST", chance=0.01)
            self.kill(machines, place, moments)
            proxy.heals()
            third = states.copy("new", tmp_path / f"third-{number}")
            self.see_that_nothing_is_lost([*machines, third], place, undisturbed)

    def kill(self, machines, place, moments):
        """Kill ten runs, two at a time; what is in the remote stays as it was written first."""
        written = {}
        for _ in range(5):
            chances = [random.Random(moments.random()) for _ in machines]

            def kill(machine, chance):
                return killing.kill(machine, *self.EPOCHS, kind=chance.choice(["run", "all"]), within=8, moments=chance)

            with ThreadPoolExecutor(len(machines)) as pool:
                assert "Traceback" not in "".join(pool.map(kill, machines, chances))
            found = {name: read(place, name) for name in listed(place, "ac")}
            assert found | written == found
            written = found

    def see_that_nothing_is_lost(self, machines, place, undisturbed):
        for machine in machines:
            machine.set("store", remote=place.url)
            machine.run(*self.EPOCHS)
            assert "WARNING" not in machine.output
        assert set(machine.run(*self.EPOCHS).values()) == {"reused"}
        assert "is as it was made" in machine.pipeline("verify", "--in-remote")
        for machine in machines:
            machine.pipeline("pull", *machine.flags(), *self.EPOCHS)
            assert machine.files() == undisturbed.files()
            assert machine.leftovers() == []
            assert killing.at_work(machine.folder) == []


def assert_left_out(machine, told):
    """See that a single warning names the remote and what befell it."""
    (warning,) = machine.warnings
    assert warning.startswith(f"{machine.url}: ")
    assert told in warning
    assert warning.endswith(". Work goes on without it.")


def listed(place, prefix):
    return [item["path"] for page in obstore.list(place.open(), prefix) for item in page]


def read(place, name):
    return bytes(obstore.get(place.open(), name).bytes())

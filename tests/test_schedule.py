"""Timers: installed by a real systemd and a real crontab, in a namespace of their own where nobody else's are."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.operations.schedule import expressions, systemd
from pipeline.operations.schedule.job import Job, check_calendar

ODD_NAME = """it's 100 % "mine", $HOME; #1"""
SYSTEMD = "/lib/systemd/systemd"


class TestExpressions:
    @pytest.mark.parametrize(
        ("every", "fields"),
        [
            ("minutely", "* * * * *"),
            ("hourly", "0 * * * *"),
            ("daily", "0 0 * * *"),
            ("Weekly", "0 0 * * 1"),
            ("monthly", "0 0 1 * *"),
            ("yearly", "0 0 1 1 *"),
            ("annually", "0 0 1 1 *"),
            ("02:30", "30 2 * * *"),
            ("*-*-* 02:30:00", "30 2 * * *"),
            ("*-*-* 23:05", "5 23 * * *"),
            ("*-01-15 4:00", "0 4 15 1 *"),
            ("*:0/15", "0-59/15 * * * *"),
            ("*:*/5", "*/5 * * * *"),
            ("*-*-* *:00:00", "0 * * * *"),
            ("8..17:00", "0 8-17 * * *"),
            ("6,18:00", "0 6,18 * * *"),
            ("8..17/3:00", "0 8-17/3 * * *"),
            ("Mon 02:30", "30 2 * * 1"),
            ("Mon..Fri 02:30", "30 2 * * 1,2,3,4,5"),
            ("sat,Sunday *-*-* 10:00", "0 10 * * 6,7"),
            ("Mon", "0 0 * * 1"),
            ("*-*-01", "0 0 1 * *"),
            (" daily ", "0 0 * * *"),
        ],
    )
    def test_that_a_crontab_can_say(self, every, fields):
        assert expressions.in_crontab(every) == fields

    @pytest.mark.parametrize(
        "every",
        [
            "2026-01-01 00:00",
            "*-*-* 00:00:30",
            "*:*:0/10",
            "Mon *-*-01 00:00",
            "*-*~01",
            "02:30 UTC",
            "25:00",
            "10:61",
            "*-13-01",
            "17..8:00",
            "*:0/0",
            "Fri..Mon 10:00",
            "Moonday 10:00",
            "fortnightly",
            "*-*-* * * *",
            "",
        ],
    )
    def test_that_a_crontab_cannot_say(self, every):
        with pytest.raises(SettingError, match=r"a crontab cannot express it.*Expected minutely, hourly"):
            expressions.in_crontab(every)

    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
    def test_names_mean_what_systemd_says(self):
        for name, fields in expressions.NAMES.items():
            asked = subprocess.run(
                ["systemd-analyze", "calendar", name], capture_output=True, text=True, check=True
            ).stdout
            normal = re.search(r"Normalized form: (.*)", asked)[1]
            assert expressions.in_crontab(normal) == fields, normal


class TestEvery:
    @pytest.mark.parametrize(
        "every", ["daily\nExecStart=x", "$(touch x)", "daily; ls", "`ls`", "a|b", "'", '"', "%h", "", " "]
    )
    def test_what_no_calendar_has_is_refused(self, every):
        with pytest.raises(SettingError, match="expected daily, hourly"):
            check_calendar(every)

    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
    @pytest.mark.parametrize("every", ["fortnightly", "25:00", "--version"])
    def test_what_systemd_cannot_read_is_refused(self, every):
        with pytest.raises(SettingError, match="which systemd rejects: Failed to parse"):
            check_calendar(every)

    @pytest.mark.parametrize("every", ["daily", "*-*~01", "Mon..Fri 02:30", "*-*-* 02:30 Europe/Berlin", "*:0/15"])
    def test_what_systemd_can_read_is_not(self, every):
        check_calendar(every)


class TestJob:
    @pytest.mark.parametrize("path", ["/a\nb", "/a\\b", "/a\tb"])
    def test_a_path_that_no_timer_can_have_is_refused(self, path):
        with pytest.raises(SettingError, match="which a timer cannot take"):
            Job(Path(path), ("/bin/true",), "daily").check()

    def test_checkouts_have_names_of_their_own(self, tmp_path):
        names = {Job(tmp_path / name, ("/bin/true",), "daily").name for name in ("a", "b", "a/../a")}
        assert len(names) == 2


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
def test_systemd_finds_no_fault_in_the_units(tmp_path):
    checkout = tmp_path / ODD_NAME
    checkout.mkdir()
    job = Job(checkout, (sys.executable, "-m", "tasks.scheduled", "--title", "50 % $HOME 'a' \"b\""), "Mon..Fri 02:30")
    paths = [tmp_path / f"{job.name}.service", tmp_path / f"{job.name}.timer"]
    for path in paths:
        path.write_text(systemd.units(job)[path.name])
    verified = subprocess.run(
        ["systemd-analyze", "--user", "--recursive-errors=one", "verify", *paths],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert verified.returncode == 0, verified.stderr
    assert verified.stderr == ""


class Machine:
    """A namespace with a crontab, or a systemd, in which no timer is installed yet."""

    def __init__(self, home, *, has_systemd):
        self.home = home
        self.has_systemd = has_systemd
        home.mkdir()
        setup = "mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/user/0 && chmod 700 /run/user/0"
        if Path("/var/spool/cron/crontabs").is_dir():
            setup += " && mount -t tmpfs none /var/spool/cron/crontabs"
        without = "rm -r /run/systemd && touch /run/ready && exec sleep infinity"
        stay = f"{SYSTEMD} --user; true" if has_systemd else without
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", f"{setup} && {stay}"],
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XDG_CONFIG_HOME")}
        return kept | {"HOME": str(self.home), "XDG_RUNTIME_DIR": "/run/user/0", "PYTHONDONTWRITEBYTECODE": "1"}

    def is_ready(self):
        if self.process.poll() is not None:
            pytest.skip("no namespaces of one's own here: that takes root")
        if not self.has_systemd:
            return bool(self.pid()) and Path(f"/proc/{self.pid()}/root/run/ready").exists()
        return bool(self.pid()) and "running" in self.run("systemctl", "--user", "is-system-running", status=None)

    def pid(self):
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().strip()
        return ""

    def run(self, *command, cwd=None, status=0, given=""):
        """Run a command in the namespace and return what it prints."""
        inside = ["nsenter", "--target", self.pid(), "--mount", "--pid", "env", "-C", cwd or "/", *command]
        done = subprocess.run(
            inside,
            env=self.environment(),
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert status is None or done.returncode == status, done.stdout
        return done.stdout


@contextlib.contextmanager
def started(home, **what):
    made = Machine(home, **what)
    try:
        deadline = time.monotonic() + 20
        while not made.is_ready():
            if time.monotonic() > deadline:
                pytest.skip("systemd does not start here")
            time.sleep(0.05)
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    """A checkout under a name that is hard to quote, in which all is done."""
    return states.copy("trained", tmp_path_factory.mktemp("schedule") / ODD_NAME)


def pipeline(machine, checkout, *arguments, status=0):
    return machine.run(sys.executable, "-m", "pipeline", *arguments, cwd=checkout.folder, status=status)


def fresh(checkout):
    """Return the path of a status file that is not there yet."""
    path = checkout.folder / "outputs" / "status.json"
    path.unlink(missing_ok=True)
    return path


class TestSystemd:
    @pytest.fixture
    def machine(self, tmp_path):
        if not Path(SYSTEMD).exists():
            pytest.skip("there is no systemd here")
        with started(tmp_path / "home", has_systemd=True) as made:
            yield made

    def test_runs_the_pipeline_and_is_removed_without_a_trace(self, machine, checkout):
        flags = [*checkout.flags(), "--ConvertToHDF5-title", ""]
        printed = pipeline(machine, checkout, "schedule", "--every=Mon..Fri 02:30", *flags)
        [service] = machine.home.rglob("*.service")
        assert f"write {service}" in printed
        assert service.stem in machine.run("systemctl", "--user", "list-timers", "--no-pager")
        status = fresh(checkout)
        machine.run("systemctl", "--user", "start", service.name)
        assert '"state": "ok"' in status.read_text()
        printed = pipeline(machine, checkout, "unschedule")
        assert f"remove {service}" in printed
        assert service.stem not in machine.run("systemctl", "--user", "list-timers", "--all", "--no-pager")
        assert [path for path in machine.home.rglob("*") if not path.is_dir()] == []
        assert "Nothing is scheduled" in pipeline(machine, checkout, "unschedule")

    def test_a_new_time_takes_the_place_of_the_old(self, machine, checkout):
        pipeline(machine, checkout, "schedule", "--every", "daily", *checkout.flags())
        pipeline(machine, checkout, "schedule", "--every", "minutely", *checkout.flags())
        [timer] = machine.home.rglob("*d/user/*.timer")
        shown = machine.run("systemctl", "--user", "show", "--property=TimersCalendar", timer.name)
        assert "*-*-* *:*:00" in shown
        assert "00:00:00" not in shown

    def test_a_dry_run_changes_nothing(self, machine, checkout):
        printed = pipeline(machine, checkout, "schedule", "--every", "daily", "--dry-run", *checkout.flags())
        assert "OnCalendar=daily" in printed
        assert "would run systemctl --user daemon-reload" in printed
        assert [path for path in machine.home.rglob("*") if not path.is_dir()] == []
        pipeline(machine, checkout, "schedule", "--every", "daily", *checkout.flags())
        before = sorted(machine.home.rglob("*"))
        assert "would remove" in pipeline(machine, checkout, "unschedule", "--dry-run")
        assert sorted(machine.home.rglob("*")) == before


OTHERS = (
    "# of somebody else, \x0c and \u2028\nMAILTO=me\n5 4 * * * echo 'a  b' 100\\% # faster-deep-learning-00000000\n"
)


class TestCrontab:
    @pytest.fixture
    def machine(self, tmp_path):
        if not shutil.which("crontab"):
            pytest.skip("there is no crontab command here")
        with started(tmp_path / "home", has_systemd=False) as made:
            yield made

    def as_cron_runs_it(self, machine, line):
        """Run the command of a line as crontab(5) has it: by sh, \\% being a % and any other % a line end."""
        command = line.split(maxsplit=5)[5]
        assert "%" not in re.sub(r"\\%", "", command)
        return machine.run("sh", "-c", command.replace(r"\%", "%"), cwd="/")

    def test_runs_the_pipeline_and_leaves_other_lines_alone(self, machine, checkout):
        machine.run("crontab", "-", given=OTHERS)
        printed = pipeline(machine, checkout, "schedule", "--every", "Mon..Fri 02:30", *checkout.flags())
        lines = machine.run("crontab", "-l")
        assert lines.startswith(OTHERS)
        [own] = lines.removeprefix(OTHERS).splitlines()
        assert f"added: {own}" in printed
        assert own.startswith("30 2 * * 1,2,3,4,5 cd ")
        status = fresh(checkout)
        assert self.as_cron_runs_it(machine, own) == ""
        assert '"state": "ok"' in status.read_text()
        pipeline(machine, checkout, "schedule", "--every", "daily", *checkout.flags())
        assert machine.run("crontab", "-l").count("tasks.scheduled") == 1
        assert "removed: 0 0 * * * cd " in pipeline(machine, checkout, "unschedule")
        assert machine.run("crontab", "-l") == OTHERS
        assert "Nothing is scheduled" in pipeline(machine, checkout, "unschedule")

    def test_leaves_no_crontab_where_there_was_none(self, machine, checkout):
        pipeline(machine, checkout, "schedule", "--every", "daily", *checkout.flags())
        pipeline(machine, checkout, "unschedule")
        assert "no crontab" in machine.run("crontab", "-l", status=1)

    def test_a_dry_run_changes_nothing(self, machine, checkout):
        printed = pipeline(machine, checkout, "schedule", "--every", "hourly", "--dry-run", *checkout.flags())
        assert "would add: 0 * * * * cd " in printed
        assert "no crontab" in machine.run("crontab", "-l", status=1)
        pipeline(machine, checkout, "schedule", "--every", "hourly", *checkout.flags())
        before = machine.run("crontab", "-l")
        assert "would remove: 0 * * * * cd " in pipeline(machine, checkout, "unschedule", "--dry-run")
        assert machine.run("crontab", "-l") == before

    def test_two_checkouts_have_a_line_each(self, machine, checkout, tmp_path):
        other = checkout.copy(tmp_path / "other")
        for each in (checkout, other):
            pipeline(machine, each, "schedule", "--every", "daily", *each.flags())
        assert machine.run("crontab", "-l").count("tasks.scheduled") == 2
        pipeline(machine, checkout, "unschedule")
        [left] = machine.run("crontab", "-l").splitlines()
        assert f"cd {other.folder} && " in left

    @pytest.mark.parametrize(
        ("every", "flags", "message"),
        [
            ("*-*-* 00:00:30", (), "a crontab has no seconds"),
            ("fortnightly", (), "expected daily, hourly"),
            ("daily", ("--TrainCNN-epochs", "0"), "epochs is 0"),
            ("daily", ("--ConvertToHDF5-title", "a\\b"), "which a timer cannot take"),
        ],
    )
    def test_what_cannot_run_is_not_installed(self, machine, checkout, every, flags, message):
        printed = pipeline(machine, checkout, "schedule", "--every", every, *checkout.flags(), *flags, status=1)
        assert message in printed
        assert "Traceback" not in printed
        assert "no crontab" in machine.run("crontab", "-l", status=1)

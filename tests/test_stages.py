"""What holds for every stage that Luigi runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import luigi
luigi.run(sys.argv[1:])
from threadpoolctl import threadpool_info
print(json.dumps([library["num_threads"] for library in threadpool_info()]))
"""


@pytest.mark.state("new")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_matrix_products_keep_to_the_cores_of_their_worker(checkout, threads):
    flags = ["Grayscale2D", "--module", "tasks", "--DownloadCIFAR-archive", str(checkout.archive), "--threads", threads]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *flags],
        cwd=checkout.folder,
        env=checkout.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    counts = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("[")))
    assert counts == [int(threads)]


NEW_KIND = """
import sys
from luigi.cmdline_parser import CmdlineParser
from tasks.commands import current
from tasks.learning import NetworkTask, Train

class Weigh(NetworkTask):
    kind = "Weigh"
    function = "pipeline.report.history_files:write_history_files"

    def requires(self):
        return {"trained": Train.of(self.network)}

with CmdlineParser.global_instance(["Pipeline", *sys.argv[1:]]):
    print(*(stage.name for stage in current.all_reachable()))
"""


def test_gc_keeps_the_results_of_a_new_kind_of_stage(checkout):
    done = checkout.call(sys.executable, "-c", NEW_KIND, *checkout.flags())
    assert {"WeighMLP", "WeighMLP2", "WeighCNN", "EvaluateMLP2", "HistoryMLP2"} <= set(done.stdout.split()), done.stderr

"""The notebooks in ``examples/``, run from beginning to end; what they show is kept in them."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.checkout import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def kinds(notebook):
    """What each cell shows: text, pictures or values."""
    return [{output.output_type for output in cell.get("outputs", [])} for cell in notebook.cells]


def is_trouble(output):
    """An error, or a warning."""
    return output.output_type == "error" or output.get("name") == "stderr"


def test_both_are_there():
    assert [path.name for path in NOTEBOOKS] == ["own_network.ipynb", "train_on_arrays.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_runs(self, path, monkeypatch, tmp_path):
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
        notebook = nbformat.read(path, as_version=4)

        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()

        assert [output for output in outputs(notebook) if is_trouble(output)] == []
        assert kinds(notebook) == kinds(nbformat.read(path, as_version=4))

    def test_keeps_what_it_showed_from_one_run(self, path):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)

        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))
        assert [output for output in outputs(notebook) if is_trouble(output)] == []
        assert str(ROOT) not in path.read_text()

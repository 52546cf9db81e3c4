# SPDX-License-Identifier: Apache-2.0
"""The notebook in examples/, from its first cell to its last."""

import os
import sys
from pathlib import Path

import pytest


NOTEBOOK = Path(__file__).parents[2] / "examples/from_video_to_report.ipynb"


@pytest.mark.slow
@pytest.mark.further
def test_the_notebook_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # what is kept here is the code
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()  # raises at the first cell that does

    shown = "\n".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "gives latent, depth, flow, motion, camray" in shown and "wrong " not in shown
    assert shown.count("'loss_depth'") == 4
    for path in ("preview/mine_00000.png", "saves/mine/adapter_model.safetensors", "report/report.html"):
        assert (tmp_path / path).is_file(), path

"""Programs printed in the documentation do what their pages say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from house import pages
from house.pages import Block

_PROGRAMS = [block for block in pages.blocks("python") if block.is_program]


@pytest.mark.slow
@pytest.mark.parametrize("block", _PROGRAMS, ids=lambda block: block.where)
def test_programs_in_the_documentation_run(block: Block, tmp_path) -> None:
    """In an interpreter of their own; a comment ``# prints: TEXT`` is held to."""
    run = subprocess.run(
        [sys.executable, "-c", block.code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    promised = [line.split("# prints: ", 1)[1] for line in block.code.splitlines() if "# prints: " in line]
    assert [line for line in promised if line not in run.stdout] == []

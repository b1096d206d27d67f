"""The wheel holds all that the programs need outside of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The wheel, built by the project's own back end and unpacked as an installer does."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=_ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def _run(site, code, *arguments):
    """In a directory that is no checkout, with the unpacked wheel before the editable installation."""
    # Not measured: coverage would count a second copy of the product, at paths that are gone tomorrow.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment["PYTHONPATH"] = str(site)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, cwd=site.parent, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_the_wheel_holds_both_packages_their_data_and_nothing_else(unpacked):
    """Tests, scripts and benchmarks stay in the checkout."""
    top = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"hermes_trio", "sandbox_daemon"}
    wanted = ["hermes_trio/py.typed", "sandbox_daemon/py.typed", "hermes_trio/data/tasks/terminal.jsonl"]
    assert [name for name in wanted if not (unpacked / name).is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("from hermes_trio.cli import main; raise SystemExit(main())", "doctor"),
        ("from sandbox_daemon.__main__ import main; raise SystemExit(main())", "--ready-file"),
    ],
)
def test_the_programs_of_the_wheel_start_outside_of_a_checkout(unpacked, code, word):
    """``--help`` imports the command line and nothing that is missing."""
    run = _run(unpacked, code, "--help")
    assert run.returncode == 0, run.stderr
    assert word in run.stdout


@pytest.mark.slow
def test_the_wheel_is_what_those_programs_ran(unpacked):
    """Or the two tests above would have shown the checkout."""
    run = _run(unpacked, "import hermes_trio; print(hermes_trio.__file__)")
    assert run.stdout.startswith(str(unpacked))

"""``doctor`` asks a real program, and answers for whatever that program does."""

from __future__ import annotations

import json
import sys

import pytest
import trio

from hermes_trio.cli import doctor
from hermes_trio.errors import UnavailableError


def _program(code):
    return [sys.executable, "-c", code]


async def test_the_answer_of_the_program_becomes_the_diagnosis():
    """With the host's own figures beside it."""
    report = json.dumps({"level": "ns", "mechanisms": {"net": "namespace"}, "missing": []})
    diagnosis = await doctor.diagnose(_program(f"print({report!r})"))
    assert diagnosis.is_fine
    assert diagnosis.isolation.mechanisms == {"net": "namespace"}
    assert diagnosis.host.cores >= 1


async def test_a_failing_program_is_a_typed_error_with_its_last_words():
    """The words on stderr are what a person needs."""
    with pytest.raises(UnavailableError, match=r"probe failed: no bwrap\.$"):
        await doctor.diagnose(_program("import sys; sys.exit('no bwrap')"))


async def test_a_silent_failure_names_the_exit_code():
    """There is always something to say."""
    with pytest.raises(UnavailableError, match="exit code 7"):
        await doctor.diagnose(_program("raise SystemExit(7)"))


async def test_a_program_that_is_not_there_is_a_typed_error():
    """No traceback for a broken installation."""
    with pytest.raises(UnavailableError, match="cannot be started"):
        await doctor.diagnose(["/nonexistent/sandbox-daemon"])


async def test_a_program_that_hangs_is_given_up(monkeypatch):
    """The bound is doctor's own; the program is gone afterwards."""
    monkeypatch.setattr(doctor, "PROBE_LIMIT_S", 0.2)
    with pytest.raises(UnavailableError, match=r"took longer than 0\.2 s"):
        await doctor.diagnose(_program("import time; time.sleep(60)"))


@pytest.mark.slow
async def test_the_verb_on_this_host_prints_the_probe_as_json_and_the_exit_code_says_the_same():
    """End to end: the real program, the real probe."""
    command = [*_program("from hermes_trio.cli import main; raise SystemExit(main())"), "doctor", "--json"]
    answer = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    report = json.loads(answer.stdout)
    assert report["isolation"]["level"] in {"ns", "uid", "none"}
    assert answer.returncode == (0 if report["isolation"]["level"] == "ns" else 3)

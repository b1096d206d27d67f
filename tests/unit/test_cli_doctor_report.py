"""What ``doctor`` makes of the daemon's probe, and how it shows it."""

from __future__ import annotations

import argparse
import io
import json

import pytest
from rich.console import Console

from hermes_trio.cli import doctor
from hermes_trio.errors import UnavailableError

_PROBE = {
    "level": "uid",
    "mechanisms": {"network": "refused"},
    "missing": [
        {"name": "userns", "why": "clone [EPERM]", "mend": "sysctl kernel.unprivileged_userns_clone=1"}
    ],
}


def _shown(probe):
    diagnosis = doctor.Diagnosis(host=doctor.read_host(), isolation=doctor.read_isolation(json.dumps(probe)))
    out = io.StringIO()
    doctor.print_report(diagnosis, Console(file=out, width=160))
    return out.getvalue()


def test_the_report_of_the_probe_is_read():
    """Level, mechanisms, and each missing thing with its mend."""
    isolation = doctor.read_isolation(json.dumps(_PROBE))
    assert isolation.level == "uid"
    assert isolation.mechanisms == {"network": "refused"}
    assert [item.name for item in isolation.missing] == ["userns"]


def test_log_lines_above_the_report_do_not_matter():
    """The last line is the report."""
    assert doctor.read_isolation("probing\n" + json.dumps(_PROBE) + "\n").level == "uid"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        '{"level": "ns"}',
        '{"level": "ns", "mechanisms": [], "missing": []}',
        '{"level": "ns", "mechanisms": {}, "missing": [1]}',
        '{"level": "ns", "mechanisms": {}, "missing": [{}]}',
    ],
)
def test_anything_else_is_a_typed_error_that_shows_it(text):
    """Never a traceback about JSON."""
    with pytest.raises(UnavailableError, match="printed no report"):
        doctor.read_isolation(text)


def test_what_is_missing_is_shown_with_its_reason_and_its_mend():
    """Word for word, brackets included."""
    shown = _shown(_PROBE)
    assert "clone [EPERM]" in shown
    assert "sysctl kernel.unprivileged_userns_clone=1" in shown
    assert "cannot isolate untrusted code" in shown


def test_a_host_with_everything_is_told_so_and_shows_no_empty_table():
    """Nothing missing, nothing to mend."""
    shown = _shown({"level": "ns", "mechanisms": {"seccomp": "on"}, "missing": []})
    assert "can run untrusted code" in shown
    assert "not to be had" not in shown


def test_a_level_of_a_later_version_is_shown_and_not_trusted():
    """An unknown word is not full isolation."""
    shown = _shown({"level": "vm", "mechanisms": {}, "missing": []})
    assert "vm: unknown to this version" in shown
    assert "cannot isolate" in shown


def test_the_verb_takes_json_and_runs_itself():
    """The convention of the command line: the parser knows the function."""
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["doctor", "--json"])
    assert arguments.json
    assert arguments.run is doctor.run

"""What is imported is declared, what is declared is imported, and all of it is pinned."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from typing import Any

from house import rooms, sources
from packaging.specifiers import SpecifierSet

_OPTIONAL = {
    *("prometheus-client", "matplotlib", "torch", "transformers", "stackscope"),
    *("mcp", "mcp-types", "anyio", "httpx2", "pydantic"),
}
"""Imported by the product where an extra is asked for, with a sentence for those who lack it."""
_NAMED = {"opentelemetry": "opentelemetry-api"}
"""Distributions that share a name with others. The SDK and the exporters are in the extra `traces`."""


def _project() -> dict[str, Any]:
    return tomllib.loads((sources.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in requirements}


def _imported(*directories: str) -> set[str]:
    """Distributions, as far as their names can be told from their imports: with dashes."""
    ours = {*rooms.PACKAGES, "benchmarks", "house", "coverage_gate"}
    ours |= {"compression"}  # the standard library's, of a later Python
    tops = {
        ".".join(target.split(".")[: 1 + target.startswith("backports.")])
        for module in sources.modules(*directories)
        for _, target in sources.imports(module)
    }
    names = {re.sub(r"[._]", "-", top) for top in tops - ours - sys.stdlib_module_names}
    return {_NAMED.get(name, name) for name in names}


def test_the_product_imports_exactly_what_it_declares() -> None:
    """An undeclared one works by luck; an unused one is somebody's download."""
    declared = _names(_project()["project"]["dependencies"])
    assert _imported(*rooms.PACKAGES) - _OPTIONAL == declared


def test_the_benchmarks_import_what_their_extra_declares() -> None:
    """Beyond the runtime's own dependencies."""
    project = _project()["project"]
    declared = _names(project["dependencies"]) | _names(project["optional-dependencies"]["bench"])
    assert _imported("benchmarks") <= declared


def test_every_dependency_is_pinned_by_the_constraints() -> None:
    """An unpinned dependency makes tomorrow's set-up another one than today's."""
    project = _project()
    declared = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    declared += [each for extra in project["project"]["optional-dependencies"].values() for each in extra]
    pins = {line.split("==")[0] for line in _constraints() if not line.startswith("#")}
    assert _names(declared) - {"hermes-trio"} <= pins


def test_every_pin_is_for_the_oldest_python_that_we_name() -> None:
    """Debian 12 has 3.11.2; a set-up that was only tried with a later one may fail there."""
    oldest = _project()["project"]["requires-python"].removeprefix(">=") + ".0"
    wanted = {name: _python_of(name) for name in map(_pinned, _constraints()) if name}
    assert {name: asked for name, asked in wanted.items() if not SpecifierSet(asked).contains(oldest)} == {}


def _pinned(line: str) -> str:
    return "" if line.startswith("#") else line.split("==")[0]


def _python_of(name: str) -> str:
    """What an installed distribution asks for; nothing of one that this set-up has no use for."""
    try:
        return str(metadata.metadata(name).json.get("requires_python", ""))
    except metadata.PackageNotFoundError:
        return ""


def test_the_constraints_hold_nothing_but_names_and_versions() -> None:
    """No addresses, no hashes, no options, no local paths."""
    odd = [line for line in _constraints() if not re.fullmatch(r"#.*|[a-z0-9-]+==[0-9][0-9A-Za-z.]*", line)]
    assert not odd


def _constraints() -> list[str]:
    return (sources.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

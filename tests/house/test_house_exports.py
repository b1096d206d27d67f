"""The public names: all there, and loaded only when used."""

from __future__ import annotations

import subprocess
import sys

from house import rooms, sources

import hermes_trio


def test_every_public_name_resolves() -> None:
    """``hermes_trio.__all__`` promises what the lazy loader keeps."""
    missing = [name for name in hermes_trio.__all__ if getattr(hermes_trio, name, None) is None]
    assert not missing


def test_public_names_are_sorted_and_listed_by_dir() -> None:
    """Readers and completion find them."""
    assert list(hermes_trio.__all__) == sorted(hermes_trio.__all__)
    assert set(hermes_trio.__all__) <= set(dir(hermes_trio))


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    """The lazy loader fails like a module does."""
    assert not hasattr(hermes_trio, "no_such_name")


def test_importing_the_package_loads_neither_trio_nor_httpx() -> None:
    """Whoever only wants ``hermes_trio.wire`` pays for nothing else."""
    forbidden = sorted(rooms.IMPURE_LIBRARIES)
    code = f"import hermes_trio, sys; sys.exit(' '.join(set({forbidden!r}) & set(sys.modules)) or 0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_every_directory_with_modules_is_a_package() -> None:
    """A forgotten ``__init__.py`` works from a checkout and surprises type checkers and readers."""
    directories = {module.path.parent for module in sources.modules(*rooms.PACKAGES, "benchmarks")}
    bare = sorted(
        str(path.relative_to(sources.ROOT)) for path in directories if not (path / "__init__.py").exists()
    )
    assert not bare


def test_both_packages_are_marked_as_typed() -> None:
    """PEP 561: without the marker a user's type checker ignores every annotation."""
    assert all((sources.ROOT / package / "py.typed").is_file() for package in rooms.PACKAGES)

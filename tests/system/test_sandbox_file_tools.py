"""What the file tools ask of a hostile slot: parts, modes, edits, searches. Items 24, 34, 36, 37, 39."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from hermes_trio.errors import Provenance
from hermes_trio.wire.listing import Match, unpack_matches
from hermes_trio.wire.operations import EditFileArguments, SearchArguments
from sandbox_daemon.slots.pool import Outcome

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]

DENIED = "Access denied: path outside workspace"


async def edit(slots: Any, path: str, old: bytes, new: bytes, **more: Any) -> Outcome:
    """An edit of a file of the attacked slot."""
    arguments = EditFileArguments(path=path, old_bytes=len(old), **more)
    return await slots.pool.edit_file(slots.lease, arguments, texts=old + new)


async def search(slots: Any, pattern: str, **more: Any) -> tuple[Outcome, tuple[Match, ...]]:
    """A search in the attacked slot."""
    arguments = SearchArguments(pattern=pattern, **more)
    outcome = await slots.pool.search_files(slots.lease, arguments, limit_s=10.0)
    return outcome, unpack_matches(outcome.payload)


async def test_parts_of_a_file_are_read_by_bytes_and_by_lines(slots) -> None:
    """Exactly, wherever they lie; what is not there is nothing."""
    content = b"".join(b"%d\n" % number for number in range(1, 300_001))
    (slots.workspace / "f").write_bytes(content)
    outcome = await slots.read("f", offset=1_000_000, max_bytes=10)
    assert outcome.payload == content[1_000_000:][:10]
    assert outcome.data == {"file_bytes": len(content), "truncated": True}
    assert (await slots.read("f", offset=len(content) + 5)).payload == b""
    assert len((await slots.read("f", offset=0, max_bytes=200_000)).payload) == 200_000
    outcome = await slots.read("f", start_line=250_000, end_line=250_001)
    assert (outcome.payload, outcome.data["last_line"]) == (b"250000\n250001\n", 250_001)
    outcome = await slots.read("f", start_line=299_999)
    assert (outcome.payload, outcome.data["total_lines"]) == (b"299999\n300000\n", 300_000)
    outcome = await slots.read("f", start_line=400_000)
    assert (outcome.payload, outcome.data["last_line"]) == (b"", 399_999)
    outcome = await slots.read("f", end_line=100_000, max_bytes=3)
    assert (outcome.payload, outcome.data["truncated"]) == (b"1\n2", True)
    assert (await slots.read("f", start_line=2, offset=1)).provenance is Provenance.INVALID_REQUEST


async def test_lines_of_what_is_no_file_are_refused(slots) -> None:
    """As all of it would be."""
    await slots.bash("mkfifo pipe; ln -s /etc/passwd out")
    assert (await slots.read("pipe", start_line=1)).error == "Not a file: pipe"
    assert (await slots.read("out", start_line=1)).error == DENIED
    assert (await slots.read("out", offset=0)).error == DENIED


async def test_a_file_gets_the_mode_that_was_asked_for(slots) -> None:
    """New or old, written or added to."""
    await slots.write("f", b"a", mode=0o750)
    assert stat.S_IMODE((slots.workspace / "f").stat().st_mode) == 0o750
    await slots.write("f", b"b", mode=0o600, append=True)
    assert stat.S_IMODE((slots.workspace / "f").stat().st_mode) == 0o600
    assert (slots.workspace / "f").read_bytes() == b"ab"
    assert (await slots.write("f", b"", mode=0o4755)).provenance is Provenance.INVALID_REQUEST


async def test_what_is_added_comes_behind_what_is_there(slots) -> None:
    """Of any size; a file that is not there is made, with its folders unless that is not wanted."""
    assert (await slots.write("d/f", b"one", append=True)).data == {"written_bytes": 3}
    big = b"x" * 300_000
    assert (await slots.write("d/f", big, append=True, max_bytes=1 << 20)).data == {"written_bytes": 300_003}
    assert (slots.workspace / "d/f").read_bytes() == b"one" + big
    outcome = await slots.write("e/f", b"x", append=True, parents=False)
    assert outcome.data == {"reason": "not_found"}
    assert (await slots.write("e/f", b"x", parents=False)).data == {"reason": "not_found"}
    assert not (slots.workspace / "e").exists()


@pytest.mark.parametrize("how", [{"append": True}, {}])
async def test_nothing_outside_is_added_to(slots, how: dict[str, bool]) -> None:
    """Nor anything that is no file."""
    await slots.bash("ln -s /etc/passwd out; mkfifo pipe; mkdir d; ln -s /tmp/x dangling")
    for path in ("out", "/etc/passwd", "../x", "dangling"):
        assert (await slots.write(path, b"planted", **how)).error == DENIED, path
    for path in ("pipe", "d"):
        assert (await slots.write(path, b"planted", **how)).error == f"Not a file: {path}"


async def test_a_full_disk_takes_back_what_was_added(limited) -> None:
    """And keeps an edit from being half done."""
    async with limited(max_file_bytes=1 << 20) as slots:
        await slots.write("f", b"x" * 1_000_000, max_bytes=2 << 20)
        outcome = await slots.write("f", b"y" * 100_000, append=True)
        assert (outcome.data, outcome.provenance) == ({"reason": "no_space"}, Provenance.TOOL_ERROR)
        assert (slots.workspace / "f").read_bytes() == b"x" * 1_000_000
        (slots.workspace / "g").write_bytes(b"a" + b"x" * 1_048_000)
        outcome = await edit(slots, "g", b"a", b"y" * 100_000)
        assert outcome.data == {"reason": "no_space"}
        assert (slots.workspace / "g").read_bytes() == b"a" + b"x" * 1_048_000


async def test_an_edit_is_exact_and_done_in_one_step(slots) -> None:
    """Modes stay; whoever has the file open sees the old one."""
    await slots.bash("printf 'a\\nb\\r\\nb\\n' > f; chmod 755 f; ln f other")
    outcome = await edit(slots, "f", b"a\nb\r\n", b"A\n")
    assert outcome.data == {"replacements": 1, "first_line": 1, "written_bytes": 4}
    assert await slots.text("cat f; cat other; stat -c %a f") == "A\nb\na\nb\r\nb\n755\n"
    outcome = await edit(slots, "other", b"b", b"c")
    assert outcome.error.startswith("old_text is there 2 times, in lines 2, 3;")
    assert (await edit(slots, "other", b"b", b"c", replace_all=True)).data["replacements"] == 2
    assert (await edit(slots, "f", b"nowhere", b"x")).error == "old_text was not found: f"
    assert (await edit(slots, "missing", b"a", b"b")).error == "File not found: missing"
    await slots.bash("truncate -s 4M large; ln -s /etc/passwd out")
    assert (await edit(slots, "large", b"a", b"b")).data == {"reason": "too_large"}
    assert (await edit(slots, "out", b"root", b"x")).error == DENIED
    outcome = await slots.pool.edit_file(slots.lease, EditFileArguments(path="f", old_bytes=3), texts=b"ab")
    assert outcome.provenance is Provenance.INVALID_REQUEST


async def test_a_search_finds_lines_of_text_files(slots) -> None:
    """Hidden files too; not in binaries, not through links, not in what cannot be read."""
    await slots.bash(
        "mkdir -p src/.git; printf 'one\\nTwo wo\\n' > src/a.py; printf 'two\\n' > src/.git/b.txt;"
        "printf 'two\\0two\\n' > src/bin; ln -s /etc src/etc; ln -s a.py src/link; mkfifo src/pipe;"
        "printf 'two' > src/shut; chmod 0 src/shut; printf 'two\\n' > $'src/new\\nline'"
    )
    outcome, matches = await search(slots, "t?wo", ignore_case=True)
    assert [(match.path, match.line, match.text) for match in matches] == [
        (b"src/.git/b.txt", 1, b"two"),
        (b"src/a.py", 2, b"Two wo"),
        (b"src/new\nline", 1, b"two"),
    ]
    assert (outcome.data["matches"], outcome.data["truncated"]) == (3, False)
    _, matches = await search(slots, "two", path="src", glob="*.txt")
    assert [match.path for match in matches] == [b"src/.git/b.txt"]
    _, matches = await search(slots, "t?wo", literal=True)
    assert matches == ()
    outcome, matches = await search(slots, "o", max_matches=2)
    assert (len(matches), outcome.data["truncated"]) == (2, True)


async def test_a_search_that_makes_no_sense_is_told(slots) -> None:
    """In words that name what is wrong."""
    outcome, _ = await search(slots, "(")
    assert outcome.provenance is Provenance.INVALID_REQUEST
    assert "pars" in outcome.error or "no regular expression" in outcome.error
    assert (await search(slots, "x", path="missing"))[0].error == "File not found: missing"
    assert (await search(slots, "x", path="/etc"))[0].error == DENIED


async def test_a_pattern_that_never_ends_is_ended(slots) -> None:
    """Where the engine is ours; ripgrep's has no such patterns."""
    await slots.write("f", b"a" * 60 + b"b")
    arguments = SearchArguments(pattern="(a+)+$")
    outcome = await slots.pool.search_files(slots.lease, arguments, limit_s=0.5)
    assert outcome.provenance in (Provenance.LIMIT_EXCEEDED, Provenance.OK)
    if outcome.provenance is Provenance.OK:
        assert outcome.data["engine"] == "ripgrep"

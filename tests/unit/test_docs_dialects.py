"""What the page about dialects shows is what the parsers read."""

from __future__ import annotations

import re

import pytest
from house import pages, sources
from house.pages import Block

from hermes_trio.models.parsers import available_parsers, get_parser

PAGE = "docs/reference/tool-call-dialects.md"
PROGRAMS = [block for block in pages.blocks("python") if block.page == PAGE]
EXAMPLE = re.compile(r"^### `(\w+)`\n\n(`{3,})text\n(.*?)^\2\n", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    match[1]: match[3] for match in EXAMPLE.finditer((sources.ROOT / PAGE).read_text(encoding="utf-8"))
}


def test_every_dialect_is_shown() -> None:
    """And nothing that is none."""
    assert set(EXAMPLES) == set(available_parsers())


@pytest.mark.parametrize("dialect", sorted(EXAMPLES))
def test_the_example_of_a_dialect_is_the_call_that_the_page_says(dialect: str) -> None:
    """`bash` with the command `ls -l`, and nothing else."""
    parsed = get_parser(dialect).parse_detailed(EXAMPLES[dialect])
    assert [(call.name, call.arguments) for call in parsed.calls] == [("bash", {"command": "ls -l"})]
    assert parsed.content is None
    assert not parsed.problems


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.where)
def test_the_programs_of_the_page_run(block: Block) -> None:
    """Their assertions hold."""
    assert "assert" in block.code
    exec(compile(block.code, block.where, "exec"), {})

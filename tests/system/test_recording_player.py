"""What an agent's terminal recorded plays in asciinema's own player, in a real browser.

Driven by ``hermes_trio/console/web/browser/play.mjs``; ``scripts/console.sh setup`` brings what it needs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio

import hermes_trio as ht

WEB = Path(__file__).resolve().parents[2] / "hermes_trio" / "console" / "web"
LIMIT_S = 90.0


def _lacking() -> str:
    missing = [name for name in ("node", "chromium") if shutil.which(name) is None]
    if missing or not (WEB / "node_modules" / "asciinema-player").is_dir():
        return f"no {', '.join(missing) or 'npm packages'}: scripts/console.sh setup brings them"
    return ""


pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.slow,
    pytest.mark.skipif(_lacking() != "", reason=_lacking() or "a browser is there"),
]


async def _played(path: Path) -> dict[str, Any]:
    """What the player shows at the end of a recording."""
    words = ["node", str(WEB / "browser" / "play.mjs"), str(path), f"chromium={shutil.which('chromium')}"]
    with trio.fail_after(LIMIT_S):
        run = await trio.run_process(words, capture_stdout=True, capture_stderr=True, check=False)
    assert run.stdout, run.stderr.decode("utf-8", "replace")
    seen: dict[str, Any] = json.loads(run.stdout)
    return seen


async def test_a_recording_of_an_agents_terminal_plays_in_asciinemas_player(tmp_path: Path) -> None:
    """Colours, wide letters, a full-screen program, a resize: at the end the player shows our own screen."""
    async with (
        ht.open_local_backend(slots=1) as backend,
        ht.open_executor(backend, tools=ht.registry_of("full")) as executor,
    ):

        async def tmux(action: str, **arguments: Any) -> ht.ToolResult:
            result = await executor.execute("t", ht.ToolCall("tmux", {"action": action, **arguments}))
            assert result.success, result.error
            return result

        async def typed(text: str) -> None:
            await tmux("send_keys", keys=[text, "Enter"], block=True, max_wait_s=10)

        await tmux("start", pane_width=60, pane_height=12)
        await typed("seq 30; printf '\\033[31mred\\033[0m \\344\\270\\255\\346\\226\\207 \\303\\244\\n'")
        await typed("printf '\\033[?1049h\\033[2J\\033[Hfull screen'; sleep 0.2; printf '\\033[?1049l'")
        await typed("echo typed-$((20+22))")
        screen = (await tmux("capture")).output.splitlines()
        recording = await executor.recording("t")
        streamed = (await tmux("stream", reset=True, max_bytes=1_000_000)).output
    assert streamed.encode() == recording.rstrip(b"\n")  # what a model is given is the same file
    path = tmp_path / "agent.cast"
    path.write_bytes(recording)
    seen = await _played(path)
    assert "failed" not in seen, seen
    assert seen["faults"] == []
    assert "typed-42" in seen["lines"]
    assert "red \u4e2d\u6587 \u00e4" in seen["lines"]
    assert "full screen" not in seen["lines"]
    assert [line for line in seen["lines"] if line] == [line.rstrip() for line in screen if line.strip()]
    assert seen["duration_s"] > 0


async def test_the_player_tells_a_recording_from_what_is_none(tmp_path: Path) -> None:
    """So that the test above would fail, were the file no asciicast."""
    path = tmp_path / "broken.cast"
    path.write_text("no recording\n")
    assert "the player" in (await _played(path))["failed"]

"""Terminals: full-screen programs on a real pty, what they show, and what is typed into them."""

# ruff: noqa: ASYNC110 - a test may look at processes and clocks as it likes

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import pytest
import trio

import hermes_trio as ht
from hermes_trio.errors import Provenance
from hermes_trio.testing.chaos_proxy import ProxiedBackend, open_chaos_proxy
from hermes_trio.wire.operations import TerminalArguments

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]

SOON_S = 15.0


class Driven:
    """One terminal of the attacked slot."""

    def __init__(self, slots, name: str = "main") -> None:
        self.slots = slots
        self.name = name

    async def do(self, action: str, *, data: bytes = b"", **more):
        """One operation."""
        arguments = TerminalArguments(action=action, name=self.name, **more)
        return await self.slots.pool.terminal(self.slots.lease, arguments, data=data)

    async def screen(self, **more) -> str:
        """What it shows."""
        return (await self.do("capture", **more)).payload.decode()

    async def wait_for(self, text: str) -> str:
        """The screen, once it shows this."""
        with trio.fail_after(SOON_S):
            while text not in (shown := await self.screen()):
                seen = (await self.do("capture")).data["offset"]
                await self.do("output", offset=seen, max_wait_s=0.2)
        return shown


async def start(slots, *argv: str, name: str = "main", **more) -> Driven:
    """A terminal that runs."""
    driven = Driven(slots, name)
    outcome = await driven.do("start", argv=argv, **more)
    assert outcome.provenance is Provenance.OK, outcome.error
    return driven


PROGRAMS = {
    "vim": (
        ("vim", "-u", "NONE", "-N", "-n", "f.txt"),
        "~",
        ["ihello", "Escape", "yyp", "gg"],
        "hello\nhello",
        [":q!", "Enter"],
    ),
    "less": (("less", "f.txt"), "line 1\n", ["G"], "line 300", ["q"]),
    "top": (("top",), "load average", [], "PID", ["q"]),
    "htop": (("htop",), "Load average", ["F1"], "htop", ["q", "F10"]),
    "python": (("python3", "-q"), ">>>", ["6*7", "Enter"], "42", ["C-d"]),
    "dialog": (("dialog", "--msgbox", "are you there", "8", "40"), "are you there", [], "OK", ["Enter"]),
    "whiptail": (("whiptail", "--yesno", "a question", "8", "40"), "a question", ["Tab"], "No", ["Enter"]),
    "nano": (("nano", "new.txt"), "GNU nano", ["typed"], "typed", ["C-x", "n"]),
    "man": (("sh", "-c", "man -l page.1 || sleep 9"), "NAME", ["/", "drivable", "Enter"], "drivable", ["q"]),
    "watch": (("watch", "-n", "1", "echo watched"), "watched", [], "Every 1.0s", ["C-c"]),
    "bash": (("bash", "--norc"), "$", ["echo a b", "Left", "Left", "x", "Enter"], "ax b", ["C-d"]),
    "tmux": (("tmux", "-f", "/dev/null", "new", "cat"), "[0]", ["typed", "Enter"], "typed\ntyped", ["C-d"]),
    "tig": (("sh", "-c", "git init -q r; cd r; tig || sleep 9"), "tig", [], "tig", ["q", "q"]),
    "info": (("sh", "-c", "info ls || sleep 9"), "ls", [], "ls", ["q"]),
}


def reference(raw: bytes, folder, *, columns: int, rows: int) -> list[str]:
    """What tmux shows of the same bytes: an emulator that others wrote."""
    (folder / "raw").write_bytes(raw)
    (folder / "settings").write_text(
        "set -g status off\n"
    )  # without a status line the pane is the whole window
    tmux = ["tmux", "-S", str(folder / "reference"), "-f", str(folder / "settings")]
    # Raw, because the bytes have been cooked already. One session: a second signal would take back the first.
    command = f"stty raw -echo; cat {folder}/raw; tmux -S {folder}/reference wait-for -S drawn; sleep 60"
    size = ["-x", str(columns), "-y", str(rows)]
    subprocess.run([*tmux, "new-session", "-d", *size, command], check=True, capture_output=True)
    try:
        subprocess.run([*tmux, "wait-for", "drawn"], check=True, timeout=10)
        subprocess.run(["sleep", "0.1"], check=True)
        shown = subprocess.run([*tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)
    return [line.rstrip() for line in shown.stdout.split("\n")][:rows]


@pytest.mark.parametrize("program", PROGRAMS)
async def test_full_screen_programs_are_driven_and_their_screens_are_right(slots, tmp_path, program) -> None:
    """Started, answered, and compared with what tmux makes of the same bytes."""
    argv, first, keys, then, leave = PROGRAMS[program]
    if shutil.which(program if program != "python" else "python3") is None:
        pytest.skip(f"{program} is not installed")
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: there is nothing to compare the screens with")
    await slots.bash("seq -f 'line %g' 300 > f.txt" if program != "vim" else "true")
    await slots.bash("printf '.TH T 1\\n.SH NAME\\nt - a drivable page\\n' > page.1")
    terminal = await start(slots, *argv, columns=80, rows=24)
    await terminal.wait_for(first)
    for key in keys:
        await terminal.do("send", keys=(key,))
        await trio.sleep(0.05)
    await terminal.wait_for(then)
    await trio.sleep(0.2)
    outcome = await terminal.do("capture")
    raw = (await terminal.do("output", offset=0, max_bytes=1_000_000)).payload
    if len(raw) == outcome.data["offset"]:  # else it has drawn meanwhile
        ours = outcome.payload.decode().split("\n")
        theirs = await trio.to_thread.run_sync(lambda: reference(raw, tmp_path, columns=80, rows=24))
        assert ours == theirs
    for key in leave:
        await terminal.do("send", keys=(key,))
        await trio.sleep(0.1)
    await terminal.do("stop")


async def test_a_program_of_ours_drives_a_terminal_across_a_lost_link() -> None:
    """Keys, output from any offset, screen, size, recording, end."""
    async with (
        ht.open_local_backend(slots=1) as backend,
        open_chaos_proxy() as proxy,
        ht.open_executor(ProxiedBackend(backend, proxy)) as executor,
    ):
        terminal = await executor.open_terminal("t", columns=80, rows=24)
        assert repr(terminal) == "<Terminal 'main' of 't'>"
        await terminal.send("stty size; echo $TERM; tty\n")
        proxy.cut()
        with trio.fail_after(SOON_S):
            while "/dev/pts" not in (screen := await terminal.capture()).text:
                await trio.sleep(0.05)
        assert "24 80" in screen.text
        assert "xterm-256color" in screen.text
        await terminal.resize(columns=100, rows=30)
        await terminal.send("stty size; exit 3\n")
        pieces = []
        async for piece in terminal.output(0):
            pieces.append(piece.data)
        assert b"30 100" in b"".join(pieces)
        screen = await terminal.capture(scrollback_lines=10)
        assert (screen.running, screen.exit_code, screen.columns) == (False, 3, 100)
        lines = [json.loads(line) for line in (await executor.recording("t")).splitlines()]
        assert lines[0]["version"] == 2
        assert "".join(line[2] for line in lines[1:] if line[1] == "o").encode() == b"".join(pieces)
        assert [line[2] for line in lines[1:] if line[1] == "r"] == ["100x30"]
        await terminal.stop()
        await terminal.stop()
        with pytest.raises(ht.UnavailableError, match="no terminal"):
            await terminal.capture()
        with pytest.raises(ht.UnavailableError, match="No active slot"):
            await executor.recording("nobody")


async def test_10_mb_of_keys_arrive_whole() -> None:
    """As fast as the program reads, whatever the size of a pty's buffer."""
    data = b"".join(b"%07d\n" % number for number in range(1_310_720))
    async with ht.open_local_backend(slots=1) as backend, ht.open_executor(backend) as executor:
        terminal = await executor.open_terminal("t")
        await terminal.send(f"stty -echo; echo rea''dy; head -c {len(data)} | sha256sum\n")
        with trio.fail_after(SOON_S):
            while "ready" not in (await terminal.capture()).text:
                await trio.sleep(0.05)
        with trio.fail_after(60.0):
            await terminal.send(data)
            while hashlib.sha256(data).hexdigest() not in (await terminal.capture()).text:
                await trio.sleep(0.1)


async def test_the_tool_of_the_ancestor() -> None:
    """Its actions, its payload, one terminal for each trajectory."""
    async with (
        ht.open_local_backend(slots=1) as backend,
        ht.open_executor(backend, tools=ht.registry_of("full")) as executor,
    ):

        async def tmux(action: str, **arguments):
            return await executor.execute("t", ht.ToolCall("tmux", {"action": action, **arguments}))

        assert (await tmux("capture")).error.startswith("There is no terminal 'main'")
        started = await tmux("start", pane_width=60, pane_height=10)
        assert (started.success, started.metadata["columns"], started.metadata["started"]) == (True, 60, True)
        sent = await tmux("send_keys", keys=["sleep 0.3; echo sl''ept", "Enter"], block=True, max_wait_s=10)
        assert "slept" in sent.output
        assert sent.metadata["settled"] is True
        late = await tmux("send_keys", keys="sleep 60\n", block=True, max_wait_s=0.5)
        assert late.metadata["settled"] is False
        await tmux("send_keys", keys=["C-c", "seq 50", "Enter"], block=True, max_wait_s=10)
        assert "\n7\n8\n" in (await tmux("capture", capture_entire=True)).output
        assert "\n7\n8\n" not in (await tmux("capture")).output
        first = await tmux("stream", max_bytes=300)
        second = await tmux("stream")
        again = await tmux("stream", reset=True)
        assert json.loads(first.output.splitlines()[0])["version"] == 2
        assert again.output == f"{first.output}\n{second.output}"
        assert again.metadata["offset"] == second.metadata["offset"]
        assert (await tmux("stop")).success
        assert not (await tmux("capture")).success
        assert (await tmux("nonsense")).provenance is Provenance.INVALID_REQUEST


async def test_text_of_the_world_signals_and_pastes(slots) -> None:
    """UTF-8, wide characters, interrupts by key, brackets around what is pasted."""
    terminal = await start(slots, columns=80, rows=24)
    await terminal.do(
        "send",
        data="echo \u00e4\u4e2d\u6587\U0001f600 | cat -v | head -c0; echo \u00e4\u4e2d\u6587\n".encode(),
    )
    await terminal.wait_for("\n\u00e4\u4e2d\u6587")
    await terminal.do("send", data=b"sleep 1000\n")
    await trio.sleep(0.2)
    await terminal.do("send", keys=("C-c",), block=True, max_wait_s=5.0)
    await terminal.do("send", data=b"echo sta''tus $?\n")
    await terminal.wait_for("status 130")
    await terminal.do("send", data=b"echo pa''sted; rm -rf nothing\x1b[201~\necho two", paste=True)
    await trio.sleep(0.3)
    assert "\npasted" not in await terminal.screen()  # readline waits for Enter
    await terminal.do("send", keys=("Enter",))
    await terminal.wait_for("\npasted")


async def test_questions_of_programs_are_answered(slots) -> None:
    """Where the cursor is, and what terminal this is: some programs wait for that."""
    terminal = await start(slots)
    script = (
        b"stty raw -echo; printf '\\033[6n'; IFS= read -rsd R -t 5 a; printf '\\033[c'\n"
        b'IFS= read -rsd c -t 5 b; stty sane; printf \'\\n<%q><%q>\\n\' "$a" "$b"\n'
    )
    await slots.write("ask.sh", script)
    await terminal.do("send", data=b"bash ask.sh\n")
    screen = await terminal.wait_for("><")
    _, where, what = screen.split("<$'")
    assert where.startswith("\\E[")
    assert "?" in what


@pytest.mark.parametrize(
    "flood", ["yes", "cat /dev/urandom", "while :; do printf '\\033[99999L\\033]0;x'; done"]
)
async def test_floods_are_bounded_and_the_neighbour_goes_on(slots, flood: str) -> None:
    """Nobody emulates what nobody looks at; who looks waits a bounded time."""
    terminal = await start(slots)
    await terminal.do("send", data=f"{flood}\n".encode())
    await trio.sleep(1.0)
    with trio.fail_after(SOON_S):
        outcome = await terminal.do("capture", scrollback_lines=1000)
    assert outcome.data["screen_lines"] == 40
    held = slots.pool._cells[slots.lease.slot].sessions.terminals["main"]
    assert held.output.end - held.output.start <= 2 * 256 * 1024
    assert (await slots.bash("echo ok")).payload == b"ok\n"
    await terminal.do("stop")


@pytest.mark.cgroups
async def test_quiesce_and_release_end_terminals(slots) -> None:
    """With everything in them; a terminal does not make the calls of its slot wait."""
    terminal = await start(slots)
    await terminal.do("send", data=b"setsid sleep 1000 & sleep 1000\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: terminal.do("output", offset=1 << 40, max_wait_s=60.0))
        assert (await slots.bash("sleep 2000 & echo beside")).payload == b"beside\n"
        assert "sleep" in slots.strays().values()
        await slots.pool.quiesce(slots.lease)
        assert slots.strays() == {}
    assert (await terminal.do("capture")).provenance is Provenance.TOOL_ERROR
    await start(slots)
    await slots.pool.release(slots.lease, reset=True)
    assert slots.strays() == {}
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="another")
    assert (await terminal.do("capture")).provenance is Provenance.TOOL_ERROR


async def test_a_slot_has_a_bounded_number_of_terminals(slots) -> None:
    """And each has its name; a second start finds the first."""
    for number in range(8):
        await start(slots, "sleep", "1000", name=f"t{number}")
    outcome = await Driven(slots, "more").do("start")
    assert outcome.provenance is Provenance.LIMIT_EXCEEDED
    assert (await Driven(slots, "t0").do("start")).data["started"] is False


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", "dance"),
        ("columns", 19),
        ("rows", 201),
        ("name", ""),
        ("max_bytes", 0),
        ("min_wait_s", -1.0),
        ("argv", ("a\0b",)),
        ("scrollback_lines", 1001),
        ("offset", -1),
        ("keys", ("\ud800",)),
    ],
)
async def test_impossible_arguments_name_their_field(slots, field: str, value) -> None:
    """One line, no traceback."""
    outcome = await slots.pool.terminal(slots.lease, TerminalArguments(**{"action": "start", field: value}))
    assert outcome.provenance is Provenance.INVALID_REQUEST
    assert f"field '{field}'" in outcome.error

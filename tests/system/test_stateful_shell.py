"""The stateful shell: what a model really types, and what becomes of it. Items 41 to 43 of the checklist."""

from __future__ import annotations

import pytest
import trio

import hermes_trio as ht
from hermes_trio.errors import Provenance
from hermes_trio.testing.chaos_proxy import ProxiedBackend, open_chaos_proxy
from hermes_trio.wire.operations import BashArguments, StatefulArguments
from sandbox_daemon.isolation.levels import Isolation, Level

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]


def stateful(slots):
    """Runs commands in the attacked slot's shell."""

    async def run(command: str, *, limit_s: float = 20.0, **more):
        arguments = StatefulArguments(command=command, **more)
        return await slots.pool.bash_stateful(slots.lease, arguments, limit_s=limit_s)

    return run


# Command, output (both streams, standard output first), exit code. Run one after another in one shell.
TABLE = [
    ("echo hi", "hi\n", 0),
    ("echo hi # a comment at the end", "hi\n", 0),
    ("# nothing but a comment", "", 0),
    ("", "", 0),
    ("   \n\n", "", 0),
    ("x=5", "", 0),
    ("echo $x", "5\n", 0),
    ("cd /tmp", "", 0),
    ("pwd", "/tmp\n", 0),
    ("cd /usr && cd - ", "/tmp\n", 0),
    ("pushd /usr >/dev/null; pwd; popd >/dev/null; pwd", "/usr\n/tmp\n", 0),
    ("cd", "", 0),
    ("echo $PWD $OLDPWD", "/workspace /tmp\n", 0),
    ("false", "", 1),
    ("echo $?", "1\n", 0),
    ("(exit 42)", "", 42),
    ("echo $?", "42\n", 0),
    ("nonsense_command", "bash: nonsense_command: command not found\n", 127),
    ("ls /does/not/exist 2>/dev/null", "", 2),
    (
        "echo 'unbalanced",
        "bash: /proc/self/fd/50: line 1: unexpected EOF while looking for matching `''\n",
        2,
    ),
    (
        'echo "unbalanced',
        "bash: /proc/self/fd/50: line 1: unexpected EOF while looking for matching `\"'\n",
        2,
    ),
    ("(", "bash: /proc/self/fd/50: line 2: syntax error: unexpected end of file\n", 2),
    (
        "if true; then",
        "bash: /proc/self/fd/50: line 2: syntax error: unexpected end of file\n",
        2,
    ),
    ("echo after $x", "after 5\n", 0),
    ("cat <<EOF\nline $x\nEOF", "line 5\n", 0),
    ("cat <<'EOF' > note.txt\nraw $x\nEOF\ncat note.txt", "raw $x\n", 0),
    ("cat <<-EOF\n\ttabbed\n\tEOF", "tabbed\n", 0),
    ('cat <<< "here $x"', "here 5\n", 0),
    ("for i in 1 2 3; do\n  echo $i\ndone", "1\n2\n3\n", 0),
    ('f() { local y=$1; echo "f got $y"; return 3; }', "", 0),
    ("f one", "f got one\n", 3),
    ("a=(1 2 3); a+=(4); echo ${#a[@]} ${a[-1]}", "4 4\n", 0),
    ("declare -A m=([k]=v); echo ${m[k]}", "v\n", 0),
    ("echo ${a[1]} ${m[k]}", "2 v\n", 0),
    ("alias greet='echo aliased'", "", 0),
    ("greet", "aliased\n", 0),
    ("sleep 1000 & echo started", "started\n", 0),
    ("jobs | wc -l", "1\n", 0),
    ("kill %1; wait %1; echo $?", "143\n", 0),
    ("cat", "", 0),
    ('read line; echo "$? [$line]"', "1 []\n", 0),
    ("python3 -c 'import sys; print(sys.stdin.read() == \"\")'", "True\n", 0),
    ("break", "bash: break: only meaningful in a `for', `while', or `until' loop\n", 0),
    ("return 9", "", 9),
    ("set -u; echo $nope", "bash: nope: unbound variable\n", 1),
    ("set +u; echo [$nope]", "[]\n", 0),
    ("echo out; echo err >&2", "out\nerr\n", 0),
    ("echo one | tr a-z A-Z | rev", "ENO\n", 0),
    ("false | true; echo ${PIPESTATUS[0]}", "1\n", 0),
    ("set -o pipefail; false | true", "", 1),
    ("set +o pipefail", "", 0),
    ("( cd /usr; x=6; echo $x $PWD ); echo $x $PWD", "6 /usr\n5 /workspace\n", 0),
    ("{ echo grouped; }", "grouped\n", 0),
    ("echo a; \\\necho b", "a\nb\n", 0),
    ("printf 'no newline'", "no newline", 0),
    ("printf '%s\\n' \"$(echo nested $(echo deep))\"", "nested deep\n", 0),
    ("diff <(echo a) <(echo a) && echo same", "same\n", 0),
    ("[[ abc =~ ^a(.)c$ ]] && echo ${BASH_REMATCH[1]}", "b\n", 0),
    ("trap 'echo cleanup' USR1; kill -USR1 $$; trap - USR1", "cleanup\n", 0),
    ("exec 5> five.txt; echo kept >&5", "", 0),
    ("exec 5>&-; cat five.txt", "kept\n", 0),
    ("export Y=exported; bash -c 'echo $Y'", "exported\n", 0),
    ("unset x; echo [${x-gone}]", "[gone]\n", 0),
    ("eval 'z=3; echo $z'; source note.txt; echo $z", "3\n3\nbash: raw: command not found\n", 0),
    ("echo 'echo sourced; w=1' > s.sh; . ./s.sh; echo $w", "sourced\n1\n", 0),
    ("echo \u00e4\u00f6\u00fc \u2603 \U0001f600", "\u00e4\u00f6\u00fc \u2603 \U0001f600\n", 0),
    ("echo '0 0 /nowhere' ; printf '7 0 /x\\0'", "0 0 /nowhere\n7 0 /x\0", 0),
    ("seq 1 20000 | tail -1", "20000\n", 0),
    ("PS1='prompt> '; echo set", "set\n", 0),
    ("echo still quiet", "still quiet\n", 0),
    ("bash -c 'kill -9 $$'", "bash: line 1: ", None),
    ("echo $SECONDS | grep -c .", "1\n", 0),
    ("while read -r n; do echo \"got $n\"; done < <(printf '1\\n2\\n')", "got 1\ngot 2\n", 0),
    ("timeout 0.1 sleep 5", "", 124),
    ("set -x; :; set +x", "++ :\n++ set +x\n", 0),
    ("echo end; echo $0", "end\nbash\n", 0),
]


async def test_a_table_of_what_models_type(slots) -> None:
    """Each with its output and status, all in one shell, which none of them ends."""
    run = stateful(slots)
    wrong = []
    for command, output, code in TABLE:
        outcome = await run(command)
        got = outcome.payload.decode().replace("[1]+  Terminated              sleep 1000\n", "")
        told = outcome.data["exit_code"]
        fits = (got, told) == (output, code) if code is not None else told == 137
        if not fits or outcome.data["session"] != 1 or outcome.data["ending"] != "exited":
            wrong.append((command, got, told, outcome.data["ending"]))
    assert wrong == []
    assert len(TABLE) >= 40


@pytest.mark.parametrize(
    ("command", "output", "code"),
    [
        ("echo hi # comment", b"hi\n", 0),
        ("echo 'open", None, 2),
        ("cat <<E\nhi\nE", b"hi\n", 0),
        ("cat <<E\nno end", None, 0),
        ("sleep 1000 &", b"", 0),
        ("(", None, 2),
        ("echo a\necho b\n(exit 4)", b"a\nb\n", 4),
    ],
)
async def test_nothing_a_model_types_hangs_the_shell(slots, command: str, output, code: int) -> None:
    """Item 41: answered at once, with the right status, and the state is kept."""
    run = stateful(slots)
    await run("kept=1; cd /tmp")
    outcome = await run(command, limit_s=5.0)
    assert (outcome.data["exit_code"], outcome.data["ending"]) == (code, "exited")
    assert output in (None, outcome.payload)
    assert outcome.data["cwd"] == "/tmp"
    assert (await run("echo $kept $PWD")).payload == b"1 /tmp\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 3", 3), ("exec true", 0), ("set -e; false", 1), ("exec sh -c 'exit 5'", 5), ("kill -9 $$", 137)],
)
async def test_the_end_of_the_shell_is_told_and_the_next_is_new(slots, command: str, code: int) -> None:
    """Item 42: with its code, at once, and the next call says that the session is new."""
    run = stateful(slots)
    assert (await run("x=1")).data["session_new"] is True
    outcome = await run(command, limit_s=10.0)
    assert (outcome.data["ending"], outcome.data["exit_code"]) == ("session_exited", code)
    assert outcome.data["session_exited"] is True
    after = await run("echo [$x]")
    assert (after.payload, after.data["session_new"], after.data["session"]) == (b"[]\n", True, 2)
    assert "session_before" in after.data
    assert (await run("true")).data["session_new"] is False


async def test_a_shell_that_ends_between_two_calls_is_replaced_and_it_is_said(slots) -> None:
    """A background job of its own may kill it; the next call does not fail for that."""
    run = stateful(slots)
    await run("(sleep 0.1; kill -9 $$) & echo $$")
    await trio.sleep(0.5)
    outcome = await run("echo alive")
    assert (outcome.payload, outcome.data["session_new"]) == (b"alive\n", True)
    assert outcome.data["session_before"] == "signal 9"


async def test_readers_of_input_get_its_end(slots) -> None:
    """Item 43, first half."""
    run = stateful(slots)
    with trio.fail_after(10.0):
        assert (await run("cat; read x; echo $?; head -c 1; sort")).payload == b"1\n"


LIMITED = {
    "sleep": "sleep 1000",
    "loop of children": "while :; do sleep 1; done",
    "loop of nothing": "while :; do :; done",
    "list": "sleep 1000; sleep 1000; sleep 1000",
    "pipeline": "sleep 1000 | cat | cat",
    "deaf child": "bash -c 'trap \"\" INT TERM; while :; do sleep 1; done'",
    "deaf list": "bash -c 'trap \"\" INT; sleep 1000'; bash -c 'trap \"\" INT; sleep 1000'",
    "subshell": "( sleep 1000; sleep 1000 )",
    "function": "slow() { sleep 1000; }; slow; slow",
    "stopped": "bash -c 'kill -STOP $$'",
    "sourced": "echo 'sleep 1000' > slow.sh; . ./slow.sh",
}


@pytest.mark.parametrize("command", LIMITED.values(), ids=LIMITED.keys())
async def test_a_limit_kills_the_foreground_and_keeps_the_shell(slots, command: str) -> None:
    """Item 43, second half: directory, variables and background jobs are still there."""
    run = stateful(slots)
    await run("x=kept; cd /tmp; sleep 1000 & bg=$!")
    await trio.sleep(0.05)
    outcome = await run(command, limit_s=0.3)
    assert (outcome.provenance, outcome.data["ending"]) == (Provenance.LIMIT_EXCEEDED, "limit")
    assert outcome.data["exit_code"] == -1
    assert outcome.error == "Command timed out after 0.3s"
    after = await run("echo $x $PWD; kill -0 $bg && echo background lives")
    assert (after.payload, after.data["session_new"]) == (b"kept /tmp\nbackground lives\n", False)
    assert set(slots.strays().values()) == {"bash", "sleep"}
    assert len(slots.strays()) == 2


async def test_a_shell_that_does_not_come_back_is_lost_and_it_is_said(slots) -> None:
    """One that ignores the interrupt itself."""
    run = stateful(slots)
    outcome = await run("trap '' INT; while :; do sleep 1; done", limit_s=0.3)
    assert outcome.data["session_lost"] is True
    assert "the shell was lost" in outcome.error
    after = await run("echo new")
    assert (after.payload, after.data["session_new"]) == (b"new\n", True)


async def test_a_cancel_kills_the_foreground_and_keeps_the_shell(slots) -> None:
    """And no later interrupt of it reaches the next command."""
    run = stateful(slots)
    await run("x=kept")
    for _ in range(5):
        with trio.move_on_after(0.05):
            await run("sleep 1000")
        assert (await run("sleep 0.01; echo $x")).payload == b"kept\n"


async def test_output_of_the_background_belongs_to_the_session(slots) -> None:
    """Not to the next call, nor to one that starts something of its own."""
    run = stateful(slots)
    first = await run("(sleep 0.2; echo LATE; sleep 0.4; echo LATER) & echo first")
    assert first.payload == b"first\n"
    second = await run("(sleep 0.2; echo OTHER) & sleep 0.4; echo second")
    assert second.payload == b"OTHER\nsecond\n"  # its own background, while it ran
    assert second.data.get("background_output", "") == ""
    third = await run("sleep 0.4; echo third")
    assert (third.payload, third.data["background_output"]) == (b"third\n", "LATE\n")
    assert (await run("true")).data["background_output"] == "LATER\n"
    assert "background_output" not in (await run("true")).data


@pytest.mark.cgroups
async def test_a_plain_command_and_its_end_leave_the_shell_alone(slots) -> None:
    """Its sweep reaches what it started, and nothing of the session."""
    run = stateful(slots)
    await run("x=1; sleep 1000 &")
    outcome = await slots.bash("setsid sleep 2000 & sleep 2000 & echo plain")
    assert outcome.payload == b"plain\n"
    assert sorted(slots.strays().values()) == ["bash", "sleep"]
    await slots.bash("sleep 1000", limit_s=0.2)
    after = await run("echo $x; jobs | wc -l")
    assert (after.payload, after.data["session_new"]) == (b"1\n1\n", False)


async def test_killing_everybody_is_survived_by_the_slot(slots) -> None:
    """The shell dies of it, its caller is told, and the next works."""
    run = stateful(slots)
    outcome = await run("kill -9 -1", limit_s=5.0)
    assert outcome.data["ending"] in ("session_exited", "exited")
    assert (await run("echo ok")).payload == b"ok\n"


async def test_forged_answers_are_the_shells_own_affair(slots) -> None:
    """Garbage on the status pipe costs the session, and the limit holds all the same."""
    run = stateful(slots)
    forge = "exec 9>/proc/$$/fd/51; head -c 100000 /dev/zero | tr '\\0' x >&9"
    outcome = await run(f"{forge}; sleep 1000", limit_s=1.0)
    assert outcome.data["exit_code"] == -1
    assert (await run("echo ok", limit_s=10.0)).data["exit_code"] == 0


async def test_a_flood_is_counted_and_cut(slots) -> None:
    """As for a plain command: head, tail, exact total."""
    run = stateful(slots)
    outcome = await run("head -c 50000000 /dev/zero", limit_s=20.0)
    assert (outcome.data["stdout_bytes"], outcome.data["truncated"]) == (50_000_000, True)
    assert len(outcome.payload) == 65_536


async def test_a_command_of_1_mib_arrives_whole(slots) -> None:
    """It lies in a memory file, not on a pipe."""
    text = "x" * 1_000_000
    outcome = await stateful(slots)(f"v={text}; echo ${{#v}}")
    assert outcome.payload == b"1000000\n"


async def test_another_network_policy_costs_the_shell_and_it_is_said(slots) -> None:
    """A shell cannot change its namespaces."""
    run = stateful(slots)
    assert (await run("x=1")).data["network_isolated"] is True
    outcome = await run("echo [$x]", allow_network=True)
    assert (outcome.payload, outcome.data["session_new"]) == (b"[]\n", True)
    assert outcome.data["session_before"] == "the network policy changed"
    assert outcome.data["network_isolated"] is False


async def test_quiesce_reset_and_release_end_the_shell(slots) -> None:
    """Nothing of it is left, and the next holder hears nothing of it."""
    run = stateful(slots)
    await run("x=1; setsid sleep 1000 & sleep 1000 &")
    await slots.pool.quiesce(slots.lease)
    assert slots.strays() == {}
    assert (await run("echo [$x]")).data["session_before"] == "the slot was quiesced"
    await run("sleep 1000 &")
    await slots.pool.release(slots.lease, reset=False)
    assert slots.strays() == {}
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="attacked")
    assert (await run("echo [$x]; sleep 1000 &")).data["session_new"] is True
    await slots.pool.release(slots.lease, reset=True)
    assert slots.strays() == {}
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="another")
    assert "session_before" not in (await run("echo hi")).data


async def test_a_stateful_call_without_a_sandbox_is_refused_where_one_is_required(attacked, tmp_path) -> None:
    """The operator's word, not the model's."""
    async with attacked(
        Isolation(level=Level.NONE, mechanisms={}, interpreter="/usr/bin/python3"),
        tmp_path / "data",
        watched=False,
    ) as slots:
        run = stateful(slots)
        assert (await run("echo hi", require_stateful_sandbox=True)).provenance is Provenance.DENIED
        outcome = await run("x=1; sleep 1000 & echo hi")
        assert (outcome.payload, outcome.data["sandboxed"]) == (b"hi\n", False)
        assert (await slots.bash("echo plain")).payload == b"plain\n"
        assert (await run("echo $x")).data["session"] in (1, 2)


@pytest.mark.parametrize("command", ["a\0b", "x" * (1024 * 1024 + 1)])
async def test_impossible_commands_are_bad_requests(slots, command: str) -> None:
    """They name the operation and the field."""
    outcome = await stateful(slots)(command)
    assert outcome.provenance is Provenance.INVALID_REQUEST
    assert outcome.error.startswith("bash_stateful: field 'command'")


async def test_a_shell_outlives_its_link_and_its_output_can_be_streamed() -> None:
    """The session of the link goes on, and the shell with it; the payload is the ancestor's."""
    async with (
        ht.open_local_backend(slots=1) as backend,
        open_chaos_proxy() as proxy,
        ht.open_executor(ProxiedBackend(backend, proxy), tools=ht.registry_of("full")) as executor,
    ):

        async def run(command: str, name: str = "terminal_stateful", **more):
            call = ht.ToolCall(name=name, arguments={"command": command, **more})
            return await executor.execute("t", call)

        first = await run("x=1; cd /tmp")
        assert (first.metadata["stateful"], first.metadata["cwd"]) == (True, "/tmp")
        proxy.cut()
        after = await run("echo $x")
        assert (after.output, after.metadata["session_new"]) == ("1", False)
        failed = await run("ls /nope", name="bash_stateful")
        assert failed.output.startswith("ls: cannot access")
        assert failed.error == "Exit code: 2"
        limited = await run("sleep 60", timeout=1)
        assert (limited.error, limited.metadata["timeout"]) == ("Command timed out after 1.0s", True)
        call = ht.ToolCall(name="bash_stateful", arguments={"command": "echo a; sleep 0.2; echo $x"})
        async with executor.stream("t", call, limit_s=10.0) as stream:
            items = [item async for item in stream]
        assert b"".join(item.data for item in items[:-1]) == b"a\n1\n"
        assert items[-1].metadata["exit_code"] == 0


async def test_bash_arguments_are_still_those_of_a_plain_command(slots) -> None:
    """A slot without sessions runs them without groups, as before."""
    await slots.pool.bash(slots.lease, BashArguments(command="true"))
    assert not slots.pool._cells[slots.lease.slot].sessions.alive

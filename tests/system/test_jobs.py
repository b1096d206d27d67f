"""Background jobs in real slots: what they print, how they end, and that nothing of them is left."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import JobArguments
from sandbox_daemon.isolation.levels import Policy
from sandbox_daemon.isolation.probe import probe
from sandbox_daemon.process.outcome import Outcome
from sandbox_daemon.terminal.joblog import HEAD_BYTES, TAIL_BYTES

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]

SOON_S = 15.0
MUTE = "trap '' TERM INT HUP; "


@pytest.fixture
async def slots(attacked, probe_isolation, tmp_path) -> AsyncIterator[Any]:
    """Two slots whose operator allows jobs; one is watched while the other is attacked."""
    async with attacked(probe_isolation, tmp_path / "data", background=True) as made:
        yield made


async def do(slots, action: str, job: str = "", *, data: bytes = b"", **more: Any) -> Outcome:
    """One thing with the jobs of the attacked slot."""
    arguments = JobArguments(action=action, job=job, **more)
    return await slots.pool.job(slots.lease, arguments, data=data)


async def start(slots, command: str, **more: Any) -> str:
    """The name of a job that runs."""
    outcome = await do(slots, "start", command=command, **more)
    assert outcome.provenance is Provenance.OK, outcome.error
    return outcome.data["job"]


async def ended(slots, job: str) -> dict[str, Any]:
    """How it ended, once it has."""
    with trio.fail_after(SOON_S):
        outcome = await do(slots, "wait", job, max_wait_s=60.0)
    assert outcome.data["running"] is False
    return dict(outcome.data)


async def log_of(slots, job: str) -> bytes:
    """All that is kept of what it printed."""
    pieces, offset = [], 0
    while True:
        outcome = await do(slots, "logs", job, offset=offset)
        if not outcome.payload:
            return b"".join(pieces)
        pieces.append(outcome.payload)
        offset = outcome.data["offset"]


async def printed(slots, job: str, text: bytes) -> None:
    """Waits until it has printed this."""
    with trio.fail_after(SOON_S):
        while text not in await log_of(slots, job):
            await do(
                slots, "logs", job, offset=(await do(slots, "logs", job)).data["log_bytes"], max_wait_s=5.0
            )


@pytest.mark.cgroups
async def test_a_job_runs_beside_calls_and_its_end_is_kept(slots) -> None:
    """Started at once, heard while it runs, waited for by an event, told of after its end."""
    job = await start(slots, "echo out; echo err >&2; read line; echo got $line; exit 3")
    assert job == "job-1"
    first = await do(slots, "logs", job, max_wait_s=10.0)
    await printed(slots, job, b"err\n")
    assert (await slots.bash("echo beside")).payload == b"beside\n"
    async with trio.open_nursery() as nursery:
        results: list[dict[str, Any]] = []

        async def wait() -> None:
            results.append(await ended(slots, job))

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        assert results == []
        sent = await do(slots, "input", job, data=b"a line\n", max_wait_s=5.0)
        assert sent.data["sent_bytes"] == 7
    (report,) = results
    assert (report["ending"], report["exit_code"], report["signal"]) == ("exited", 3, None)
    assert await log_of(slots, job) == b"out\nerr\ngot a line\n"
    assert report["log_bytes"] == len(b"out\nerr\ngot a line\n")
    assert report["lost_bytes"] == 0
    assert first.data["first_offset"] == 0
    listed = (await do(slots, "list")).data["jobs"]
    assert [(each["job"], each["running"], each["exit_code"]) for each in listed] == [(job, False, 3)]
    assert slots.strays() == {}


async def test_logs_go_on_where_they_ended(slots) -> None:
    """By offset, or by the daemon's own memory of the follower; a wait for output is an event."""
    job = await start(slots, "printf one; read x; printf two; read x")
    with trio.fail_after(SOON_S):
        one = await do(slots, "logs", job, follow=True, max_wait_s=10.0)
        assert one.payload == b"one"
        nothing = await do(slots, "logs", job, follow=True, max_wait_s=0.05)
        assert (nothing.payload, nothing.data["offset"]) == (b"", 3)
        await do(slots, "input", job, data=b"\n", max_wait_s=5.0)
        two = await do(slots, "logs", job, follow=True, max_wait_s=10.0)
        assert (two.payload, two.data["first_offset"], two.data["offset"]) == (b"two", 3, 6)
        await do(slots, "input", job, eof=True, max_wait_s=5.0)
        late = await do(slots, "logs", job, follow=True, max_wait_s=10.0)  # answered by its end
    assert (late.payload, late.data["running"]) == (b"", False)
    assert (await do(slots, "logs", job, offset=4)).payload == b"wo"
    assert (await do(slots, "logs", job, offset=1 << 40)).payload == b""


@pytest.mark.cgroups
async def test_a_flood_is_bounded_and_says_what_was_lost(slots) -> None:
    """Beginning and end are kept, the totals are exact, calls and the neighbour go on."""
    job = await start(slots, "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo last")
    report = await ended(slots, job)
    assert report["log_bytes"] == 6 + 3_000_000 + 5
    kept = await log_of(slots, job)
    assert kept.startswith(b"first\nxxx")
    assert kept.endswith(b"xxxlast\n")
    assert len(kept) + report["lost_bytes"] == report["log_bytes"]
    assert HEAD_BYTES + TAIL_BYTES <= len(kept) <= HEAD_BYTES + 2 * TAIL_BYTES
    gap = await do(slots, "logs", job, offset=HEAD_BYTES)
    assert gap.data["first_offset"] == HEAD_BYTES + report["lost_bytes"]
    endless = [await start(slots, "yes") for _ in range(4)]
    await trio.sleep(0.5)
    assert (await slots.bash("echo ok")).payload == b"ok\n"
    for each in endless:
        await do(slots, "signal", each, signal="KILL")
        assert (await ended(slots, each))["ending"] == "killed"


async def test_a_job_that_prints_too_much_is_ended(attacked, probe_isolation, tmp_path) -> None:
    """The bound of a command's output holds for jobs, too."""
    from sandbox_daemon.isolation.policy import SlotLimits

    limits = SlotLimits(max_drained_bytes=1_000_000)
    async with attacked(probe_isolation, tmp_path / "data", background=True, limits=limits) as slots:
        report = await ended(slots, await start(slots, "yes"))
        assert (report["ending"], report["exit_code"]) == ("output_limit", -1)
        assert slots.strays() == {}


@pytest.mark.cgroups
@pytest.mark.parametrize(
    "escape",
    [
        "setsid sleep 1000 &",
        "(setsid sh -c 'sleep 1000 & sleep 1000' &) &",
        "for i in $(seq 40); do setsid sleep 1000 & done;",
        MUTE + "setsid sh -c \"trap '' TERM INT HUP; sleep 1000; sleep 1000\" &",
    ],
)
@pytest.mark.parametrize("end", ["exit", "KILL", "quiesce", "limit"])
async def test_nothing_escapes_the_end_of_a_job(slots, escape: str, end: str) -> None:
    """However it ends, what it started in other sessions ends with it, and a job beside it does not."""
    other = await start(slots, "sleep 2000")
    more = {"limit_s": 3.0} if end == "limit" else {}
    job = await start(
        slots, f"{escape} echo up; {'read x' if end == 'exit' else 'sleep 1000; sleep 1000'}", **more
    )
    await printed(slots, job, b"up\n")
    if end == "quiesce":
        assert await slots.pool.quiesce(slots.lease) == 2
        assert slots.strays() == {}
    elif end == "exit":
        await do(slots, "input", job, eof=True, max_wait_s=5.0)
    elif end == "KILL":
        await do(slots, "signal", job, signal="KILL")
    report = await ended(slots, job)
    word = {"exit": "exited", "KILL": "killed", "quiesce": "slot_ended", "limit": "limit"}[end]
    assert report["ending"] == word
    if end != "quiesce":
        assert set(slots.strays().values()) == {"sleep"}
        assert len(slots.strays()) == 1
        assert (await do(slots, "list")).data["jobs"][0]["running"] is True
    else:
        assert (await ended(slots, other))["reason"] == "the slot was quiesced"


async def test_signals_reach_the_job_and_nobody_else(slots) -> None:
    """By name, to its process group; there is no way to name a process, and none that is not its own."""
    mine = await start(slots, "trap 'echo heard; exit 7' USR1; echo up; while :; do sleep 0.05; done")
    other = await start(slots, "trap 'echo heard' USR1; while :; do sleep 0.05; done")
    await printed(slots, mine, b"up\n")
    assert (await do(slots, "signal", mine, signal="USR1")).provenance is Provenance.OK
    assert (await ended(slots, mine))["exit_code"] == 7
    assert await log_of(slots, other) == b""
    late = await do(slots, "signal", mine, signal="TERM")
    assert (late.provenance, late.error) == (
        Provenance.TOOL_ERROR,
        "job-1 is over: there is nobody to be sent a signal",
    )
    agent = slots.agent_pid()
    for stranger in ("1", "-1", str(agent), "job-99", "", "job-2; kill 1"):
        outcome = await do(slots, "signal", stranger, signal="KILL")
        assert outcome.provenance is Provenance.TOOL_ERROR
        assert "has no job" in outcome.error
    assert slots.agent_pid() == agent
    assert (await do(slots, "signal", other, signal="STOP")).provenance is Provenance.OK
    assert (await do(slots, "signal", other, signal="KILL")).provenance is Provenance.OK
    report = await ended(slots, other)
    assert (report["ending"], report["exit_code"], report["signal"]) == ("killed", 137, 9)


async def test_stdin_of_jobs_that_do_not_read(slots) -> None:
    """A full pipe, a closed one, a dead job: each is one line, and soon."""
    deaf = await start(slots, "sleep 1000")
    with trio.fail_after(SOON_S):
        outcome = await do(slots, "input", deaf, data=b"x" * 1_000_000, max_wait_s=0.2)
        assert outcome.provenance is Provenance.TOOL_ERROR
        assert outcome.error == "job-1 did not take all of it in time"
        closed = await start(slots, "exec <&-; echo up; sleep 1000")
        await printed(slots, closed, b"up\n")
        outcome = await do(slots, "input", closed, data=b"x", max_wait_s=5.0)
        assert outcome.error == "job-2 reads no more"
        async with trio.open_nursery() as nursery:  # one that waits is told when the job ends

            async def type_on() -> None:
                outcome = await do(slots, "input", deaf, data=b"y" * 100_000, max_wait_s=60.0)
                assert outcome.error == "job-1 reads no more"

            nursery.start_soon(type_on)
            await trio.sleep(0.1)
            await do(slots, "signal", deaf, signal="KILL")
        await ended(slots, deaf)
        outcome = await do(slots, "input", deaf, data=b"x")
        assert outcome.error == "job-1 is over: nobody reads its standard input"
        reads = await start(slots, "cat; echo end")
        await do(slots, "input", reads, data=b"all", eof=True, max_wait_s=5.0)
        assert (await ended(slots, reads))["exit_code"] == 0
        assert await log_of(slots, reads) == b"allend\n"


async def test_a_thousand_jobs_are_bounded(slots) -> None:
    """Sixteen at once, the last ones remembered; the daemon holds nothing of the others."""
    refused = 0
    for _ in range(1000):
        outcome = await do(slots, "start", command="sleep 1000")
        refused += outcome.provenance is Provenance.LIMIT_EXCEEDED
    assert refused == 984
    assert outcome.error == "A slot runs at most 16 jobs at once; end one, or wait for one"
    assert await slots.pool.quiesce(slots.lease) == 16
    for _ in range(100):
        job = await start(slots, "echo x")
        await ended(slots, job)
    assert job == "job-116"
    listed = (await do(slots, "list")).data["jobs"]
    assert len(listed) == 32
    assert listed[-1]["job"] == job
    assert "has no job 'job-3'" in (await do(slots, "logs", "job-3")).error


async def test_reset_and_release_end_jobs_and_forget_them(slots) -> None:
    """The next trajectory hears nothing of them; who waits for one is told at once."""
    await start(slots, "setsid sleep 1000 & sleep 1000")
    async with trio.open_nursery() as nursery:
        waited: list[Outcome] = []

        async def wait() -> None:
            waited.append(await do(slots, "wait", "job-1", max_wait_s=600.0))

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        with trio.fail_after(SOON_S):
            await slots.pool.reset(slots.lease)
    assert slots.strays() == {}
    assert waited[0].data["running"] is False
    assert waited[0].data["ending"] in ("slot_ended", "sandbox_lost")
    assert (await do(slots, "list")).data["jobs"] == []
    assert await start(slots, "sleep 1000") == "job-1"
    await slots.pool.release(slots.lease, reset=False)
    assert slots.strays() == {}
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="another")
    assert (await do(slots, "list")).data["jobs"] == []
    await start(slots, "sleep 1000")
    await slots.pool.release_owner("test")
    assert slots.strays() == {}
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="third")
    slots.neighbour = await slots.pool.acquire(owner="test", trajectory_id="fourth")


async def test_what_cannot_be_started_is_told(slots) -> None:
    """And leaves no job behind."""
    outcome = await do(slots, "start", command="true", cwd="nowhere")
    assert (outcome.provenance, outcome.error) == (
        Provenance.INVALID_REQUEST,
        "job: field 'cwd': no such directory in the workspace",
    )
    outcome = await do(slots, "start", command="true", cwd="..")
    assert outcome.provenance is Provenance.DENIED
    assert (await do(slots, "list")).data["jobs"] == []
    long = await start(slots, "echo begun; #" + "x" * 200_000)
    assert (await ended(slots, long))["exit_code"] == 0
    assert await log_of(slots, long) == b"begun\n"
    await slots.bash("mkdir d")
    with_more = await start(slots, "pwd; echo $X", cwd="d", environment={"X": "y"})
    await ended(slots, with_more)
    assert await log_of(slots, with_more) == b"/workspace/d\ny\n"


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("action", {"action": "dance"}),
        ("command", {"command": " "}),
        ("command", {"command": "a\0b"}),
        ("command", {"command": "\ud800"}),
        ("shell", {"shell": "zsh"}),
        ("limit_s", {"limit_s": 0.0}),
        ("limit_s", {"limit_s": 1e300}),
        ("environment", {"environment": {"A=B": "c"}}),
        ("offset", {"action": "logs", "offset": -1}),
        ("max_bytes", {"action": "logs", "max_bytes": 0}),
        ("max_wait_s", {"action": "wait", "max_wait_s": 601.0}),
        ("signal", {"action": "signal", "signal": "9"}),
    ],
)
async def test_impossible_jobs_name_their_field(slots, field: str, more: dict[str, Any]) -> None:
    """One line, no traceback."""
    outcome = await slots.pool.job(
        slots.lease, JobArguments(**{"action": "start", "command": "true", **more})
    )
    assert outcome.provenance is Provenance.INVALID_REQUEST
    assert f"job: field '{field}'" in outcome.error


async def test_jobs_are_refused_where_the_operator_has_not_allowed_them(
    attacked, probe_isolation, tmp_path
) -> None:
    """The default: nothing runs, and the refusal names the switch."""
    async with attacked(probe_isolation, tmp_path / "data") as slots:
        outcome = await do(slots, "start", command="sleep 1000")
        assert outcome.provenance is Provenance.DENIED
        assert "--allow-background" in outcome.error
        assert slots.strays() == {}


async def test_a_killed_agent_ends_its_jobs(slots) -> None:
    """Who waits is told, and the slot goes on without them."""
    job = await start(slots, "sleep 1000")
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            report = await ended(slots, job)
            assert (report["ending"], report["exit_code"]) == ("sandbox_lost", -1)

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        await slots.pool._cells[slots.lease.slot].kill()
    assert (await slots.bash("echo ok")).payload == b"ok\n"
    assert await start(slots, "true") == "job-2"


@pytest.mark.parametrize("policy", [Policy.NONE])
async def test_jobs_at_lower_levels(attacked, tmp_path, policy: Policy) -> None:
    """They run there too, and quiesce ends them; without groups the end of a command may be theirs."""
    isolation = await probe(policy, tmp_path / "probe")
    async with attacked(isolation, tmp_path / "data", watched=False, background=True) as slots:
        job = await start(slots, "echo up; sleep 1000")
        await printed(slots, job, b"up\n")
        refused = await do(slots, "start", command="true", require_sandbox=True)
        assert refused.provenance is Provenance.DENIED
        await slots.bash("true")
        grouped = slots.pool._cells[slots.lease.slot].group.contains_calls
        if grouped:
            assert await slots.pool.quiesce(slots.lease) == 1
        else:
            assert (await ended(slots, job))["ending"] == "swept"
        with contextlib.suppress(AssertionError):
            await ended(slots, job)
        limited = await start(slots, MUTE + "sleep 1000; sleep 1000", limit_s=0.2)
        assert (await ended(slots, limited))["ending"] == "limit"
        assert slots.strays() == {}

"""The local backend against a fake daemon that speaks the protocol of starting, or breaks it."""

import json
import logging
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
import trio

from hermes_trio.backends import open_local_backend, places
from hermes_trio.backends.process import open_daemon_process
from hermes_trio.backends.restarts import RestartPolicy
from hermes_trio.errors import InvalidInputError, TooSlowError, UnavailableError
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint

pytestmark = pytest.mark.slow

# Behaves as its first argument says; leaves its pid and its arguments in the directory that is the second.
FAKE = r"""
import json, os, signal, sys, time
behaviour, diary = sys.argv[1], sys.argv[2]
life = len(os.listdir(diary))
with open(f"{diary}/{os.getpid()}", "w") as file:
    json.dump(sys.argv[3:], file)

def ready():
    url = f"ws://127.0.0.1:{1000 + os.getpid() % 50000}"
    print(json.dumps({"url": url, "pid": os.getpid(), "epoch": 1}), flush=True)

def until_told():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()

match behaviour:
    case "serves":
        ready(); until_told()
    case "follows_stdin":
        ready(); sys.stdin.read()
    case "says_more":
        ready()
        for _ in range(2000):
            print("x" * 100, flush=True); print("y" * 100, file=sys.stderr, flush=True)
        until_told()
    case "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(600)
    case "stops_itself":
        ready(); os.kill(os.getpid(), signal.SIGSTOP); time.sleep(600)
    case "refuses":
        print("some log line", file=sys.stderr)
        print("No bubblewrap here. Install it with: apt install bubblewrap", file=sys.stderr); sys.exit(3)
    case "crashes_at_start":
        print("Traceback ...\nValueError: no", file=sys.stderr); sys.exit(1)
    case "dies_by_signal":
        os.kill(os.getpid(), signal.SIGKILL)
    case "prints_garbage":
        print("hello, world", flush=True); time.sleep(600)
    case "prints_endlessly":
        while True:
            sys.stdout.write("z" * 4096)
    case "prints_other_json":
        print('{"url": 5}', flush=True); time.sleep(600)
    case "prints_nothing":
        print("still thinking", file=sys.stderr, flush=True); time.sleep(600)
    case "closes_stdout":
        os.close(1); time.sleep(600)
    case "dies_at_first":
        ready()
        if life == 0:
            time.sleep(0.1); print("tired", file=sys.stderr); sys.exit(7)
        until_told()
    case "dies_always":
        ready(); sys.exit(7)
    case "never_again":
        if life == 0:
            ready(); sys.exit(7)
        print("the disk is gone", file=sys.stderr); sys.exit(3)
    case "leaves_a_child":
        if os.fork() == 0:
            os.setsid(); time.sleep(3); os._exit(0)
        ready(); sys.exit(0)
"""


class Fakes:
    """A directory with the script, and the diary in which every life signs."""

    def __init__(self, directory: Path) -> None:
        self.script = directory / "fake.py"
        self.script.write_text(FAKE)
        self.diary = directory / "diary"
        self.diary.mkdir()

    def program(self, behaviour):
        """The command line of a fake."""
        return (sys.executable, "-I", "-S", str(self.script), behaviour, str(self.diary))

    def pids(self):
        """Every life so far."""
        return [int(entry.name) for entry in self.diary.iterdir()]

    def arguments(self):
        """What each life was told."""
        return [json.loads(entry.read_text()) for entry in self.diary.iterdir()]

    def alive(self):
        """Those that have not ended."""
        return [pid for pid in self.pids() if _runs(pid)]

    def assert_gone(self):
        """All have ended."""
        assert self.alive() == []


def _runs(pid):
    """Whether it still runs; an orphan that nobody has reaped yet is dead all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def fakes(tmp_path):
    """Checks at the end that no process is left, whatever the test was about."""
    made = Fakes(tmp_path)
    yield made
    made.assert_gone()


def option(arguments, name):
    """The value behind a name on a command line."""
    return arguments[arguments.index(name) + 1]


async def eventually(condition):
    """Wait for what no event tells, at most five seconds."""
    for _ in range(500):
        if condition():
            return
        await trio.sleep(0.01)
    assert condition()


async def test_daemons_serve_for_the_block_and_not_longer(fakes):
    """Slots divided, one endpoint each, everything gone at the end."""
    async with open_local_backend(slots=7, daemons=3, program=fakes.program("serves")) as backend:
        endpoints = backend.board.snapshot.endpoints
        assert sorted(endpoint.name for endpoint in endpoints) == ["local-0", "local-1", "local-2"]
        assert len({endpoint.url for endpoint in endpoints}) == 3
        assert len(fakes.alive()) == 3
        assert sorted(option(arguments, "--slots") for arguments in fakes.arguments()) == ["2", "2", "3"]
    fakes.assert_gone()
    assert backend.board.snapshot.endpoints == ()
    assert repr(backend).startswith("<local backend")


async def test_the_token_is_in_a_private_file_and_nowhere_else(fakes):
    """Not on the command line, not in the environment; the workspaces' directory can be passed through."""
    async with open_local_backend(slots=1, program=fakes.program("serves")) as backend:
        (endpoint,) = backend.board.snapshot.endpoints
        (arguments,) = fakes.arguments()
        (pid,) = fakes.pids()
        check_token_file(option(arguments, "--token-file"), endpoint.token)
        check_passable(option(arguments, "--data-dir"))
        for secret_place in ("cmdline", "environ"):
            assert endpoint.token.encode() not in read(f"/proc/{pid}/{secret_place}")
        assert endpoint.token not in repr(endpoint)
    assert not exists(option(arguments, "--token-file"))
    assert not exists(option(arguments, "--data-dir"))


def check_token_file(path, token):
    """Only its owner can read it, or even see it."""
    assert read(path).decode().strip() == token
    assert len(token) >= 43  # 256 bits in base64
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def check_passable(path):
    """Any user may walk through to it."""
    directories = (Path(path), *Path(path).parents)
    assert all(directory.stat().st_mode & stat.S_IXOTH for directory in directories)


def exists(path):
    """Whether anything is there."""
    return os.path.lexists(path)


def read(path):
    """A small file's bytes."""
    return Path(path).read_bytes()


async def test_a_data_dir_of_the_users_own_is_kept(fakes, tmp_path):
    """Only what we made is removed."""
    async with open_local_backend(slots=1, data_dir=tmp_path / "mine", program=fakes.program("serves")):
        (arguments,) = fakes.arguments()
        assert option(arguments, "--data-dir") == str(tmp_path / "mine" / "daemon-0")
    assert exists(tmp_path / "mine" / "daemon-0")


@pytest.mark.parametrize(
    ("behaviour", "error", "says"),
    [
        ("refuses", UnavailableError, "^No bubblewrap here. Install it with: apt install bubblewrap$"),
        ("crashes_at_start", UnavailableError, "exited with code 1: ValueError: no It never served"),
        ("dies_by_signal", UnavailableError, "was killed by SIGKILL"),
        ("prints_garbage", UnavailableError, "is not a sandbox daemon: it said b'hello, world'"),
        ("prints_endlessly", UnavailableError, "is not a sandbox daemon: it said b'zzz"),
        ("prints_other_json", UnavailableError, "is not a sandbox daemon"),
        ("prints_nothing", TooSlowError, "did not serve within 0.5 s; its last words: still thinking"),
        ("closes_stdout", TooSlowError, "did not serve within 0.5 s; it said nothing"),
    ],
)
async def test_a_daemon_that_does_not_start_is_one_clear_error(fakes, behaviour, error, says):
    """And the block is never entered, and nothing is left."""
    with pytest.raises(error, match=says):
        async with open_local_backend(
            slots=2, daemons=2, start_limit_s=0.5, stop_grace_s=0.3, program=fakes.program(behaviour)
        ):
            pytest.fail("unreachable")
    fakes.assert_gone()


async def test_a_program_that_is_not_there_is_one_clear_error():
    """The path is in the sentence."""
    with pytest.raises(UnavailableError, match="/no/such/program: No such file"):
        async with open_local_backend(slots=1, program=("/no/such/program",)):
            pytest.fail("unreachable")


@pytest.mark.parametrize("behaviour", ["ignores_sigterm", "stops_itself"])
async def test_a_daemon_that_will_not_stop_is_killed_within_the_bound(fakes, behaviour, caplog):
    """Hung: SIGTERM, the grace, SIGKILL. Stopped: woken first, so that it can still end in order."""
    async with open_local_backend(slots=1, stop_grace_s=0.3, program=fakes.program(behaviour)):
        began = trio.current_time()
    assert trio.current_time() - began < 2
    was_killed = "did not stop in time: killed" in caplog.text
    assert was_killed == (behaviour == "ignores_sigterm")


async def test_pipes_never_block_the_daemon(fakes):
    """It may print what it likes for as long as it likes; the tail of stderr is bounded."""
    async with open_daemon_process(fakes.program("says_more"), start_limit_s=5, stop_grace_s=5) as daemon:
        await eventually(lambda: len(daemon.stderr_tail) == 64 * 1024)
        assert "running ws://" in repr(daemon)
    assert len(daemon.stderr_tail) == 64 * 1024
    assert "ended with" in repr(daemon)


async def test_a_daemon_that_dies_is_withdrawn_and_started_again(fakes, caplog):
    """Under the same name, with its new address."""
    policy = RestartPolicy(first_delay_s=0.01)
    async with open_local_backend(
        slots=1, restarts=policy, program=fakes.program("dies_at_first")
    ) as backend:
        first = backend.board.snapshot
        with trio.fail_after(5):
            gone = await backend.board.wait_newer(first.version)
            assert gone.endpoints == ()
            again = await backend.board.wait_newer(gone.version)
        assert again.endpoints[0].name == first.endpoints[0].name
        assert again.endpoints[0].url != first.endpoints[0].url
        assert again.failure == ""
    assert "exited with code 7: tired' pause_s=" in caplog.text


@pytest.mark.parametrize(
    ("behaviour", "says"), [("dies_always", "code 7"), ("never_again", "the disk is gone")]
)
async def test_a_daemon_that_keeps_dying_is_given_up(fakes, behaviour, says, caplog):
    """Within its budget; the board says why, and the block goes on."""
    policy = RestartPolicy(max_restarts=3, first_delay_s=0.01)
    async with open_local_backend(slots=1, restarts=policy, program=fakes.program(behaviour)) as backend:
        snapshot = backend.board.snapshot
        with trio.fail_after(10):
            while not snapshot.failure:
                snapshot = await backend.board.wait_newer(snapshot.version)
        assert snapshot.endpoints == ()
        assert says in snapshot.failure
        assert len(fakes.pids()) == 4
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1


async def test_a_grandchild_with_the_pipes_does_not_delay_the_news(fakes):
    """The process's own end counts, not the end of its pipes."""
    async with open_daemon_process(
        fakes.program("leaves_a_child"), start_limit_s=5, stop_grace_s=5
    ) as daemon:
        with trio.fail_after(1.5):
            assert await daemon.wait() == "The sandbox daemon exited with code 0."


async def test_the_daemon_hears_of_its_parents_death(fakes):
    """Its standard input ends; nothing else could tell it after a SIGKILL."""
    program = f"""
import trio
from hermes_trio.backends.process import open_daemon_process
async def main():
    async with open_daemon_process({fakes.program("follows_stdin")!r}, start_limit_s=5, stop_grace_s=5):
        print("ready", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    parent = await trio.lowlevel.open_process([sys.executable, "-c", program], stdout=-1)
    assert (await parent.stdout.receive_some(5)) == b"ready"
    (pid,) = fakes.alive()
    descriptor = os.pidfd_open(pid)
    try:
        parent.kill()
        await parent.wait()
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
        parent.stdout.close()
    await eventually(lambda: not fakes.alive())  # an orphan: somebody else has to reap it


@pytest.mark.parametrize("behaviour", ["serves", "prints_nothing", "dies_always"])
async def test_cancelling_anywhere_leaves_no_process(fakes, behaviour, tmp_path, monkeypatch):
    """At every checkpoint of opening, staying and leaving."""
    opened = []
    monkeypatch.setattr(places, "_LASTING_TEMPORARY", tmp_path / "temporary")
    (tmp_path / "temporary").mkdir()

    async def use():
        with trio.move_on_after(0.05 if behaviour == "prints_nothing" else 5):
            async with open_local_backend(
                slots=1,
                stop_grace_s=2,
                restarts=RestartPolicy(max_restarts=1, first_delay_s=0),
                program=fakes.program(behaviour),
            ) as backend:
                opened.append(backend)
                await trio.lowlevel.checkpoint()

    async def check():
        await trio.lowlevel.checkpoint()
        fakes.assert_gone()

    report = await cancel_at_every_checkpoint(use, check=check, max_checkpoints=120)
    assert report.cancelled + report.survived >= 20
    assert opened or behaviour == "prints_nothing"
    assert os.listdir(tmp_path / "temporary") == []


async def test_an_error_of_the_block_leaves_as_it_was_raised(fakes):
    """Not wrapped in a group: the supervisors are nobody's business."""
    with pytest.raises(KeyError, match="mine"):
        async with open_local_backend(slots=1, program=fakes.program("serves")):
            raise KeyError("mine")


async def test_ctrl_c_reaches_us_and_not_the_daemon(fakes):
    """The daemon is a session of its own: an interrupt on the terminal is turned into an orderly stop."""
    async with open_local_backend(slots=1, program=fakes.program("serves")):
        (pid,) = fakes.alive()
        assert os.getsid(pid) == pid
        assert os.getsid(0) != pid


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"slots": 0}, "slots"),
        ({"slots": 2, "daemons": 3}, "slots"),
        ({"slots": 2, "daemons": 0}, "daemons"),
        ({"slots": 1, "isolation": "maybe"}, "isolation"),
        ({"slots": 1, "data_dir": "/dev/null/x"}, "data_dir"),
    ],
)
async def test_numbers_that_make_no_sense_name_their_field(options, field):
    """Before anything is started."""
    with pytest.raises(InvalidInputError) as caught:
        async with open_local_backend(**options, program=("/no/such/program",)):
            pytest.fail("unreachable")
    assert caught.value.field == field


def test_signal_is_really_sent(fakes):
    """The fixture can fail: a process that is left alive is seen."""
    pid = os.posix_spawn(sys.executable, [*fakes.program("serves")], os.environ)
    try:
        deadline = time.monotonic() + 5
        while not fakes.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert fakes.alive() == [pid]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

"""The ancestor's contract, row by row of its page, against the program that is shipped."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import attrs
import httpx
import pytest
from house.sources import ROOT
from house.tables import rows_below

from hermes_trio.api import payloads
from hermes_trio.api.environment import ToolExecutorSettings

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "reference" / "ancestor-contract.md"
TOKEN = "a-token-of-the-test"
Client = httpx.Client
Check = Callable[[Client, str], object]
"""Is given a client and a trajectory's name of its own."""


REQUESTS = rows_below("Members of requests", PAGE)
ANSWERS = rows_below("Members of answers", PAGE)
SENTENCES = rows_below("Statuses and sentences", PAGE)
DIFFERENCES = rows_below("Where ours differs", PAGE)


# --- the server -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(serve_program: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a server with the ancestor's defaults, and a token."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    return str(serve_program("--token-file", str(file)).url)


@pytest.fixture
def client(served: str) -> Iterator[Client]:
    """A client of it, which has the token."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    with Client(base_url=served, headers=headers, timeout=30) as made:
        yield made


_NUMBERS = count()


@pytest.fixture
def trajectory(client: Client) -> Iterator[str]:
    """A name; what has a slot by it gives it back."""
    name = f"t-{next(_NUMBERS)}"
    yield name
    for each in (name, f"{name}-other"):
        client.post("/release", json={"trajectory_id": each, "reset_workspace": True})


def execute(client: Client, trajectory: str, command: str, **members: Any) -> dict[str, Any]:
    """Run a command."""
    tool = {"name": "bash", "arguments": {"command": command}}
    answer = client.post("/execute", json={"trajectory_id": trajectory, "tool": tool, **members})
    assert answer.status_code == 200
    return dict(answer.json())


def make_files(client: Client, trajectory: str) -> None:
    """A workspace to look into."""
    execute(client, trajectory, "printf '\\x30123456789' > f.txt; mkdir d; echo in > d/g")


def ask(client: Client, what: str, trajectory: str, **members: Any) -> dict[str, Any]:
    """One of the operations on artifacts."""
    make_files(client, trajectory)
    answer = client.post(f"/artifacts/{what}", json={"trajectory_id": trajectory, **members})
    assert answer.status_code == 200
    return dict(answer.json())


def names_in(answer: dict[str, Any]) -> list[str]:
    """Of an archive's files and folders."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(answer["content"])), mode="r:gz") as tar:
        return sorted(name.removeprefix("./") for name in tar.getnames())


# --- members of requests ----------------------------------------------------------------------------------

CLASSES = {
    "POST /execute": payloads.ExecuteRequest,
    "POST /release": payloads.ReleaseRequest,
    "POST /artifacts/read": payloads.ArtifactReadRequest,
    "POST /artifacts/list": payloads.ArtifactListRequest,
    "POST /artifacts/archive": payloads.ArtifactArchiveRequest,
}
VALUES: dict[str, Any] = {
    "string": "text",
    "number": 1.5,
    "integer": 1,
    "boolean": True,
    "object": {},
    "null": None,
}
"""One of each type of JSON."""


def complete(route: str, trajectory: str) -> dict[str, Any]:
    """A request with what is required."""
    more = {
        "POST /execute": {"tool": {"name": "bash", "arguments": {"command": "true"}}},
        "POST /artifacts/read": {"path": "f.txt"},
    }
    return {"trajectory_id": trajectory, **more.get(route, {})}


def changed(body: dict[str, Any], member: str, *value: Any) -> dict[str, Any]:
    """With the member set, or without it."""
    outer, _, inner = member.rpartition(".")
    target = {**(body[outer] if outer else body)}
    target.pop(inner, None)
    if value:
        target[inner] = value[0]
    return {**body, outer: target} if outer else target


def fits(value: Any, kinds: set[str]) -> bool:
    """Whether a value is of one of these types; JSON's `1.5` is no integer, but `1` is a number."""
    name = next(name for name, each in VALUES.items() if type(each) is type(value))
    return name in kinds or (name == "integer" and "number" in kinds)


@pytest.mark.parametrize(("route", "member", "kinds", "default"), REQUESTS)
def test_a_member_of_a_request_has_its_type_and_default(
    client: Client, trajectory: str, route: str, member: str, kinds: str, default: str
) -> None:
    """What is of another type, or missing, is refused by its name; what may be left out has its default."""
    path, body = route.removeprefix("POST "), complete(route, trajectory)
    allowed = set(kinds.split(" or "))
    for value in VALUES.values():
        if not fits(value, allowed):
            refused = client.post(path, json=changed(body, member, value))
            assert (refused.status_code, refused.json()["field"]) == (422, member), value
    left_out = client.post(path, json=changed(body, member))
    if default == "required":
        assert (left_out.status_code, left_out.json()["field"]) == (422, member)
        return
    assert left_out.status_code == 200
    assert client.post(path, json=changed(body, member, json.loads(default))).status_code == 200
    outer, _, inner = member.rpartition(".")
    made = payloads.ToolPayload(name="x") if outer else CLASSES[route](**complete(route, "t"))
    assert getattr(made, inner) == json.loads(default)


def _two_workspaces(client: Client, t: str) -> None:
    execute(client, t, "echo mine > f")
    assert execute(client, t, "cat f")["output"] == "mine"
    assert not execute(client, f"{t}-other", "cat f")["success"]


def _tool(client: Client, t: str, **tool: Any) -> dict[str, Any]:
    asked = {"trajectory_id": t, "tool": {"name": "bash", "arguments": {"command": "echo hi"}, **tool}}
    return dict(client.post("/execute", json=asked).json())


def _uniq_ids(client: Client, t: str) -> None:
    assert _tool(client, t, uniq_id="u-7")["uniq_id"] == "u-7"
    first, second = _tool(client, t)["uniq_id"], _tool(client, t, uniq_id=None)["uniq_id"]
    assert len({first, second, None}) == 3


def _limit(client: Client, t: str) -> None:
    told = execute(client, t, "sleep 60", timeout_s=1)
    assert (told["metadata"]["timeout"], told["metadata"]["exit_code"]) == (True, -1)


def _releases_one(client: Client, t: str) -> None:
    _two_workspaces(client, t)
    client.post("/release", json={"trajectory_id": f"{t}-other"})
    assert execute(client, t, "cat f")["output"] == "mine"


def _resets(client: Client, t: str) -> None:
    execute(client, t, "echo mine > f")
    client.post("/release", json={"trajectory_id": t, "reset_workspace": True})
    assert execute(client, t, "ls -A")["output"] == ""


def _reads_of_its_own(client: Client, t: str) -> None:
    make_files(client, t)
    execute(client, f"{t}-other", "true")
    answer = client.post("/artifacts/read", json={"trajectory_id": f"{t}-other", "path": "f.txt"}).json()
    assert not answer["success"]


def _lists_its_own(client: Client, t: str) -> None:
    execute(client, f"{t}-other", "touch o")
    answer = client.post("/artifacts/list", json={"trajectory_id": f"{t}-other"}).json()
    assert [each["path"] for each in answer["entries"]] == ["o"]


def _packs_its_own(client: Client, t: str) -> None:
    execute(client, f"{t}-other", "touch o")
    answer = client.post("/artifacts/archive", json={"trajectory_id": f"{t}-other"}).json()
    assert "o" in names_in(answer)


def paths(answer: dict[str, Any]) -> list[str]:
    """Of a listing."""
    return sorted(each["path"] for each in answer["entries"])


def is_equal(one: Any, other: Any) -> None:
    """As an expression."""
    assert one == other


EFFECTS: dict[str, Check] = {
    "POST /execute trajectory_id": _two_workspaces,
    "POST /execute tool": lambda c, t: is_equal(_tool(c, t)["output"], "hi"),
    "POST /execute tool.name": lambda c, t: is_equal(_tool(c, t, name="x")["error"], "Unknown tool: x"),
    "POST /execute tool.arguments": lambda c, t: is_equal(
        _tool(c, t, arguments={"command": "echo other"})["output"], "other"
    ),
    "POST /execute tool.uniq_id": _uniq_ids,
    "POST /execute timeout_s": _limit,
    "POST /release trajectory_id": _releases_one,
    "POST /release reset_workspace": _resets,
    "POST /artifacts/read trajectory_id": _reads_of_its_own,
    "POST /artifacts/read path": lambda c, t: is_equal(ask(c, "read", t, path="d/g")["content"], "in\n"),
    "POST /artifacts/read encoding": lambda c, t: is_equal(
        ask(c, "read", t, path="f.txt", encoding="base64")["content"],
        base64.b64encode(b"0123456789").decode(),
    ),
    "POST /artifacts/read max_bytes": lambda c, t: is_equal(
        ask(c, "read", t, path="f.txt", max_bytes=4)["content"], "0123"
    ),
    "POST /artifacts/read include_sha256": lambda c, t: is_equal(
        [bool(ask(c, "read", t, path="f.txt", include_sha256=wanted)["sha256"]) for wanted in (False, True)],
        [False, True],
    ),
    "POST /artifacts/list trajectory_id": _lists_its_own,
    "POST /artifacts/list path": lambda c, t: is_equal(paths(ask(c, "list", t, path="d")), ["d/g"]),
    "POST /artifacts/list recursive": lambda c, t: is_equal(
        [paths(ask(c, "list", t, recursive=wanted)) for wanted in (False, True)],
        [["d", "f.txt"], ["d", "d/g", "f.txt"]],
    ),
    "POST /artifacts/list max_entries": lambda c, t: is_equal(
        len(paths(ask(c, "list", t, max_entries=1))), 1
    ),
    "POST /artifacts/archive trajectory_id": _packs_its_own,
    "POST /artifacts/archive path": lambda c, t: is_equal(
        "f.txt" in names_in(ask(c, "archive", t, path="d")), False
    ),
    "POST /artifacts/archive format": lambda c, t: is_equal(
        ask(c, "archive", t, format="tgz")["format"], "tar.gz"
    ),
    "POST /artifacts/archive max_bytes": lambda c, t: is_equal(
        ask(c, "archive", t, max_bytes=5)["success"], False
    ),
    "POST /artifacts/archive max_entries": lambda c, t: is_equal(
        ask(c, "archive", t, max_entries=1)["success"], False
    ),
}


@pytest.mark.parametrize("name", [f"{route} {member}" for route, member, *_ in REQUESTS])
def test_a_member_of_a_request_has_its_effect(client: Client, trajectory: str, name: str) -> None:
    """It does what it is there for."""
    EFFECTS[name](client, trajectory)


# --- members of answers -----------------------------------------------------------------------------------


def _answer(client: Client, trajectory: str, route: str) -> Any:
    """A real answer of a route that has all its members."""
    method, path = route.split()
    if method == "GET":
        return client.get(path).json()
    if path == "/execute":
        return execute(client, trajectory, "echo out; echo err >&2; exit 3")
    if path == "/release":
        return client.post(path, json={"trajectory_id": trajectory}).json()
    more = {"path": "f.txt", "include_sha256": True} if path.endswith("read") else {}
    return ask(client, path.rpartition("/")[2], trajectory, **more)


EXPECTED: dict[str, Any] = {
    "GET / message": "hermes_trio tool executor",
    "GET /health status": "ok",
    "GET /status pool.total_slots": 10,
    "GET /status pool.containers": 1,
    "GET /status pool.started": True,
    "POST /execute success": False,
    "POST /execute output": "out\n\n[stderr]\nerr",
    "POST /execute error": "Exit code: 3",
    "POST /execute metadata.exit_code": 3,
    "POST /execute metadata.network_isolated": False,
    "POST /release status": "ok",
    "POST /artifacts/read success": True,
    "POST /artifacts/read content": "0123456789",
    "POST /artifacts/read error": "",
    "POST /artifacts/read encoding": "text",
    "POST /artifacts/read truncated": False,
    "POST /artifacts/read bytes": 10,
    "POST /artifacts/read file_size": 10,
    "POST /artifacts/read path": "f.txt",
    "POST /artifacts/read mime": "text/plain",
    "POST /artifacts/read sha256": "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
    "POST /artifacts/list success": True,
    "POST /artifacts/list entries.0.path": "d",
    "POST /artifacts/list entries.0.is_dir": True,
    "POST /artifacts/list truncated": False,
    "POST /artifacts/list error": "",
    "POST /artifacts/archive success": True,
    "POST /artifacts/archive error": "",
    "POST /artifacts/archive encoding": "base64",
    "POST /artifacts/archive format": "tar.gz",
}
"""Where one value is right; of the others the type is asked, and what is said below."""


@pytest.mark.parametrize(("route", "member", "kind"), ANSWERS)
def test_a_member_of_an_answer_is_there_and_true(
    client: Client, trajectory: str, route: str, member: str, kind: str
) -> None:
    """With its type, and its value where the example has one."""
    value: Any = _answer(client, trajectory, route)
    for part in member.split("."):
        value = value[int(part) if part.isdigit() else part]
    kinds = {"number": (int, float), "array": list, "object": dict, "string": str}
    wanted: Any = kinds.get(kind, {"integer": int, "boolean": bool}.get(kind))
    assert isinstance(value, wanted)
    assert kind == "boolean" or not isinstance(value, bool)
    assert value == EXPECTED.get(f"{route} {member}", value)


def test_what_is_counted_is_counted(client: Client, trajectory: str) -> None:
    """Figures that no example can fix: by how they change, and by each other."""
    before = client.get("/status").json()
    execute(client, trajectory, "exit 1")
    after = client.get("/status").json()
    assert after["queue_size"] == 0
    assert after["total_requests"] == before["total_requests"] + 1
    assert after["total_errors"] == before["total_errors"] + 1
    assert after["pool"]["acquired_slots"] == before["pool"]["acquired_slots"] + 1
    assert after["pool"]["available_slots"] == before["pool"]["available_slots"] - 1
    assert sum(after["pool"]["slots_by_state"].values()) == after["pool"]["total_slots"]
    packed = ask(client, "archive", trajectory)
    assert packed["bytes"] == len(base64.b64decode(packed["content"]))
    assert packed["entry_count"] == len([name for name in names_in(packed) if name not in ("", ".")])
    entry = ask(client, "list", trajectory)["entries"][1]
    stat = execute(client, trajectory, "stat -c '%s %Y' f.txt")["output"].split()
    assert [entry["size"], int(entry["mtime"])] == [int(each) for each in stat]


# --- statuses and sentences -------------------------------------------------------------------------------


def _secured(client: Client, t: str, *header: str) -> httpx.Response:
    del client.headers["authorization"]
    headers = {"authorization": header[0]} if header else {}
    return client.post("/release", json={"trajectory_id": t}, headers=headers)


def _open(client: Client, _t: str) -> httpx.Response:
    del client.headers["authorization"]
    answers = [client.get(path) for path in ("/", "/health", "/status")]
    return max(answers, key=lambda each: each.status_code)


def _command(client: Client, t: str, command: str, **members: Any) -> httpx.Response:
    tool = {"name": "bash", "arguments": {"command": command}}
    return client.post("/execute", json={"trajectory_id": t, "tool": tool, **members})


def _unknown_tool(client: Client, t: str) -> httpx.Response:
    return client.post("/execute", json={"trajectory_id": t, "tool": {"name": "nothing"}})


def _artifact(client: Client, t: str, path: str) -> httpx.Response:
    execute(client, t, "true")
    return client.post("/artifacts/read", json={"trajectory_id": t, "path": path})


REQUESTED: dict[str, Callable[[Client, str], httpx.Response]] = {
    "a secured route, no Authorization": _secured,
    "a secured route, an empty Authorization": lambda c, t: _secured(c, t, ""),
    "a secured route, Authorization: Basic ...": lambda c, t: _secured(c, t, "Basic eDp5"),
    "a secured route, another token": lambda c, t: _secured(c, t, "Bearer another"),
    "a secured route, bearer in small letters, blanks before the token": lambda c, t: _secured(
        c, t, f"bearer   {TOKEN}"
    ),
    "an open route, no Authorization": _open,
    "no JSON": lambda c, t: c.post("/execute", content=b"{" + t.encode()),
    "an unknown path": lambda c, t: c.post(f"/{t}"),
    "a wrong method": lambda c, _: c.get("/execute"),
    "a tool that nobody knows": _unknown_tool,
    "a command that exits with 3": lambda c, t: _command(c, t, "exit 3"),
    "a command past its limit": lambda c, t: _command(c, t, "sleep 60", timeout_s=1),
    "artifacts of a trajectory without a slot": lambda c, t: c.post(
        "/artifacts/read", json={"trajectory_id": t, "path": "f.txt"}
    ),
    "an artifact that is not there": lambda c, t: _artifact(c, t, "nowhere"),
    "an artifact outside of the workspace": lambda c, t: _artifact(c, t, "../../etc/passwd"),
}
NO_SLOT = "no slot within the limit"
"""Its row is tried in `test_api_ancestor_environment.py`, on a server with few slots."""


@pytest.mark.parametrize(
    ("name", "status", "sentence"), [row for row in SENTENCES if row[0] != NO_SLOT], ids=lambda each: each
)
def test_a_request_is_answered_with_its_status_and_sentence(
    client: Client, trajectory: str, name: str, status: str, sentence: str
) -> None:
    """The ancestor's."""
    answer = REQUESTED[name](client, trajectory)
    assert answer.status_code == int(status)
    member, _, text = sentence.partition(": ")
    assert not member or answer.json()[member].startswith(text)


# --- where ours differs -----------------------------------------------------------------------------------


def _bad_body(client: Client, _t: str) -> None:
    del client.headers["authorization"]
    assert client.post("/execute", content=b"{").status_code == 401


def _detail_is_a_sentence(client: Client, _t: str) -> None:
    problem = client.post("/execute", json={}).json()
    assert isinstance(problem["detail"], str)
    assert problem["field"] == "trajectory_id"


def _large(client: Client, t: str) -> None:
    body = {"trajectory_id": t, "tool": {"name": "x" * (16 << 20)}}
    assert client.post("/execute", json=body).status_code == 413


def _foreign_page(client: Client, t: str) -> None:
    headers = {"origin": "http://evil.example"}
    assert client.post("/release", json={"trajectory_id": t}, headers=headers).status_code == 403


def _refuses_to_start(told: str, *words: str, variable: str = "SLOTS", value: str = "2") -> None:
    environment = {f"TOOL_EXECUTOR_{variable}": value}
    command = [sys.executable, "-m", "hermes_trio", "serve", *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert told in ended.stderr


def _blanks(_client: Client, _t: str) -> None:
    assert ToolExecutorSettings.from_environment({"TOOL_EXECUTOR_TOKEN": " a-token\n"}).token == "a-token"


DIFFERENT: dict[str, Check] = {
    "a bad body without a token": _bad_body,
    "detail of a 422": _detail_is_a_sentence,
    "an empty trajectory_id": lambda c, _: is_equal(_command(c, "", "true").status_code, 422),
    "a web page of another site": _foreign_page,
    "a body of more than 16 MiB": _large,
    "members of a result": lambda c, t: is_equal(
        list(execute(c, t, "true")), ["success", "output", "error", "metadata", "uniq_id", "provenance"]
    ),
    "a variable that is no number, or is out of range": lambda _, __: [
        _refuses_to_start("TOOL_EXECUTOR_SLOTS", value=value) for value in ("many", "0")
    ],
    "blanks around a token in the environment": _blanks,
    "no token, and an address that others can reach": lambda _, __: _refuses_to_start(
        "needs a token", "--host", "0.0.0.0"
    ),
}


@pytest.mark.parametrize("name", [row[0] for row in DIFFERENCES])
def test_a_difference_is_as_it_is_told(client: Client, trajectory: str, name: str) -> None:
    """Nothing else differs knowingly."""
    DIFFERENT[name](client, trajectory)


# --- the page ---------------------------------------------------------------------------------------------


def test_the_page_and_the_checks_are_one_table() -> None:
    """No row without a check, no check without a row, no payload's member without a row."""
    assert {f"{route} {member}" for route, member, *_ in REQUESTS} == set(EFFECTS)
    assert set(EXPECTED) <= {f"{route} {member}" for route, member, _ in ANSWERS}
    assert {row[0] for row in SENTENCES} == {*REQUESTED, NO_SLOT}
    assert {row[0] for row in DIFFERENCES} == set(DIFFERENT)
    members = {f"{route} {each.name}" for route, kind in CLASSES.items() for each in attrs.fields(kind)}
    assert members <= set(EFFECTS)

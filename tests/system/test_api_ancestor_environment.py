"""The ancestor's environment, variable by variable of the contract's page."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import attrs
import httpx
import pytest
import trio
from attrs import frozen
from house.sources import ROOT
from house.tables import rows_below

from hermes_trio.api.environment import ToolExecutorSettings
from hermes_trio.cli import make_parser
from hermes_trio.cli.serve import executor_config, read_settings
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.tool_server.server import ToolServerConfig, open_tool_server

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "reference" / "ancestor-contract.md"
VARIABLES = rows_below("Environment", PAGE)
NO_SLOT = "no slot within the limit"
"""A row of another table of the page, which needs a server with few slots."""
TOKEN = "a-token-of-the-test"
Client = httpx.Client


def execute(client: Client, trajectory: str, command: str) -> dict[str, Any]:
    """Run a command."""
    tool = {"name": "bash", "arguments": {"command": command}}
    return dict(client.post("/execute", json={"trajectory_id": trajectory, "tool": tool}).json())


def _member(variable: str) -> str:
    return variable.removeprefix("TOOL_EXECUTOR_").lower()


@pytest.mark.parametrize(("variable", "kind", "ancestor", "ours"), VARIABLES)
def test_a_variable_has_its_default_and_is_read(variable: str, kind: str, ancestor: str, ours: str) -> None:
    """Not set, and set."""
    default = json.loads(ancestor if ours == "same" else ours)
    assert getattr(ToolExecutorSettings.from_environment({}), _member(variable)) == default
    told: Any = {"integer": 7, "number": 7.5, "boolean": not default}.get(kind, "a-text")
    read = ToolExecutorSettings.from_environment({variable: str(told)})
    assert getattr(read, _member(variable)) == told
    others = attrs.asdict(ToolExecutorSettings())
    assert attrs.asdict(read) == {**others, _member(variable): told}


@frozen
class Far:
    """A ToolServer in a thread."""

    url: str
    token: str = "far-token"


@contextmanager
def far_tools() -> Iterator[Far]:
    """One with a tool `lookup`, until the body is over."""
    told: SimpleQueue[Any] = SimpleQueue()

    async def lookup(key: str) -> str:
        """Look something up."""
        await trio.lowlevel.checkpoint()
        return f"the value of {key}"

    async def serve() -> None:
        over = trio.Event()
        async with open_tool_server([python_tool(lookup)], config=ToolServerConfig(token="far-token")) as url:
            told.put((url, over, trio.lowlevel.current_trio_token()))
            await over.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    url, over, token = told.get(timeout=30)
    try:
        yield Far(url)
    finally:
        token.run_sync_soon(over.set)
        thread.join()


@pytest.fixture(scope="module")
def set_variables() -> Iterator[dict[str, str]]:
    """Every variable, with a value that is not its default."""
    with far_tools() as far:
        values: dict[str, Any] = {
            "NOMAD_ADDRESS": "http://nomad.example:1",
            "JOB_ID": "a-job",
            "IMAGE": "an-image",
            "SLOTS": 1,
            "MIN_CONTAINERS": 2,
            "MAX_CONTAINERS": 3,
            "PRIVILEGED": "yes",
            "ACQUIRE_TIMEOUT_S": 0.2,
            "BATCH_WINDOW_MS": 3,
            "MAX_BATCH_SIZE": 17,
            "ALLOW_NETWORK": "no",
            "TOOL_SERVER_URL": far.url,
            "TOOL_SERVER_TOKEN": far.token,
            "TOKEN": TOKEN,
            "PURGE_JOB_ON_SHUTDOWN": "no",
        }
        yield {f"TOOL_EXECUTOR_{name}": str(value) for name, value in values.items()}


@pytest.fixture(scope="module")
def steered(serve_program: Any, set_variables: dict[str, str]) -> Iterator[Client]:
    """A client of a server that was started in that environment."""
    url = serve_program(environment=set_variables).url
    with Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=30) as made:
        yield made


def _has_slots(client: Client, _t: str) -> None:
    """So many of each daemon."""
    pool = client.get("/status").json()["pool"]
    assert (pool["total_slots"], pool["containers"]) == (2, 2)


def _no_slot_is_free(client: Client, t: str) -> None:
    """Two there are."""
    for name in ("one", "two"):
        execute(client, f"{t}-{name}", "true")
    refused = execute(client, f"{t}-three", "true")
    for name in ("one", "two"):
        client.post("/release", json={"trajectory_id": f"{t}-{name}"})
    (sentence,) = (row[2] for row in rows_below("Statuses and sentences", PAGE) if row[0] == NO_SLOT)
    assert refused["error"].startswith(sentence.removeprefix("error: "))
    assert "0.2 s" in refused["error"]


def _far(client: Client, t: str) -> None:
    asked = {"trajectory_id": t, "tool": {"name": "lookup", "arguments": {"key": "k"}}}
    assert client.post("/execute", json=asked).json()["output"] == "the value of k"


def _isolated(client: Client, t: str) -> None:
    told = execute(client, t, "ls /sys/class/net 2>/dev/null; true")
    client.post("/release", json={"trajectory_id": t})
    assert told["metadata"]["network_isolated"]


def _wants_the_token(client: Client, t: str) -> None:
    headers = {"authorization": "Bearer another"}
    assert client.post("/release", json={"trajectory_id": t}, headers=headers).status_code == 403


WORKS: dict[str, Callable[[Client, str], object]] = {
    "SLOTS": _has_slots,
    "MIN_CONTAINERS": _has_slots,
    "ACQUIRE_TIMEOUT_S": _no_slot_is_free,
    "ALLOW_NETWORK": _isolated,
    "TOOL_SERVER_URL": _far,
    "TOOL_SERVER_TOKEN": _far,
    "TOKEN": _wants_the_token,
}
"""Seen from outside; the rest is seen in what the executor is told, or has no effect."""
TOLD = {"BATCH_WINDOW_MS": ("batch_window_ms", 3), "MAX_BATCH_SIZE": ("max_batch_size", 17)}
WITHOUT_EFFECT = {"NOMAD_ADDRESS", "JOB_ID", "IMAGE", "PRIVILEGED", "MAX_CONTAINERS", "PURGE_JOB_ON_SHUTDOWN"}
"""Of engines that are not here; the page of the HTTP API says so."""


@pytest.mark.bubblewrap
@pytest.mark.parametrize("name", sorted(WORKS))
def test_a_variable_steers_the_server(steered: Client, name: str) -> None:
    """As it is seen by a client."""
    WORKS[name](steered, f"v-{name}")


@pytest.mark.parametrize("name", sorted(TOLD))
def test_a_variable_reaches_the_executor(
    set_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Through the settings of the verb."""
    for variable, value in set_variables.items():
        monkeypatch.setenv(variable, value)
    config = executor_config(read_settings(make_parser(["serve"]).parse_args(["serve"])))
    member, value = TOLD[name]
    assert getattr(config, member) == value


def test_every_variable_is_a_row_and_has_a_check() -> None:
    """What the settings hold, the page says and something tries."""
    variables = {row[0].removeprefix("TOOL_EXECUTOR_") for row in VARIABLES}
    assert variables == {*WORKS, *TOLD, *WITHOUT_EFFECT}
    assert {name.lower() for name in variables} == {each.name for each in attrs.fields(ToolExecutorSettings)}

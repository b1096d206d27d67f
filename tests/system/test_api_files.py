"""Files and trees over real HTTP, into real slots and back."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import resource
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import hermes_trio as ht
from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.server import ApiServer, open_server

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

MIB = 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """A server with real slots; trajectory ``t`` has one."""
    limits = ApiLimits(stall_limit_s=1.0, max_body_bytes=64 * 1024)
    async with (
        ht.open_local_backend(slots=2) as backend,
        ht.open_executor(backend) as executor,
        open_server(executor, limits=limits) as made,
    ):
        await executor.execute("t", ht.ToolCall("bash", {"command": "true"}))
        yield made


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as made:
        yield made


async def bash(client: httpx.AsyncClient, command: str) -> str:
    """What a command of the trajectory printed."""
    call = {"trajectory_id": "t", "tool": {"name": "bash", "arguments": {"command": command}}}
    return str((await client.post("/execute", json=call)).json()["output"])


def at(path: str | bytes, **more: Any) -> dict[str, Any]:
    """Query parameters."""
    return {"trajectory_id": "t", "path": path, **more}


def repr_digest(content: bytes) -> str:
    """As the header says it."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


async def test_a_file_goes_up_and_comes_back(client: httpx.AsyncClient) -> None:
    """As it is, at sizes around the pieces; with its digest where that is wanted."""
    for size in (0, 1, 65_536, 3 * MIB + 1):
        content = os.urandom(size)
        up = await client.put("/files", params=at(f"d/{size}", mode="750"), content=content)
        digest = hashlib.sha256(content).hexdigest()
        told = {"path": f"d/{size}", "size": size, "sha256": digest, "sent_bytes": size}
        assert (up.status_code, up.json()) == (200, {**told, "entries": None, "skipped": {}})
        assert await bash(client, f"stat -c '%s %a' d/{size}") == f"{size} 750"
        down = await client.get("/files", params=at(f"d/{size}"), headers={"want-repr-digest": "sha-256=1"})
        assert (down.status_code, down.content) == (200, content)
        assert down.headers["content-type"] == "application/octet-stream"
        assert down.headers["repr-digest"] == repr_digest(content)
        head = await client.head("/files", params=at(f"d/{size}"))
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


async def test_a_range_comes_and_tells_where_it_is_from(client: httpx.AsyncClient) -> None:
    """A download that broke off is gone on with, unless the file is another now."""
    await client.put("/files", params=at("f"), content=b"0123456789")
    for asked, wanted in {"2-4": b"234", "7-": b"789", "-2": b"89", "0-99": b"0123456789"}.items():
        some = await client.get("/files", params=at("f"), headers={"range": f"bytes={asked}"})
        assert (some.status_code, some.content) == (206, wanted)
        start = b"0123456789".index(wanted)
        assert some.headers["content-range"] == f"bytes {start}-{start + len(wanted) - 1}/10"
    behind = await client.get("/files", params=at("f"), headers={"range": "bytes=10-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, "bytes */10")
    tag = some.headers["etag"]
    await client.put("/files", params=at("f"), content=b"another one")
    anew = await client.get("/files", params=at("f"), headers={"range": "bytes=2-4", "if-range": tag})
    assert (anew.status_code, anew.content) == (200, b"another one")


async def test_names_are_bytes(client: httpx.AsyncClient, server: ApiServer) -> None:
    """Percent-encoded; what is no UTF-8, holds newlines or blanks is a name like any."""
    await bash(client, "printf one > $'\\xff\\n a+b%'")
    answer = await client.get(f"{server.url}/files?trajectory_id=t&path=%FF%0A%20a%2Bb%25")
    assert (answer.status_code, answer.content) == (200, b"one")
    put = await client.put(f"{server.url}/files?trajectory_id=t&path=%FE+x", content=b"two")
    assert put.status_code == 200
    assert put.json()["path"] == "\ufffd x"
    assert await bash(client, "cat $'\\xfe x'") == "two"
    for method in ("GET", "PUT"):
        gone = await client.request(method, f"{server.url}/files?trajectory_id=t&path=%FE+x/%FD", content=b"")
        assert gone.status_code in (404, 409)


async def test_a_tree_goes_up_and_comes_back(client: httpx.AsyncClient) -> None:
    """As tar; what would lead out is left out and told."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("a/f", "../out"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    up = await client.put("/trees", params=at("d"), content=packed.getvalue())
    assert (up.status_code, list(up.json()["skipped"])) == (200, ["../out"])
    assert await bash(client, "find d -type f; ls") == "d/a/f\nd"
    for told, mode in (("tar", "r:"), ("tar.gz", "r:gz")):
        down = await client.get("/trees", params=at("d", format=told))
        with tarfile.open(fileobj=io.BytesIO(down.content), mode=mode) as tar:  # type: ignore[call-overload]
            assert "a/f" in [name.removeprefix("./") for name in tar.getnames()]
    broken = await client.put("/trees", params=at("d"), content=b"no archive" * 100)
    assert broken.status_code == 409


REFUSED: tuple[tuple[str, dict[str, Any], dict[str, str], int, str], ...] = (
    ("GET", at("missing"), {}, 404, "path"),
    ("GET", at("../../etc/passwd"), {}, 403, "path"),
    ("GET", at("/etc/passwd"), {}, 403, "path"),
    ("GET", at("link"), {}, 403, "path"),
    ("GET", at("folder"), {}, 409, "path"),
    ("GET", at(""), {}, 422, "path"),
    ("GET", at("a\0b"), {}, 422, "path"),
    ("GET", {"trajectory_id": "nobody", "path": "f"}, {}, 409, "trajectory_id"),
    ("GET", {"path": "f"}, {}, 422, "trajectory_id"),
    ("PUT", at("../out"), {}, 403, "path"),
    ("PUT", at("/tmp/../etc/x"), {}, 403, "path"),
    ("PUT", at("link"), {}, 403, "path"),
    ("PUT", at("folder"), {}, 409, "path"),
    ("PUT", at("f", mode="999"), {}, 422, "mode"),
    ("PUT", at("f", offset="-1"), {}, 422, "offset"),
    ("PUT", at("f", offset="5"), {}, 422, "Repr-Digest"),
    ("PUT", at("f"), {"repr-digest": "sha-256=:AAAA:"}, 422, "Repr-Digest"),
    ("PUT", at("f"), {"repr-digest": repr_digest(b"another")}, 422, "Repr-Digest"),
    ("PUT", at("f"), {"content-encoding": "gzip"}, 415, "Content-Encoding"),
)
"""Method, query, headers; the status, and the member that is named."""


async def test_what_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    """By a problem that names the parameter; nothing is left behind."""
    await bash(client, "mkdir folder; ln -s /etc/passwd link")
    for method, params, headers, status, told in REFUSED:
        content = b"content" if method == "PUT" else None
        answer = await client.request(method, "/files", params=params, headers=headers, content=content)
        assert (answer.status_code, answer.json()["field"]) == (status, told), (method, params, headers)
        assert answer.headers["content-type"] == "application/problem+json"
    assert await bash(client, "ls -A") == "folder\nlink"


async def test_an_upload_that_broke_off_is_gone_on_with(client: httpx.AsyncClient, server: ApiServer) -> None:
    """The client left half-way: what came is beside the file's place, and the rest completes it."""
    content = os.urandom(16 * MIB)
    half = len(content) // 2
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        head = (
            f"PUT /files?trajectory_id=t&path=f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}"
        )
        await stream.send_all(head.encode() + b"\r\n\r\n" + content[:half])
    wrong = await client.put(
        "/files", params=at("g", offset=5), content=b"x", headers={"repr-digest": repr_digest(b"")}
    )
    assert (wrong.status_code, wrong.json()["field"]) == (409, "offset")
    assert await bash(client, "ls -A; rm .g.part") == ".f.part\n.g.part"
    # Calls of a trajectory take turns: this one waits until the upload has been given up.
    part = await client.head("/files", params=at(".f.part"))
    there = int(part.headers["content-length"])
    assert 0 < there <= half
    rest = await client.put(
        "/files",
        params=at("f", offset=there),
        content=content[there:],
        headers={"repr-digest": repr_digest(content)},
    )
    assert (rest.status_code, rest.json()["sent_bytes"]) == (200, len(content) - there)
    assert await bash(client, "sha256sum < f; ls -A") == f"{hashlib.sha256(content).hexdigest()}  -\nf"


async def test_a_body_that_dribbles_is_given_up(client: httpx.AsyncClient, server: ApiServer) -> None:
    """408; the others are served, and the trajectory too."""
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(
            b"PUT /files?trajectory_id=t&path=f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx"
        )
        with trio.fail_after(20):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 408")
    assert await bash(client, "echo fine; ls") == "fine"


async def test_a_client_that_takes_nothing_holds_the_slot_back(
    client: httpx.AsyncClient, server: ApiServer
) -> None:
    """Nothing is heaped up for it, and it is dropped in the end."""
    await bash(client, "head -c 300000000 /dev/zero > f")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET /files?trajectory_id=t&path=f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with trio.fail_after(30):
            assert await bash(client, "echo next") == "next"
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 * 1024


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_sends_and_fetches(client: httpx.AsyncClient, server: ApiServer, tmp_path: Path) -> None:
    """With `Expect: 100-continue`, and going on with a download by itself."""
    content = os.urandom(2 * MIB)
    (tmp_path / "up").write_bytes(content)
    url = f"{server.url}/files?trajectory_id=t&path=f"

    async def curl(*words: str) -> str:
        done = await trio.run_process(
            ["curl", "-sSv", "--fail", *words, url], capture_stdout=True, capture_stderr=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr.decode()

    said = await curl("-T", str(tmp_path / "up"), "-H", "Expect: 100-continue")
    assert "< HTTP/1.1 100" in said
    (tmp_path / "down").write_bytes(content[:MIB])
    await curl("-C", "-", "-o", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == content


async def test_forks_over_http_are_independent(client: httpx.AsyncClient) -> None:
    """A child begins as its parent was; what either writes then is its own. Both have real slots."""

    async def run(trajectory: str, command: str) -> str:
        tool = {"name": "bash", "arguments": {"command": command}}
        answer = await client.post("/execute", json={"trajectory_id": trajectory, "tool": tool})
        return str(answer.json()["output"])

    await run("t", "mkdir d; echo old > d/f; echo kept > g")
    forked = await client.post("/fork", json={"trajectory_id": "t", "into": ["child"]})
    assert (forked.status_code, forked.json()) == (200, {"status": "ok"})
    assert (await client.get("/status")).json()["pool"]["acquired_slots"] == 2
    assert await run("child", "cat d/f g") == "old\nkept"
    await run("child", "echo child > d/f; rm g; touch new")
    await run("t", "echo parent > d/f")
    assert await run("child", "cat d/f; ls") == "child\nd\nnew"
    assert await run("t", "cat d/f; ls") == "parent\nd\ng"
    full = await client.post("/fork", json={"trajectory_id": "t", "into": ["another"]})
    assert (full.status_code, full.headers["retry-after"]) == (409, "1")
    await client.post("/release", json={"trajectory_id": "child", "reset_workspace": True})
    again = await client.post("/fork", json={"trajectory_id": "t", "into": ["another"]})
    assert again.status_code == 200
    assert await run("another", "cat d/f") == "parent"


@pytest.mark.volumes
async def test_an_upload_that_the_quota_does_not_hold_is_refused_and_nothing_is_lost() -> None:
    """413; what was there is there, and with the rest removed the slot takes calls and files again."""
    async with (
        ht.open_local_backend(slots=1, daemon_options=["--slot-disk", "16M"]) as backend,
        ht.open_executor(backend) as executor,
        open_server(executor) as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as client,
    ):
        assert await bash(client, "echo before > f; cat f") == "before"
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            # By hand: httpx leaves a body half sent when the answer comes early.
            head = "PUT /files?trajectory_id=t&path=f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 33554432"
            with suppress(trio.BrokenResourceError):
                await stream.send_all(head.encode() + b"\r\n\r\n" + os.urandom(32 * MIB))
            with trio.fail_after(30):
                answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"application/problem+json" in answer
        assert await bash(client, "cat f") == "before"
        await bash(client, "rm -f .f.part")
        fits = await client.put("/files", params=at("g"), content=b"x" * MIB)
        assert fits.status_code == 200
        assert await bash(client, "stat -c %s g; cat f") == f"{MIB}\nbefore"

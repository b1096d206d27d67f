"""The format of workspaces' archives: what was written is read, by others too, and nothing else is taken."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_daemon.agent import members
from sandbox_daemon.agent.members import Member, MemberError, MemberReader, pack_head, padding
from sandbox_daemon.workspaces import archive as archive_module
from sandbox_daemon.workspaces.archive import ArchiveError, ArchiveReader, ArchiveWriter, zstd

PART = st.binary(min_size=1, max_size=120).filter(
    lambda part: not set(b"/\0") & set(part) and part not in {b".", b".."}
)
PATHS = st.lists(PART, min_size=1, max_size=3).map(b"/".join)
TIMES = st.integers(-(10**19), 10**20)
MODES = st.integers(0, 0o7777)
XATTRS = st.dictionaries(
    st.binary(min_size=1, max_size=9).filter(lambda key: b"=" not in key).map(lambda key: b"user." + key),
    st.binary(max_size=50),
    max_size=2,
)


@st.composite
def _files(draw: st.DrawFn) -> tuple[Member, bytes]:
    """A file, with holes or without, and its content."""
    pieces = draw(st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=1500)), max_size=4))
    member = Member(members.FILE, draw(PATHS), mode=draw(MODES), mtime_ns=draw(TIMES), xattrs=draw(XATTRS))
    content, ranges = b"", []
    for hole, data in pieces:
        content += bytes(hole)
        ranges.append((len(content), len(data)))
        content += data
    content += bytes(draw(st.integers(0, 700)))
    member.size = len(content)
    member.ranges = ranges if draw(st.booleans()) else None
    return member, content


def _others() -> st.SearchStrategy[tuple[Member, bytes]]:
    targets = st.binary(min_size=1, max_size=150).filter(lambda target: b"\0" not in target)
    plain = st.builds(
        Member,
        st.sampled_from([members.WHITEOUT, members.FIFO]),
        PATHS,
        mode=MODES,
        mtime_ns=TIMES,
    )
    links = st.builds(Member, st.just(members.LINK), PATHS, target=targets, mode=MODES, mtime_ns=TIMES)
    hards = st.builds(Member, st.just(members.HARD), PATHS, target=PATHS)
    paths = st.one_of(PATHS, st.just(b"."))
    folders = st.builds(
        Member,
        st.just(members.FOLDER),
        paths,
        mode=MODES,
        mtime_ns=TIMES,
        opaque=st.booleans(),
        xattrs=XATTRS,
    )
    return st.one_of(plain, links, hards, folders).map(lambda member: (member, b""))


ENTRIES = st.lists(st.one_of(_files(), _others()), max_size=5)


def tar_of(entries: list[tuple[Member, bytes]]) -> bytes:
    """A tar file."""
    out = b""
    for member, content in entries:
        out += pack_head(member)
        out += b"".join(content[start : start + length] for start, length in member.parts())
        out += padding(member.stored_bytes())
    return out + members.END


def look(member: Member) -> tuple[object, ...]:
    """All that a member says."""
    return tuple(
        getattr(member, name)
        for name in ("kind", "name", "mode", "mtime_ns", "target", "size", "opaque", "xattrs")
    )


def read_all(data: bytes) -> list[tuple[tuple[object, ...], bytes]]:
    """What a reader makes of it."""
    reader = MemberReader(io.BytesIO(data).read)
    found = []
    for member in reader.members():
        content = bytearray(member.size)
        for offset, piece in reader.content(member):
            content[offset : offset + len(piece)] = piece
        found.append((look(member), bytes(content)))
    return found


@given(ENTRIES)
def test_what_was_packed_is_read(entries: list[tuple[Member, bytes]]) -> None:
    """Every name, time, mode, target, attribute, hole and byte."""
    assert read_all(tar_of(entries)) == [(look(member), content) for member, content in entries]


@given(ENTRIES)
def test_content_that_nobody_reads_is_skipped(entries: list[tuple[Member, bytes]]) -> None:
    """The next member is found all the same."""
    found = [look(member) for member in MemberReader(io.BytesIO(tar_of(entries)).read).members()]
    assert found == [look(member) for member, _ in entries]


@given(ENTRIES)
def test_python_reads_the_same(entries: list[tuple[Member, bytes]]) -> None:
    """``tarfile`` is another's: names, kinds, modes, links, and the content of files with holes."""
    with tarfile.open(fileobj=io.BytesIO(tar_of(entries)), encoding="utf-8") as tar:
        for info, (member, content) in zip(tar.getmembers(), entries, strict=True):
            name = info.name.encode("utf-8", "surrogateescape")
            assert name == member.name.rstrip(b"/") or member.name == b"."
            assert info.mode == member.mode
            assert abs(info.mtime - member.mtime_ns / 1e9) <= abs(member.mtime_ns) / 1e9 * 1e-9 + 1e-6
            assert info.isdev() == (member.kind in {members.WHITEOUT, members.FIFO})
            if member.kind in {members.LINK, members.HARD}:
                assert info.linkname.encode("utf-8", "surrogateescape") == member.target
            if member.kind == members.FILE:
                held = tar.extractfile(info)
                assert held is not None
                assert held.read() == content


@given(ENTRIES, st.data())
def test_anything_else_is_read_or_refused(entries: list[tuple[Member, bytes]], data: st.DataObject) -> None:
    """Bytes changed, lost or added give members with sound paths, or a MemberError, nothing else."""
    raw = bytearray(tar_of(entries))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        for member in MemberReader(
            io.BytesIO(bytes(raw[:cut]) + data.draw(st.binary(max_size=3))).read
        ).members():
            assert member.name == b"." or b".." not in member.name.split(b"/")
            assert not member.name.startswith(b"/")
    except MemberError:
        pass


def one(member: Member, **changes: object) -> bytes:
    """A tar file of one member that is not as it should be."""
    for name, value in changes.items():
        setattr(member, name, value)
    return tar_of([(member, bytes(member.size))])


def headed(kind: bytes, records: bytes, *, size: int = 0, tail: bytes = b"") -> bytes:
    """A member with records of ours."""
    head = members._header(b"x", b"records", size=len(records)) + records + padding(len(records))
    return head + members._header(kind, b"f", size=size) + tail + members.END


def record(key: bytes, value: bytes) -> bytes:
    """One record."""
    return members._record(key, value)


TIME = record(b"mtime", b"1.000000000")
SPARSE = TIME + b"".join(
    record(key, value) for key, value in zip(members._SPARSE, (b"1", b"0", b"f", b"10"), strict=True)
)


def sparse(table: bytes, *, size: int = 512) -> bytes:
    """A file with this map of holes."""
    return headed(b"0", SPARSE, size=size, tail=table.ljust(512, b"\0") if len(table) < 512 else table)


BAD: dict[str, tuple[bytes, str]] = {
    "absolute": (one(Member(members.FILE, b"/etc/passwd")), "leads out"),
    "above": (one(Member(members.FILE, b"a/../../b")), "leads out"),
    "long above": (one(Member(members.FILE, b"a/" * 60 + b"../x")), "leads out"),
    "empty": (one(Member(members.FILE, b"")), "leads out"),
    "link out": (one(Member(members.HARD, b"a", target=b"../x")), "leads out"),
    "block device": (headed(b"4", TIME), "kind b'4'"),
    "socket": (headed(b"s", TIME), "kind b's'"),
    "no records": (members._header(b"0", b"f", size=0) + members.END, "no records"),
    "too many records": (members._header(b"x", b"r", size=2 << 20), "records of a member"),
    "not a record": (headed(b"0", b"hello"), "a record is none"),
    "a record without a key": (headed(b"0", b"6 abc\n"), "a record is none"),
    "a record that is too long": (headed(b"0", b"999 a=b\n"), "a record is none"),
    "no time": (headed(b"0", b""), "a time is none"),
    "half a time": (headed(b"0", record(b"mtime", b"1.5")), "a time is none"),
    "other attributes": (headed(b"0", TIME + record(b"SCHILY.xattr.security.x", b"y")), "has a record"),
    "a silly size": (headed(b"0", TIME + record(b"size", b"-1")), "a size is none"),
    "a giant size": (headed(b"0", TIME + record(b"size", b"9" * 19)), "a size is none"),
    "content of a folder": (headed(b"5", TIME, size=5), "is no file"),
    "opaque file": (headed(b"0", TIME + record(members._OPAQUE, b"y")), "has a record"),
    "another dialect": (headed(b"0", TIME + record(b"GNU.sparse.major", b"0")), "another dialect"),
    "map without numbers": (sparse(b"x\n"), "a size is none"),
    "map without lines": (sparse(b"1" * 512), "map of holes is none"),
    "map of too many": (sparse(b"9999999\n"), "too many holes"),
    "map behind the end": (sparse(b"1\n5\n6\n"), "not right"),
    "map that goes back": (sparse(b"2\n5\n1\n3\n1\n"), "not right"),
    "map of another size": (sparse(b"1\n5\n1\n"), "not right"),
    "no tar": (b"x" * 1024, "no tar archive of ours"),
    "no end": (tar_of([])[:600], "middle"),
    "nothing": (b"", "middle"),
    "half an end": (tar_of([])[:512] + b"x" * 512, "follows its end"),
    "more behind the end": (tar_of([]) + b"x", "follows its end"),
    "a wrong checksum": (b"g" + one(Member(members.FILE, b"f"))[1:], "checksum"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_ours_is_refused(name: str) -> None:
    """With a word about it."""
    data, why = BAD[name]
    with pytest.raises(MemberError, match=why):
        read_all(data)


def patched(at: int, text: bytes) -> bytes:
    """A whiteout whose header says something else there, with the checksum that goes with it."""
    raw = bytearray(one(Member(members.WHITEOUT, b"f")))
    head = raw[1024:1536]
    head[at : at + len(text)] = text
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    raw[1024:1536] = head
    return bytes(raw)


def test_a_header_that_is_right_and_says_what_it_must_not_is_refused() -> None:
    """A character device 0/0 is a whiteout; any other is a device."""
    assert len(read_all(patched(329, b"0000000"))) == 1
    for at in (329, 337):
        with pytest.raises(MemberError, match="device"):
            read_all(patched(at, b"0000001"))
    with pytest.raises(MemberError, match="no number"):
        read_all(patched(100, b"rwxr-xr"))


def test_members_say_what_they_are() -> None:
    """In one line; and a size that eleven digits do not hold has a record."""
    assert repr(Member(members.FILE, b"a\n", size=3)) == "<Member 0 b'a\\n' 3 bytes>"
    head = pack_head(Member(members.FILE, b"big", size=1 << 40))
    assert b"size=1099511627776\n" in head


# --- the outside --------------------------------------------------------------------------------------------


def archive_of(data: bytes, base: str | None = None) -> bytes:
    """An archive."""
    writer = ArchiveWriter(base)
    return writer.begin() + writer.feed(data) + writer.finish()


def unpacked(archive: bytes, size: int, most: int) -> tuple[bytes, str | None]:
    """What a reader makes of it, piece by piece."""
    reader = ArchiveReader()
    out = b""
    for start in range(0, len(archive), size):
        reader.feed(archive[start : start + size])
        while reader.has_more:
            piece = reader.take(most)
            assert len(piece) <= most
            out += piece
    assert reader.take(most) == b""
    reader.finish()
    return out, reader.base


DIGEST = "0123456789abcdef" * 4


@given(st.binary(max_size=5000), st.integers(1, 300), st.integers(1, 700), st.sampled_from([None, DIGEST]))
def test_an_archive_comes_back_however_it_is_cut(data: bytes, size: int, most: int, base: str | None) -> None:
    """In pieces of any size, with what it stands on."""
    assert unpacked(archive_of(data, base), size, most) == (data, base)


@given(st.binary(max_size=300), st.data())
def test_an_archive_that_was_changed_is_refused(data: bytes, draw: st.DataObject) -> None:
    """One byte anywhere, and any end that is not its end."""
    whole = archive_of(data)
    raw = bytearray(whole)
    at = draw.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= draw.draw(st.integers(1, 255))
    for bad in (bytes(raw), whole[:at], whole + b"x"):
        with pytest.raises(ArchiveError):
            unpacked(bad, draw.draw(st.integers(1, 400)), 1000)


def test_a_bomb_is_taken_a_piece_at_a_time() -> None:
    """A few kilobytes that are a gigabyte cost the reader no more than was asked for."""
    writer = ArchiveWriter(None)
    head, megabyte = writer.begin(), bytes(1 << 20)
    reader = ArchiveReader()
    reader.feed(head + b"".join(writer.feed(megabyte) for _ in range(256)) + writer.finish())
    sizes = [len(reader.take(65536)) for _ in range(100)]
    assert max(sizes) == 65536
    assert reader.has_more


def headed_by(text: bytes) -> bytes:
    """An archive that begins so."""
    return archive_module._FRAME.pack(archive_module._HEAD_MAGIC, len(text)) + text


def _wide() -> bytes:
    """A frame that wants a window of 128 MiB."""
    options = {int(zstd.CompressionParameter.window_log): 27}
    compressor = zstd.ZstdCompressor(options=options)
    return headed_by(b'{"archive": "hermes-trio workspace", "version": 1}') + compressor.compress(
        bytes(1 << 20)
    )


HEADS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip": (lambda: b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "does not begin"),
    "zstd": (lambda: zstd.compress(b"x" * 100), "does not begin"),
    "a giant head": (
        lambda: archive_module._FRAME.pack(archive_module._HEAD_MAGIC, 1 << 30),
        "does not begin",
    ),
    "no json": (lambda: headed_by(b"{"), "does not begin"),
    "no object": (lambda: headed_by(b"[]"), "does not begin"),
    "another kind": (lambda: headed_by(b'{"archive": "x"}'), "does not begin"),
    "a later version": (
        lambda: headed_by(b'{"archive": "hermes-trio workspace", "version": 2}'),
        "version 2",
    ),
    "no base": (
        lambda: headed_by(b'{"archive": "hermes-trio workspace", "version": 1, "base": "../x"}'),
        "the base that it names is none",
    ),
    "no content": (
        lambda: headed_by(b'{"archive": "hermes-trio workspace", "version": 1, "base": null}') + b"x" * 50,
        "cannot be decompressed",
    ),
    "a wide window": (_wide, "cannot be decompressed"),
    "nothing": (lambda: b"", "ends before its end"),
    "half a head": (lambda: headed_by(b"{}")[:9], "ends before its end"),
    "no proof": (lambda: archive_of(b"x")[:-1], "ends before its end"),
    "another proof": (lambda: archive_of(b"x")[:-40] + archive_of(b"y")[-40:], "SHA-256"),
    "another end": (lambda: archive_of(b"x")[:-40] + b"z" * 40, "something else follows"),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_is_no_archive_is_told(name: str) -> None:
    """With a word about it."""
    make, why = HEADS[name]
    with pytest.raises(ArchiveError, match=why):
        unpacked(make(), 4096, 1000)

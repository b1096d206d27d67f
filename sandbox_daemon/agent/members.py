"""The members of a workspace's archive, to and from the blocks of a tar file.

The daemon packs with it, a worker in the slot unpacks. The blocks are those of POSIX.1-2001, so that other
programs read them too; what they do not say, the de-facto records say:

======================  ====================================================================
a path that is no UTF-8  ``hdrcharset=BINARY`` before the records, as star and GNU tar have it
time of change           ``mtime`` with nine decimals
holes of a file          ``GNU.sparse.*`` 1.0: a map before the data
an extended attribute    ``SCHILY.xattr.<name>``
a whiteout               a character device 0/0, as overlayfs has it
an opaque folder         ``SCHILY.xattr.trusted.overlay.opaque=y``, likewise
======================  ====================================================================

The layers of container images (``.wh.<name>``) were refused: a slot may have a file of that name. ``tarfile``
was refused: it knows times as floats, and takes every dialect there is.

Reading is strict. What this module would not write is a :class:`MemberError`: every archive is hostile.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
FILE, HARD, LINK, WHITEOUT, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"5", b"6"
END = bytes(2 * BLOCK)
MAX_RECORDS_BYTES = 1 << 20
"""Of one member: paths, and extended attributes."""
MAX_RANGES = 1 << 20
PIECE_BYTES = 1 << 20

_KINDS = (FILE, HARD, LINK, WHITEOUT, FOLDER, FIFO)
_RECORDS = b"x"
_SHORT = 100
_MAX_OCTAL = 0o77777777777
_SECOND = 10**9
_MAX_SIZE = 1 << 62
_OPAQUE = b"SCHILY.xattr.trusted.overlay.opaque"
_XATTR = b"SCHILY.xattr."
_KEPT = b"user."
_SPARSE = (b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name", b"GNU.sparse.realsize")


class MemberError(Exception):
    """This is not what :func:`pack_head` writes; the text says why."""


class Member:
    """One entry of an archive.

    Args:
        kind: :data:`FILE` or one of its kin.
        name: the path; the root's is ``.``.
        mode: permission bits.
        mtime_ns: when it was changed.
        target: of a link; of :data:`HARD`: the path of an earlier member.
        size: of a file.
        ranges: offset and length of each part of a file that is no hole; ``None``: it has no holes.
        opaque: a folder that hides what lies below.
        xattrs: extended attributes, ``user.`` ones only.
    """

    __slots__ = ("kind", "mode", "mtime_ns", "name", "opaque", "ranges", "size", "target", "xattrs")

    def __init__(
        self,
        kind: bytes,
        name: bytes,
        *,
        mode: int = 0,
        mtime_ns: int = 0,
        target: bytes = b"",
        size: int = 0,
        ranges: list[tuple[int, int]] | None = None,
        opaque: bool = False,
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.target = target
        self.size = size
        self.ranges = ranges
        self.opaque = opaque
        self.xattrs = xattrs or {}

    def __repr__(self) -> str:
        return f"<Member {self.kind.decode()} {self.name!r} {self.size} bytes>"

    def parts(self) -> list[tuple[int, int]]:
        """Offset and length of what of its content is in the archive."""
        if self.kind != FILE:
            return []
        return [(0, self.size)] if self.ranges is None else self.ranges

    def stored_bytes(self) -> int:
        """Bytes of its content that are in the archive."""
        return sum(length for _, length in self.parts())


def pack_head(member: Member) -> bytes:
    """The blocks before its content. Behind that comes :func:`padding` of ``stored_bytes()``."""
    table = b"" if member.ranges is None else _sparse_map(member.ranges, member.size)
    stored = member.stored_bytes() + len(table)
    folder = member.kind == FOLDER
    records = _packed_records(member, member.name + b"/" * folder, stored)
    head = _header(_RECORDS, b"records", size=len(records)) + records + padding(len(records))
    head += _header(
        member.kind,
        member.name[: _SHORT - folder] + b"/" * folder,
        mode=member.mode,
        seconds=member.mtime_ns // _SECOND,
        target=member.target[:_SHORT],
        size=stored,
    )
    return head + table


def padding(size: int) -> bytes:
    """What fills the last block."""
    return bytes(-size % BLOCK)


def _header(
    kind: bytes, name: bytes, *, size: int, mode: int = 0o644, seconds: int = 0, target: bytes = b""
) -> bytes:
    block = b"".join(
        (
            name.ljust(_SHORT, b"\0"),
            b"%07o\0" % mode,
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            b"%011o\0" % min(size, _MAX_OCTAL),
            b"%011o\0" % min(max(seconds, 0), _MAX_OCTAL),
            b" " * 8,
            kind,
            target.ljust(_SHORT, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            bytes(167),
        )
    )
    return b"%s%06o\0 %s" % (block[:148], sum(block), block[156:])


def _packed_records(member: Member, name: bytes, stored: int) -> bytes:
    records = [(b"mtime", _decimal(member.mtime_ns))]
    if len(name) > _SHORT or not name.isascii():
        records.append((b"path", name))
    if len(member.target) > _SHORT or not member.target.isascii():
        records.append((b"linkpath", member.target))
    if member.opaque:
        records.append((_OPAQUE, b"y"))
    records += [(_XATTR + key, value) for key, value in sorted(member.xattrs.items())]
    if member.ranges is not None:
        values = (b"1", b"0", name, b"%d" % member.size)
        records += zip(_SPARSE, values, strict=True)
    if stored > _MAX_OCTAL:
        records.append((b"size", b"%d" % stored))
    if not _is_text(name + member.target):
        records.insert(0, (b"hdrcharset", b"BINARY"))
    return b"".join(_record(key, value) for key, value in records)


def _record(key: bytes, value: bytes) -> bytes:
    """Its length counts its own digits."""
    rest = len(key) + len(value) + 3
    size = rest + len(str(rest))
    size = rest + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decimal(nanoseconds: int) -> bytes:
    seconds, rest = divmod(abs(nanoseconds), _SECOND)
    return b"%s%d.%09d" % (b"-" if nanoseconds < 0 else b"", seconds, rest)


def _sparse_map(ranges: list[tuple[int, int]], size: int) -> bytes:
    ranges = [*ranges, (size, 0)]  # others take the end of the last for the end of the file
    lines = [len(ranges), *(number for pair in ranges for number in pair)]
    table = b"".join(b"%d\n" % number for number in lines)
    return table + padding(len(table))


class MemberReader:
    """An archive as it comes. Its content is to be read, or is skipped.

    Args:
        read: as many bytes as are asked for, fewer at the end only. May block.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._left = 0  # of the present member's content and its padding
        self._taken = 0  # by its map of holes

    def members(self) -> Iterator[Member]:
        """One after another. :class:`MemberError` when it is not one of ours, or not to its end."""
        while True:
            self._skip()
            block = self._exactly(BLOCK)
            if block == END[:BLOCK]:
                self._check_end()
                return
            if _kind_of(block) != _RECORDS:
                raise MemberError("a member has no records before it")
            size = _octal(block[124:136])
            if size > MAX_RECORDS_BYTES:
                raise MemberError(f"the records of a member have {size} bytes")
            records = _records_of(self._exactly(size))
            self._exactly(-size % BLOCK)
            yield self._member(self._exactly(BLOCK), records)

    def content(self, member: Member) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes, piece by piece, of the member that came last."""
        for offset, length in member.parts():
            end = offset + length
            while offset < end:
                piece = self._exactly(min(PIECE_BYTES, end - offset))
                self._left -= len(piece)
                yield offset, piece
                offset += len(piece)

    def _member(self, block: bytes, records: dict[bytes, bytes]) -> Member:
        kind = _kind_of(block)
        if kind not in _KINDS:
            raise MemberError(f"a member is of kind {kind!r}")
        if kind == WHITEOUT and (_octal(block[329:337]) or _octal(block[337:345])):
            raise MemberError("a member is a device")
        name = records.pop(b"path", None) or block[:_SHORT].rstrip(b"\0")
        target = records.pop(b"linkpath", None) or block[157:257].rstrip(b"\0")
        member = Member(
            kind,
            checked_path(name[:-1] if kind == FOLDER and name.endswith(b"/") else name),
            mode=_octal(block[100:108]) & 0o7777,
            mtime_ns=_nanoseconds(records.pop(b"mtime", b"")),
            target=checked_path(target) if kind == HARD else target,
            opaque=kind == FOLDER and records.pop(_OPAQUE, b"") == b"y",
        )
        size = _size(records.pop(b"size", None), _octal(block[124:136]))
        if kind == FILE:
            self._measure(member, size, records)
        elif size:
            raise MemberError(f"{shown(name)} has content, and is no file")
        member.xattrs = {key[len(_XATTR) :]: value for key, value in records.items()}
        _check_xattrs(member)
        return member

    def _measure(self, member: Member, size: int, records: dict[bytes, bytes]) -> None:
        member.size = size
        self._left = size + -size % BLOCK
        sparse = [records.pop(key, None) for key in _SPARSE]
        if sparse[0] is None:
            return
        if sparse[:2] != [b"1", b"0"]:
            raise MemberError(f"{shown(member.name)} has holes in another dialect")
        member.size = _size(sparse[3], -1)
        member.ranges = self._ranges(member)
        if member.stored_bytes() + self._taken != size:
            raise MemberError(f"{shown(member.name)} has a map of holes that is not right")
        self._left -= self._taken

    def _ranges(self, member: Member) -> list[tuple[int, int]]:
        self._taken = 0
        numbers = self._numbers()
        count = next(numbers)
        if count > MAX_RANGES:
            raise MemberError(f"{shown(member.name)} has too many holes")
        ranges = []
        end = 0
        for _ in range(count):
            offset, length = next(numbers), next(numbers)
            if offset < end or offset + length > member.size:
                raise MemberError(f"{shown(member.name)} has a map of holes that is not right")
            end = offset + length
            ranges.append((offset, length))
        return ranges

    def _numbers(self) -> Iterator[int]:
        """The lines of a map, which ends with a block."""
        held = b""
        while True:
            if b"\n" not in held:
                held += self._exactly(BLOCK)
                self._taken += BLOCK
            line, newline, held = held.partition(b"\n")
            if not newline:
                raise MemberError("a map of holes is none")
            yield _size(line, -1)

    def _skip(self) -> None:
        while self._left:
            self._left -= len(self._exactly(min(self._left, PIECE_BYTES)))

    def _exactly(self, size: int) -> bytes:
        data = self._read(size) if size else b""
        if len(data) < size:
            raise MemberError("it ends in the middle")
        return data

    def _check_end(self) -> None:
        if self._exactly(BLOCK).strip(b"\0") or self._read(1):
            raise MemberError("something follows its end")


def checked_path(path: bytes) -> bytes:
    """A path that leads nowhere else. :class:`MemberError` for any other."""
    if path == b".":
        return path
    if b"\0" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
        raise MemberError(f"a path leads out of it, or is none: {shown(path)}")
    return path


def shown(path: bytes) -> str:
    """For a message, on one line."""
    return ascii(path[:200])[1:]


def _check_xattrs(member: Member) -> None:
    for key in member.xattrs:
        if not key.startswith(_KEPT):
            raise MemberError(f"{shown(member.name)} has a record {shown(key)}")


def _kind_of(block: bytes) -> bytes:
    if block[257:265] != b"ustar\x0000":
        raise MemberError("it is no tar archive of ours")
    if _octal(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 32:
        raise MemberError("a header's checksum is another")
    return block[156:157]


def _octal(field: bytes) -> int:
    digits = field.rstrip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise MemberError(f"a header has no number where one must be: {shown(field)}")
    return int(digits, 8)


def _size(field: bytes | None, otherwise: int) -> int:
    size = otherwise
    if field is not None:
        size = int(field) if field.isdigit() and len(field) < 20 else -1
    if not 0 <= size <= _MAX_SIZE:
        raise MemberError("a size is none")
    return size


def _nanoseconds(field: bytes) -> int:
    digits = field[1:] if field.startswith(b"-") else field
    seconds, point, rest = digits.partition(b".")
    if not (seconds.isdigit() and point and rest.isdigit() and len(rest) == 9 and len(seconds) < 19):
        raise MemberError(f"a time is none: {shown(field)}")
    value = int(seconds) * _SECOND + int(rest)
    return -value if field.startswith(b"-") else value


def _records_of(data: bytes) -> dict[bytes, bytes]:
    """By key; the character set says nothing: all are bytes here."""
    records = {}
    while data:
        digits = data[:8].partition(b" ")[0]
        size = int(digits) if digits.isdigit() else 0
        record, data = data[:size], data[size:]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if len(record) != size or not equals or not value.endswith(b"\n"):
            raise MemberError("a record is none")
        records[key] = value[:-1]
    records.pop(b"hdrcharset", None)
    return records

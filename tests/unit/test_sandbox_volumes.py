"""Volumes and staged mounts: real file systems, and hosts that refuse them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation import mounts, volumes
from sandbox_daemon.isolation.policy import STAGE, Bind, Device
from sandbox_daemon.isolation.staging import call_staged
from sandbox_daemon.isolation.volumes import VolumeMaker
from sandbox_daemon.slots.storage import Location, hold_data_directory

pytestmark = pytest.mark.volumes

MIB = 1 << 20


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[VolumeMaker]:
    """Of small ones."""
    made = VolumeMaker(tmp_path, size_bytes=16 * MIB, max_files=1000)
    yield made
    made.close()


def backing(device: str) -> Path:
    """What the kernel says of a loop device."""
    return Path("/sys/block") / Path(device).name / "loop" / "backing_file"


def test_a_volume_is_a_file_system_without_a_name(maker: VolumeMaker, tmp_path: Path) -> None:
    """Its file is gone, its mount is attached nowhere, and its device goes with its last user."""
    volume = maker.make()
    assert list(tmp_path.iterdir()) == []
    assert volume.device not in Path("/proc/self/mountinfo").read_text()
    assert volume.used() < 0.05
    (volume.root / "f").write_bytes(os.urandom(4 * MIB))
    assert 0.2 < volume.used() < 0.5
    assert backing(volume.device).exists()
    volume.close()
    assert not backing(volume.device).exists()


def test_many_files_are_use_too(maker: VolumeMaker) -> None:
    """Blocks or inodes, whichever is scarcer."""
    volume = maker.make()
    for number in range(600):
        (volume.root / str(number)).touch()
    assert volume.used() > 0.5
    volume.close()


def test_a_small_volume_has_an_inode_for_each_block_at_most(tmp_path: Path) -> None:
    """Asked for more, mkfs would refuse."""
    maker = VolumeMaker(tmp_path, size_bytes=16 * MIB, max_files=1_000_000)
    volume = maker.make()
    assert os.statvfs(volume.root).f_files <= 16 * MIB // 4096
    volume.close()
    maker.close()


def test_a_host_without_mkfs_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made."""
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    with pytest.raises(UnavailableError, match=r"mkfs.ext4 is not installed.*apt-get install e2fsprogs"):
        VolumeMaker(tmp_path, size_bytes=16 * MIB, max_files=10)


def test_what_mkfs_says_is_passed_on(tmp_path: Path) -> None:
    """And the file it failed on is gone."""
    with pytest.raises(UnavailableError, match=r"mkfs.ext4 failed: .+"):
        VolumeMaker(tmp_path, size_bytes=4096, max_files=1)
    assert list(tmp_path.iterdir()) == []


def _refusing(code: int, times: int) -> SimpleNamespace:
    """``fcntl`` with a kernel that refuses to configure a loop device so many times."""
    left = [code] * times

    def ioctl(descriptor: int, request: int, *more: object) -> int:
        if request == volumes._LOOP_CONFIGURE and left:
            raise OSError(left.pop(), "refused")
        return fcntl.ioctl(descriptor, request, *more)

    return SimpleNamespace(ioctl=ioctl)


def test_a_lost_race_for_a_device_is_run_again(maker: VolumeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process of this host took the free one first."""
    monkeypatch.setattr(volumes, "fcntl", _refusing(errno.EBUSY, 3))
    maker.make().close()


@pytest.mark.parametrize(("code", "times"), [(errno.EPERM, 1), (errno.EBUSY, volumes._LOOP_ATTEMPTS)])
def test_a_host_that_refuses_is_an_error(
    maker: VolumeMaker, monkeypatch: pytest.MonkeyPatch, code: int, times: int
) -> None:
    """And no descriptor is left open."""
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(volumes, "fcntl", _refusing(code, times))
    with pytest.raises(OSError, match=r"refused|no free loop device") as caught:
        maker.make()
    assert caught.value.errno == code
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_system_that_cannot_be_mounted_gives_its_device_back(
    maker: VolumeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel names the reason."""
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(mounts, "FILE_SYSTEM", "no-such-file-system")
    with pytest.raises(OSError, match="No such device"):
        maker.make()
    assert len(os.listdir("/proc/self/fd")) == before


def test_staged_mounts_are_seen_by_their_launch_only(maker: VolumeMaker, tmp_path: Path) -> None:
    """A folder and a device; nothing of either is left in our own namespace."""
    volume = maker.make()
    (volume.root / "on-the-volume").touch()
    (tmp_path / "in-the-folder").touch()
    wanted = (Bind(str(tmp_path), f"{STAGE}/etc"), Device(volume.device, f"{STAGE}/slot"))
    before = Path("/proc/self/mountinfo").read_text()
    seen = call_staged(lambda: [os.listdir(mount.target) for mount in wanted], wanted)
    assert "in-the-folder" in seen[0]
    assert "on-the-volume" in seen[1]
    assert Path("/proc/self/mountinfo").read_text() == before
    volume.close()


def test_a_mount_that_fails_is_named_and_nothing_is_called() -> None:
    """So is an error of the function itself."""
    called: list[int] = []
    with pytest.raises(OSError, match=f"mount {STAGE}/slot"):
        call_staged(lambda: called.append(1), (Bind("/no/such/folder", f"{STAGE}/slot"),))
    assert called == []
    with pytest.raises(ValueError, match="its own"):
        call_staged(lambda: int("its own"), ())


def test_a_crowded_volume_is_given_up_for_a_fresh_one(tmp_path: Path) -> None:
    """The old one is emptied and closed with the trash; one with room in it is used again."""
    with hold_data_directory(tmp_path / "d") as directory:
        assert not directory.wants_volume("slot_0")
        directory.use_volumes(size_bytes=16 * MIB, max_files=1000)
        assert directory.wants_volume("slot_0")
        directory.make_volume("slot_0")
        directory.make_slot("slot_0", None)
        first = directory.location("slot_0").device
        assert directory.location("slot_0").workspace == "/slots/slot_0/workspace"
        assert not directory.wants_volume("slot_0")
        (directory.workspace("slot_0") / "f").write_bytes(os.urandom(4 * MIB))
        directory.discard_slot("slot_0")
        assert directory.wants_volume("slot_0")
        directory.make_volume("slot_0")
        second = directory.location("slot_0").device
        assert second != first
        assert directory.trash_count() == 1
        directory.empty_trash()
        assert directory.trash_count() == 0
        lies_ready = {volume.device for volume, _ in directory._stock}
        assert first in lies_ready or not backing(first).exists()
        assert backing(second).exists()
        path = str(tmp_path / "d" / "slots" / "slot_1" / "workspace")
        assert directory.location("slot_1") == Location(device="", workspace=path)
    assert not backing(second).exists()


def test_a_volume_in_which_many_files_were_thrown_away_is_given_up(tmp_path: Path) -> None:
    """However few are in it now: ext4 would make the next files ever more slowly."""
    with hold_data_directory(tmp_path / "d") as directory:
        directory.use_volumes(size_bytes=64 * MIB, max_files=8000)
        directory.make_volume("slot_0")
        for count in (150, 150):
            assert not directory.wants_volume("slot_0")
            directory.make_slot("slot_0", None)
            for number in range(count):
                (directory.workspace("slot_0") / str(number)).touch()
            directory.discard_slot("slot_0")
            directory.empty_trash()
        assert directory.wants_volume("slot_0")


def test_volumes_lie_ready_and_are_closed_with_the_directory(tmp_path: Path) -> None:
    """Made where the trash is emptied: neither a reset nor a fork waits for one."""
    with hold_data_directory(tmp_path / "d") as directory:
        directory.empty_trash()
        assert directory._stock == []
        directory.use_volumes(size_bytes=16 * MIB, max_files=100)
        directory.empty_trash()
        ready = [volume.device for volume, _ in directory._stock]
        assert len(ready) == 2
        directory.make_volume("slot_0")
        assert directory.location("slot_0").device in ready
    assert not any(backing(device).exists() for device in ready)


def test_a_volume_that_is_closed_is_not_written_out_first(maker: VolumeMaker) -> None:
    """Nobody will read it. What was written stays in memory, and goes with it."""
    volume = maker.make()
    statistics = Path("/sys/block") / Path(volume.device).name / "stat"
    (volume.root / "f").write_bytes(os.urandom(8 * MIB))
    written = []
    close = os.close

    def closing(descriptor: int) -> None:
        close(descriptor)
        with contextlib.suppress(OSError):
            written.append(int(statistics.read_text().split()[6]) * 512)

    before = int(statistics.read_text().split()[6]) * 512
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "close", closing)
        volume.close()
    assert max(written) - before < 2 * MIB


def test_a_directory_that_is_closed_while_trash_is_emptied_leaves_volumes_to_the_end(
    tmp_path: Path,
) -> None:
    """A thread that was given up still uses their descriptors."""
    with hold_data_directory(tmp_path / "d") as directory:
        directory.use_volumes(size_bytes=16 * MIB, max_files=100)
        directory.make_volume("slot_0")
        volume, _ = directory._volumes["slot_0"]
        directory._emptying.acquire()
    assert backing(volume.device).exists()
    volume.close()

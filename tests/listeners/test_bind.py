"""Does the socket's file appear as configured, and never in the place of something that matters?"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from smsd.listeners.unix import bind

GROUP = 42_001


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "smsd.sock"


@pytest.fixture
def left(path: Path) -> Iterator[Path]:
    """A file left by a daemon that died."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.listen()
    dead.close()
    yield path


def test_a_file_nobody_answers_on_is_replaced(left: Path) -> None:
    with closing(bind(left, 0o660, None)) as bound:
        bound.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(left))


def test_one_that_somebody_answers_on_is_not(path: Path) -> None:
    with closing(bind(path, 0o660, None)) as bound:
        bound.listen()
        before = path.stat().st_ino
        with pytest.raises(OSError, match=r"another program answers on .*set another \[socket\] path"):
            bind(path, 0o660, None)
        assert path.stat().st_ino == before


def test_nor_one_whose_owner_is_too_busy_to_answer(path: Path) -> None:
    with closing(bind(path, 0o660, None)) as bound, socket.socket(socket.AF_UNIX) as waiting:
        bound.listen(0)
        waiting.connect(str(path))
        with pytest.raises(OSError, match="another program answers"):
            bind(path, 0o660, None)


def test_nor_a_socket_of_another_kind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(OSError, match="cannot be tried"):
            bind(path, 0o660, None)
    assert path.exists()


def test_a_regular_file_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(OSError, match="is not a socket: remove it"):
        bind(path, 0o660, None)
    assert path.read_text() == "precious"


def test_so_is_a_link(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="is not a socket"):
        bind(path, 0o660, None)
    assert path.is_symlink()


def test_a_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot bind .*set another \[socket\] path"):
        bind(tmp_path / ("x" * 120), 0o660, None)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_is_the_one_configured_whatever_the_umask(path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        with closing(bind(path, mode, None)):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(umask) == umask, "the umask is as it was"
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN AS ROOT: THE GROUP OF THE SOCKET WAS NOT CHECKED")
def test_the_group_is_the_one_configured(path: Path) -> None:
    with closing(bind(path, 0o660, GROUP)):
        assert path.stat().st_gid == GROUP


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN AS ROOT: A GROUP THAT CANNOT BE GIVEN WAS NOT CHECKED")
def test_a_group_that_cannot_be_given_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    """By a process that is neither root nor a member of the group."""
    tmp_path.chmod(0o777)
    program = (
        "import os; from pathlib import Path; from smsd.listeners.unix import bind; "
        f"os.chdir('{tmp_path}'); os.setgroups([]); os.setgid(41_001); os.setuid(41_001); "
        f"bind(Path('s'), 0o660, {GROUP})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"make smsd's user a member of [socket] group" in done.stderr
    assert not (tmp_path / "s").exists()


WATCH = """
import os, stat, sys
from pathlib import Path
from smsd.listeners.unix import bind

def look(event, arguments):
    if event in ("os.chown", "os.chmod"):
        found = os.stat(path)
        print(event, oct(stat.S_IMODE(found.st_mode)), found.st_gid)

path, group = sys.argv[1], int(sys.argv[2])
os.umask(0)
sys.addaudithook(look)
bind(Path(path), 0o660, group)
found = os.stat(path)
print("in the end", oct(stat.S_IMODE(found.st_mode)), found.st_gid)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN AS ROOT: THE MOMENTS OF BINDING WERE NOT CHECKED")
def test_at_no_moment_is_it_more_open_than_configured(path: Path) -> None:
    """Under a umask that would let all in, nobody may connect until the group is the right one."""
    command = [sys.executable, "-c", WATCH, str(path), str(GROUP)]
    seen = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert seen == [
        f"os.chown 0o0 {path.parent.stat().st_gid}",
        f"os.chmod 0o0 {GROUP}",
        f"in the end 0o660 {GROUP}",
    ]

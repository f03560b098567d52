"""Is this still the boot in which something was written down?

Boot time (CLOCK_BOOTTIME) of two processes can be compared only within one boot. The kernel's boot id tells; under
systemd's ProcSubset=pid it cannot be read, and a random token in the runtime directory stands in for it: that directory
is on a tmpfs and is emptied by a reboot. Where neither is to be had nobody knows, and times of an earlier process are
compared by the wall clock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TOKEN = "boot-token"  # noqa: S105  a file name
TMPFS = Path("/run")


def token(runtime_dir: Path) -> str | None:
    """A text that is the same for all processes of this boot on this state; None: unknown. Does not raise."""
    with contextlib.suppress(OSError):
        return BOOT_ID.read_text().strip()
    if TMPFS not in runtime_dir.resolve().parents:
        return None
    with contextlib.suppress(OSError):
        return _shared(runtime_dir / TOKEN)
    return None


def _shared(path: Path) -> str:
    """The token in the file, made if it is not there. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(16))
    return path.read_text().strip()

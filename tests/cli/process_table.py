"""Which processes of this machine run."""

import time
from pathlib import Path


def is_running(pid: int) -> bool:
    """A zombie has ended: whoever adopted it may never look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def has_ended_within(pid: int, timeout_s: float) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while is_running(pid) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    return not is_running(pid)


def running_with(path: Path) -> set[int]:
    """Processes that were told of a directory by an argument or variable, or that live in it."""
    return {
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdecimal() and is_running(int(process.name)) and _mentions(process, path)
    }


def _mentions(process: Path, path: Path) -> bool:
    try:
        told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        return str(path).encode() in told or (process / "cwd").resolve().is_relative_to(path)
    except OSError:
        return False

"""The peak of a process's resident memory, which counts what torch holds too."""

from __future__ import annotations

import contextlib
import resource
import sys


def reset_peak() -> None:
    """Let the peak start again from what is held now (Linux; elsewhere it stays as it was)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")


def peak_kilobytes() -> float:
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(float(line.split()[1]) for line in status if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak


def resident_kilobytes() -> float:
    """What is resident now; where the system does not tell it, the peak."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(float(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return peak_kilobytes()

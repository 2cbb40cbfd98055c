"""Processes that speak with espeak-ng: started when they are needed, kept, and reused."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quintet.config import UserError

PROGRAM = Path(__file__).with_name("espeak_process.py")

_idle: list[subprocess.Popen[bytes]] = []  # one is taken from here by whoever speaks
os.register_at_fork(after_in_child=_idle.clear)  # they are the parent's


@dataclass(frozen=True)
class Spoken:
    """What espeak-ng made of a text."""

    samples: np.ndarray  # int16 [S]
    rate: int  # samples a second
    words: tuple[tuple[int, int], ...]  # of each: first character from 0, first sample


def speak(text: str, voice: str, speed: int, pitch: int) -> Spoken:
    """`text` as the command `espeak-ng -v voice -s speed -p pitch` speaks it, sample for sample.

    Raises:
        UserError: espeak-ng is not installed, has no such voice, or failed.
    """
    asked = {"voice": voice, "speed": speed, "pitch": pitch, "text": text.replace("\0", " ")}
    process = _idle.pop() if _idle else _start()
    try:
        reply, data = _ask(process, asked)
    except (OSError, ValueError):  # it has ended, or was ended
        process.kill()
        _end(process)
        raise UserError("The process that runs espeak-ng ended; try again.") from None
    except BaseException:  # an answer half read would be taken for the next one's
        process.kill()
        _end(process)
        raise
    _idle.append(process)
    if reply.get("missing"):
        raise UserError(
            "The synthetic world speaks with espeak-ng, which is not installed; "
            "install the Debian package espeak-ng."
        )
    if "error" in reply:
        raise UserError(
            f"espeak-ng could not speak as {voice} ({reply['error']}); choose another voice."
        )
    words = tuple((character - 1, sample) for character, sample in reply["events"])
    return Spoken(np.frombuffer(data, "<i2"), reply["rate"], words)


def _ask(process: subprocess.Popen[bytes], asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer and its sound.

    Raises:
        OSError, ValueError: the process has ended.
    """
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    process.stdin.flush()
    reply = json.loads(process.stdout.readline())
    return reply, process.stdout.read(reply.get("bytes", 0))


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROGRAM)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):  # it has ended already
        process.stdin.close()
    process.stdout.close()
    process.wait()


@atexit.register
def close() -> None:
    """End the processes that wait; the next text starts new ones."""
    while _idle:
        _end(_idle.pop())

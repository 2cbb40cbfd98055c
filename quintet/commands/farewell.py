"""The last word of a command that ends before its time, once for all processes of a machine."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def leave(message: str, status: int) -> NoReturn:
    """Say `message` as one line, and end with exit status `status`."""
    sentence = " ".join(message.split())
    # What stands there, torchrun shows at the end, below its own lines; else it would name only
    # the exit status.
    if report := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        told = {"message": sentence, "extraInfo": {"timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(report).write_text(json.dumps({"message": told}), encoding="utf-8")
    say(sentence)
    sys.exit(status)


def say(sentence: str) -> None:
    """On standard error, by one of the processes that torchrun started on this machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(sentence, file=sys.stderr)

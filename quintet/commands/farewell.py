"""The last word of a command that ends before its time, once for all processes of a machine."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from quintet.settings import IN_WORDS, Range

WHOLE, ANY = type(click.INT), type(click.FLOAT)  # of which those with a range are, too


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
        with suppress(BrokenPipeError):  # nobody reads it any more
            print(sentence, file=sys.stderr, flush=True)


def mistake(error: click.ClickException) -> str:
    """What a person is told who mistook a command, and where its help is."""
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
    option = error.param if isinstance(error, click.BadParameter) else None
    said, is_there = error.format_message(), not isinstance(error, click.MissingParameter)
    if option is not None and is_there and isinstance(option.type, WHOLE | ANY):
        said = f"{option.opts[0]} takes {_numbers(option.type)}."
    return f"{said} See: {where or 'quintet'} --help"


def _numbers(kind: click.ParamType[int] | click.ParamType[float]) -> str:
    """Which ones an option of this type takes, in words."""
    words = IN_WORDS[int if isinstance(kind, WHOLE) else float][0]
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return words
    assert kind.min is not None, "every range here begins somewhere"
    return f"{words} {Range(kind.min, math.inf if kind.max is None else kind.max)}"

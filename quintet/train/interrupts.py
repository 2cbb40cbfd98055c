"""Ctrl-C while a model trains: the step ends, a checkpoint is written, and then the run stops."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from quintet.config import UserError
from quintet.train.processes import Place

STOPS = "ends this step, saves it and stops; Ctrl-C again stops at once"


@contextmanager
def heard_late(place: Place, name: str) -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed, which interrupts nothing the first time. At
    the end of the block it does.

    Several processes hear it at different steps, and the main thread alone may listen: there it
    interrupts at once, as ever.
    """
    before, pressed = signal.getsignal(signal.SIGINT), False
    if (
        place.world_size > 1
        or threading.current_thread() is not threading.main_thread()
        or before is not signal.default_int_handler
    ):
        yield lambda: False
        return

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        with suppress(OSError):  # who read it may have been interrupted, too
            print(f"\n{name} {STOPS}.", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
        if pressed:
            raise KeyboardInterrupt
    except UserError:
        raise
    except Exception as error:
        if pressed:  # of its children, too, as compilers, which makes what waits for them fail
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)

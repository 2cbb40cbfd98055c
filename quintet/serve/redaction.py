"""What the log may say: that something failed, and where. Nothing that anybody said, and no key.

The message of an exception may quote what a client sent, a library may log what it decodes, and
uvicorn logs addresses with their queries. So of an exception only its kind and its places are
logged, of an address only its path, and of libraries only warnings.
"""

from __future__ import annotations

import logging
import traceback

FOREIGN = ("uvicorn.error", "uvicorn.access", "asyncio")
CHATTY = ("PIL", "multipart", "websockets")  # their details are those of what they read
PLACES = 12  # of an exception, the innermost
# What a client did wrong, of which uvicorn says that it is an error.
NO_NEWS = ("without completing handshake", "Invalid UTF-8 sequence")


class Redacted(logging.Filter):
    """Takes content out of a record, or leaves the record out."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "asyncio" and record.exc_info is None:
            return record.levelno >= logging.ERROR and _cut(record)
        if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
            record.args = tuple(
                value.partition("?")[0] if isinstance(value, str) else value
                for value in record.args
            )
        if any(words in str(record.msg) for words in NO_NEWS):
            return False
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            places = where(record.exc_info[1])
            _cut(record)
            record.msg += f" {places}"
            record.exc_info = record.exc_text = None
        return True


def _cut(record: logging.LogRecord) -> bool:
    """Keep the sentence without its values; asyncio's have further lines, and name arguments."""
    lines = str(record.msg).strip().splitlines() or [""]
    callback = record.name == "asyncio" and lines[0].startswith("Exception in callback")
    record.msg, record.args = "A callback failed." if callback else lines[0], ()
    return True


def where(error: BaseException) -> str:
    """An exception without its message: `KeyError in f (a.py:3), g (b.py:5)`, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-PLACES:]
    places = [f"{one.name} ({one.filename.rpartition('/')[2]}:{one.lineno})" for one in frames]
    return f"{type(error).__name__} in {', '.join(places)}"


def redacted(name: str) -> logging.Logger:
    """The logger of that name, whose records hold no content."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, Redacted) for one in logger.filters):
        logger.addFilter(Redacted())
    return logger


def redact_libraries() -> None:
    """Let no library that the server uses log content, whatever level somebody wants."""
    for name in FOREIGN:
        redacted(name)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)

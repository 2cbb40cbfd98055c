"""Quintet: one transformer that hears, sees, reads, writes, speaks and draws in real time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quintet.config import UserError

if TYPE_CHECKING:
    from quintet.live import Quintet, Reply, Sampling, Session, StepOutput, load
    from quintet.tokenizers.codec_folder import load_codec

__all__ = [
    "Quintet",
    "Reply",
    "Sampling",
    "Session",
    "StepOutput",
    "UserError",
    "load",
    "load_codec",
]


def __getattr__(name: str) -> Any:
    """What needs torch comes with its first use, so that the command line answers at once."""
    if name == "load_codec":  # without the model: a codec is of use by itself
        return importlib.import_module("quintet.tokenizers.codec_folder").load_codec
    if name in __all__:
        return getattr(importlib.import_module("quintet.live"), name)
    raise AttributeError(f"module 'quintet' has no attribute {name!r}")

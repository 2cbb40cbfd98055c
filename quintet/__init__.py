"""Quintet: one transformer that hears, sees, reads, writes, speaks and draws in real time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quintet.config import UserError

if TYPE_CHECKING:
    from quintet.live import Quintet, Reply, Sampling, Session, StepOutput, load
    from quintet.tokenizers.codec_folder import load_codec
    from quintet.tokenizers.image_folder import load_image_tokenizer

__all__ = [
    "Quintet",
    "Reply",
    "Sampling",
    "Session",
    "StepOutput",
    "UserError",
    "load",
    "load_codec",
    "load_image_tokenizer",
]

# Without the model: each is of use by itself.
_TOKENIZERS = {"load_codec": "codec_folder", "load_image_tokenizer": "image_folder"}


def __getattr__(name: str) -> Any:
    """What needs torch comes with its first use, so that the command line answers at once."""
    if name in _TOKENIZERS:
        module = importlib.import_module(f"quintet.tokenizers.{_TOKENIZERS[name]}")
        return getattr(module, name)
    if name in __all__:
        return getattr(importlib.import_module("quintet.live"), name)
    raise AttributeError(f"module 'quintet' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Those, too, so that a shell completes them."""
    return sorted({*globals(), *__all__})

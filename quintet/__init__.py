"""Quintet: one transformer that hears, sees, reads, writes, speaks and draws in real time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quintet.config import UserError

if TYPE_CHECKING:
    from quintet.live import Quintet, Reply, Sampling, Session, StepOutput, load

__all__ = ["Quintet", "Reply", "Sampling", "Session", "StepOutput", "UserError", "load"]


def __getattr__(name: str) -> Any:
    """What needs torch comes with its first use, so that the command line answers at once."""
    if name in __all__:
        return getattr(importlib.import_module("quintet.live"), name)
    raise AttributeError(f"module 'quintet' has no attribute {name!r}")

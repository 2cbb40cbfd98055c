"""Speed beside a peer or a limit, in one run. Nothing timed is asserted in a test."""

from __future__ import annotations

from typing import TypedDict


class Row(TypedDict):
    """One figure; `peer` is the peer's or the limit, `ratio` is value over peer."""

    name: str
    unit: str
    value: float
    peer: float | None
    ratio: float | None


def row(name: str, unit: str, value: float, peer: float | None = None) -> Row:
    ratio = None if peer is None else value / peer
    return {"name": name, "unit": unit, "value": value, "peer": peer, "ratio": ratio}

"""Names that the server gives to what clients speak of."""

from __future__ import annotations

import secrets


def new_id(kind: str) -> str:
    """Such as item_5f0c..., never the same twice."""
    return f"{kind}_{secrets.token_hex(10)}"

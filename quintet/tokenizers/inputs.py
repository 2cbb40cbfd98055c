"""What a caller hands to a tokenizer, checked at the border."""

from __future__ import annotations

import torch
from torch import Tensor

from quintet.config import UserError


def check_tensor(value: object, what: str, of: str) -> None:
    """Whether `value` is a tensor.

    Args:
        what: it is to be, as a sentence begins.
        of: which values.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, Tensor):
        raise UserError(
            f"{what} must be a tensor, not of the type {type(value).__name__}; give a torch "
            f"tensor of {of} (torch.from_numpy makes one of an array)."
        )


def holds_integers(ids: Tensor) -> bool:
    return not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)


def entries_of(ids: Tensor, size: int, what: str, maker: str) -> Tensor:
    """`ids` as int64, of whatever integers they were.

    Args:
        size: how many entries the codebook has.
        what: they are, as a sentence begins.
        maker: a word for what makes them.

    Raises:
        UserError: one is none of the codebook's.
    """
    ids = ids.long()
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise UserError(
            f"{what} lie between {int(ids.min()):,} and {int(ids.max()):,} and this {maker}'s "
            f"between 0 and {size - 1:,}; use the {maker} that made them."
        )
    return ids

"""What a caller hands to a tokenizer, checked at the border."""

from __future__ import annotations

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

"""What is made of tensors once and kept for as long as these stay as they are."""

from __future__ import annotations

from torch import Tensor


class Kept:
    """Made of tensors as they are now. `fits` says whether they still are."""

    def __init__(self, *sources: Tensor) -> None:
        self.sources = sources  # held, so that no other tensor can take their places in memory
        self.versions = [None if s.is_inference() else s._version for s in sources]

    def fits(self, *sources: Tensor) -> bool:
        """Whether nothing has written to these tensors or replaced one since this was made.

        Tensors made in inference mode do not count their changes: for them it never fits.
        """
        same = len(sources) == len(self.sources) and all(map(_is, sources, self.sources))
        return same and all(
            version is not None and version == source._version
            for source, version in zip(sources, self.versions, strict=True)
        )

    def __deepcopy__(self, memo: dict) -> None:
        """None: copied tensors count their changes anew, and this might miss some."""

    def __reduce__(self) -> tuple:
        return type(None), ()  # pickled as None, for the same reason


def _is(one: Tensor, other: Tensor) -> bool:
    return one is other

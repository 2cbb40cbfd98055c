"""What is made of tensors once and kept for as long as these stay as they are."""

from __future__ import annotations

from torch import Tensor


class Kept:
    """Made of tensors as they are now. `fits` says whether they still are."""

    def __init__(self, *sources: Tensor) -> None:
        self.sources = sources
        # Held, so that no other tensor can take their places in memory.
        self.memory = [source.detach() for source in sources]
        self.states = [_state(source) for source in sources]

    def fits(self, *sources: Tensor) -> bool:
        """Whether no operator has written to these tensors, and none was replaced or moved, since
        this was made.

        Tensors made in inference mode do not count their changes: for them it never fits. Writes
        that are not counted are not seen: through `.data`, an array of NumPy's, a fused optimizer
        or another process. `train` and `eval` of what holds this forget it.
        """
        if len(sources) != len(self.sources):
            return False
        for source, known, state in zip(sources, self.sources, self.states, strict=True):
            if source is not known or state is None or state != _state(source):
                return False
        return True

    def __deepcopy__(self, memo: dict) -> None:
        """None: copied tensors count their changes anew, and this might miss some."""

    def __reduce__(self) -> tuple:
        return type(None), ()  # pickled as None, for the same reason


def _state(source: Tensor) -> tuple[int, int] | None:
    """How often it has been written to, and where it lies."""
    return None if source.is_inference() else (source._version, source.data_ptr())

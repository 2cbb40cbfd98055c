"""A convolutional network over a large picture, piece by piece, with the result of the whole.

Each tile is computed with as many cells around it as its result can depend on, and those are cut
away again: memory stays that of one tile. It holds for networks that look at a bounded
neighbourhood, so not for those that normalize over the picture or attend to all of it.

Shapes: B batch, C channels, H and W of the input; a cell is `cell_in` wide there and `cell_out`
in the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut; all counts are of cells."""

    tile: int  # on a side
    reach: int  # how far beyond a cell its result can depend on the input
    cell_in: int
    cell_out: int

    def apply(self, network: Callable[[Tensor], Tensor], x_BCHW: Tensor) -> Tensor:
        """`network(x_BCHW)`; no more at once than a tile with what surrounds it, be it of one
        large picture or of many small ones."""
        rows, columns = (side // self.cell_in for side in x_BCHW.shape[-2:])
        widest = self.tile + 2 * self.reach
        if max(rows, columns) > widest:
            return torch.stack([self._picture(network, picture_CHW) for picture_CHW in x_BCHW])
        at_once = max(1, widest**2 // (rows * columns))
        return torch.cat([network(part_BCHW) for part_BCHW in x_BCHW.split(at_once)])

    def _picture(self, network: Callable[[Tensor], Tensor], x_CHW: Tensor) -> Tensor:
        height, width = (self._spans(side // self.cell_in) for side in x_CHW.shape[-2:])
        bands = [
            torch.cat([self._tile(network, x_CHW, down, across) for across in width], dim=2)
            for down in height
        ]
        return torch.cat(bands, dim=1)

    def _tile(
        self, network: Callable[[Tensor], Tensor], x_CHW: Tensor, down: slice, across: slice
    ) -> Tensor:
        """The network's output for these cells."""
        top, left = max(0, down.start - self.reach), max(0, across.start - self.reach)
        made_1CHW = network(
            x_CHW[
                None, :,
                top * self.cell_in : (down.stop + self.reach) * self.cell_in,
                left * self.cell_in : (across.stop + self.reach) * self.cell_in,
            ]
        )  # fmt: skip
        return made_1CHW[
            0, :,
            (down.start - top) * self.cell_out : (down.stop - top) * self.cell_out,
            (across.start - left) * self.cell_out : (across.stop - left) * self.cell_out,
        ]  # fmt: skip

    def _spans(self, length: int) -> list[slice]:
        return [
            slice(start, min(start + self.tile, length)) for start in range(0, length, self.tile)
        ]

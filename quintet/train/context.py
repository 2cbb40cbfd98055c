"""Context parallelism: the rows of a line among devices, of which each still sees all it may.

Between attentions a device computes its own piece of each line, as all else is done row by row. In
the attention it gives the others their heads of its rows, takes its heads of theirs, attends to
whole lines with them, and gives the results back: two exchanges (DeepSpeed-Ulysses: Jacobs et al.
2023, arXiv 2309.14509). So masks are those of one device, every device has as much to do, and there
can be no more devices than there are key-value heads.

Shapes: B lines, C devices, T rows of a line, P = T / C of a piece (`timeline.packing` deals them),
H query heads, G key-value heads, h query heads of one device (H / C), x its heads of all three
kinds, E head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed._functional_collectives import all_to_all_single_autograd

from quintet.model.attention import Mask, attend
from quintet.timeline.packing import dealt, gathered


def attend_together(
    group: ProcessGroup, q_BHPE: Tensor, k_BGPE: Tensor, v_BGPE: Tensor, mask: Mask | None
) -> Tensor:
    """[B, H, P, E]: what `attend` gives for this device's piece of the lines, of which each device
    of `group` has one, in the order of their ranks. `mask` is of whole lines."""
    count = group.size()
    parts = [x.unflatten(1, (count, -1)).movedim(1, 0) for x in (q_BHPE, k_BGPE, v_BGPE)]
    seen_BxTE = gathered(_exchanged(group, torch.cat(parts, dim=2)), 2)
    q, k, v = seen_BxTE.split([part.shape[2] for part in parts], dim=1)
    back_CBhPE = dealt(attend(q, k, v, mask), 2, count)
    return _exchanged(group, back_CBhPE).movedim(0, 1).flatten(1, 2)


def _exchanged(group: ProcessGroup, x_C: Tensor) -> Tensor:
    """Entry c of the result is what device c has at this device's place."""
    return all_to_all_single_autograd(x_C.contiguous(), None, None, group)

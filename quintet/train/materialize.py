"""Numbers for a model that was made on the device "meta", which has shapes only.

A model that no machine holds whole is divided first and filled afterwards, part by part: each
process makes a part as one process would, with the same numbers, keeps its shares and lets the rest
go. So the most that it holds is its shares and one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

from quintet.config import OmniConfig
from quintet.model.embedding import Embedding
from quintet.model.heads import AudioHead, TextImageHead
from quintet.model.omni import Omni
from quintet.model.transformer import Block

WHOLE = StateDictOptions(full_state_dict=True, strict=False)  # every process has all of a part


def parts(config: OmniConfig) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Of `Omni`, by name, in the order in which it draws their first weights."""
    sizes, vocab_size = config.model, config.text_image_vocab_size
    yield "embedding", lambda: Embedding(sizes, config.audio, vocab_size)
    for index in range(sizes.num_layers):
        yield f"transformer.layers.{index}", lambda: Block(sizes)
    yield "transformer.norm", lambda: nn.RMSNorm(sizes.d_model)
    yield (
        "text_image_head",
        lambda: TextImageHead(sizes, vocab_size, config.text.vocab_size),
    )
    yield "audio_head", lambda: AudioHead(sizes, config.audio)


def materialize(
    model: Omni, device: torch.device, stored: Iterable[tuple[str, Tensor]] | None = None
) -> None:
    """Fill a divided model with what is `stored`, one tensor after another, or else with the
    first weights. They are drawn whole by every process, some minutes for a hundred billion."""
    model.to_empty(device=device)
    for name, make in parts(model.config):
        mine = model.get_submodule(name)
        if stored is None or any(True for _ in mine.buffers()):
            made = make()
            for key, buffer in made.named_buffers():
                mine.get_buffer(key).copy_(buffer)
            if stored is None:
                _keep(model, {f"{name}.{key}": value for key, value in made.state_dict().items()})
    for name, tensor in stored or ():
        _keep(model, {name: tensor})


def _keep(model: Omni, whole: dict[str, Any]) -> None:
    """This process's shares of some weights."""
    set_model_state_dict(model, whole, options=WHOLE)

"""Average: the mean of the weights of several stages, which others go on from or release.

Ends of one training between which learning rates were high often err in different ways, and their
mean less than each (Izmailov et al. 2018, arXiv 1803.05407).
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import Tensor

from quintet.model.omni import Omni
from quintet.settings import UserError
from quintet.stages.context import MODEL_FILE, Context
from quintet.tokenizers.weight_files import check_weights, each_weight
from quintet.train.exports import export

SETTINGS = {"of": tuple[str, ...]}


def check(context: Context) -> None:
    """Whether the recipe names what is averaged.

    Raises:
        UserError: fewer than two stages, or one twice.
    """
    names = context.settings.get("of", [])
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            f"Stage {context.name!r} averages the stages of = {names}; name two or more, each once."
        )


def run(context: Context) -> dict[str, float]:
    """Write the mean, in float32 and in the order in which the recipe names the stages."""
    names = context.settings["of"]
    paths = [context.made_by(name, MODEL_FILE) for name in names]
    with torch.device("meta"):
        model = Omni(context.preset)
    for path in paths:
        check_weights(model, path)
    mean: dict[str, Tensor] = {}
    for count, path in enumerate(paths, start=1):
        for name, weight in each_weight(path):
            weight = weight.float()
            mean[name] = mean[name].lerp_(weight, 1 / count) if name in mean else weight
    export(lambda partial: save_file(mean, partial / MODEL_FILE), context.folder)
    return {"stages": float(len(names))}

"""Weights of EnCodec (Défossez et al. 2022), in Hugging Face's format, as an `AudioTokenizer`.

The layers are the same, in the same order: only names and settings are translated.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from quintet.config import SAMPLE_RATE, AudioConfig, UserError
from quintet.tokenizers.audio import AudioTokenizer

# What a config.json of the format means where it is silent.
DEFAULTS = {
    "audio_channels": 1, "chunk_length_s": None, "compress": 2, "hidden_size": 128,
    "kernel_size": 7, "last_kernel_size": 7, "norm_type": "weight_norm", "normalize": False,
    "num_filters": 32, "num_lstm_layers": 2, "num_residual_layers": 1, "pad_mode": "reflect",
    "residual_kernel_size": 3, "sampling_rate": SAMPLE_RATE, "trim_right_ratio": 1.0,
    "upsampling_ratios": [8, 5, 4, 2], "use_causal_conv": True, "use_conv_shortcut": True,
}  # fmt: skip
NEEDED = {
    "audio_channels": 1, "chunk_length_s": None, "compress": 2, "norm_type": "weight_norm",
    "normalize": False, "num_residual_layers": 1, "sampling_rate": SAMPLE_RATE,
    "trim_right_ratio": 1.0, "use_causal_conv": True,
}  # fmt: skip


def convert_encodec(config: dict[str, Any], weights: dict[str, Tensor]) -> AudioTokenizer:
    """An audio tokenizer that computes what the EnCodec does, folded, in evaluation mode.

    Exact for `pad_mode` "constant". With "reflect", the published default, EnCodec mirrors the
    first samples into the time before them, at every layer; a stream cannot, since it would have
    to hear those samples first, and begins in silence here. Measured at
    the default sizes with random weights, relative to the frame: the latent vectors of the first
    frame differ by 0.9, of the eighth by 0.04, of the 16th by 6e-4, and from the 31st on (0.4 s)
    by no more than rounding; the decoder's sound differs by 0.08 in the first frame, 1e-4 in the
    ninth, 1e-5 in the 16th.

    Args:
        config: the contents of config.json.
        weights: the contents of the weights' file, under either name of weight normalization
            or folded.

    Raises:
        UserError: the codec is of a kind that cannot stream or that ours is not, or weights are
            missing or of another shape than the settings say.
    """
    settings = {**DEFAULTS, **config}
    _refuse_other_kinds(settings)
    books = sum(name.endswith("codebook.embed") for name in weights)
    if not books:
        raise UserError("The weights hold no codebook (quantizer.layers.0.codebook.embed).")
    codebook_size, codebook_dim = _of(weights, "quantizer.layers.0.codebook.embed").shape
    if codebook_dim != settings["hidden_size"]:
        raise UserError(
            f"The codebooks are {codebook_dim} wide and the latent vector "
            f"{settings['hidden_size']}; only codecs where both agree can be converted."
        )
    codec = AudioTokenizer(
        AudioConfig(
            channels=settings["num_filters"],
            strides=tuple(reversed(settings["upsampling_ratios"])),
            kernel_size=settings["kernel_size"],
            residual_kernel_sizes=(settings["residual_kernel_size"], 1),
            residual_shortcut="conv" if settings["use_conv_shortcut"] else "identity",
            lstm_layers=settings["num_lstm_layers"],
            latent_dim=settings["hidden_size"],
            num_codebooks=books,
            codebook_size=codebook_size,
        )
    ).fold()
    _fill(codec, weights)
    return codec.eval()


def _refuse_other_kinds(settings: dict[str, Any]) -> None:
    for name, needed in NEEDED.items():
        if settings[name] != needed:
            raise UserError(
                f"This EnCodec has {name} = {settings[name]!r}, and only {needed!r} can be "
                "converted; use a causal one for mono sound at 24 kHz, such as encodec_24khz."
            )
    if settings["pad_mode"] not in ("constant", "reflect"):
        raise UserError(
            f"This EnCodec has pad_mode = {settings['pad_mode']!r}; only 'constant' and 'reflect' "
            "can be converted."
        )
    if settings["kernel_size"] != settings["last_kernel_size"]:
        raise UserError(
            f"This EnCodec's first kernel is {settings['kernel_size']} long and its last "
            f"{settings['last_kernel_size']}; only codecs where both agree can be converted."
        )


def _of(weights: dict[str, Tensor], name: str) -> Tensor:
    if name not in weights:
        raise UserError(f"The weights hold no {name!r}; use the file that came with config.json.")
    return weights[name]


def _weight(weights: dict[str, Tensor], conv: str) -> Tensor:
    """The plain weight of convolution `conv`, whatever its normalization is called."""
    if f"{conv}.weight" in weights:
        return weights[f"{conv}.weight"]
    older = f"{conv}.weight_g" in weights
    names = (
        ("weight_g", "weight_v")
        if older
        else (
            "parametrizations.weight.original0",
            "parametrizations.weight.original1",
        )
    )
    length, direction = (_of(weights, f"{conv}.{name}") for name in names)
    return direction * (length / torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True))


def _theirs(name: str) -> str:
    """Their name of our parameter `name`, of one of the two halves."""
    if inner := re.fullmatch(r"(\w+\.layers\.\d+)\.layers\.([01])\.(conv\.\w+)", name):
        unit, place, rest = inner.groups()  # of a residual unit: theirs counts the ELUs too
        return f"{unit}.block.{2 * int(place) + 1}.{rest}"
    if re.fullmatch(r"\w+\.layers\.\d+\.bias", name):  # of a transposed convolution
        return name.removesuffix("bias") + "conv.bias"
    return name


@torch.no_grad()
def _fill(codec: AudioTokenizer, weights: dict[str, Tensor]) -> None:
    filled = {}
    for name, mine in codec.state_dict().items():
        if name.startswith("quantizer."):
            continue
        theirs = _theirs(name)
        if theirs.endswith(".conv.weight"):
            value = _weight(weights, theirs.removesuffix(".weight"))
        else:
            value = _of(weights, theirs)
        filled[name] = _checked(value, mine, theirs)
    for book, layer in enumerate(codec.quantizer.layers):
        theirs = f"quantizer.layers.{book}.codebook.embed"
        codes_KD = _checked(_of(weights, theirs), layer.codebook, theirs)
        layer.codebook.copy_(codes_KD)
        layer.vector_sum.copy_(codes_KD)  # of one vector each: training may go on from there
    codec.load_state_dict(filled, strict=False)


def _checked(value: Tensor, mine: Tensor, name: str) -> Tensor:
    if value.shape != mine.shape:
        raise UserError(
            f"{name!r} is of shape {list(value.shape)} and config.json asks for "
            f"{list(mine.shape)}; use the file that came with it."
        )
    return value

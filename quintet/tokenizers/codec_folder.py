"""Audio tokenizers as folders of their own, without the rest of a model.

A codec's folder is `config.json`, {"kind": "audio_tokenizer", "audio": {the sizes}}, its weights
`audio_tokenizer.safetensors`, and a card. A whole model's folder holds the same weights and the
same table, and is read too; so is EnCodec's, as Hugging Face's transformers keep it.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quintet.config import MISFITS, AudioConfig, UserError, counted, from_dict
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.folders import (
    AUDIO_FILE,
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    find,
    first_line,
    read_config,
    upload,
    write_config,
)
from quintet.tokenizers.weight_files import check_weights, load_weights, read_weights, save_weights

KIND = "audio_tokenizer"


def load_codec(name: str | Path = "nano", num_codebooks: int | None = None) -> AudioTokenizer:
    """The audio tokenizer of a folder, a bundled name such as "nano", or a hub id such as
    "someone/codec": a codec's, a model's (of which nothing else is read), or EnCodec's.

    It is in evaluation mode with weight normalization folded.

    Args:
        num_codebooks: keep only so many, the first ones: fewer bits. None keeps all.

    Raises:
        UserError: there is no such folder, it holds no audio tokenizer or fewer codebooks, or its
            files are missing, damaged or of another shape.
    """
    codec = _load(name)
    most = codec.config.num_codebooks
    if num_codebooks is None:
        return codec
    if not 1 <= num_codebooks <= most:
        raise UserError(
            f"{name} has {counted(most, 'codebook')}; keep a number of them from 1 to {most}."
        )
    return first_codebooks(codec, num_codebooks)


def first_codebooks(codec: AudioTokenizer, number: int) -> AudioTokenizer:
    """`codec` itself, cut to its first codebooks. Each of them refines what those before it say,
    so that the first ones are a codec too, and their codes are the same."""
    assert 1 <= number <= codec.config.num_codebooks
    codec.quantizer.layers = codec.quantizer.layers[:number]
    codec.config = replace(codec.config, num_codebooks=number)
    return codec


def _load(name: str | Path) -> AudioTokenizer:
    folder = find(str(name), (CONFIG_FILE, AUDIO_FILE, CARD_FILE))
    values, where = read_config(folder), folder / CONFIG_FILE
    try:
        if isinstance(values, dict) and values.get("model_type") == "encodec":
            return _encodec(str(name), values).fold().eval()
        sizes = _sizes(values, where)
        with torch.device("meta"):
            check_weights(AudioTokenizer(sizes).fold(), folder / AUDIO_FILE)
        codec = AudioTokenizer(sizes).fold().eval()
        load_weights(codec, folder / AUDIO_FILE)
        return codec
    except UserError:
        raise
    except MISFITS as error:
        raise UserError(
            f"{where} does not describe an audio tokenizer ({first_line(error)}); "
            "restore it from where it came from."
        ) from None


def _sizes(values: Any, where: Path) -> AudioConfig:
    if not isinstance(values, dict) or "audio" not in values:
        raise UserError(
            f"{where} describes no audio tokenizer; name the folder of a codec, of a Quintet "
            "model or of EnCodec."
        )
    return from_dict(AudioConfig, values["audio"], str(where))


def _encodec(name: str, values: dict[str, Any]) -> AudioTokenizer:
    # What only those who bring an EnCodec need.
    from quintet.tokenizers.encodec import convert_encodec

    folder = find(name, (CONFIG_FILE, WEIGHTS_FILE))
    return convert_encodec(values, read_weights(folder / WEIGHTS_FILE))


def save_codec(codec: AudioTokenizer, folder: str | Path, card: str = "") -> None:
    """Write the folder that `load_codec` reads, the weights as float16; `card` is Markdown."""
    folder = Path(folder)
    write_config({"kind": KIND, "audio": asdict(codec.config)}, folder)
    save_weights(folded(codec), folder / AUDIO_FILE)
    if card:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")


def folded(codec: AudioTokenizer) -> AudioTokenizer:
    """A folded copy; the caller may go on training the weights as they are. (Folding what
    `copy.deepcopy` gives would break the original, whose dynamic classes it shares.)"""
    with torch.random.fork_rng(devices=[]):  # saving changes nothing of a training's course
        twin, weights = AudioTokenizer(codec.config), codec.state_dict()
    if twin.state_dict().keys() != weights.keys():
        twin.fold()
    twin.load_state_dict(weights)
    return twin.fold()


def load_folded(codec: AudioTokenizer, path: Path) -> None:
    """Read a file of folded weights into a codec whose weights are normalized, to train on.

    Raises:
        UserError: the file is missing, damaged, or belongs to another shape.
    """
    plain = AudioTokenizer(codec.config).fold()
    load_weights(plain, path)
    weights = plain.state_dict()
    with torch.no_grad():
        for name, part in codec.named_modules():
            if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
                part.weight = weights.pop(name + ".weight")  # parted into length and direction
    codec.load_state_dict(weights, strict=False)


def push_codec(codec: AudioTokenizer, repository: str, card: str = "") -> None:
    """Upload the folder to a Hugging Face repository, which is made if it does not exist."""
    with tempfile.TemporaryDirectory() as folder:
        save_codec(codec, folder, card)
        upload(Path(folder), repository)

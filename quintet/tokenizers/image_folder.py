"""Image tokenizers as folders of their own, without the rest of a model.

Such a folder is `config.json`, {"kind": "image_tokenizer", "image": {the sizes}}, its weights
`image_tokenizer.safetensors`, and a card. A whole model's folder holds the same weights and the
same table, and is read too.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from quintet.config import MISFITS, ImageConfig, UserError, from_dict
from quintet.tokenizers.folders import (
    CARD_FILE,
    CONFIG_FILE,
    IMAGE_FILE,
    find,
    first_line,
    read_config,
    upload,
    write_config,
)
from quintet.tokenizers.image import ImageTokenizer
from quintet.tokenizers.weight_files import check_weights, load_weights, save_weights

KIND = "image_tokenizer"


def load_image_tokenizer(name: str | Path = "nano") -> ImageTokenizer:
    """The image tokenizer of a folder, a bundled name such as "nano", or a hub id such as
    "someone/pictures": a tokenizer's, or a model's, of which nothing else is read.

    It is in evaluation mode.

    Raises:
        UserError: there is no such folder, it holds no image tokenizer, or its files are missing,
            damaged or of another shape.
    """
    folder = find(str(name), (CONFIG_FILE, IMAGE_FILE, CARD_FILE))
    values, where = read_config(folder), folder / CONFIG_FILE
    if not isinstance(values, dict) or "image" not in values:
        raise UserError(
            f"{where} describes no image tokenizer; name the folder of one, or of a Quintet model."
        )
    try:
        sizes = from_dict(ImageConfig, values["image"], str(where))
        with torch.device("meta"):
            check_weights(ImageTokenizer(sizes), folder / IMAGE_FILE)
        tokenizer = ImageTokenizer(sizes).eval()
        load_weights(tokenizer, folder / IMAGE_FILE)
        return tokenizer
    except UserError:
        raise
    except MISFITS as error:
        raise UserError(
            f"{where} does not describe an image tokenizer ({first_line(error)}); "
            "restore it from where it came from."
        ) from None


def save_image_tokenizer(tokenizer: ImageTokenizer, folder: str | Path, card: str = "") -> None:
    """Write the folder that `load_image_tokenizer` reads, the weights as float16; `card` is
    Markdown."""
    folder = Path(folder)
    write_config({"kind": KIND, "image": asdict(tokenizer.config)}, folder)
    save_weights(tokenizer, folder / IMAGE_FILE)
    if card:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")


def push_image_tokenizer(tokenizer: ImageTokenizer, repository: str, card: str = "") -> None:
    """Upload the folder to a Hugging Face repository, which is made if it does not exist."""
    with tempfile.TemporaryDirectory() as folder:
        save_image_tokenizer(tokenizer, folder, card)
        upload(Path(folder), repository)

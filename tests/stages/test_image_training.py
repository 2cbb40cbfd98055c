"""The image tokenizer's stage: what it sees, what it keeps, how it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quintet import train
from quintet.config import UserError, load_preset
from quintet.stages import image_tokenizer
from quintet.stages.context import Context
from quintet.stages.image_tokenizer import ImageSettings, ImageTokenizerTask
from quintet.tokenizers.folders import IMAGE_FILE
from quintet.tokenizers.image import to_images
from quintet.tokenizers.image_folder import load_image_tokenizer
from quintet.train import TrainConfig
from quintet.train.structure import psnr

IMAGE = load_preset("tiny").image
CONFIG = TrainConfig(steps=6, batch_size=4, warmup_steps=1, checkpoint_every=3)


def _task(start_from: Path | None = None, fill_step: int = 2) -> ImageTokenizerTask:
    noise = np.random.default_rng(0).integers(256, size=(80, 24, 24, 3), dtype=np.uint8)
    settings = ImageSettings(fill_step, 4, discriminator_channels=2)
    held_out = {"world": noise[:3], "pages": noise[3:6]}
    return ImageTokenizerTask(IMAGE, settings, noise, held_out, 4, 0, start_from)


@pytest.fixture(autouse=True)
def _no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawings without the emoji font."""
    grey = lambda thing, size: np.full((size, size, 3), 128, np.uint8)  # noqa: E731
    monkeypatch.setattr(image_tokenizer, "canonical_picture", grey)


def test_its_folder_is_a_tokenizer_with_the_averaged_weights(tmp_path: Path) -> None:
    task = _task()
    scores = train.run(task, CONFIG, tmp_path, "images")
    assert {"eval/psnr_world", "eval/psnr_pages", "eval/perplexity", "eval/used"} <= set(scores)
    tokenizer = load_image_tokenizer(tmp_path)
    real = to_images(task.held_out["world"])
    with torch.no_grad():
        made, _, _ = tokenizer(real)
    assert scores["eval/psnr_world"] == pytest.approx(float(psnr(made, real).mean()), abs=1e-4)
    shown = Image.open(tmp_path / "samples" / "000006" / "pictures.png")
    assert shown.size == (6 * 24, 2 * 24)


def test_the_codebook_is_filled_once_and_from_what_the_encoder_makes() -> None:
    task = _task()
    torch.manual_seed(0)
    module = task.module()
    before = module.tokenizer.quantizer.codebook.clone()
    task.before_step(module, 1)
    assert torch.equal(module.tokenizer.quantizer.codebook, before)
    task.before_step(module, 2)
    filled = module.tokenizer.quantizer.codebook
    vectors = task.outputs(module.tokenizer, 2)
    assert len(vectors) >= image_tokenizer.LEAST_VECTORS
    distance = torch.cdist(filled, vectors).min(1).values.mean()
    assert float(distance) < 0.25 * float(torch.cdist(before, vectors).min(1).values.mean())


def test_without_the_bottleneck_before_and_with_it_afterwards() -> None:
    task = _task()
    torch.manual_seed(0)
    module = task.module().train()
    assert float(task.losses(module, task.batch(0), 1)["commitment"].detach()) == 0
    task.before_step(module, 2)
    losses = task.losses(module, task.batch(2), 2)
    assert float(losses["commitment"].detach()) > 0 and "matching" not in losses
    assert {"matching", "adversarial", "discriminator"} <= set(
        task.losses(module, task.batch(4), 4)
    )


def test_it_goes_on_from_an_earlier_tokenizer(tmp_path: Path) -> None:
    train.run(_task(), CONFIG, tmp_path, "images")
    module = _task(tmp_path / IMAGE_FILE, fill_step=-1).module()
    kept = load_image_tokenizer(tmp_path).state_dict()
    for part in (module.tokenizer, module.average.module):
        assert all(torch.equal(value, kept[name]) for name, value in part.state_dict().items())


def test_a_run_with_other_pictures_or_another_network_does_not_go_on(tmp_path: Path) -> None:
    train.run(_task(), CONFIG, tmp_path, "images")
    others, wider = _task(), _task()
    others.pictures = others.pictures[::-1].copy()
    wider.config = replace(IMAGE, normalization="group")
    for task, name in ((others, "bank"), (wider, "image")):
        with pytest.raises(UserError, match=f"made with {name} ="):
            train.run(task, CONFIG, tmp_path, "images")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"crop": 25}, "make it 6, or a larger multiple of 6"),
        ({"crop": 0}, "crop is 0; make it 6, or a larger multiple of 6"),
        ({"largest": 0}, "largest is 0 .* at least 24"),
        ({"crop": 48, "largest": 47}, "largest is 47 .* at least 48"),
        ({"crop": 6, "discriminator_channels": 2}, "24 or more"),
        ({"fill_at": 1.0}, "lower fill_at"),
        ({"pages": 1.0}, "below 1"),
        ({"start_from": "nothing"}, "run that stage first"),
    ],
)
def test_a_recipe_that_cannot_be_is_told_before_anything_is_drawn(
    settings: dict[str, object], told: str, tmp_path: Path
) -> None:
    table = {"train": {"steps": 1, "batch_size": 1}, **settings}
    context = Context("image_tokenizer", load_preset("tiny"), table, tmp_path)
    with pytest.raises(UserError, match=told):
        image_tokenizer.run(context)
    assert not list(tmp_path.iterdir())

"""Small systems for tests of laws, which hold for any weights.

Freshly made blocks begin as the identity, which would make every law about attention true for
nothing: here all weights are random.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from quintet.cli import main
from quintet.config import (
    AudioConfig,
    ImageConfig,
    LiveConfig,
    ModelConfig,
    OmniConfig,
    TextConfig,
    UserError,
)
from quintet.data.pages import font_files
from quintet.live.pretrained import Quintet
from quintet.media.emoji import render_emoji
from quintet.model.omni import Omni
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, Vocabulary, live_sample
from quintet.timeline.timeline import Timeline
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.image import ImageTokenizer
from quintet.tokenizers.text import TextTokenizer
from quintet.train.loggers import Loggers

DRAW = Loggers._draw
LINES = ["draw a cat.", "what is this?", "this is an apple.", "say the word banana.", "hello."] * 4
# Frames a step: 3, and between 18 and 19 as in the reference.
WHOLE, FRACTIONAL = (5, 5, 8, 10), (2, 4, 5, 8)


def _missing() -> str | None:
    """What the synthetic world lacks on this machine."""
    if shutil.which("espeak-ng") is None:
        return "espeak-ng is not installed"
    try:
        render_emoji("🍎")
        font_files("test")
    except UserError as error:
        return str(error)
    return None


needs_world = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")


@pytest.fixture(autouse=True)
def _no_pictures_of_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes longer than the short runs of these tests; `DRAW` draws."""
    monkeypatch.setattr(Loggers, "_draw", lambda self, lines: None)


def run(*arguments: object) -> int:
    """The exit status of a command."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def make_config(strides: tuple[int, ...] = WHOLE, window_steps: int = 8) -> OmniConfig:
    return OmniConfig(
        name="test",
        text=TextConfig(300),
        audio=AudioConfig(
            channels=2, strides=strides, latent_dim=6, num_codebooks=3, codebook_size=16
        ),
        image=ImageConfig(
            size=12, channels=8, channel_multipliers=(1, 1, 2), latent_dim=4, codebook_size=16
        ),
        model=ModelConfig(
            d_model=48, d_position=8, d_time=8, num_layers=2, num_heads=4, num_kv_heads=2,
            d_feed_forward=64, rotary=True,
        ),
        live=LiveConfig(text_image_rows_per_step=6, window_steps=window_steps, max_rows=2_048),
    )  # fmt: skip


def make_model(config: OmniConfig, seed: int = 0) -> Omni:
    torch.manual_seed(seed)
    model = Omni(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
        else:  # of norms: each has its own
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def make_tokenizers(config: OmniConfig) -> Tokenizers:
    torch.manual_seed(4)  # one of those with which random sessions speak and are silent by turns
    return Tokenizers(
        TextTokenizer.train(LINES, config.text.vocab_size),
        AudioTokenizer(config.audio).fold().eval(),
        ImageTokenizer(config.image).eval(),
    )


def make_timeline(config: OmniConfig, steps: int, seed: int) -> Timeline:
    """Everything at random: words, pictures and sound, in and out, some steps without output."""
    rng = np.random.default_rng(seed)
    timeline = Timeline(config.audio.num_codebooks, config.text.vocab_size)

    def frames(step: int) -> np.ndarray:
        size = (config.audio.frames_in(step), config.audio.num_codebooks)
        return rng.integers(config.audio.codebook_size, size=size)

    for step in range(steps):
        if step and rng.random() < 0.5:
            count = int(rng.integers(1, 5))
            timeline.add_text(Stream.TEXT_OUT, rng.integers(4, 250, count), step)
            timeline.add_image(Stream.TEXT_OUT, rng.integers(16, size=2), step)
        if step and rng.random() < 0.5:
            timeline.add_audio(Stream.AUDIO_OUT, frames(step), step)
        if rng.random() < 0.4:
            timeline.add_text(Stream.TEXT_IN, rng.integers(4, 250, 3), step)
        if rng.random() < 0.3:
            timeline.add_image(Stream.IMAGE_IN, rng.integers(16, size=4), step)
        timeline.add_audio(Stream.AUDIO_IN, frames(step), step)
    return timeline


def make_samples(count: int) -> list[Sample]:
    """Such timelines as training has them: the loss at every tip."""
    config = make_config()
    vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
    return [
        live_sample(make_timeline(config, 3 + seed % 4, seed).rows(), 6,
                    config.audio.frames_in, vocabulary)
        for seed in range(count)
    ]  # fmt: skip


@pytest.fixture(params=[WHOLE, FRACTIONAL], ids=["3 frames", "18.75 frames"])
def config(request: pytest.FixtureRequest) -> OmniConfig:
    return make_config(request.param)


@pytest.fixture
def model(config: OmniConfig) -> Omni:
    return make_model(config)


@pytest.fixture
def tokenizers(config: OmniConfig) -> Tokenizers:
    return make_tokenizers(config)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, small and untrained."""
    config = make_config()
    folder = tmp_path_factory.mktemp("models") / "small"
    Quintet(make_model(config), make_tokenizers(config), "a card").save_pretrained(folder)
    return folder

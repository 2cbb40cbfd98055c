"""The sizes that the design states, counted on a device that holds no numbers."""

import dataclasses
from typing import Any

import pytest
import torch

from quintet.config import (
    PRESETS,
    SAMPLE_RATE,
    AudioConfig,
    ModelConfig,
    OmniConfig,
    TextConfig,
    UserError,
    from_dict,
    load_preset,
)
from quintet.model.omni import Omni
from quintet.tokenizers.audio import AudioTokenizer


def _parameters(preset: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Omni(load_preset(preset)).parameters())


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [("nano", 2e6, 8e6), ("small", 100e6, 400e6), ("sketch", 12e9, 14e9),
     ("reference", 228e9, 232e9)],
)  # fmt: skip
def test_sizes(preset: str, least: float, most: float) -> None:
    assert least <= _parameters(preset) <= most


def test_reference_numbers() -> None:
    config = load_preset("reference")
    audio, image = config.audio, config.image
    assert config.text.vocab_size == 200_019
    assert (audio.channels, audio.kernel_size, audio.strides) == (32, 7, (2, 4, 5, 8))
    assert (audio.lstm_layers, audio.num_codebooks, audio.codebook_size) == (2, 4, 65_536)
    assert audio.frames_per_step == 18.75
    assert (image.size, image.grid, image.num_tokens, image.codebook_size) == (
        768, 128, 16_384, 65_536
    )  # fmt: skip
    assert config.model.audio_head == "parallel"
    sketch = load_preset("sketch").model
    assert (sketch.d_model, sketch.num_heads, sketch.num_layers) == (4_096, 32, 64)


def test_every_preset_round_trips() -> None:
    for path in PRESETS.glob("*.toml"):
        config = load_preset(path.stem)
        assert from_dict(OmniConfig, config.to_dict(), "") == config
        assert config.name == path.stem


def test_a_misspelt_setting_is_an_error() -> None:
    with pytest.raises(UserError, match="d_modell"):
        from_dict(OmniConfig, {"model": {"d_modell": 3}}, "file.toml")


# Codec preset: frames a second, frames in a step, bits a second.
CODECS = {
    "codec-75hz": (75, 18.75, 4_800),
    "codec-20hz": (20, 5, 1_280),
    "codec-12hz": (12, 3, 768),
    "codec-8hz": (8, 2, 512),
    "codec-4hz": (4, 1, 256),
}


@pytest.mark.parametrize("preset", CODECS)
def test_codec_presets(preset: str) -> None:
    audio = load_preset(preset).audio
    rate, per_step, bits = CODECS[preset]
    assert (SAMPLE_RATE / audio.hop, audio.frames_per_step, audio.bits_per_second) == (
        rate, per_step, bits
    )  # fmt: skip
    assert (len(audio.strides), audio.channels, audio.latent_dim) == (4, 32, 128)
    assert (audio.num_codebooks, audio.codebook_size) == (4, 65_536)


def test_every_codec_preset_is_listed_above() -> None:
    assert {path.stem for path in PRESETS.glob("codec-*.toml")} == set(CODECS)


def test_the_reference_codec_is_the_one_of_75_frames_a_second() -> None:
    assert load_preset("reference").audio == load_preset("codec-75hz").audio


@pytest.mark.parametrize("preset", CODECS)
def test_a_second_of_sound_through_each_codec(preset: str) -> None:
    """With few codes, which the count of frames does not depend on, to spare memory."""
    audio = dataclasses.replace(load_preset(preset).audio, codebook_size=16)
    codec = AudioTokenizer(audio).fold().eval()
    codes_BTQ, _ = codec.encode(0.1 * torch.randn(1, SAMPLE_RATE))
    assert codes_BTQ.shape == (1, CODECS[preset][0], 4)
    sound_BS, _ = codec.decode(codes_BTQ)
    assert sound_BS.shape == (1, SAMPLE_RATE) and sound_BS.isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ({"strides": ()}, "strides.*at least one"),
        ({"strides": (2, 0)}, "strides.*1 or more"),
        ({"residual_kernel_sizes": (3,)}, "residual_kernel_sizes.*two"),
        ({"residual_kernel_sizes": (3, 0)}, "residual_kernel_sizes.*1 or more"),
        ({"residual_shortcut": "none"}, "residual_shortcut.*'identity' or 'conv'"),
        ({"channels": 1}, "channels.*at least 2"),
        ({"lstm_layers": 0}, "lstm_layers.*at least 1"),
        ({"codebook_size": 1}, "codebook_size.*at least 2"),
    ],
)
def test_a_codec_that_cannot_be_is_refused(sizes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        AudioConfig(**sizes)


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ({"num_layers": 0}, "num_layers is 0; raise it to at least 1"),
        ({"num_heads": 0}, "num_heads is 0; raise"),
        ({"num_kv_heads": -2}, "num_kv_heads is -2; raise"),
        ({"d_feed_forward": 0}, "d_feed_forward is 0; raise"),
        ({"d_position": -2, "d_time": 0, "rotary": True}, "d_position is -2; raise"),
        ({"z_loss": -1.0}, "z_loss is -1.0; raise"),
    ],
)
def test_a_transformer_that_cannot_be_is_refused(sizes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        ModelConfig(**sizes)
    with pytest.raises(UserError, match="vocab_size is 0"):
        TextConfig(0)

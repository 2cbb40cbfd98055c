"""The sizes that the design states, counted on a device that holds no numbers."""

import pytest
import torch

from quintet.config import PRESETS, OmniConfig, UserError, from_dict, load_preset
from quintet.model.omni import Omni


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

"""What both of the codec's stages ask of its sound, and how a person can look at it.

Shapes: B batch, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import torch
from torch import Tensor, nn

from quintet.config import SAMPLE_RATE
from quintet.media.audio import write_audio
from quintet.settings import Range
from quintet.train.adversarial import Balancer, Discriminator, STFTDiscriminator
from quintet.train.spectral import LogMel, MultiScaleMelLoss

Window = Annotated[int, Range(16, 16_384)]  # of a discriminator, in samples
# The spectral loss. The logarithm alone would spend itself on pauses: what is loud has to count.
LOG_MEL, LOUDNESS = 0.5, 4.0
# How hard each other loss pulls on the sound, beside the spectral one.
WEIGHTS = {"waveform": 0.1, "adversarial": 0.5, "matching": 1.0}
CROP = SAMPLE_RATE  # samples of each clip that the discriminator hears: all of it costs too much
LEARN_EVERY = 2  # steps: a discriminator that learns faster than the codec overpowers it


class SoundLosses(nn.Module):
    """Distance of a reconstruction from the sound: spectral and in time; later adversarial too.

    Args:
        windows: of the discriminator; none, and there is no discriminator.
    """

    def __init__(self, windows: Sequence[int] = (), channels: int = 16) -> None:
        super().__init__()
        self.mel = MultiScaleMelLoss()
        if windows:
            self.discriminator = Discriminator(
                STFTDiscriminator(window, channels) for window in windows
            )
            self.balancer = Balancer(WEIGHTS)

    def forward(
        self, made_BS: Tensor, real_BS: Tensor, adversarial: bool, step: int
    ) -> dict[str, Tensor]:
        """Scalars; "sound" is what the codec minimizes and "discriminator" what its adversary
        does, where it learns in this step."""
        with torch.autocast(made_BS.device.type, enabled=False):
            made_BS = made_BS.float()
            mel, loudness = self.mel.compare(made_BS, real_BS)
            waveform = (made_BS - real_BS).abs().mean()
        spectral = LOG_MEL * mel + LOUDNESS * loudness
        losses = {"mel": mel, "loudness": loudness, "waveform": waveform}
        if not adversarial:
            return losses | {"sound": spectral + waveform}
        made, real = _crop(made_BS, real_BS, step)
        judged, matching = self.discriminator.judge(made, real)
        losses |= {"adversarial": judged, "matching": matching}
        losses["sound"] = self.balancer(made_BS, spectral, losses)
        if step % LEARN_EVERY == 0:
            losses["discriminator"] = self.discriminator.loss(made, real)
        return losses


def _crop(made_BS: Tensor, real_BS: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The same random stretch of both, another one at every step."""
    length = made_BS.shape[1]
    start = int(np.random.default_rng(step).integers(max(1, length - CROP + 1)))
    return made_BS[:, start : start + CROP], real_BS[:, start : start + CROP]


def show_sound(folder: Path, real_BS: Tensor, made_BS: Tensor) -> None:
    """Sound files and spectrograms, original above reconstruction, one pair a clip."""
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.use("agg")
    from matplotlib import pyplot

    spectrogram = LogMel(1_024, 80)
    for index, pair in enumerate(zip(real_BS, made_BS, strict=True)):
        figure, axes = pyplot.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
        for axis, sound_S, name in zip(axes, pair, ("original", "decoded"), strict=True):
            write_audio(folder / f"{index}-{name}.wav", sound_S.numpy())
            picture_MT = spectrogram(sound_S[None])[0].numpy()
            seconds = len(sound_S) / SAMPLE_RATE
            axis.imshow(picture_MT, origin="lower", aspect="auto", vmin=-9.2, vmax=-1.5,
                        extent=(0, seconds, 0, len(picture_MT)))  # fmt: skip
            axis.set(title=name, ylabel="mel bin")
        axes[1].set_xlabel("seconds")
        figure.savefig(folder / f"{index}.png", dpi=80)
        pyplot.close(figure)

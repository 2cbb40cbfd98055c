"""Losses on sound: log-mel spectrograms at several window lengths.

Shapes: B batch, S samples, F frequency bins, M mel bins, T spectrogram frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quintet.config import SAMPLE_RATE

# Window length in samples -> mel bins. Hop is a quarter of the window.
SCALES = {2_048: 96, 1_024: 80, 512: 48, 256: 24}
# Spectrogram magnitudes (window sum normalized to 1) below this count as silence: a lower floor
# lets digital silence, which is most of a conversation, dominate the loss.
FLOOR = 1e-4


def mel_filters(window: int, bins: int) -> Tensor:
    """Triangular filters [F, M], evenly spaced on the mel scale (O'Shaughnessy 1987)."""
    frequencies_F = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1)
    top = 2595 * torch.log10(torch.tensor(1 + SAMPLE_RATE / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), bins + 2) / 2595) - 1)
    # The lowest filters of a short window are narrower than its bins: widen them to one bin.
    width = SAMPLE_RATE / window
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies_F[:, None] - low) / (mid - low).clamp(min=width)
    falling = (high - frequencies_F[:, None]) / (high - mid).clamp(min=width)
    return torch.minimum(rising, falling).clamp(min=0)


class LogMel(nn.Module):
    """Sound [B, S] -> log-mel spectrogram [B, M, T] (natural log, floored)."""

    window: Tensor
    filters: Tensor

    def __init__(self, window: int, bins: int, hop: int | None = None) -> None:
        super().__init__()
        self.length, self.hop = window, hop or window // 4
        hann = torch.hann_window(window)
        self.register_buffer("window", hann / hann.sum(), persistent=False)
        self.register_buffer("filters", mel_filters(window, bins), persistent=False)

    def forward(self, audio_BS: Tensor) -> Tensor:
        spectrum_BFT = torch.stft(
            audio_BS, self.length, self.hop, window=self.window, return_complex=True
        )
        power_BFT = spectrum_BFT.real.square() + spectrum_BFT.imag.square()
        mel_BMT = (power_BFT.transpose(1, 2) @ self.filters).transpose(1, 2)
        return 0.5 * torch.log(mel_BMT + FLOOR**2)


class MultiScaleMelLoss(nn.Module):
    """Mean absolute log-mel difference over `SCALES`, in nepers."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ModuleList(LogMel(window, bins) for window, bins in SCALES.items())

    def forward(self, made_BS: Tensor, real_BS: Tensor) -> Tensor:
        return self.compare(made_BS, real_BS)[0]

    def compare(self, made_BS: Tensor, real_BS: Tensor) -> tuple[Tensor, Tensor]:
        """The log-mel difference, and the difference of loudness relative to the real one's.

        Loudness grows with the square root of the magnitude, about as Zwicker's law has it: it
        minds what is loud, where the logarithm minds every murmur as much.
        """
        distances, louder = [], []
        for scale in self.scales:
            made_BMT, real_BMT = scale(made_BS), scale(real_BS)
            distances.append((made_BMT - real_BMT).abs().mean())
            made_BMT, real_BMT = torch.exp(0.5 * made_BMT), torch.exp(0.5 * real_BMT)
            louder.append((made_BMT - real_BMT).abs().mean() / real_BMT.mean())
        return torch.stack(distances).mean(), torch.stack(louder).mean()

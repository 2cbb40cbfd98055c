"""The audio tokenizer's stage: the codec learns to rebuild the world's speech.

First without the bottleneck, so that the encoder has something to say; then the codebooks are
filled from its outputs and everything trains together. A linear probe must read the log-mel
spectrogram from the quantized latents: the codes then carry the speech long before the decoder
can sing it. The probe is thrown away.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from quintet import train
from quintet.config import SAMPLE_RATE, AudioConfig
from quintet.data.world.speech_bank import SpeechBank
from quintet.stages.context import Context
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.quantize import perplexity
from quintet.train import Task
from quintet.train.spectral import LogMel, MultiScaleMelLoss

SETTINGS = ("train", "utterances", "held_out_utterances", "fill_at")
CLIP_SECONDS = 2.0
PROBE_HOP = 400  # samples, about; a latent frame holds a whole number
PROBE_BINS = 64
FILL_VECTORS = 8  # encoder outputs per code when the codebooks are filled


class CodecWithProbe(nn.Module):
    """The codec, and a linear map from a latent frame to the log-mel frames inside it."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.codec = AudioTokenizer(config)
        self.frames = round(config.hop / PROBE_HOP)  # spectrogram frames in a latent frame
        self.spectrogram = LogMel(1_024, PROBE_BINS, config.hop // self.frames)
        self.probe = nn.Linear(config.latent_dim, self.frames * PROBE_BINS)

    def probe_loss(self, latents_BTD: Tensor, audio_BS: Tensor) -> Tensor:
        read_BTM = self.probe(latents_BTD).unflatten(-1, (self.frames, PROBE_BINS)).flatten(1, 2)
        true_BTM = self.spectrogram(audio_BS).transpose(1, 2)[:, : read_BTM.shape[1]]
        return (read_BTM - true_BTM).abs().mean()


class AudioTokenizerTask(Task):
    """Speech clips -> codec with the multi-scale mel loss."""

    def __init__(
        self,
        config: AudioConfig,
        speech: SpeechBank,
        held_out: SpeechBank,
        batch_size: int,
        seed: int,
        fill_step: int,
    ) -> None:
        self.config, self.speech, self.held_out = config, speech, held_out
        self.batch_size, self.seed, self.fill_step = batch_size, seed, fill_step
        self.mel = MultiScaleMelLoss()

    def module(self) -> nn.Module:
        return CodecWithProbe(self.config)

    def batch(self, step: int) -> Tensor:
        """Clips [B, S]."""
        return self._clips(self.speech, step, self.batch_size)

    def _clips(self, bank: SpeechBank, step: int, count: int) -> Tensor:
        rng = np.random.default_rng((self.seed, step))
        # A whole number of frames, so that input and reconstruction have one length.
        samples = round(CLIP_SECONDS * SAMPLE_RATE) // self.config.hop * self.config.hop
        return torch.from_numpy(np.stack([bank.clip(rng, samples) for _ in range(count)]))

    def before_step(self, module: nn.Module, step: int) -> None:
        if step != self.fill_step:
            return
        assert isinstance(module, CodecWithProbe)
        vectors: list[Tensor] = []
        needed, index = FILL_VECTORS * self.config.codebook_size, 0
        with torch.no_grad():
            while sum(len(part) for part in vectors) < needed:
                clips = self._clips(self.speech, step + 1_000_000 + index, self.batch_size)
                latents_BDT, _ = module.codec.encoder(clips[:, None])
                vectors.append(latents_BDT.transpose(1, 2).flatten(0, 1))
                index += 1
            module.codec.quantizer.fill(torch.cat(vectors))

    def losses(self, module: nn.Module, batch: Tensor, step: int) -> dict[str, Tensor]:
        assert isinstance(module, CodecWithProbe)
        made_BS, latents_BTD, _, commitment = module.codec(batch, step >= self.fill_step)
        with torch.autocast("cpu", enabled=False):
            mel = self.mel(made_BS.float(), batch)
            probe = module.probe_loss(latents_BTD.float(), batch)
            waveform = (made_BS.float() - batch).abs().mean()
        return {
            "loss": mel + probe + waveform + 0.25 * commitment,
            "mel": mel,
            "probe": probe,
            "waveform": waveform,
            "commitment": commitment,
        }

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """On voices kept out of training."""
        assert isinstance(module, CodecWithProbe)
        clips = torch.cat([self._clips(self.held_out, index, 16) for index in range(8)])
        made_BS, latents_BTD, codes_BTQ, _ = module.codec(clips)
        scores = {
            "mel": float(self.mel(made_BS, clips)),
            "probe": float(module.probe_loss(latents_BTD, clips)),
        }
        for book in range(self.config.num_codebooks):
            ids = codes_BTQ[..., book]
            scores[f"perplexity_{book}"] = perplexity(ids, self.config.codebook_size)
        return scores

    def export(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, CodecWithProbe)
        save_file(module.codec.fold().state_dict(), folder / "audio_tokenizer.safetensors")


def run(context: Context) -> dict[str, float]:
    """Train the codec of the preset."""
    config, settings = context.train, context.settings
    cache = context.run_folder / "speech"
    task = AudioTokenizerTask(
        context.preset.audio,
        SpeechBank.make(cache, settings.get("utterances", 4_000), config.seed, "train"),
        SpeechBank.make(cache, settings.get("held_out_utterances", 200), config.seed, "test"),
        config.batch_size,
        config.seed,
        round(config.steps * settings.get("fill_at", 0.25)),
    )
    return train.run(task, config, context.folder, context.name)

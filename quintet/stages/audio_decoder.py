"""The audio decoder's stage: the codes are settled, their sound is not.

Encoder and codebooks stay as they are, to the bit, so the transformer's tokens keep their
meaning and this stage can run beside its training. The decoder goes on learning to sing the
codes, mostly in the voice that the assistant speaks with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from quintet import train
from quintet.config import SAMPLE_RATE, AudioConfig
from quintet.data.world.grammar import KINDS, request
from quintet.data.world.scenes import assistant_speech
from quintet.data.world.speech_bank import SpeechBank
from quintet.stages.audio_tokenizer import CLIP_SECONDS
from quintet.stages.context import Context
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.bundle import AUDIO_FILE, load_weights
from quintet.train import Task
from quintet.train.spectral import MultiScaleMelLoss

SETTINGS = ("train", "utterances", "held_out_utterances", "held_out_clips")
ASSISTANT_SHARE = 0.7  # of the clips; they begin where an utterance begins, as in a session


class AudioDecoderTask(Task):
    """Codes of clips -> sound, with the multi-scale mel loss; only the decoder trains."""

    def __init__(
        self,
        config: AudioConfig,
        start_from: Path,
        speech: SpeechBank,
        held_out: SpeechBank,
        batch_size: int,
        seed: int,
        held_out_clips: int,
    ) -> None:
        self.config, self.start_from = config, start_from
        self.held_out_clips = held_out_clips
        self.speech, self.held_out = speech, held_out
        self.batch_size, self.seed = batch_size, seed
        self.mel = MultiScaleMelLoss()
        # A whole number of frames, so that input and reconstruction have one length.
        self.samples = round(CLIP_SECONDS * SAMPLE_RATE) // config.hop * config.hop

    def module(self) -> nn.Module:
        codec = AudioTokenizer(self.config).fold()
        load_weights(codec, self.start_from)
        for name, parameter in codec.named_parameters():
            parameter.requires_grad_(name.startswith("decoder."))
        return codec

    def _answer(self, rng: np.random.Generator) -> np.ndarray:
        """The beginning of an answer in the assistant's voice, float32 [samples]."""
        said = request(str(rng.choice([kind for kind in KINDS if kind != "chatter"])), rng)
        speech = assistant_speech(said.reply)[: self.samples]
        return np.pad(speech, (0, self.samples - len(speech)))

    def batch(self, step: int) -> Tensor:
        """Clips [B, S]."""
        rng = np.random.default_rng((self.seed, 2, step))
        return torch.from_numpy(
            np.stack([
                self._answer(rng) if rng.random() < ASSISTANT_SHARE
                else self.speech.clip(rng, self.samples)
                for _ in range(self.batch_size)
            ])
        )  # fmt: skip

    def losses(self, module: nn.Module, batch: Tensor, step: int) -> dict[str, Tensor]:
        assert isinstance(module, AudioTokenizer)
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            codes_BTQ, _ = module.encode(batch)  # codes must be those of the released encoder
            latents_BDT = module.quantizer.decode(codes_BTQ).transpose(1, 2)
        made_BS = module.decoder(latents_BDT)[0][:, 0].float()
        with torch.autocast("cpu", enabled=False):
            mel = self.mel(made_BS, batch)
            waveform = (made_BS - batch).abs().mean()
        return {"loss": mel + waveform, "mel": mel, "waveform": waveform}

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """On voices kept out of training, and on the assistant's, whose sentences it knows."""
        assert isinstance(module, AudioTokenizer)
        rng = np.random.default_rng((self.seed, 3))
        count = range(self.held_out_clips)
        others = np.stack([self.held_out.clip(rng, self.samples) for _ in count])
        own = np.stack([self._answer(rng) for _ in count])
        scores = {}
        for name, clips in (("mel", others), ("mel_of_answers_seen_in_training", own)):
            clips_BS = torch.from_numpy(clips)
            made_BS, _ = module.decode(module.encode(clips_BS)[0])
            scores[name] = float(self.mel(made_BS, clips_BS))
        return scores

    def export(self, module: nn.Module, folder: Path) -> None:
        save_file(module.state_dict(), folder / AUDIO_FILE)


def run(context: Context) -> dict[str, float]:
    """Refine the decoder of the preset's codec."""
    config, settings = context.train, context.settings
    cache = context.run_folder / "speech"
    task = AudioDecoderTask(
        context.preset.audio,
        context.made_by("audio_tokenizer", AUDIO_FILE),
        SpeechBank.make(cache, settings.get("utterances", 4_000), config.seed, "train"),
        SpeechBank.make(cache, settings.get("held_out_utterances", 200), config.seed, "test"),
        config.batch_size,
        config.seed,
        settings.get("held_out_clips", 64),
    )
    return train.run(task, config, context.folder, context.name)

"""The audio decoder's stage: the codes are settled, their sound is not.

Encoder and codebooks stay as they are, to the bit, so the transformer's tokens keep their
meaning and this stage can run beside its training. The decoder goes on learning to sing the
codes, mostly in the voice that the assistant speaks with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from quintet import train
from quintet.config import SAMPLE_RATE, AudioConfig
from quintet.data.world.grammar import KINDS, request
from quintet.data.world.scenes import assistant_speech
from quintet.data.world.speech_bank import SpeechBank
from quintet.settings import Count, Share
from quintet.stages.codec_losses import SoundLosses, Window, show_sound
from quintet.stages.context import Context
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.folders import AUDIO_FILE
from quintet.tokenizers.weight_files import load_weights
from quintet.train import Task, TrainConfig
from quintet.train.adversarial import alone
from quintet.train.average import average_of

SETTINGS = {
    "train": TrainConfig, "start_from": str,
    "utterances": Count, "held_out_utterances": Count, "held_out_clips": Count,
    "adversarial_at": Share, "discriminator_windows": tuple[Window, ...],
    "discriminator_channels": Count,
}  # fmt: skip
START = "audio_tokenizer"  # unless the setting `start_from` names another stage
CLIP_SECONDS = 2.0
SHOWN_CLIPS = 3
ASSISTANT_SHARE = 0.7  # of the clips; they begin where an utterance begins, as in a session


class DecoderTraining(nn.Module):
    """The codec, the average of its decoder over the last steps, and the losses' own parts."""

    def __init__(self, codec: AudioTokenizer, sound: SoundLosses) -> None:
        super().__init__()
        self.codec, self.sound = codec, sound
        self.codec.requires_grad_(False)
        self.codec.decoder.requires_grad_(True)
        self.average = average_of(codec.decoder)

    def averaged(self) -> AudioTokenizer:
        """The codec with the averaged decoder."""
        codec = AudioTokenizer(self.codec.config).fold()
        codec.load_state_dict(self.codec.state_dict())
        codec.decoder.load_state_dict(self.average.module.state_dict())
        return codec.eval()


class AudioDecoderTask(Task):
    """Codes of clips -> sound; only the decoder trains, and its adversary if it has one."""

    def __init__(
        self,
        config: AudioConfig,
        start_from: Path,
        speech: SpeechBank,
        held_out: SpeechBank,
        train_config: TrainConfig,
        settings: dict[str, Any],
    ) -> None:
        self.config, self.start_from = config, start_from
        self.speech, self.held_out = speech, held_out
        self.batch_size, self.seed = train_config.batch_size, train_config.seed
        self.held_out_clips: int = settings.get("held_out_clips", 64)
        self.windows = tuple(settings.get("discriminator_windows", ()))
        self.channels: int = settings.get("discriminator_channels", 16)
        self.adversarial_step = round(train_config.steps * settings.get("adversarial_at", 0.0))
        # A whole number of frames, so that input and reconstruction have one length.
        self.samples = round(CLIP_SECONDS * SAMPLE_RATE) // config.hop * config.hop

    def module(self) -> nn.Module:
        codec = AudioTokenizer(self.config).fold()
        load_weights(codec, self.start_from)
        return DecoderTraining(codec, SoundLosses(self.windows, self.channels))

    def parameters(self, module: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(module, DecoderTraining)
        groups: list[dict[str, Any]] = [{"params": list(module.codec.decoder.parameters())}]
        adversary = list(module.sound.parameters())
        return groups + [{"params": adversary, "part": "discriminator"}] * bool(adversary)

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

    def before_step(self, module: nn.Module, step: int) -> None:
        assert isinstance(module, DecoderTraining)
        module.average.update_parameters(module.codec.decoder)

    def losses(self, module: nn.Module, batch: Tensor, step: int) -> dict[str, Tensor]:
        assert isinstance(module, DecoderTraining)
        codec = module.codec
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            codes_BTQ, _ = codec.encode(batch)  # codes must be those of the released encoder
            latents_BDT = codec.quantizer.decode(codes_BTQ).transpose(1, 2)
        made_BS = codec.decoder(latents_BDT)[0][:, 0]
        adversarial = bool(self.windows) and step >= self.adversarial_step
        losses = module.sound(made_BS, batch, adversarial, step)
        losses["loss"] = losses["sound"]
        if "discriminator" in losses:
            losses["loss"] = losses["loss"] + alone(losses["discriminator"])
        return losses

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """On voices kept out of training, and on the assistant's, whose sentences it knows."""
        assert isinstance(module, DecoderTraining)
        rng, codec = np.random.default_rng((self.seed, 3)), module.averaged()
        count = range(self.held_out_clips)
        others = np.stack([self.held_out.clip(rng, self.samples) for _ in count])
        own = np.stack([self._answer(rng) for _ in count])
        scores = {}
        for name, clips in (("mel", others), ("mel_of_answers_seen_in_training", own)):
            clips_BS = torch.from_numpy(clips)
            made_BS, _ = codec.decode(codec.encode(clips_BS)[0])
            scores[name] = float(module.sound.mel(made_BS, clips_BS))
        return scores

    def show(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, DecoderTraining)
        rng, codec = np.random.default_rng((self.seed, 4)), module.averaged()
        clips_BS = torch.from_numpy(np.stack([self._answer(rng) for _ in range(SHOWN_CLIPS)]))
        show_sound(folder, clips_BS, codec.decode(codec.encode(clips_BS)[0])[0])

    def export(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, DecoderTraining)
        save_file(module.averaged().state_dict(), folder / AUDIO_FILE)


def run(context: Context) -> dict[str, float]:
    """Refine the decoder of the preset's codec."""
    config, settings = context.train, context.settings
    cache, seed = context.run_folder / "speech", config.seed
    count, kept_out = settings.get("utterances", 4_000), settings.get("held_out_utterances", 200)
    task = AudioDecoderTask(
        context.preset.audio,
        context.made_by(settings.get("start_from", START), AUDIO_FILE),
        SpeechBank.make(cache, count, seed, "train").lasting(CLIP_SECONDS, "utterances"),
        SpeechBank.make(cache, kept_out, seed, "test").lasting(CLIP_SECONDS, "held_out_utterances"),
        config,
        settings,
    )
    return train.run(task, config, context.folder, context.name)

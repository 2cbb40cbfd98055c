"""The audio tokenizer's stage: the codec learns to rebuild speech, and to leave the noise out.

First without the bottleneck, so that the encoder has something to say; then the codebooks are
filled from its outputs and everything trains together; at last, where the recipe asks for it,
against a discriminator. A linear probe must read the log-mel spectrogram from the quantized
latents: the codes then carry the speech long before the decoder can sing it. The probe is thrown
away, and what is kept are the averages of the weights over the last steps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from quintet import train
from quintet.config import SAMPLE_RATE, AudioConfig, UserError
from quintet.data.world.speech_bank import SpeechBank, microphone_noise, world_line
from quintet.data.world.tongues import any_line
from quintet.settings import Count, Range, Share, ShareBelowOne
from quintet.stages.codec_losses import SoundLosses, Window, show_sound
from quintet.stages.context import Context, check_filling
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import KIND, folded, load_folded
from quintet.tokenizers.folders import AUDIO_FILE, write_config
from quintet.tokenizers.quantize import perplexity
from quintet.train import Task, TrainConfig
from quintet.train.adversarial import alone
from quintet.train.average import average_of
from quintet.train.spectral import SCALES, LogMel

SETTINGS = {
    "train": TrainConfig, "start_from": str,
    "utterances": Count, "held_out_utterances": Count, "every_voice": bool, "recordings": str,
    "clip_seconds": Annotated[float, Range(0.1, 60)], "fill_at": ShareBelowOne,
    "adversarial_at": Share, "discriminator_windows": tuple[Window, ...],
    "discriminator_channels": Count,
}  # fmt: skip
PROBE_HOP = 400  # samples, about; a latent frame holds a whole number
PROBE_BINS = 64
FILL_VECTORS = 8  # encoder outputs per code when the codebooks are filled
COMMITMENT = 0.1  # weight of the pull of the encoder towards the codes
FEWER_BOOKS = 0.25  # of the clips are rebuilt from only the first few codebooks
RECORDED_SHARE = 0.2  # of the clips, where there are recordings
HELD_OUT_CLIPS, SHOWN_CLIPS = 64, 3


@dataclass(frozen=True)
class CodecSettings:
    """How the codec trains, beside its `TrainConfig`; steps are counted from 0."""

    fill_step: int  # when the codebooks are filled and the bottleneck closes; -1: they are full
    adversarial_step: int  # when the discriminator sets in; from then on it costs a half more
    clip_seconds: float = 2.0  # at few frames a second, short clips teach the edges of clips
    windows: tuple[int, ...] = ()  # of the discriminator
    channels: int = 16  # of the discriminator


class CodecTraining(nn.Module):
    """The codec, its average over the last steps, and what is thrown away: a linear map from a
    latent frame to the log-mel frames inside it, and the discriminator."""

    def __init__(self, config: AudioConfig, settings: CodecSettings) -> None:
        super().__init__()
        self.codec = AudioTokenizer(config)
        self.average = average_of(self.codec)
        self.sound = SoundLosses(settings.windows, settings.channels)
        self.frames = max(1, round(config.hop / PROBE_HOP))  # spectrogram frames a latent frame
        self.spectrogram = LogMel(1_024, PROBE_BINS, config.hop // self.frames)
        self.probe = nn.Linear(config.latent_dim, self.frames * PROBE_BINS)

    def probe_loss(self, latents_BTD: Tensor, audio_BS: Tensor) -> Tensor:
        read_BTM = self.probe(latents_BTD).unflatten(-1, (self.frames, PROBE_BINS)).flatten(1, 2)
        true_BTM = self.spectrogram(audio_BS).transpose(1, 2)[:, : read_BTM.shape[1]]
        return (read_BTM - true_BTM).abs().mean()


class AudioTokenizerTask(Task):
    """Noisy speech -> codec -> the speech without the noise."""

    def __init__(
        self,
        config: AudioConfig,
        settings: CodecSettings,
        speech: SpeechBank,
        held_out: SpeechBank,
        batch_size: int,
        seed: int,
        recordings: SpeechBank | None = None,
        start_from: Path | None = None,
    ) -> None:
        self.config, self.settings, self.start_from = config, settings, start_from
        self.speech, self.held_out, self.recordings = speech, held_out, recordings
        self.batch_size, self.seed = batch_size, seed
        # A whole number of frames, so that input and reconstruction have one length.
        self.samples = round(settings.clip_seconds * SAMPLE_RATE) // config.hop * config.hop

    def record(self) -> dict[str, Any]:
        return asdict(self.settings) | {
            "samples_of_speech": len(self.speech.samples),
            "samples_of_recordings": len(self.recordings.samples) if self.recordings else 0,
            "start_from": str(self.start_from),
        }

    def module(self) -> nn.Module:
        module = CodecTraining(self.config, self.settings)
        if self.start_from is not None:
            load_folded(module.codec, self.start_from)
        return module

    def parameters(self, module: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(module, CodecTraining)
        adversary = list(module.sound.parameters())
        theirs = {id(p) for p in adversary}
        ours = [p for p in module.parameters() if p.requires_grad and id(p) not in theirs]
        groups: list[dict[str, Any]] = [{"params": ours}]
        return groups + [{"params": adversary, "part": "discriminator"}] * bool(adversary)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """What is heard and what it holds, [B, S] each."""
        return self._clips(step, self.batch_size)

    def describe_batch(self, step: int) -> str:
        starts: list[float] = []
        self._clips(step, self.batch_size, starts=starts)
        where = "of the speech" + " or of the recordings" * (self.recordings is not None)
        return f"clips from seconds {', '.join(f'{s:.2f}' for s in starts)} {where}"

    def _clips(
        self, step: int, count: int, held_out: bool = False, starts: list[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, step))
        clean, heard = [], []
        for _ in range(count):
            bank = self.held_out if held_out else self.speech
            if not held_out and self.recordings and rng.random() < RECORDED_SHARE:
                bank = self.recordings
            clean.append(bank.clip(rng, self.samples, starts))
            heard.append(np.clip(clean[-1] + microphone_noise(rng, self.samples), -1, 1))
        return torch.from_numpy(np.stack(heard)), torch.from_numpy(np.stack(clean))

    def before_step(self, module: nn.Module, step: int) -> None:
        assert isinstance(module, CodecTraining)
        module.average.update_parameters(module.codec)
        if step == self.settings.fill_step:
            count = FILL_VECTORS * self.config.codebook_size
            module.codec.quantizer.fill(self.outputs(module.codec, count, step))

    @torch.no_grad()
    def outputs(self, codec: AudioTokenizer, count: int, step: int) -> Tensor:
        """At least `count` latent vectors [N, D] of clips that belong to no step."""
        vectors: list[Tensor] = []
        while sum(map(len, vectors)) < count:
            heard, _ = self._clips(step + 1_000_000 + len(vectors), self.batch_size)
            latents_BDT, _ = codec.encoder(heard[:, None])
            vectors.append(latents_BDT.transpose(1, 2).flatten(0, 1))
        return torch.cat(vectors)

    def losses(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], step: int
    ) -> dict[str, Tensor]:
        assert isinstance(module, CodecTraining)
        (heard_BS, clean_BS), settings = batch, self.settings
        made_BS, latents_BTD, _, commitment = module.codec(
            heard_BS, step >= settings.fill_step, self._books(step, len(heard_BS))
        )
        adversarial = bool(settings.windows) and step >= settings.adversarial_step
        losses = module.sound(made_BS, clean_BS, adversarial, step)
        with torch.autocast(made_BS.device.type, enabled=False):
            losses["probe"] = module.probe_loss(latents_BTD.float(), clean_BS)
        losses["commitment"] = commitment
        losses["loss"] = losses["sound"] + losses["probe"] + COMMITMENT * commitment
        if "discriminator" in losses:
            losses["loss"] = losses["loss"] + alone(losses["discriminator"])
        return losses

    def _books(self, step: int, count: int) -> Tensor:
        """How many codebooks each clip may use."""
        rng, most = np.random.default_rng((self.seed, 2, step)), self.config.num_codebooks
        fewer = rng.random(count) < FEWER_BOOKS
        return torch.from_numpy(np.where(fewer, rng.integers(1, most + 1, count), most))

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """On voices kept out of training."""
        assert isinstance(module, CodecTraining)
        codec = module.average.module
        batches = [self._clips(index, 8, True) for index in range(HELD_OUT_CLIPS // 8)]
        distances, probes, codes = [], [], []
        for heard_BS, clean_BS in batches:
            made_BS, latents_BTD, codes_BTQ, _ = codec(heard_BS)
            distances.append(float(module.sound.mel(made_BS, clean_BS)))
            probes.append(float(module.probe_loss(latents_BTD, clean_BS)))
            codes.append(codes_BTQ)
        scores = {"mel": float(np.mean(distances)), "probe": float(np.mean(probes))}
        for book in range(self.config.num_codebooks):
            ids = torch.cat(codes)[..., book]
            scores[f"perplexity_{book}"] = perplexity(ids, self.config.codebook_size)
        return scores

    def show(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, CodecTraining)
        heard_BS, clean_BS = self._clips(0, SHOWN_CLIPS, True)
        show_sound(folder, clean_BS, module.average.module(heard_BS)[0])

    def export(self, module: nn.Module, folder: Path) -> None:
        """A folder that `load_codec` reads."""
        assert isinstance(module, CodecTraining)
        codec = module.average.module
        assert isinstance(codec, AudioTokenizer)
        save_file(folded(codec).state_dict(), folder / AUDIO_FILE)
        write_config({"kind": KIND, "audio": asdict(self.config)}, folder)


def run(context: Context) -> dict[str, float]:
    """Train the codec of the preset."""
    check(context)
    config, settings, codec_settings = context.train, context.settings, _codec_settings(context)
    start = settings.get("start_from")
    cache, seed = context.run_folder / "speech", config.seed
    speaker = any_line if settings.get("every_voice", False) else world_line
    count, kept_out = settings.get("utterances", 4_000), settings.get("held_out_utterances", 200)
    seconds = codec_settings.clip_seconds
    task = AudioTokenizerTask(
        context.preset.audio,
        codec_settings,
        SpeechBank.make(cache, count, seed, "train", speaker).lasting(seconds, "utterances"),
        SpeechBank.make(cache, kept_out, seed, "test").lasting(seconds, "held_out_utterances"),
        config.batch_size,
        seed,
        _recordings(settings.get("recordings"), seconds),
        context.made_by(start, AUDIO_FILE) if start is not None else None,
    )
    return train.run(task, config, context.folder, context.name)


def _codec_settings(context: Context) -> CodecSettings:
    settings, steps = context.settings, context.train.steps
    return CodecSettings(
        round(steps * settings.get("fill_at", 0.25)) if "start_from" not in settings else -1,
        round(steps * settings.get("adversarial_at", 0.5)),
        settings.get("clip_seconds", 2.0),
        tuple(settings.get("discriminator_windows", ())),
        settings.get("discriminator_channels", 16),
    )


def check(context: Context) -> None:
    """What a recipe can have wrong that no setting shows by itself.

    Raises:
        UserError: it has.
    """
    settings, hop = _codec_settings(context), context.preset.audio.hop
    needed = max(hop, *settings.windows, *SCALES)  # for a spectrogram, with room
    if settings.clip_seconds * SAMPLE_RATE < needed:
        raise UserError(
            f"clip_seconds is {settings.clip_seconds} and one frame of the codec, or the longest "
            f"window of its losses, lasts {needed / SAMPLE_RATE:.3f} s; make it at least that."
        )
    check_filling(settings.fill_step, context.train.steps)
    if (folder := context.settings.get("recordings")) and not Path(folder).is_dir():
        raise UserError(f"There is no folder {folder!r} of recordings; mend the recipe.")


def _recordings(folder: str | None, clip_seconds: float) -> SpeechBank | None:
    if folder is None:
        return None
    bank = SpeechBank.from_recordings(Path(folder))
    if len(bank.samples) < round(clip_seconds * SAMPLE_RATE):
        raise UserError(f"{folder} holds less than {clip_seconds:g} s of sound; add recordings.")
    return bank

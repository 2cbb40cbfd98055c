"""The report card's judges: a recognizer of speech and a classifier of pictures.

Both learn from the world's own speech and pictures alone. Nothing that the codec, the image
tokenizer or the model made is ever shown to them, so they cannot learn to forgive it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from quintet import train
from quintet.config import SAMPLE_RATE
from quintet.data.world.grammar import KINDS, request
from quintet.data.world.pictures import canonical_picture, render_picture
from quintet.data.world.things import THINGS
from quintet.evals.picture_judge import SIZE, PictureJudge
from quintet.evals.recognizer import BLANK, HOP, LETTERS, STRIDE, Recognizer, spell, word_errors
from quintet.media.speech import ASSISTANT_VOICE, random_voice, synthesize
from quintet.settings import Count, Seed
from quintet.stages.context import Context
from quintet.train import Task, TrainConfig
from quintet.whole_file import whole_file, write_whole

SETTINGS = {
    "lines": Count, "count": Count, "seed": Seed,
    "recognizer": TrainConfig, "pictures": TrainConfig,
}  # fmt: skip
ASSISTANT_SHARE = 0.4  # of the spoken lines
SHUFFLED_SHARE = 0.5  # of the lines: words in random order, so that spelling is not guessing
LONGEST_SECONDS = 6.0
PAD = 0.2  # seconds of silence, at most, at both ends
VARIED_SHARE = 0.5  # of the lines as they are heard in training; the others are as spoken
SPEEDS = (0.87, 1.15)  # of playing a line: its pitch and the size of its speaker change with it
TILTS = (-0.4, 0.6)  # of the spectrum, by a filter of one tap: dull to sharp
HELD_OUT = 200


class SpokenLines:
    """Spoken lines with what they say; made once, then kept as one array."""

    def __init__(self, path: Path, count: int, seed: int, split: str) -> None:
        if not path.with_suffix(".json").exists():
            self._make(path, count, seed, split)
        self.samples = np.load(path, mmap_mode="r")
        self.lines: list[tuple[str, int, int]] = json.loads(path.with_suffix(".json").read_text())

    @staticmethod
    def _make(path: Path, count: int, seed: int, split: str) -> None:
        rng = np.random.default_rng((seed, 20, split == "test"))
        words = _vocabulary(seed)
        pieces: list[np.ndarray] = []
        lines: list[tuple[str, int, int]] = []
        start = 0
        while len(lines) < count:
            said = request(str(rng.choice(KINDS)), rng)
            text = said.reply if said.reply and rng.random() < 0.5 else said.text
            if rng.random() < SHUFFLED_SHARE:
                text = " ".join(rng.choice(words, int(rng.integers(1, 6))))
            own = rng.random() < ASSISTANT_SHARE
            sound = synthesize(text, ASSISTANT_VOICE if own else random_voice(rng, split))
            shortest = HOP * STRIDE * len(text) / SAMPLE_RATE  # one frame a letter
            if not shortest <= len(sound) / SAMPLE_RATE < LONGEST_SECONDS:
                continue
            pieces.append(sound.astype(np.float16))
            lines.append((spell(text), start, start + len(sound)))
            start += len(sound)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.save(file, np.concatenate(pieces))
        # Last: where it is, the sound is whole.
        write_whole(path.with_suffix(".json"), json.dumps(lines))

    def line(self, index: int) -> tuple[str, np.ndarray]:
        """What is said, and the sound, float32 [S]."""
        text, start, end = self.lines[index]
        return text, self.samples[start:end].astype(np.float32)


def _vocabulary(seed: int) -> list[str]:
    """Every word of the world's sentences, and every thing."""
    rng = np.random.default_rng((seed, 21))
    words = {thing.name for thing in THINGS}
    for _ in range(4_000):
        said = request(str(rng.choice(KINDS)), rng)
        words |= set(spell(f"{said.text} {said.reply}").split())
    return sorted(words)


def vary(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`sound` (float32 [S]) as a larger or smaller, duller or sharper speaker would say it."""
    times = np.arange(0, len(sound) - 1, rng.uniform(*SPEEDS))
    played = np.interp(times, np.arange(len(sound)), sound)
    played[1:] -= rng.uniform(*TILTS) * played[:-1]
    return played.astype(np.float32)


class RecognizerTask(Task):
    """Spoken lines -> letters, with noise, at any loudness, at other speeds and tilts."""

    def __init__(self, lines: SpokenLines, held_out: SpokenLines, batch_size: int, seed: int):
        self.lines, self.held_out, self.batch_size, self.seed = lines, held_out, batch_size, seed

    def module(self) -> nn.Module:
        return Recognizer()

    def _chosen(self, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(len(self.lines.lines), size=self.batch_size)

    def describe_batch(self, step: int) -> str:
        chosen = self._chosen(np.random.default_rng((self.seed, 22, step)))
        return f"spoken lines {', '.join(map(str, sorted(chosen.tolist())))}"

    def batch(self, step: int) -> tuple[Tensor, list[str], list[int]]:
        """Sound [B, S], what it says, and its letter frames."""
        rng = np.random.default_rng((self.seed, 22, step))
        texts, sounds = [], []
        for index in self._chosen(rng):
            text, sound = self.lines.line(int(index))
            sound = vary(sound, rng) if rng.random() < VARIED_SHARE else sound
            pads = rng.integers(0, round(PAD * SAMPLE_RATE), 2)
            sound = np.pad(sound, tuple(pads)) / max(0.05, float(np.abs(sound).max()))
            level = 10 ** rng.uniform(-3.5, -1.3)
            noise = rng.standard_normal(len(sound)).astype(np.float32) * np.float32(level)
            texts.append(text)
            sounds.append(sound + noise)
        longest = max(map(len, sounds))
        frames = [1 + len(sound) // (HOP * STRIDE) for sound in sounds]
        padded = np.stack([np.pad(sound, (0, longest - len(sound))) for sound in sounds])
        return torch.from_numpy(padded), texts, frames

    def losses(
        self, module: nn.Module, batch: tuple[Tensor, list[str], list[int]], step: int
    ) -> dict[str, Tensor]:
        sounds_BS, texts, frames = batch
        log_probabilities = module(sounds_BS)
        targets = torch.tensor([LETTERS.index(letter) + 1 for text in texts for letter in text])
        loss = F.ctc_loss(
            log_probabilities.transpose(0, 1),
            targets,
            torch.tensor(frames).clamp(max=log_probabilities.shape[1]),
            torch.tensor([len(text) for text in texts]),
            blank=BLANK,
            zero_infinity=True,
        )
        return {"loss": loss}

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """Word error rate on voices kept out of training (and on the assistant's own)."""
        assert isinstance(module, Recognizer)
        errors = words = 0
        for index in range(len(self.held_out.lines)):
            text, sound = self.held_out.line(index)
            wrong, total = word_errors(text, module.transcribe(sound))
            errors, words = errors + wrong, words + total
        return {"word_error_rate": errors / words}

    def export(self, module: nn.Module, folder: Path) -> None:
        _export(module, folder / "recognizer.safetensors")


class PictureJudgeTask(Task):
    """Pictures of things -> which thing."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.pictures, self.names = _pictures(count, seed, "train")
        self.held_out = _pictures(4 * HELD_OUT, seed, "test")

    def module(self) -> nn.Module:
        return PictureJudge()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, H, W] and things [B]; some are blurred, as drawings may be."""
        rng = np.random.default_rng((self.seed, 23, step))
        chosen = rng.integers(len(self.pictures), size=self.batch_size)
        pictures_BCHW = self.pictures[torch.from_numpy(chosen)].float() / 255
        blurred = torch.from_numpy(rng.random(self.batch_size) < 0.3)
        small = F.avg_pool2d(pictures_BCHW[blurred], 2)
        pictures_BCHW[blurred] = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
        return pictures_BCHW, self.names[torch.from_numpy(chosen)]

    def losses(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], step: int
    ) -> dict[str, Tensor]:
        pictures_BCHW, things_B = batch
        return {"loss": F.cross_entropy(module(pictures_BCHW).float(), things_B)}

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """Accuracy on backgrounds and sizes kept out of training."""
        pictures_BCHW, things_B = self.held_out
        right = module(pictures_BCHW.float() / 255).argmax(-1) == things_B
        return {"accuracy": float(right.float().mean())}

    def export(self, module: nn.Module, folder: Path) -> None:
        _export(module, folder / "pictures.safetensors")


def _pictures(count: int, seed: int, split: str) -> tuple[Tensor, Tensor]:
    """uint8 [count, 3, H, W] and things [count].

    In training, one in ten is as the assistant should draw it: such a picture is always the same.
    """
    rng = np.random.default_rng((seed, 24, split == "test"))
    names = rng.integers(len(THINGS), size=count)
    pictures = [
        canonical_picture(THINGS[i], SIZE)
        if split == "train" and rng.random() < 0.1
        else render_picture(THINGS[i], rng, split, SIZE)
        for i in names
    ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.from_numpy(names)


def _export(module: nn.Module, path: Path) -> None:
    weights = {name: value.half().contiguous() for name, value in module.state_dict().items()}
    save_file(weights, path)


def run(context: Context) -> dict[str, float]:
    """Train both; copy the two files to quintet/evals/judges/ to ship them."""
    settings, folder = context.settings, context.folder
    lines, seed = int(settings.get("lines", 8_000)), int(settings.get("seed", 0))
    suffix = f"-{seed}" if seed else ""
    config = context.train_table("recognizer")
    task: Task = RecognizerTask(
        SpokenLines(folder / f"lines-{lines}{suffix}.npy", lines, seed, "train"),
        SpokenLines(folder / f"held-out-{HELD_OUT}{suffix}.npy", HELD_OUT, seed, "test"),
        config.batch_size,
        seed,
    )
    heard = train.run(task, config, folder / "recognizer", "recognizer")
    config = context.train_table("pictures")
    task = PictureJudgeTask(int(settings.get("count", 12_000)), config.batch_size, seed)
    seen = train.run(task, config, folder / "pictures", "picture judge")
    return {"word_error_rate": heard["eval/word_error_rate"], "accuracy": seen["eval/accuracy"]}

"""What a stage of the transformer shows at an evaluation is what the model would really say, and
changes nothing in its training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_timeline, make_tokenizers
from safetensors.torch import load_file

from quintet import train
from quintet.config import STEP_SAMPLES, OmniConfig
from quintet.live.sampling import Sampling
from quintet.live.session import Session
from quintet.live.talk import collect
from quintet.live.turns import chat
from quintet.media.audio import read_audio
from quintet.model.omni import Omni
from quintet.stages.context import Context
from quintet.stages.omni_task import OmniTask
from quintet.stages.shown import SECONDS, Shown
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, Vocabulary, live_sample, next_row_sample, turn_sample
from quintet.timeline.timeline import Timeline
from quintet.train import TrainConfig

CONFIG = make_config()
VOCABULARY = Vocabulary(CONFIG.text_image_vocab_size, CONFIG.audio.codebook_size)
TOKENIZERS = make_tokenizers(CONFIG)
TEXT = TOKENIZERS.text


def _shown(tmp_path: Path, config: OmniConfig = CONFIG) -> Shown:
    shown = Shown(Context("instruct", config, {}, tmp_path))
    shown.tokenizers = TOKENIZERS
    return shown


def _ids(line: str) -> list[int]:
    return [*TEXT.encode(line), TEXT.end_id]


def _conversation(asked: str, answered: str) -> Sample:
    timeline = Timeline(CONFIG.audio.num_codebooks, CONFIG.text.vocab_size)
    timeline.add_text(Stream.TEXT_IN, _ids(asked), 0)
    timeline.add_text(Stream.TEXT_OUT, _ids(answered), 0)
    timeline.add_audio(Stream.AUDIO_OUT, np.zeros((6, 3), np.int32), 0)
    return turn_sample(timeline.turns(), VOCABULARY)


def _document() -> Sample:
    timeline = Timeline(CONFIG.audio.num_codebooks, CONFIG.text.vocab_size)
    for line in ("hello.", "what is this?"):
        timeline.add_text(Stream.TEXT_IN, _ids(line), 0)
        timeline.add_text(Stream.TEXT_IN, [TEXT.image_id], 0)
        timeline.add_image(Stream.TEXT_IN, np.arange(4), 0)
    timeline.add_text(Stream.TEXT_IN, _ids("draw a cat. say the word banana."), 0)
    return next_row_sample(timeline.turns(), VOCABULARY)


def _told(folder: Path, index: int = 0) -> dict[str, str]:
    lines = (folder / f"{index}.txt").read_text(encoding="utf-8")
    parts = lines.split("\n")
    return dict(line.split(": ", 1) for line in parts if ": " in line)


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_is_what_chat_says(seed: int, tmp_path: Path) -> None:
    model, shown = make_model(CONFIG, seed), _shown(tmp_path)
    sample = _conversation("draw a cat.", "hello.")
    shown.answer(model, sample, tmp_path / "samples", 0)
    told = _told(tmp_path / "samples")
    assert told["request"] == "draw a cat." and told["answer"] == "hello. [0.5 s of sound]"
    reply = chat(model, TOKENIZERS, [{"role": "user", "content": "draw a cat."}], Sampling(), 0)
    text = (tmp_path / "samples" / "0.txt").read_text(encoding="utf-8")
    if not reply.text:
        return
    said = text.partition("model: ")[2].partition("\nand made: ")[0]
    assert said and reply.text.startswith(said)  # an answer may be longer than what is shown
    if said == reply.text and 0 < len(reply.audio) <= SECONDS * 24_000:
        spoken = read_audio(tmp_path / "samples" / "0-speech.wav")
        assert np.abs(spoken - reply.audio.clip(-1, 1)).max() < 1e-3


def test_a_document_goes_on_as_the_training_has_it(tmp_path: Path) -> None:
    """Rows that are received, with positions that count on: as if they were the document's."""
    model, shown, sample = make_model(CONFIG), _shown(tmp_path), _document()
    shown.document(model, sample, tmp_path / "samples", 0)
    told = _told(tmp_path / "samples")
    assert told["document"] == "hello. / [picture] what is this?"
    assert told["rest"] == "[picture] draw a cat. say the word banana."
    cut = int(np.flatnonzero(sample.rows.tokens[:, 0] == TEXT.end_id)[1]) + 1
    assert told["and made"].endswith("0.0 s of speech")
    from quintet.live import turns

    conversation = turns._Conversation(model, TOKENIZERS, Sampling(), 0)
    decoder = conversation.decoder
    decoder.read(sample.rows.take(slice(0, cut)))
    following = decoder.rows(Stream.TEXT_IN, 0, sample.rows.tokens[cut : cut + 1], 0)  # type: ignore[arg-type]
    assert following.position[0] == sample.rows.position[cut] and following.flag[0] == 0


def test_a_scene_is_what_a_session_does(tmp_path: Path) -> None:
    rng, steps = np.random.default_rng(0), 6
    sound = 0.3 * rng.standard_normal(steps * STEP_SAMPLES).astype(np.float32).clip(-1, 1)
    codes, audio = TOKENIZERS.encode_audio(sound), CONFIG.audio
    timeline = Timeline(audio.num_codebooks, CONFIG.text.vocab_size)
    for step in range(steps):
        frames = slice(audio.frames_before(step), audio.frames_before(step + 1))
        timeline.add_audio(Stream.AUDIO_IN, codes[frames], step)
    timeline.add_text(Stream.TEXT_IN, _ids("hello."), 2)
    sample = live_sample(timeline.rows(), 6, audio.frames_in, VOCABULARY)
    made = 0
    for seed in range(3):
        model = make_model(CONFIG, seed)
        _shown(tmp_path).scene(model, sample, tmp_path / f"{seed}", 0)
        session = Session(model, TOKENIZERS)
        outputs = [
            session.step(part, None, "hello." if step == 2 else None)
            for step, part in enumerate(sound.reshape(steps, -1))
        ]
        reply, folder = collect(outputs, steps, steps), tmp_path / f"{seed}" / "0"
        assert (folder / "reply.txt").read_text(encoding="utf-8") == reply.text + "\n"
        spoken = read_audio(folder / "reply.wav")
        assert np.abs(spoken - reply.audio.clip(-1, 1)).max() < 1e-3
        assert (folder / "timeline.png").stat().st_size > 1_000
        made += len(reply.text) + int(np.abs(reply.audio).sum() > 0)
    assert made, "all were silent, which shows nothing"


def test_to_show_changes_nothing_in_the_training(tmp_path: Path) -> None:
    config = TrainConfig(steps=6, batch_size=2, evaluate_every=2, warmup_steps=1)
    conversations = [_conversation("hello.", "draw a cat.") for _ in range(3)]
    live = [
        live_sample(make_timeline(CONFIG, 4, seed).rows(), 6, CONFIG.audio.frames_in, VOCABULARY)
        for seed in range(4)
    ]  # fmt: skip

    def shows(model: Omni, sample: Sample, folder: Path, index: int) -> None:
        shown = _shown(tmp_path)
        shown.answer(model, sample, folder, index)
        shown.document(model, _document(), folder, 3)
        shown.scene(model, live[index], folder, index)
        torch.rand(3)

    for name, what in (("quiet", None), ("shown", shows)):
        task = OmniTask(CONFIG, config, live, conversations, None, shows=what)
        train.run(task, config, tmp_path / name, name)
    quiet, shown = (load_file(tmp_path / n / "model.safetensors") for n in ("quiet", "shown"))
    assert all(torch.equal(quiet[name], shown[name]) for name in quiet)
    names = {path.name for path in (tmp_path / "shown" / "samples" / "000004").iterdir()}
    assert {"0.txt", "1.txt", "2.txt", "3.txt", "0", "1", "2"} <= names

"""A model's own answers as pairs: one request, the same words, and one of them better said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import needs_world

from quintet import train
from quintet.config import UserError, load_preset
from quintet.data.preferences import Pair
from quintet.data.shards import save_samples
from quintet.data.world.speakers import Speaker, draw_speaker
from quintet.evals.voice_likeness import spectral_distance
from quintet.live.turns import TurnReply
from quintet.media.speech import ASSISTANT_VOICE, Voice
from quintet.stages import own_answers, prefer
from quintet.stages.context import SCORES, Context
from quintet.stages.documents import PREFERENCES, shard_path
from quintet.stages.own_answers import _Worker, own_pairs, run
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import Sample
from quintet.tokenizers.folders import BUNDLED

pytestmark = needs_world
REQUESTS, TAG = 6, 20


def _context(folder: Path, **settings: Any) -> Context:
    """Of a stage that starts from the bundled model."""
    own = {"stage": "own_answers", "requests": REQUESTS, "processes": 1} | settings
    return Context("own", load_preset("nano"), own, folder, "nano", BUNDLED / "nano")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> _Worker:
    return _Worker(_context(tmp_path_factory.mktemp("runs")))


def _pair(worker: _Worker, index: int) -> Pair | None:
    return worker.pair(np.random.default_rng(index))


@torch.no_grad()
def _sound(worker: _Worker, sample: Sample) -> np.ndarray:
    rows = sample.rows
    codes_TQ = rows.tokens[rows.stream == Stream.AUDIO_OUT].astype(np.int64)
    return worker.tokenizers.audio.decode(torch.from_numpy(codes_TQ)[None])[0][0].numpy()


def _words_of(sample: Sample, flag: int) -> list[int]:
    rows = sample.rows
    entries: list[int] = rows.tokens[(rows.flag == flag) & (rows.modality == Modality.TEXT), 0]
    return list(entries)


def test_of_two_answers_the_nearer_to_what_was_meant_is_chosen(
    worker: _Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant: list[np.ndarray] = []

    def said(text: str, voice: Any) -> np.ndarray:
        meant.append(assistant_speech(text, voice))
        return meant[-1]

    assistant_speech = own_answers.assistant_speech
    monkeypatch.setattr(own_answers, "assistant_speech", said)
    found = [(pair, meant[-1]) for index in range(REQUESTS) if (pair := _pair(worker, index))]
    assert len(found) > 1
    for pair, sound in found:
        begins = int(np.argmax(pair.chosen.rows.flag == 1))
        for name in ("tokens", "stream", "position", "step"):
            one, other = (getattr(s.rows, name)[:begins] for s in (pair.chosen, pair.rejected))
            assert np.array_equal(one, other)
        assert _words_of(pair.chosen, 1) == _words_of(pair.rejected, 1)
        near, far = (
            spectral_distance(_sound(worker, s), sound) for s in (pair.chosen, pair.rejected)
        )
        assert near + own_answers.LEAST_GAP <= far
    again = next(pair for index in range(REQUESTS) if (pair := _pair(worker, index)))
    assert np.array_equal(found[0][0].rejected.rows.tokens, again.rejected.rows.tokens)


@pytest.mark.parametrize("own_voice", [0.0, 1.0])
def test_it_is_measured_by_the_voice_that_it_should_have(
    own_voice: float, worker: _Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    speakers: list[Speaker] = []
    voices: list[Voice] = []

    def drawn(*given: Any) -> Speaker:
        speakers.append(draw_speaker(*given))
        return speakers[-1]

    def said(text: str, voice: Voice) -> np.ndarray:
        voices.append(voice)
        return np.zeros(24_000, np.float32)

    monkeypatch.setattr(worker, "own_voice", own_voice)
    monkeypatch.setattr(worker, "_right_answers", lambda *_: [])
    monkeypatch.setattr(own_answers, "draw_speaker", drawn)
    monkeypatch.setattr(own_answers, "assistant_speech", said)
    for index in range(4):
        _pair(worker, index)
    expected = [ASSISTANT_VOICE] * 4 if own_voice else [speaker.voice for speaker in speakers]
    assert voices == expected and len(set(voices)) == (1 if own_voice else 4)


def test_settings_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = _Worker(_context(tmp_path, answers_each=2, least_gap=0.2, own_voice=0.5))
    assert worker.own_voice == 0.5
    said = SimpleNamespace(kind="say", text="say cat.", reply="Cat.", thing=None)
    monkeypatch.setattr(own_answers, "request", lambda *_: said)
    monkeypatch.setattr(own_answers, "spectral_distance", lambda sound, _: float(sound[0]) / 100)
    for codes, is_pair in (((90, 60), True), ((90, 75), False)):
        monkeypatch.setattr(own_answers, "answer_rows", _replies(*codes, text="Cat."))
        assert (_pair(worker, 0) is not None) == is_pair  # a third answer would be missed


def _replies(*codes: int, text: str, pictures: int = 0) -> Callable[..., TurnReply]:
    """Answers in turn, whose sound is a constant and whose codes are as many as it says."""
    given = iter(codes)

    def reply(*_: Any) -> TurnReply:
        count = next(given)
        sound = np.full(24_000, count, np.float32)
        rows = {"image_out": pictures}
        return TurnReply(text, [], sound, rows, np.full((count, 4), count, np.int64))

    return reply


def test_there_is_no_pair_of_what_is_alike_wrong_or_without_end(
    worker: _Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = SimpleNamespace(kind="say", text="say cat.", reply="Cat.", thing=None)
    monkeypatch.setattr(own_answers, "request", lambda *_: said)
    monkeypatch.setattr(own_answers, "spectral_distance", lambda sound, _: float(sound[0]) / 100)
    endless = round(12 * 4 * worker.context.preset.audio.frames_per_step)
    for codes, text, pictures, lengths in (
        ((90, 20, 70, 40), "Cat.", 0, (20, 90)),
        ((90, 60, 70, 80), "Cat.", 0, None),  # 0.3 dB apart
        ((90,), "Dog.", 0, None),  # as all that would follow
        ((90,), "Cat.", 64, None),
        ((0, 0, 0, 40), "Cat.", 0, None),
        ((endless, 20, endless, 90), "Cat.", 0, (20, 90)),
        ((endless, 20, endless, endless), "Cat.", 0, None),
    ):
        replies = _replies(*codes, text=text, pictures=pictures)
        monkeypatch.setattr(own_answers, "answer_rows", replies)
        pair = _pair(worker, 0)
        assert (pair is None) == (lengths is None), codes
        if pair is not None:
            both = [s.rows.stream == Stream.AUDIO_OUT for s in (pair.chosen, pair.rejected)]
            assert tuple(map(np.count_nonzero, both)) == lengths


def _here(context: Context, jobs: Any, start: Any, make: Any) -> None:
    """In this process."""
    start(context)
    for job in jobs:
        make(job)


def test_what_is_made_is_kept_and_what_is_missing_is_made(
    worker: _Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, asked = _context(tmp_path, requests=5), list[tuple[int, ...]]()
    pair = next(pair for index in range(REQUESTS) if (pair := _pair(worker, index)))

    class _Given(_Worker):
        """Finds nothing in the whole second shard."""

        def pair(self, rng: np.random.Generator) -> Pair | None:
            asked.append(tuple(rng.bit_generator.seed_seq.entropy))  # type: ignore[attr-defined]
            return None if asked[-1][2] == 1 else pair

    monkeypatch.setattr(own_answers, "_Worker", _Given)
    monkeypatch.setattr(own_answers, "in_processes", _here)
    monkeypatch.setattr(own_answers, "SHARD", 2)
    assert run(context) == {"pairs": 3.0}
    assert asked == [(0, TAG, 0, 0), (0, TAG, 0, 1), (0, TAG, 1, 0), (0, TAG, 1, 1), (0, TAG, 2, 0)]
    shard_path(context.folder, PREFERENCES, 2).unlink()
    asked.clear()
    assert run(context) == {"pairs": 3.0}
    assert asked == [(0, TAG, 2, 0)]


def test_weights_that_are_damaged_are_told_before_a_process_meets_them(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED / "nano", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    context = replace(_context(tmp_path), model=folder)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        run(context)


def test_preferences_may_be_learned_from_them(
    worker: _Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = next(pair for index in range(REQUESTS) if (pair := _pair(worker, index)))
    for shard, count in enumerate((3, 2)):
        path = shard_path(tmp_path / "own", PREFERENCES, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_samples(path, [pair.chosen, pair.rejected] * count)
    save_samples(shard_path(tmp_path / "own", PREFERENCES, 2), [])
    table = {"steps": 1, "batch_size": 1}
    settings = {"stage": "prefer", "pairs": "own", "held_out": 2, "train": table}
    context = Context("prefer", load_preset("nano"), settings, tmp_path, "nano", BUNDLED / "nano")
    with pytest.raises(UserError, match=r"scores\.json, which stage 'own' makes"):
        own_pairs(context)
    (tmp_path / "own" / SCORES).write_text("{}", encoding="utf-8")
    pairs = own_pairs(context)
    assert len(pairs) == 5 and np.array_equal(pairs[3].chosen.rows.tokens, pair.chosen.rows.tokens)
    monkeypatch.setattr(prefer, "samples_of", lambda *_: [pair.chosen])
    monkeypatch.setattr(train, "run", lambda task, *_: {
        "pairs": len(task.pairs.samples), "held_out": len(task.held_out_pairs.samples),
    })  # fmt: skip
    assert prefer.run(context) == {"pairs": 3, "held_out": 2}
    few = Context("prefer", context.preset, settings | {"held_out": 5}, tmp_path, "nano")
    with pytest.raises(UserError, match="0 samples to train on"):
        prefer.run(few)

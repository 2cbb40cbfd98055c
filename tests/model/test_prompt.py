"""A speaker's voice before step 0: two forms and a cache with one answer, never asked, carried on
where keys are turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import FRACTIONAL, WHOLE, make_model, make_timeline
from test_laws import _cached, _run

from quintet.config import AudioConfig, OmniConfig, load_preset
from quintet.data.loader import LATEST_START, Loader, moved
from quintet.data.shards import load_samples, save_samples
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.stages.omni_task import OmniTask
from quintet.timeline.masks import FOREVER, live_mask
from quintet.timeline.rows import Rows
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary, live_sample, turn_sample
from quintet.timeline.timeline import Timeline, live_order, speaker_rows
from quintet.train import TrainConfig

STEPS, PROMPT_STEPS = 7, 2
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def _of_kind(config: OmniConfig, d_concatenated: int, rotary: bool) -> OmniConfig:
    sizes = replace(config.model, d_position=d_concatenated, d_time=d_concatenated, rotary=rotary)
    return replace(config, model=sizes)


def _codes(audio: AudioConfig, steps: int = PROMPT_STEPS) -> np.ndarray:
    size = (audio.frames_before(steps), audio.num_codebooks)
    return np.random.default_rng(7).integers(audio.codebook_size, size=size).astype(np.int32)


def _prompted(config: OmniConfig, seed: int) -> Timeline:
    timeline = make_timeline(config, STEPS, seed)
    timeline.add_speaker(_codes(config.audio), config.audio)
    return timeline


def _sample(config: OmniConfig, rows: Rows) -> Sample:
    vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
    budget = config.live.text_image_rows_per_step
    return live_sample(rows, budget, config.audio.frames_in, vocabulary)


@torch.no_grad()
@pytest.mark.parametrize("window", [FOREVER, 3])
def test_all_forms_give_one_answer_with_a_prompt(config: OmniConfig, window: int) -> None:
    config = _of_kind(config, 8, rotary=False)
    model, timeline = make_model(config), _prompted(config, 5)
    streams, rows = timeline.streams(), timeline.rows()
    causal = _run(model, rows, live_mask(rows, window))
    masked = _run(model, streams, live_mask(streams, window))[live_order(streams)]
    torch.testing.assert_close(masked, causal, **CLOSE)
    torch.testing.assert_close(_cached(model, rows, window), causal, **CLOSE)
    voice = rows.take(rows.step < 0)
    other = replace(rows, tokens=np.where((rows.step < 0)[:, None], 0, rows.tokens))
    changed = _run(model, other, live_mask(other, window)) - causal
    assert changed[len(voice) :].abs().amax(1).min() > 1e-4  # to the last row it is heard


@torch.no_grad()
def test_all_forms_give_one_answer_where_keys_are_turned(
    config: OmniConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the window has not slid: then nothing is carried."""
    config = _of_kind(config, 0, rotary=True)
    model, timeline = make_model(config), _prompted(config, 5)
    streams, rows = timeline.streams(), timeline.rows()
    slide = KVCache.slide

    def slide_and_carry(cache: KVCache, first_step: int) -> None:
        slide(cache, first_step)
        cache.carry_prompt()
        assert cache.prompt is None

    monkeypatch.setattr(KVCache, "slide", slide_and_carry)
    causal = _run(model, rows, None)
    masked = _run(model, streams, live_mask(streams, STEPS))[live_order(streams)]
    torch.testing.assert_close(masked, causal, **CLOSE)
    torch.testing.assert_close(_cached(model, rows, STEPS), causal, **CLOSE)


@torch.no_grad()
def test_a_carried_prompt_is_one_that_was_read_there(config: OmniConfig) -> None:
    """At every layer, after each of many moves: no error adds up."""
    config = _of_kind(config, 0, rotary=True)
    model, rows, window = make_model(config), _prompted(config, 1).rows(), 3
    prompt, cache = rows.take(rows.step < 0), KVCache(config.model, 512)
    count = len(prompt)
    model(RowTensors.from_rows([prompt]), cache=cache)
    before = cache.keys[:, 0, :, :count].clone()
    for step in range(STEPS):
        cache.slide(step - window + 1)
        model(RowTensors.from_rows([rows.take(rows.step == step)]), cache=cache)
        cache.carry_prompt()
        oldest = max(0, step - window + 1)
        anew = KVCache(config.model, 512)
        anew.count[:] = (
            cache.order[0, cache.steps[0] >= 0][cache.order[0, cache.steps[0] >= 0] >= 0].min()
            - count
        )
        model(RowTensors.from_rows([prompt.shifted(oldest, 0)]), cache=anew)
        for mine, theirs in ((cache.keys, anew.keys), (cache.values, anew.values)):
            torch.testing.assert_close(mine[:, 0, :, :count], theirs[:, 0, :, :count], **CLOSE)
    assert not torch.allclose(cache.keys[:, 0, :, :count], before, atol=1e-2)  # it was moved
    assert cache.held().tolist()[:count] == prompt.step.tolist()


@torch.no_grad()
def test_without_a_prompt_nothing_is_carried(config: OmniConfig) -> None:
    config = _of_kind(config, 0, rotary=True)
    model, rows = make_model(config), make_timeline(config, STEPS, 0).rows()
    cache = KVCache(config.model, 512)
    cache.carry_prompt()  # of nothing at all
    for step in range(STEPS):
        cache.slide(step - 1)
        model(RowTensors.from_rows([rows.take(rows.step == step)]), cache=cache)
        before = cache.keys.clone()
        cache.carry_prompt()
        assert torch.equal(cache.keys, before) and cache.prompt is None


@pytest.mark.parametrize("strides", [WHOLE, FRACTIONAL])
def test_a_prompt_lies_below_zero_and_ends_right_before_step_0(strides: tuple[int, ...]) -> None:
    audio = replace(load_preset("reference").audio, strides=strides)
    assert (strides == FRACTIONAL) == (audio.frames_per_step == 18.75)
    for count in (*range(1, 60), audio.frames_before(8)):
        rows = speaker_rows(np.zeros((count, audio.num_codebooks), np.int32), audio)
        assert rows.position.tolist() == list(range(-count, 0))
        assert rows.step.max() == -1 and rows.step.min() == -1 - audio.step_of(count - 1)
        assert set(np.diff(rows.step)) <= {0, 1}
        assert set(rows.stream) == {Stream.AUDIO_IN} and set(rows.modality) == {Modality.AUDIO}
        assert not rows.flag.any() and rows.step.dtype == rows.position.dtype == np.int32
    assert not len(speaker_rows(np.zeros((0, audio.num_codebooks), np.int32), audio))


def test_a_prompt_is_asked_nothing(config: OmniConfig) -> None:
    with_prompt = _sample(config, _prompted(config, 3).rows())
    without = _sample(config, make_timeline(config, STEPS, 3).rows())
    count = len(with_prompt) - len(without)
    for one, other in (
        (with_prompt.text_target, without.text_target),
        (with_prompt.audio_target, without.audio_target),
    ):
        assert (one[:count] == NOT_ASKED).all() and np.array_equal(one[count:], other)

    timeline = Timeline(config.audio.num_codebooks, config.text.vocab_size)
    timeline.add_speaker(_codes(config.audio), config.audio)
    timeline.add_text(Stream.TEXT_IN, [10], 0)
    timeline.add_text(Stream.TEXT_OUT, [20, 21], 0)
    turn = turn_sample(timeline.turns(), Vocabulary(config.text_image_vocab_size, 16))
    assert (turn.rows.step[:count] < 0).all()
    assert (turn.text_target[:count] == NOT_ASKED).all() and turn.text_target[count] == 20
    assert (turn.audio_target[:count] == NOT_ASKED).all()


def test_shards_give_back_what_lies_before_step_0(config: OmniConfig, tmp_path) -> None:
    sample = _sample(config, _prompted(config, 3).rows())
    save_samples(tmp_path / "0.safetensors", [sample])
    (again,) = load_samples(tmp_path / "0.safetensors")
    assert np.array_equal(again.rows.step, sample.rows.step)
    assert np.array_equal(again.rows.position, sample.rows.position)


def test_a_sample_moves_and_its_prompt_stays(config: OmniConfig) -> None:
    sample = _sample(config, _prompted(config, 3).rows())
    rows, steps = sample.rows, set()
    lives = rows.step >= 0
    for seed in range(5):
        made = moved(sample, np.random.default_rng(seed), picture_rows=4).rows
        assert np.array_equal(made.step[~lives], rows.step[~lives])
        assert np.array_equal(made.position[~lives], rows.position[~lives])
        (offset,) = set((made.step - rows.step)[lives].tolist())
        assert 0 <= offset < LATEST_START
        steps.add(offset)
        for modality in Modality:
            for flag in (0, 1):
                own = lives & (rows.modality == modality) & (rows.flag == flag)
                assert len(set((made.position - rows.position)[own].tolist())) <= 1
        assert made.step.dtype == rows.step.dtype and made.position.dtype == rows.position.dtype
    assert len(steps) > 1


def test_where_nothing_tells_the_time_samples_stay_in_place(config: OmniConfig) -> None:
    sample = _sample(config, _prompted(config, 3).rows())
    settings = TrainConfig(steps=1, batch_size=2)
    for d_concatenated, stays in ((0, True), (8, False)):
        own = _of_kind(config, d_concatenated, rotary=True)
        task = OmniTask(own, settings, [sample] * 4, [sample] * 4, None)
        for loader in (task.loader, task.held_out):
            assert isinstance(loader, Loader)
            batches = [loader.batch(step) for step in range(4)]
            same = [np.array_equal(one.rows.step, sample.rows.step) for b in batches for one in b]
            assert all(same) if stays else not any(same)

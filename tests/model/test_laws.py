"""Two forms, one answer; the temporal boundary by gradient; a batch is each alone."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from conftest import make_model, make_timeline
from torch import Tensor
from torch.nn import functional as F

from quintet.config import OmniConfig
from quintet.model.attention import Attention
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.model.omni import Batch, Omni
from quintet.timeline.masks import FOREVER, live_mask
from quintet.timeline.packing import pack
from quintet.timeline.rows import Rows
from quintet.timeline.streams import STREAMS, Modality, Stream
from quintet.timeline.targets import live_sample
from quintet.timeline.timeline import live_order, live_rank

STEPS = 7


def _logits(model: Omni, hidden_ND: Tensor, tokens_NQ: np.ndarray) -> Tensor:
    """Both heads, side by side, [N, ...]."""
    codes = torch.from_numpy(tokens_NQ).long().clamp(max=model.config.audio.codebook_size - 1)
    words = model.text_image_head(hidden_ND)
    return torch.cat([words, model.audio_head(hidden_ND, codes).flatten(1)], dim=1)


def _run(model: Omni, rows: Rows, mask: np.ndarray | None) -> Tensor:
    allowed = None if mask is None else torch.from_numpy(mask)
    places = None if mask is None else [live_rank(rows)]
    hidden_BTD = model(RowTensors.from_rows([rows], places), allowed)
    return _logits(model, hidden_BTD[0], rows.tokens)


def _cached(model: Omni, rows: Rows, window: int) -> Tensor:
    """As a session does it: outputs row by row, the inputs of a step stream by stream."""
    cache, hidden = KVCache(model.config.model, 4_096), []
    pieces = np.flatnonzero(
        np.diff(rows.step, prepend=-1)
        | np.diff(rows.stream, prepend=-1)
        | np.array([STREAMS[Stream(s)].is_output for s in rows.stream])
    ).tolist()
    for start, end in zip(pieces, [*pieces[1:], len(rows)], strict=True):
        part = rows.take(slice(start, end))
        cache.slide(int(part.step[0]) - window + 1)
        hidden.append(model(RowTensors.from_rows([part]), cache=cache)[0])
    return _logits(model, torch.cat(hidden), rows.tokens)


@torch.no_grad()
@pytest.mark.parametrize("widths", [(8, 8, False), (8, 8, True), (0, 0, True)])
def test_three_forms_give_one_answer(config: OmniConfig, widths: tuple[int, int, bool]) -> None:
    """Order and time concatenated, turned besides, and turned instead."""
    d_position, d_time, rotary = widths
    sizes = replace(config.model, d_position=d_position, d_time=d_time, rotary=rotary)
    model = make_model(replace(config, model=sizes))
    for seed in range(3):
        timeline = make_timeline(config, STEPS, seed)
        streams, rows = timeline.streams(), timeline.rows()
        causal = _run(model, rows, None)
        masked = _run(model, streams, live_mask(streams, FOREVER))[live_order(streams)]
        torch.testing.assert_close(masked, causal, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(_cached(model, rows, FOREVER), causal, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_three_forms_give_one_answer_inside_a_window(config: OmniConfig, model: Omni) -> None:
    window = 3
    timeline = make_timeline(config, STEPS, 5)
    streams, rows = timeline.streams(), timeline.rows()
    causal = _run(model, rows, live_mask(rows, window))
    masked = _run(model, streams, live_mask(streams, window))[live_order(streams)]
    torch.testing.assert_close(masked, causal, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(_cached(model, rows, window), causal, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(causal, _run(model, rows, None), atol=1e-2)  # the window matters


def _influence(model: Omni, rows: Rows, mask: np.ndarray | None) -> Tensor:
    """[N, N]: how much the logits at row i change with the embedding of row j."""
    embedded: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    handle = model.embedding.register_forward_hook(keep)
    logits = _run(model, rows, mask)
    handle.remove()
    influence = []
    for row in logits:
        (gradient,) = torch.autograd.grad(row.square().sum(), embedded[0], retain_graph=True)
        influence.append(gradient[0].abs().sum(-1))
    return torch.stack(influence)


def test_no_gradient_reaches_the_future(config: OmniConfig, model: Omni) -> None:
    rows = make_timeline(config, 4, 0).rows()
    influence = _influence(model, rows, None)
    future = torch.ones_like(influence).triu(1).bool()
    assert (influence[future] == 0).all()
    past = ~future
    assert (influence[past] > 0).float().mean() > 0.99  # the law would hold for no attention too


def test_an_output_does_not_see_the_input_of_its_step(config: OmniConfig, model: Omni) -> None:
    rows = make_timeline(config, 5, 1).streams()
    influence = _influence(model, rows, live_mask(rows, FOREVER))
    is_output = torch.from_numpy(rows.flag).bool()
    step = torch.from_numpy(rows.step)
    forbidden = is_output[:, None] & ~is_output[None] & (step[:, None] <= step[None])
    assert forbidden.any() and (influence[forbidden] == 0).all()
    allowed = is_output[:, None] & ~is_output[None] & (step[:, None] > step[None])
    assert (influence[allowed] > 0).all()


@torch.no_grad()
def test_a_batch_is_each_alone(config: OmniConfig, model: Omni) -> None:
    tables = [make_timeline(config, steps, steps).rows() for steps in (3, 7, 5)]
    together = model(RowTensors.from_rows(tables))
    for index, rows in enumerate(tables):
        alone = model(RowTensors.from_rows([rows]))[0]
        torch.testing.assert_close(together[index, : len(rows)], alone, rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_batch_is_the_mean_over_its_asked_rows(config: OmniConfig) -> None:
    from conftest import make_model

    model, budget = make_model(config), config.live.text_image_rows_per_step
    samples = [
        live_sample(make_timeline(config, n, n).rows(), budget, config.audio.frames_in,
                    model.vocabulary)
        for n in (3, 6)
    ]  # fmt: skip
    batches = [Batch.from_samples([sample]) for sample in samples]
    alone = [model.losses(batch)["text_image"] * len(batch.text_at) for batch in batches]
    together = Batch.from_samples(samples)
    expected = sum(alone) / len(together.text_at)
    torch.testing.assert_close(model.losses(together)["text_image"], expected, rtol=1e-4, atol=1e-5)


def test_packed_lines_give_the_same_losses(config: OmniConfig) -> None:
    """However samples are packed, and through a window, and in shares."""
    from conftest import make_model

    model, budget = make_model(config), config.live.text_image_rows_per_step
    samples = [
        live_sample(make_timeline(config, n, n).rows(), budget, config.audio.frames_in,
                    model.vocabulary)
        for n in (3, 9, 6, 4)
    ]  # fmt: skip
    room = max(map(len, samples)) + min(map(len, samples))
    for window in (FOREVER, 3):
        padded = model.losses(Batch.from_samples(samples, window), turn_weight=2.0)
        lines = pack(samples, room)
        assert len(lines) < len(samples) and max(sum(map(len, line)) for line in lines) <= room
        packed = Batch.from_lines(lines, window)
        for name, loss in model.losses(packed, turn_weight=2.0).items():
            torch.testing.assert_close(loss, padded[name], rtol=1e-4, atol=1e-5)
        parts = [model.losses(packed.share(rank, 2), turn_weight=2.0) for rank in range(2)]
        for name, loss in padded.items():
            torch.testing.assert_close(parts[0][name] + parts[1][name], loss, rtol=1e-4, atol=1e-5)
    plain = model.losses(Batch.from_samples(samples), turn_weight=2.0)
    for name in plain.keys() - {"loss"}:  # the window matters
        assert not torch.allclose(plain[name], padded[name], rtol=1e-4)


@torch.no_grad()
def test_what_fills_up_a_batch_counts_nowhere(config: OmniConfig) -> None:
    """Longer lines, more questions, and a mask instead of who sees whom."""
    from conftest import make_model

    model, budget = make_model(config), config.live.text_image_rows_per_step
    samples = [
        live_sample(make_timeline(config, n, n).rows(), budget, config.audio.frames_in,
                    model.vocabulary)
        for n in (3, 6)
    ]  # fmt: skip
    lines = [[sample] for sample in samples]
    for window in (FOREVER, 3):
        plain = Batch.from_lines(lines, window)
        filled = Batch.from_lines(lines, window, multiple=64).filled(128).masked()
        assert filled.rows.step.shape[1] % 64 == 0 and filled.sight is filled.starts is None
        assert len(filled.text_at) % 128 == 0 == len(filled.audio_at) % 128
        assert len(filled.text_at) > len(plain.text_at)
        assert torch.equal(filled.asks_text().sum(), torch.tensor(len(plain.text_at)))
        expected = model.losses(plain, 4.0, 2.0)
        for name, loss in model.losses(filled, 4.0, 2.0).items():
            torch.testing.assert_close(loss, expected[name], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_each_step_is_opened_once_by_each_head(config: OmniConfig, model: Omni) -> None:
    """But for the first, which nothing asks for: where words precede speech, after them."""
    budget, frames_in = config.live.text_image_rows_per_step, config.audio.frames_in
    batch = Batch.from_samples([
        live_sample(make_timeline(config, n, n).rows(), budget, frames_in, model.vocabulary)
        for n in (3, 9, 6)
    ])  # fmt: skip
    steps = int(batch.rows.step.max(1).values.sum())
    assert int(batch.opens_text().sum()) == int(batch.opens_audio().sum()) == steps
    silent = batch.audio_target[:, 0] == config.audio.codebook_size
    assert 0 < int(silent[batch.opens_audio()].sum()) < steps
    losses = model.losses(batch, turn_weight=2.0)
    hidden = model.hidden(batch)
    right = []
    for head, at, target, opens in (
        (model.text_image_head, batch.text_at, batch.text_target == config.text_image_vocab_size,
         batch.opens_text()),
        (model.audio_head.sub_heads[0], batch.audio_at, silent, batch.opens_audio()),
    ):  # fmt: skip
        silence = head(hidden[at[opens]]).softmax(-1)[:, -1]
        right.append(torch.where(target[opens], silence, 1 - silence).log().mean())
    torch.testing.assert_close(losses["turn"], -right[0] - right[1], rtol=1e-4, atol=1e-5)
    parts = losses["text_image"] + losses["audio"] + 2 * losses["turn"]
    torch.testing.assert_close(losses["loss"], parts)
    assert set(model.losses(batch)) == set(losses) - {"turn"}


@torch.no_grad()
def test_position_time_and_flag_have_their_own_places(config: OmniConfig, model: Omni) -> None:
    rows = make_timeline(config, 3, 0).rows()
    sizes = config.model
    assert sizes.d_token + sizes.d_position + sizes.d_time + 1 == sizes.d_model
    plain = model.embedding(RowTensors.from_rows([rows]))
    moved = model.embedding(RowTensors.from_rows([rows.shifted(steps=1, positions=0)]))
    along = model.embedding(RowTensors.from_rows([rows.shifted(steps=0, positions=1)]))
    edges = np.cumsum([sizes.d_token, sizes.d_position, sizes.d_time]).tolist()

    def changed(other: Tensor) -> list[bool]:
        parts = torch.tensor_split(plain - other, edges, dim=-1)
        return [bool(part.abs().max() > 0) for part in parts]  # token, position, time, flag

    assert changed(moved) == [False, False, True, False]
    assert changed(along) == [False, True, False, False]
    assert torch.equal(plain[0, :, -1], torch.from_numpy(rows.flag).float())


@torch.no_grad()
def test_an_audio_row_is_the_sum_of_its_codes(config: OmniConfig, model: Omni) -> None:
    """The one-hots of all codebooks, flattened, through one linear map."""
    rows = make_timeline(config, 2, 0).rows()
    audio, d_token = config.audio, config.model.d_token
    index = int(np.flatnonzero(rows.modality == Modality.AUDIO)[0])
    hot = torch.zeros(audio.num_codebooks, audio.codebook_size)
    hot[torch.arange(audio.num_codebooks), torch.from_numpy(rows.tokens[index]).long()] = 1
    expected = hot.flatten() @ model.embedding.audio.weight
    given = model.embedding(RowTensors.from_rows([rows]))[0, index, :d_token]
    torch.testing.assert_close(given, expected)


def test_a_batch_shares_no_memory_with_its_tables(config: OmniConfig) -> None:
    """Not even of one table alone, whose columns are already of the right type."""
    rows = make_timeline(config, 2, 0).rows()
    wide = Rows(*(getattr(rows, field.name).astype(np.int64) for field in fields(Rows)))
    place = np.arange(len(rows))
    batch = RowTensors.from_rows([wide], [place])
    for made, given in ((batch.tokens, wide.tokens), (batch.position, wide.position),
                        (batch.step, wide.step), (batch.place, place)):  # fmt: skip
        assert np.array_equal(made[0], given) and not np.shares_memory(made.numpy(), given)


@torch.no_grad()
def test_hours_later_nothing_runs_out(config: OmniConfig, model: Omni) -> None:
    rows = make_timeline(config, 3, 0).rows().shifted(steps=10**6, positions=10**8)
    assert model(RowTensors.from_rows([rows])).isfinite().all()


def test_queries_keys_and_values_have_one_dtype(
    config: OmniConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though norms are float32 under a GPU's autocast, where a CPU's are not."""
    norm = F.rms_norm
    monkeypatch.setattr(F, "rms_norm", lambda x, *sizes, **more: norm(x.float(), *sizes, **more))
    with torch.autocast("cpu", torch.bfloat16):
        made = Attention(config.model)._project(torch.randn(1, 3, config.model.d_model), None)
    assert {x.dtype for x in made} == {torch.bfloat16}

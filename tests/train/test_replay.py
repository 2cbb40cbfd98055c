"""What is replayed are the losses and gradients of every batch, whatever came before.

On the CPU, where in the place of a graph everything is run again; a GPU's own are held to the CPU's
in `tests/model/test_gpu.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_timeline

from quintet.model.omni import Batch, Omni
from quintet.timeline.targets import NOT_ASKED, Sample, live_sample
from quintet.train import replay
from quintet.train.replay import Replay


def _without_a_gpu(run: Callable[[], Any], pool: Any) -> tuple[Any, Callable[[], None]]:
    made = run()

    def again() -> None:
        for place, value in zip(made.values(), run().values(), strict=True):
            place.copy_(value)

    return made, again


def _batch(model: Omni, lengths: tuple[int, ...], speaks: bool = True) -> Batch:
    config = model.config
    samples = []
    for steps in lengths:
        sample = live_sample(
            make_timeline(config, steps, steps).rows(), config.live.text_image_rows_per_step,
            config.audio.frames_in, model.vocabulary,
        )  # fmt: skip
        if not speaks:  # nothing is asked of the audio head
            silent = np.full_like(sample.audio_target, NOT_ASKED)
            sample = Sample(sample.rows, sample.text_target, silent)
        samples.append([sample])
    return Batch.from_lines(samples, window_steps=3, multiple=64).filled(64).masked()


def _gradients(model: Omni) -> dict[str, torch.Tensor | None]:
    return {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def test_every_batch_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes that come again, with other numbers; and one that asks nothing of a head."""
    monkeypatch.setattr(replay, "capture", _without_a_gpu)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    model = make_model(make_config()).train()
    replayed = Replay(model, lambda batch: model.losses(batch, 4.0, 2.0))
    shapes = set()
    for lengths, speaks in (((5, 6), True), ((6, 4), True), ((3, 9), True), ((5, 6), False),
                            ((9, 3), True)):  # fmt: skip
        batch = _batch(model, lengths, speaks)
        stale = {name: p.grad for name, p in model.named_parameters()}
        model.zero_grad(set_to_none=True)
        expected = model.losses(batch, 4.0, 2.0)
        expected["loss"].backward()
        gradients = _gradients(model)
        for name, parameter in model.named_parameters():
            parameter.grad = stale[name]  # as the batch before left them
        losses = replayed(batch)
        for parameter, own in zip(replayed.parameters, replayed.gradients, strict=True):
            assert parameter.grad is None or parameter.grad is own  # where a graph writes
        for name, loss in expected.items():
            torch.testing.assert_close(losses[name], loss.detach())
        for name, gradient in _gradients(model).items():
            other = gradients[name]
            assert (gradient is None) == (other is None), name
            if gradient is not None and other is not None:
                torch.testing.assert_close(gradient, other)
        silent = gradients["audio_head.sub_heads.0.weight"] is None
        assert silent == (not speaks)
        shapes.add((batch.rows.step.shape, len(batch.text_at), len(batch.audio_at)))
    assert 1 < len(shapes) == len(replayed.recorded) < 5  # some came again

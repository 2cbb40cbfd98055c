"""The compiled trunk equals PyTorch's operators, whoever is beside a row, on any threads."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_tokenizers
from torch import Tensor

from quintet import compiled
from quintet.config import STEP_SAMPLES, OmniConfig, UserError
from quintet.live.session import Session
from quintet.model import decode, fused
from quintet.model.cache import KVCache
from quintet.model.decode import Trunk, _pieces
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni
from quintet.model.rotary import turns

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
LOOPS = "quintet.tokenizers.loops"
WIDTHS = [(48, 64, 4, 2), (48, 20, 6, 1), (60, 17, 3, 3)]  # d_model, feed-forward, heads, key-value


def _sized(sizes: tuple[int, int, int, int], rotary: bool = True) -> OmniConfig:
    width, feed_forward, heads, shared = sizes
    config = make_config()
    model = replace(
        config.model, d_model=width, d_feed_forward=feed_forward, num_heads=heads,
        num_kv_heads=shared, rotary=rotary,
    )  # fmt: skip
    return replace(config, model=model)


def _session(config: OmniConfig, seed: int, batch: int = 3) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Rows [B, T, D] and which of them are there, turn by turn; some sessions have none."""
    rng = np.random.default_rng(seed)
    for rows in (5, 1, 3, 1, 1, 4, 2):
        x = rng.standard_normal((batch, rows, config.model.d_model)).astype(np.float32)
        lengths = rng.integers(0, rows + 1, batch)
        lengths[rng.integers(batch)] = rows
        yield torch.from_numpy(x), np.arange(rows) < lengths[:, None]


def _extend(
    trunk: Trunk, cache: KVCache, x: Tensor, is_row: np.ndarray, step: int, way: str
) -> Tensor:
    """Rows of one step, the older steps leaving; zeros where there is no row."""
    cache.slide(step - 3, step % cache.batch)
    place = cache.place(np.full(is_row.shape, step), is_row)
    sizes = cache.keys.shape[-1]
    turned = turns(torch.from_numpy(place.order_BT), torch.full(is_row.shape, step), sizes)
    with torch.no_grad():
        hidden: Tensor = getattr(trunk, way)(x, cache, place, turned)
    return hidden * torch.from_numpy(is_row)[..., None]


@pytest.mark.parametrize("sizes", WIDTHS, ids=str)
def test_the_few_equal_the_many(sizes: tuple[int, int, int, int]) -> None:
    """Sessions of different lengths, with holes where a window left, and rows that are nobody's."""
    config = _sized(sizes)
    trunk = Trunk.of(make_model(config).transformer)
    caches = [KVCache(config.model, 40, batch=3) for _ in range(2)]
    for step, (x, is_row) in enumerate(_session(config, seed=sizes[0])):
        few = _extend(trunk, caches[0], x, is_row, step, "_extend_by_few")
        many = _extend(trunk, caches[1], x, is_row, step, "_extend_by_many")
        torch.testing.assert_close(few, many, **CLOSE)
    for one, other in ((caches[0].keys, caches[1].keys), (caches[0].values, caches[1].values)):
        held = torch.from_numpy(caches[0].order >= 0)[:, None, :, None]
        torch.testing.assert_close(one[..., :-1, :] * held, other[..., :-1, :] * held, **CLOSE)


@pytest.mark.parametrize("rotary", [True, False])
def test_a_session_takes_the_compiled_way_and_equals_training(
    rotary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _sized(WIDTHS[0], rotary)
    model, rng = make_model(config), np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(300, size=(1, 9, config.audio.num_codebooks)))
    count = torch.arange(9)[None]
    rows = RowTensors(tokens, torch.zeros(1, 9, dtype=torch.bool), count, count // 3,
                      torch.zeros(1, 9), count)  # fmt: skip
    monkeypatch.setattr(Trunk, "_extend_by_many", None)
    cache = KVCache(config.model, 40)
    pieces = [rows.take(slice(None), torch.arange(a, b)) for a, b in ((0, 4), (4, 5), (5, 9))]
    heard = torch.cat([model(piece, cache=cache) for piece in pieces], dim=1)
    torch.testing.assert_close(heard, model(rows).detach(), **CLOSE)


@pytest.mark.parametrize("threads", [1, 3])
def test_who_is_beside_a_row_and_how_many_threads_there_are_changes_nothing(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _sized(WIDTHS[0])
    trunk = Trunk.of(make_model(config).transformer)
    monkeypatch.setattr(decode, "WORTH", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    together, alone = KVCache(config.model, 40, 3), KVCache(config.model, 40, 3)
    for step, (x, is_row) in enumerate(_session(config, seed=5)):
        hidden = _extend(trunk, together, x, is_row, step, "_extend_by_few")
        for b in range(3):
            only = is_row & (np.arange(3)[:, None] == b)
            mine = _extend(trunk, alone, x, only, step, "_extend_by_few")
            assert torch.equal(mine[b], hidden[b])


def test_pieces_are_whole_sessions_of_like_size() -> None:
    def cut(lengths: list[int], count: int) -> list[int]:
        pieces = _pieces(np.repeat(np.arange(len(lengths)), lengths), count)
        assert pieces[0].start == 0 and pieces[-1].stop == sum(lengths)
        return [piece.stop - piece.start for piece in pieces]

    assert cut([1] * 8, 2) == [4, 4]
    assert cut([3, 3, 3, 3], 3) == [6, 3, 3]
    assert cut([9], 4) == [9]
    assert cut([5, 1], 0) == [6] and cut([5, 1], 1) == [6]
    assert _pieces(np.zeros(0, np.int64), 2) == _pieces(np.zeros(0, np.int64), 1) == []


@compiled.compiled
def _exponentials(x):
    for i in range(len(x)):
        x[i] = compiled.exp(x[i])


def test_exponentials() -> None:
    x = np.linspace(-87, 87, 10_001, dtype=np.float32)
    made = np.append(x, [fused.UNSEEN, np.float32(-1e3)]).astype(np.float32)
    _exponentials(made)
    np.testing.assert_allclose(made[:-2], np.exp(x.astype(np.float64)), rtol=1e-5)
    near = np.abs(x) < 1
    np.testing.assert_allclose(made[:-2][near], np.exp(x[near].astype(np.float64)), rtol=4e-7)
    assert made[-2] == 0 and made[-1] < 1e-37


def test_what_a_session_takes_is_compiled_before_its_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = _sized(WIDTHS[0])
    model = make_model(config)
    monkeypatch.delitem(sys.modules, LOOPS, raising=False)
    session = Session(model, make_tokenizers(config))
    assert model.trunk is not None and LOOPS in sys.modules
    compiled = len(fused.extend_layer.signatures)
    for text in (None, "draw a cat.", None):
        session.step(np.zeros(STEP_SAMPLES, np.float32), np.zeros((12, 12, 3), np.uint8), text)
    assert len(fused.extend_layer.signatures) == compiled == 1


def test_what_cannot_be_kept_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Trunk, "extend", full)
    with pytest.raises(UserError, match=r"No space left on device.*NUMBA_CACHE_DIR"):
        make_model(make_config()).prepare()


def test_large_gates_and_scores_and_numbers_that_are_none() -> None:
    config = _sized(WIDTHS[0])
    model = make_model(config)
    block = model.transformer.layers[0]
    with torch.no_grad():
        block.feed_forward.gate.weight.mul_(300)
        block.attention.query_norm.weight.mul_(100)
    heard = [_first_row(model, "_extend_by_few"), _first_row(model, "_extend_by_many")]
    torch.testing.assert_close(*heard, **CLOSE)
    with torch.no_grad():
        block.attention.query_norm.weight[0] = torch.nan
    assert _first_row(model, "_extend_by_few").isnan().any()


def _first_row(model: Omni, way: str) -> Tensor:
    """Of three rows, hidden [1, 3, D]."""
    trunk, cache = Trunk.of(model.transformer), KVCache(model.config.model, 8)
    x = torch.randn(1, 3, model.config.model.d_model, generator=torch.Generator().manual_seed(0))
    return _extend(trunk, cache, x, np.ones((1, 3), bool), 0, way)


def _halved(model: Omni) -> None:
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.mul_(0.5)


def _copied(model: Omni) -> Omni:
    copied = copy.deepcopy(model)
    assert copied.trunk is None  # or the weights would be copied twice
    return copied


def _converted(model: Omni) -> Omni:
    model.transformer.to(torch.bfloat16).to(torch.float32)
    return model


def _shared(model: Omni) -> Omni:
    return model.share_memory()


def _replaced(model: Omni) -> Omni:
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


@pytest.mark.parametrize("moved", [_copied, _converted, _shared, _replaced])
def test_weights_that_were_moved_are_those_of_the_next_row(moved: Callable[[Omni], Omni]) -> None:
    """After a session took them where they were."""
    config = _sized(WIDTHS[0])
    zero = torch.zeros(1, 1, dtype=torch.long)
    row = RowTensors(torch.zeros(1, 1, config.audio.num_codebooks, dtype=torch.long), zero > 0,
                     zero, zero, torch.zeros(1, 1), zero)  # fmt: skip

    def heard(model: Omni) -> Tensor:
        return model(row, cache=KVCache(config.model, 8)).detach()

    model = make_model(config)
    first = heard(model)
    model = moved(model)
    torch.testing.assert_close(heard(model), first, rtol=0.1, atol=0.1)
    _halved(model)
    torch.testing.assert_close(heard(model), model(row).detach(), **CLOSE)


def test_two_threads_may_take_the_first_row_at_once() -> None:
    config = _sized(WIDTHS[0])
    for _ in range(4):
        trunk = Trunk.of(make_model(config).transformer)
        start = threading.Barrier(3)

        def first(trunk: Trunk = trunk, start: threading.Barrier = start) -> Tensor:
            cache, x = KVCache(config.model, 8), torch.ones(1, 1, config.model.d_model)
            start.wait()
            return _extend(trunk, cache, x, np.ones((1, 1), bool), 0, "_extend_by_few")

        with ThreadPoolExecutor() as pool:
            made = [future.result() for future in [pool.submit(first) for _ in range(3)]]
        assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])
        assert torch.equal(first_alone(trunk, config), made[0])


def first_alone(trunk: Trunk, config: OmniConfig) -> Tensor:
    cache, x = KVCache(config.model, 8), torch.ones(1, 1, config.model.d_model)
    return _extend(trunk, cache, x, np.ones((1, 1), bool), 0, "_extend_by_few")


def test_a_cache_of_another_preset_is_refused() -> None:
    """Before anything is written beyond its memory."""
    model, other = make_model(_sized(WIDTHS[0])), _sized(WIDTHS[2])
    trunk, x = Trunk.of(model.transformer), torch.zeros(1, 1, model.config.model.d_model)
    with pytest.raises(AssertionError, match="another cache"):
        _extend(trunk, KVCache(other.model, 8), x, np.ones((1, 1), bool), 0, "_extend_by_few")

"""The nearest-code search against its definition, however the vectors and codes are cut."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from quintet.compiled import byte_products
from quintet.compiled.threads import side_by_side
from quintet.tokenizers import byte_loops, byte_search, screens, search
from quintet.tokenizers.byte_search import ByteSearch
from quintet.tokenizers.quantize import VectorQuantizer
from quintet.tokenizers.screens import FloatScreen, RoundedScreen
from quintet.tokenizers.search import CodeIndex

FIRST = {
    "float32": FloatScreen,
    "rounded": RoundedScreen,
    "bytes": FloatScreen,
    "both": RoundedScreen,
}


@pytest.fixture(params=["whole", *FIRST])
def small(request, monkeypatch) -> str:
    """Small blocks, so that borders are crossed; each way, whatever the processor is."""
    monkeypatch.setattr(search, "FEW_NUMBERS", 2**40 if request.param == "whole" else 0)
    monkeypatch.setattr(search, "VECTORS", 48)
    monkeypatch.setattr(byte_search, "VECTORS", 40)
    monkeypatch.setattr(byte_search, "CODES", 300)
    monkeypatch.setattr(search, "BOUNDS", 2**14)
    monkeypatch.setattr(screens, "CODES", 300)
    monkeypatch.setattr(search, "PAIRS", 100)
    monkeypatch.setattr(search, "ROUNDED_CODES", 2**40 if request.param == "float32" else 1)
    monkeypatch.setattr(search, "STREAMED", 60)
    rounded, in_bytes = request.param != "bytes", request.param in ("bytes", "both")
    monkeypatch.setattr(search, "rounded_products_are_fast", lambda device: rounded)
    monkeypatch.setattr(search, "byte_products_are_fast", lambda device: in_bytes)
    return request.param


def brute(vectors_ND: Tensor, codes_KD: Tensor) -> Tensor:
    """By definition, in float64: equal to ours unless two distances differ by under 1e-13."""
    rows = [(row - codes_KD.double()).square().sum(1).argmin() for row in vectors_ND.double()]
    return torch.stack(rows) if rows else torch.zeros(0, dtype=torch.long)


def trained_like(count: int, width: int) -> Tensor:
    """Few dimensions bent into many, a little noise, far from 0; a tenth is nearly silent."""
    hidden = torch.randn(count, 6)
    made = torch.tanh(hidden @ torch.randn(6, 32)) @ torch.randn(32, width) / 6
    made = made + 0.03 * torch.randn(count, width) + 2
    made[::10] = made[0] + 1e-3 * torch.randn(len(made[::10]), width)
    return made


@pytest.mark.parametrize("width", [1, 8, 33, 128])
@pytest.mark.parametrize("kind", ["noise", "trained", "residual", "outliers"])
def test_equals_the_definition(small: str, width: int, kind: str) -> None:
    torch.manual_seed(width)
    both = (
        torch.randn(1_203, width) if kind in ("noise", "outliers") else trained_like(1_203, width)
    )
    codes, vectors = both[:1_003], both[1_003:]
    if kind == "residual":
        codes, vectors = (p - both[:50][brute(p, both[:50])] for p in (codes[50:], vectors))
    if kind == "outliers":
        codes[::100] *= 1e3
        vectors[::7] *= 1e3
    index = CodeIndex(codes)
    assert bool(index.whole) == (small == "whole")
    if not index.whole:
        assert type(index.screens[0]) is FIRST[small]
        assert (type(index.in_bytes) is ByteSearch) == (small in ("bytes", "both"))
    assert torch.equal(index.nearest(vectors), brute(vectors, codes))


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e-5, 1e5, 1e15, 1e25])
def test_any_scale(small: str, scale: float) -> None:
    torch.manual_seed(0)
    codes, vectors = torch.randn(300, 16) * scale, torch.randn(60, 16) * scale
    assert torch.equal(CodeIndex(codes).nearest(vectors), brute(vectors, codes))
    assert torch.equal(CodeIndex(codes).nearest(vectors * 1e8), brute(vectors * 1e8, codes))


@pytest.mark.parametrize("make", [FloatScreen, RoundedScreen])
@pytest.mark.parametrize("count", [2_048, 2_041])
def test_bounds_are_below_the_distances(make: type, count: int) -> None:
    torch.manual_seed(0)
    codes, vectors = trained_like(count, 128), trained_like(64, 128)
    none = torch.zeros(count, dtype=torch.bool)
    screen = make(codes) if make is FloatScreen else make(codes, none)
    block = screen.prepare(vectors)
    bounds_KN = torch.empty(count, 64, dtype=screen.dtype)
    screen.bounds(0, count, block, bounds_KN)
    square_KN = (codes.double()[:, None] - vectors.double()).square().sum(2)
    for code in (0, 7, 100, count - 1):  # whose distance as a limit it does not exceed
        passes_KN = ~(bounds_KN > screen.limit(square_KN[code], block))
        assert passes_KN[square_KN <= square_KN[code]].all()
    few_KN = ~(bounds_KN > screen.limit(square_KN.amin(0), block))
    assert few_KN.sum() < 0.2 * count * 64  # or it would drop nothing


@pytest.mark.parametrize("kind", ["whole numbers", "trained"])
def test_bounds_from_bytes_are_below_the_distances(kind: str) -> None:
    """Of every pair, with what float32 may add; for whole numbers nothing is lost in bytes, so
    that nothing else is between them."""
    torch.manual_seed(0)
    if kind == "trained":
        codes, vectors = trained_like(300, 128), trained_like(60, 128)
    else:
        half, vectors = torch.randint(-127, 128, (210, 128)).float().split([150, 60])
        half[:, 0], vectors[:, 0] = 127.0, 127.0  # a step is one
        codes, vectors[0] = torch.cat([half, -half]), half[5]  # their mean is zero
    index = ByteSearch(codes, torch.zeros(300, dtype=torch.bool))
    rows_NE, starts_N = np.zeros((60, 128), np.int8), np.zeros(60, np.int32)
    own_5N, crowded_N = np.zeros((5, 60), np.float32), np.zeros(60, bool)
    byte_loops.to_bytes(vectors.numpy(), index.center_D, rows_NE, starts_N, own_5N, crowded_N)
    places = index.codes
    step_G, _, longest_G, error_G = places.of_groups_4G
    sums_S, near, pairs = np.zeros(32, np.int32), 0, 0
    for g, n in itertools.product(range(len(places.codes_GX)), range(60)):
        byte_products.products(places.codes_GX[g], rows_NE[n], starts_N[n:], sums_S)
        for place in range(32 * g, min(32 * g + 32, 300)):
            difference = codes[places.code_K[place]].double() - vectors[n].double()
            square = float(difference.square().sum())
            half, product = places.half_K[place], sums_S[place % 32]
            given = (step_G[g], longest_G[g], error_G[g], own_5N, n)
            bound = byte_loops.bound_of(half, product, *given)
            assert bound <= byte_loops.limit_of(square, 128, own_5N[4, n], places.largest)
            near, pairs = near + (bound > 0.3 * square), pairs + 1
    assert near > 0.5 * pairs  # or it would drop nothing


def test_a_crowd_is_left_to_the_next_screen() -> None:
    """Rather than compared one by one, which would take as long as no screen at all."""
    codes = torch.randn(8) + 1e-6 * torch.randn(2_000, 8)
    codes[:500] = 5 * torch.randn(500, 8)
    index = ByteSearch(codes, torch.zeros(2_000, dtype=torch.bool))
    _, crowded = index.nearest(torch.stack([codes[-1], codes[0]]))
    assert crowded.tolist() == [True, False]


def test_threads_share_the_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, vectors = torch.randn(2_000, 16), torch.randn(25, 16)
    index, shared = ByteSearch(codes, torch.zeros(2_000, dtype=torch.bool)), []
    alone = index.nearest(vectors)[0]

    def note(jobs: list) -> list:
        shared.append(len(jobs))
        return side_by_side(jobs)

    monkeypatch.setattr(byte_search, "WORTH", 1)
    monkeypatch.setattr(byte_search, "side_by_side", note)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(index.nearest(vectors)[0], alone) and set(shared) == {3}
    assert torch.equal(alone, brute(vectors, codes))


def test_vectors_of_another_width_are_refused(small: str) -> None:
    index = CodeIndex(torch.randn(500, 8))
    for width in (4, 16):
        with pytest.raises(ValueError, match="not as wide"):
            index.nearest(torch.randn(3, width))


def test_equal_codes_give_the_lowest_index(small: str) -> None:
    torch.manual_seed(0)
    codes = torch.randn(40, 8).repeat(25, 1)  # K = 1,000
    vectors = torch.cat([torch.randn(100, 8), codes[:40]])
    ids = CodeIndex(codes).nearest(vectors)
    assert torch.equal(ids, brute(vectors, codes)) and ids.max() < 40
    assert not CodeIndex(torch.zeros(1_000, 8)).nearest(vectors).any()
    mirrored = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert CodeIndex(mirrored).nearest(torch.zeros(3, 2)).tolist() == [1, 1, 1]


def test_alone_or_in_a_batch_the_same(small: str) -> None:
    torch.manual_seed(0)
    both = trained_like(1_500, 64)
    codes, vectors = both[:1_000], both[1_000:]
    vectors[:200] = (codes[:200] + codes[200:400]) / 2  # between two codes, to the last bits
    index = CodeIndex(codes)
    whole = index.nearest(vectors)
    for size in (1, 19, 75):
        assert torch.equal(torch.cat([index.nearest(p) for p in vectors.split(size)]), whole)


def test_odd_inputs(small: str) -> None:
    torch.manual_seed(0)
    codes, vectors = torch.randn(500, 8), torch.randn(8, 60)
    index = CodeIndex(codes)
    assert index.nearest(vectors[:0].reshape(0, 8)).shape == (0,)
    assert torch.equal(index.nearest(vectors.T), index.nearest(vectors.T.contiguous()))
    assert torch.equal(
        CodeIndex(codes.T.contiguous().T).nearest(vectors.T), index.nearest(vectors.T)
    )
    half = vectors.T.bfloat16()
    assert torch.equal(index.nearest(half), brute(half, codes))
    broken = index.nearest(torch.tensor([[torch.nan] * 8, [torch.inf] * 8]))
    assert torch.equal(broken, brute(torch.zeros(2, 8), codes))


def test_reduced_precision_of_float32_products_changes_nothing() -> None:
    torch.manual_seed(0)
    codes, vectors = torch.randn(4_096, 64), torch.randn(256, 64)
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    try:
        setting.fp32_precision = "bf16"
        ids = CodeIndex(codes, rounded=False).nearest(vectors)
    finally:
        setting.fp32_precision = before
    assert torch.equal(ids, brute(vectors, codes))


def test_a_changed_codebook_is_searched_anew() -> None:
    torch.manual_seed(0)
    quantizer, vectors = VectorQuantizer(64, 4).eval(), torch.randn(200, 4)

    def check(module: VectorQuantizer) -> None:
        assert torch.equal(module.search(vectors), brute(vectors, module.codebook))

    check(quantizer)
    quantizer.load_state_dict({**quantizer.state_dict(), "codebook": torch.randn(64, 4)})
    check(quantizer)
    quantizer.codebook[3] = vectors[0]
    check(quantizer)
    quantizer.codebook = torch.randn(64, 4)
    check(quantizer)
    quantizer.train()(vectors)
    check(quantizer)
    copies = copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))
    for copied in copies:
        copied.codebook.neg_()
        check(copied)
    with torch.inference_mode():
        check(quantizer)
        quantizer.codebook = torch.randn(64, 4)
        check(quantizer)
        quantizer.codebook.neg_()
        check(quantizer)
    assert set(quantizer.state_dict()) == {"codebook", "cluster_size", "vector_sum", "age"}

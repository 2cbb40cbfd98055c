"""Jobs side by side give what each gives alone, and all have ended when one fails."""

import threading
import time

import pytest
import torch

from quintet.compiled import threads
from quintet.compiled.threads import side_by_side


@pytest.fixture(params=["team", "pool"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """PyTorch's threads, or, where they are not found, our own."""
    if request.param == "pool":
        monkeypatch.setattr(threads, "_openmp", None)
    elif threads._openmp is None:
        pytest.skip("PyTorch's threads are not found here")
    return request.param


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_each_is_done_once(way: str, count: int) -> None:
    done = []

    def job(index: int) -> int:
        done.append(index)
        return 10 * index

    assert side_by_side([lambda i=i: job(i) for i in range(count)]) == [
        10 * i for i in range(count)
    ]
    assert sorted(done) == list(range(count))


def test_two_run_at_once(way: str) -> None:
    meet = threading.Barrier(2, timeout=20)
    first, second = side_by_side([lambda: (meet.wait(), threading.get_ident())[1]] * 2)
    assert first != second and threading.get_ident() in (first, second)


def test_what_one_raises_is_raised_after_all_have_ended(way: str) -> None:
    ended = []

    def fails() -> None:
        raise OSError("of a job")

    def lasts() -> None:
        time.sleep(0.05)
        ended.append(True)

    with pytest.raises(OSError, match="of a job"):
        side_by_side([fails, lasts])
    assert ended == [True]
    with pytest.raises(OSError, match="of a job"):
        side_by_side([lasts, fails])
    assert ended == [True, True]


def test_jobs_may_call_pytorch_and_have_jobs(way: str) -> None:
    x = torch.arange(200_000.0)

    def inner() -> float:
        return float(torch.sin(x).sum())

    def outer() -> list[float]:
        return side_by_side([inner, inner])

    alone = inner()
    for made in side_by_side([outer, outer]):
        assert made == pytest.approx([alone, alone], rel=1e-4)


def test_many_callers_at_once(way: str) -> None:
    made: dict[int, list[int]] = {}

    def caller(number: int) -> None:
        for _ in range(20):
            made[number] = side_by_side([lambda: number, lambda: number + 1])

    callers = [threading.Thread(target=caller, args=(10 * n,)) for n in range(4)]
    for one in callers:
        one.start()
    for one in callers:
        one.join(timeout=60)
    assert made == {10 * n: [10 * n, 10 * n + 1] for n in range(4)}

"""Jobs side by side give what each gives alone, and all have ended when one fails."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from quintet.compiled import threads
from quintet.compiled.threads import side_by_side


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """That of a timer is an interrupt."""
    before = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGVTALRM, before)


@pytest.fixture(params=["team", "pool"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """PyTorch's threads, or, where they are not found, our own."""
    if request.param == "pool":
        monkeypatch.setattr(threads, "_openmp", None)
    elif threads._openmp is None:
        pytest.skip("PyTorch has no such threads here")
    return request.param


def test_pytorchs_threads_are_found() -> None:
    expected = sys.platform == "linux" and torch.backends.openmp.is_available()
    assert (threads._openmp is not None) == expected


def test_no_thread_is_started_that_pytorch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    if threads._openmp is None or not os.path.isdir("/proc/self/task"):
        pytest.skip("PyTorch has no such threads here, or the system does not tell which")
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        x, met = torch.arange(4_000_000.0), set()
        for _ in range(5):
            torch.sin(x)
            there = set(os.listdir("/proc/self/task"))
            side_by_side([lambda: met.add(str(threading.get_native_id()))] * 3)
            torch.sin(x)
            assert met <= there and set(os.listdir("/proc/self/task")) == there
        assert len(met) == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_is_never_lost_with_a_job() -> None:
    """It comes while nobody could catch it, too."""
    if threads._openmp is None:
        pytest.skip("PyTorch has no such threads here")
    interrupts = 0
    until = time.monotonic() + 20
    while interrupts < 30 and time.monotonic() < until:
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, 2e-4 * (1 + interrupts % 7))
            for _ in range(200):
                made = side_by_side([lambda: sum(range(300)) > 0] * 2)
                assert made == [True, True]
        except KeyboardInterrupt:
            interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    assert interrupts == 30


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


@pytest.mark.skipif("OMP_THREAD_LIMIT" in os.environ, reason="there may be one thread only")
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

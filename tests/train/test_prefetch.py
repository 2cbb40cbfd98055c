"""Batches made ahead: the same ones, in order, and no thread stays."""

from __future__ import annotations

import threading
import time

import pytest

from quintet.train.prefetch import Prefetch


def test_batches_come_in_order_from_another_thread() -> None:
    makers = set()

    def make(step: int) -> int:
        makers.add(threading.get_ident())
        return step * step

    with Prefetch(make, 3, 9) as ahead:
        assert [ahead.take() for _ in range(3, 9)] == [step * step for step in range(3, 9)]
    assert makers and threading.get_ident() not in makers


def test_they_are_made_while_the_training_works() -> None:
    made = threading.Semaphore(0)
    with Prefetch(lambda step: made.release(), 0, 10):
        for _ in range(2):  # none was taken
            assert made.acquire(timeout=10)


def test_what_goes_wrong_is_told_where_the_batch_is_taken() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise ValueError("a shard is damaged")
        return step

    with Prefetch(make, 0, 5) as ahead:
        assert ahead.take() == 0
        with pytest.raises(ValueError, match="a shard is damaged"):
            ahead.take()


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_no_thread_stays_wherever_the_training_ends(taken: int) -> None:
    before = threading.active_count()
    with Prefetch(lambda step: time.sleep(0.001), 0, 5) as ahead:
        for _ in range(taken):
            ahead.take()
    assert threading.active_count() == before

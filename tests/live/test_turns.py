"""Turn mode tells its words while it writes them."""

from __future__ import annotations

import numpy as np
import pytest

import quintet


@pytest.mark.parametrize("order", ["say banana.", "draw a cat."])
def test_words_that_are_told_are_those_of_the_reply(order: str) -> None:
    model, told = quintet.load("nano"), list[str]()
    messages: list[dict[str, object]] = [{"role": "user", "content": order}]
    reply = model.chat(messages, seed=1, tell=told.append)
    assert "".join(told) == reply.text and len(told) > 1
    silent = model.chat(messages, seed=1)
    assert silent.text == reply.text and np.array_equal(silent.audio, reply.audio)

"""What asks nothing, or too much, gets one sentence with the remedy."""

from __future__ import annotations

import numpy as np
import pytest

import quintet
from quintet.config import MAX_TEXT_TOKENS, STEP_SAMPLES, UserError
from quintet.live.inputs import too_long
from quintet.live.talk import MAX_TEXT

PICTURE = np.full((48, 48, 3), 200, np.uint8)
SILENCE = np.zeros(STEP_SAMPLES, np.float32)


@pytest.fixture(scope="module")
def model() -> quintet.Quintet:
    return quintet.load("nano")


@pytest.mark.parametrize("parts", [[PICTURE], [PICTURE, ""], [" \n", PICTURE, PICTURE]])
def test_a_picture_alone_asks_nothing(parts: list[object], model: quintet.Quintet) -> None:
    with pytest.raises(UserError, match=r"^A picture alone .* such as: what is this\?$"):
        model.chat([{"role": "user", "content": parts}])
    asked = [{"role": "user", "content": [*parts, "what is this?"]}]
    assert model.chat(asked).text.startswith("This is")


def test_a_picture_may_stand_alone_before_the_question(model: quintet.Quintet) -> None:
    messages: list[dict[str, object]] = [
        {"role": "user", "content": [PICTURE]}, {"role": "user", "content": "draw a cat."}
    ]  # fmt: skip
    assert model.chat(messages).counts["image_in"] > 0


@pytest.mark.parametrize(
    "text",
    ["draw a cat. " * 150, "é" * 600, "draw a cat. " * 900, "draw a cat. " * 100 + "猫" * 300],
)
def test_a_long_text_comes_in_parts_that_fit(text: str, model: quintet.Quintet) -> None:
    with pytest.raises(UserError) as told:
        model.talk(text=text)
    assert f"{len(text):,} characters" in str(told.value) and "512 tokens" in str(told.value)
    part = text[-int(str(told.value).split()[-2]) :]
    assert len(model.tokenizers.text.encode(part)) < MAX_TEXT_TOKENS
    out = model.session().step(SILENCE, text=part)
    assert out.counts["text_in"] > len(part) // 8
    with pytest.raises(UserError, match=r"parts of \d+ characters\.$"):
        model.session().step(SILENCE, text=text)


def test_no_text_of_the_greatest_length_fits(model: quintet.Quintet) -> None:
    """The sentence is right whichever of the two limits refuses."""
    for text in ("a" * (MAX_TEXT + 1), "\ud800" * (MAX_TEXT + 1)):  # half a pair has no UTF-8
        assert f"{MAX_TEXT + 1:,} characters" in str(too_long(text))
    for word in ("a", " ", "what is this? ", "one, two, three, "):
        longest = (word * MAX_TEXT)[:MAX_TEXT]
        assert len(model.tokenizers.text.encode(longest)) > MAX_TEXT_TOKENS

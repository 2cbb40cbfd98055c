"""What an answer cost is told in rows of the model, by kind, in the words of each API."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake import FakeModel
from openai import OpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.realtime import RealtimeResponseUsage
from running import RunningServer
from scripted_output import silent, speaking
from talk import Talk

from quintet.live import load
from quintet.live.session import StepOutput


def read(**counts: int) -> StepOutput:
    return silent(counts=silent().counts | counts)


def test_a_response_counts_what_was_read_for_it_and_written() -> None:
    talk = Talk(input={"turn_detection": None})
    for question, rows in (("hello", 4), ("and now?", 7)):
        talk.write(question)
        talk.dialogue.respond(None, None)
        talk.step(
            read(text_in=rows, audio_in=5), read(image_in=64, audio_in=5),
            speaking("hi there"), speaking("", ended=True), silent(), silent(),
        )  # fmt: skip
        usage = talk.last("response.done")["response"]["usage"]
        checked = RealtimeResponseUsage.model_validate(usage, strict=True)
        assert not checked.model_extra
        assert usage["input_token_details"] == {
            "text_tokens": rows, "audio_tokens": 10, "image_tokens": 64, "cached_tokens": 0
        }  # fmt: skip
        assert usage["output_token_details"] == {"text_tokens": 2, "audio_tokens": 6}
        assert usage["input_tokens"] == rows + 74 and usage["output_tokens"] == 8
        assert usage["total_tokens"] == rows + 82


@pytest.fixture
def client() -> Any:
    server = RunningServer(FakeModel())
    with OpenAI(api_key="any", base_url=server.address + "v1", max_retries=0) as client:
        yield client
    server.stop()


def check(usage: CompletionUsage | None) -> None:
    assert usage is not None
    CompletionUsage.model_validate(usage.model_dump(), strict=True)
    prompt, written = usage.prompt_tokens_details, usage.completion_tokens_details
    assert prompt and written and not prompt.model_extra and not written.model_extra
    assert (prompt.text_tokens, prompt.image_tokens, prompt.audio_tokens) == (3, 64, 5)
    assert (written.text_tokens, written.audio_tokens) == (4, 6)
    assert usage.prompt_tokens == 72 and usage.completion_tokens == 10
    assert usage.total_tokens == 82


def test_chat_completions_tell_it_and_streams_at_their_end(client: OpenAI) -> None:
    ask: Any = {"model": "any", "messages": [{"role": "user", "content": "hello"}]}
    check(client.chat.completions.create(**ask).usage)
    chunks: list[ChatCompletionChunk] = list(
        client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    check(chunks[-1].usage)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])
    silent_about_it = list(client.chat.completions.create(**ask, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in silent_about_it)


def test_a_picture_that_a_completion_cannot_hold_is_not_counted_as_words(client: OpenAI) -> None:
    ask: Any = {"model": "any", "messages": [{"role": "user", "content": "draw a cat."}]}
    check(client.chat.completions.create(**ask).usage)


def test_the_bundled_model_counts_its_rows() -> None:
    system = load("nano")
    words = len(system.tokenizers.text.encode("count to three.")) + 1  # and their end
    sound = np.zeros(24_000, np.float32)
    message = {"role": "user", "content": [sound, "count to three."]}
    counts = system.chat([message]).counts
    assert counts["text_in"] == words and counts["text_out"] > 3
    assert counts["audio_in"] == 4 * system.config.audio.frames_in(0)

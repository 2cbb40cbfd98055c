"""What a client may add to a conversation, and what of it is kept: never more than has room."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from talk import Talk

from quintet.serve.api.problems import RequestError
from quintet.serve.realtime import items
from quintet.serve.realtime.items import ROOT, Conversation, Item, parse_item
from quintet.serve.rest import chat_api
from quintet.serve.rest.chat_api import read_messages


def _said(text: str) -> Item:
    content = [{"type": "output_text", "text": text}]
    return parse_item({"type": "message", "role": "assistant", "content": content})


def _picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (200, 100)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_a_full_conversation_forgets_its_oldest_item_and_not_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(items, "MAX_ITEMS", 3)
    conversation = Conversation()
    first, second, third, fourth, fifth = (_said(text) for text in "12345")
    for item in (first, second, third):
        conversation.add(item)
    assert conversation.add(fourth, ROOT) is None
    assert conversation.items == [fourth, second, third]
    assert conversation.add(fifth) == third.id
    assert conversation.items == [second, third, fifth]


def test_words_have_a_bound_together_and_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "MAX_WORDS", 250)
    conversation = Conversation()
    for _ in range(9):
        conversation.add(_said("x" * 50))
    assert 0 < len(conversation.items) < 5
    assert sum(item.num_characters for item in conversation.items) <= 250
    call = {"type": "function_call", "name": "f", "arguments": ""}
    for part in ({"arguments": "x" * 100_001}, {"name": "x" * 100_001}, {"call_id": "x" * 100_001}):
        with pytest.raises(RequestError, match="at most 100000 characters"):
            parse_item(call | part)
    with pytest.raises(RequestError, match="at most 100000 characters"):
        _said("x" * 100_001)


def test_small_files_of_large_pictures_are_refused_before_memory_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_api, "MAX_MEDIA", 4 * 200 * 100 * 3)
    part = {"type": "image_url", "image_url": {"url": _picture()}}
    assert len(read_messages([{"role": "user", "content": [part] * 4}])) == 1
    with pytest.raises(RequestError, match="more media than the model can take"):
        read_messages([{"role": "user", "content": [part] * 3}] * 2)


def test_room_is_asked_for_what_waits_and_what_comes() -> None:
    talk = Talk()
    content = [{"type": "input_image", "image_url": _picture()}] * 32
    entries = parse_item({"type": "message", "role": "user", "content": content}).entries
    talk.dialogue.check_room(entries * 2)
    with pytest.raises(RequestError, match="Too much waits"):
        talk.dialogue.check_room(entries * 3)

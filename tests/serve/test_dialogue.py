"""Turns and responses over a model that speaks whenever it likes: without a socket or a clock."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from scripted_output import drawing, silent, speaking
from talk import Talk

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve.api.problems import RequestError
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime.dialogue import (
    ANSWER_STEPS,
    HELD_STEPS,
    MAX_WAITING,
    QUIET_STEPS,
)
from quintet.serve.realtime.items import parse_item
from quintet.serve.realtime.response import DELTAS

LOUD = encode_sound(0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32))
QUIET = encode_sound(np.zeros(STEP_SAMPLES, np.float32))
END = [silent()] * 2  # after its words, an answer is over when it is quiet for so long
PUSH_TO_TALK = {"turn_detection": None}
ANSWER = [
    "response.created", "response.output_item.added", "conversation.item.added",
    "response.content_part.added", "response.output_audio_transcript.delta",
    "response.output_audio.delta", "response.output_audio.done",
    "response.output_audio_transcript.done", "response.content_part.done",
    "conversation.item.done", "response.output_item.done", "response.done",
]  # fmt: skip
TURN = [
    "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed", "conversation.item.added", "conversation.item.done",
]  # fmt: skip


def test_a_typed_question_is_answered_in_order() -> None:
    talk = Talk()
    talk.write("hello")
    assert talk.kinds() == ["conversation.item.added", "conversation.item.done"]
    talk.step()
    assert talk.given == [(False, False, None)]  # it waits to be asked for
    talk.events.clear()
    talk.dialogue.respond({"metadata": {"a": "b"}}, None)
    talk.step(speaking("hi there", ended=True), speaking(), *END)
    assert "hello" in [text for _, _, text in talk.given]
    kinds = talk.kinds()
    assert [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]] == ANSWER
    done = talk.last("response.done")["response"]
    assert done["status"] == "completed" and done["metadata"] == {"a": "b"}
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "hi there"}]
    assert done["usage"]["output_tokens"] == 8
    deltas = [e["delta"] for e in talk.events if e["type"] == "response.output_audio.delta"]
    assert [len(base64.b64decode(delta)) for delta in deltas] == [2 * STEP_SAMPLES] * 2


def test_a_spoken_turn_is_told_and_its_answer_becomes_a_response() -> None:
    talk = Talk()
    talk.hear(*[QUIET] * 4, *[LOUD] * 4, *[QUIET] * 4)
    assert talk.kinds() == TURN
    item_id = talk.events[0]["item_id"]
    assert [e.get("item_id", item_id) for e in talk.events] == [item_id] * 5
    assert abs(talk.events[0]["audio_start_ms"] - 700) <= 20  # 300 ms before the speech
    assert 2_450 <= talk.events[1]["audio_end_ms"] <= 2_600  # and 500 ms after it
    spoken = talk.dialogue.conversation.items[0].parts[0].media["audio"]
    assert 1.3 < len(spoken) / 2 / SAMPLE_RATE < 2.3
    talk.step(speaking("hi", ended=True), *END)
    assert talk.kinds()[5:] == ANSWER


def test_an_answer_before_the_turn_has_ended_waits_for_its_end() -> None:
    talk = Talk()
    talk.dialogue.ears.append(LOUD * 4 + QUIET * 4)
    talk.step(silent(), silent(), silent(), silent(), speaking("hi"))
    assert talk.kinds() == TURN[:1]
    talk.step(speaking("", ended=True), speaking(), *END)
    assert talk.kinds()[:6] == [*TURN, "response.created"]
    audio = [e for e in talk.events if e["type"] == "response.output_audio.delta"]
    assert len(audio) == 3 and talk.last("response.done")["response"]["status"] == "completed"


def test_semantic_turns_end_when_the_model_answers() -> None:
    talk = Talk({"turn_detection": {"type": "semantic_vad"}})
    talk.hear(*[LOUD] * 4, *[QUIET] * 4)
    assert talk.kinds() == TURN[:1]  # a pause is no end
    talk.step(speaking("hi", ended=True), *END)
    assert talk.kinds() == [*TURN, *ANSWER]


def test_semantic_turns_end_at_last_without_an_answer() -> None:
    talk = Talk({"turn_detection": {"type": "semantic_vad", "eagerness": "high"}})
    talk.hear(*[LOUD] * 4, *[QUIET] * 9)
    assert talk.kinds() == TURN


def test_who_begins_to_speak_interrupts() -> None:
    talk = Talk()
    talk.write("hello")
    talk.dialogue.respond(None, None)
    talk.step(speaking("a long story"))
    talk.dialogue.ears.append(LOUD * 3)
    talk.step(speaking(" that"), speaking(" goes"), speaking(" on"))
    started = talk.kinds().index("input_audio_buffer.speech_started")
    done = talk.last("response.done")["response"]
    assert done["status"] == "cancelled" and done["status_details"]["reason"] == "turn_detected"
    assert done["output"][0]["status"] == "incomplete"
    assert not set(talk.kinds()[started:]) & set(DELTAS)  # within the step, and for good
    talk.hear(*[QUIET] * 5)
    talk.step(speaking("what is it?", ended=True), *END)
    assert talk.kinds()[-len(ANSWER) :] == ANSWER
    assert talk.last("response.done")["response"]["status"] == "completed"


def test_interruption_can_be_turned_off() -> None:
    talk = Talk({"turn_detection": {"interrupt_response": False}})
    talk.write("hello")
    talk.dialogue.respond(None, None)
    talk.step(speaking("a"))
    talk.dialogue.ears.append(LOUD * 3)
    talk.step(speaking("b"), speaking("c"), speaking("d", ended=True), *END)
    assert talk.last("response.done")["response"]["status"] == "completed"


def test_push_to_talk_hears_when_it_is_asked() -> None:
    talk = Talk(PUSH_TO_TALK)
    talk.dialogue.ears.append(LOUD * 3)
    talk.step()
    talk.dialogue.commit()
    assert talk.kinds() == TURN[2:]
    talk.step(speaking("unasked", ended=True), *END)
    assert not any(sound for sound, _, _ in talk.given) and len(talk.events) == 3
    talk.dialogue.respond(None, None)
    assert talk.dialogue.hurried
    talk.step(silent(), silent(), silent())
    assert [sound for sound, _, _ in talk.given[-3:]] == [True] * 3
    assert not talk.dialogue.hurried
    talk.step(speaking("hi", ended=True), *END)
    assert talk.kinds()[3:] == ANSWER


def test_an_empty_buffer_cannot_be_committed_but_can_be_cleared() -> None:
    for settings in (PUSH_TO_TALK, {}):
        talk = Talk(settings)
        with pytest.raises(RequestError, match="less than 100 ms") as refused:
            talk.dialogue.commit()
        assert refused.value.code == "input_audio_buffer_commit_empty"
        talk.dialogue.ears.append(LOUD)
        talk.dialogue.clear()
        assert talk.kinds() == ["input_audio_buffer.cleared"]
        with pytest.raises(RequestError):
            talk.dialogue.commit()


def test_silence_before_push_to_talk_is_nothing_to_commit() -> None:
    talk = Talk()
    talk.step(*[silent()] * 3)
    talk.dialogue.update({"type": "realtime", "audio": {"input": PUSH_TO_TALK}})
    with pytest.raises(RequestError) as refused:
        talk.dialogue.commit()
    assert refused.value.code == "input_audio_buffer_commit_empty"


def test_a_file_that_is_committed_at_once_is_a_turn_when_it_was_heard() -> None:
    talk = Talk()
    talk.dialogue.ears.append(LOUD * 6)
    talk.dialogue.commit()
    assert talk.kinds() == []
    talk.step(*[silent()] * 8)
    assert talk.kinds() == TURN
    assert len(talk.dialogue.conversation.items[0].parts[0].media["audio"]) >= 6 * len(LOUD)


def test_an_answer_is_held_until_it_is_asked_for() -> None:
    talk = Talk({"turn_detection": {"create_response": False}})
    talk.hear(*[LOUD] * 4, *[QUIET] * 4)
    talk.step(speaking("hi"), speaking(" you", ended=True), *END)
    assert talk.kinds() == TURN
    talk.dialogue.respond(None, None)
    done = talk.last("response.done")["response"]
    assert done["output"][0]["content"][0]["transcript"] == "hi you"
    talk.step(*[speaking("on")] * (HELD_STEPS + 5))
    assert talk.dialogue.held and len(talk.dialogue.held.steps) == HELD_STEPS


def test_one_response_at_a_time_and_one_that_is_cancelled() -> None:
    talk = Talk()
    talk.write("hello")
    talk.dialogue.respond(None, None)
    with pytest.raises(RequestError) as refused:
        talk.dialogue.respond(None, None)
    assert refused.value.code == "conversation_already_has_active_response"
    talk.step(speaking("one"))
    talk.dialogue.cancel(None)
    done = talk.last("response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    before = len(talk.events)
    talk.step(speaking("two"), speaking("three"), *END)
    assert len(talk.events) == before
    with pytest.raises(RequestError) as refused:
        talk.dialogue.cancel(None)
    assert refused.value.code == "response_cancel_not_active"


def test_a_model_that_says_nothing_ends_the_response() -> None:
    talk = Talk()
    talk.dialogue.respond(None, None)
    talk.step(*[silent()] * (ANSWER_STEPS - 1))
    assert talk.kinds() == ["response.created"]
    talk.step()
    done = talk.last("response.done")["response"]
    assert done["status"] == "completed" and done["output"] == []


def test_an_answer_whose_words_have_no_end_ends_by_silence() -> None:
    talk = Talk()
    talk.dialogue.respond(None, None)
    talk.step(speaking("so"), silent(), silent(), speaking("then"), *[silent()] * QUIET_STEPS)
    assert talk.last("response.done")["response"]["status"] == "completed"
    deltas = [e["delta"] for e in talk.events if e["type"] == "response.output_audio.delta"]
    # The pause of two steps inside the answer is sound, too; the one after it is not.
    assert sum(len(base64.b64decode(delta)) for delta in deltas) == 4 * 2 * STEP_SAMPLES


def test_text_only_responses_end_with_the_words() -> None:
    talk = Talk(output_modalities=["text"])
    talk.write("hello")
    talk.dialogue.respond(None, None)
    talk.step(speaking("hi "), speaking("you", ended=True), speaking(), speaking(), *END)
    kinds = [kind for kind in talk.kinds() if kind.startswith("response.output_")]
    assert kinds == [
        "response.output_item.added", "response.output_text.delta", "response.output_text.delta",
        "response.output_text.done", "response.output_item.done",
    ]  # fmt: skip
    assert talk.last("response.output_text.done")["text"] == "hi you"
    talk.write("again")
    talk.dialogue.respond({"output_modalities": ["audio"]}, None)
    talk.step(speaking("aloud", ended=True), *END)
    assert talk.kinds()[-1] == "response.done"
    assert "response.output_audio.delta" in talk.kinds()


def test_as_many_tokens_as_wanted() -> None:
    talk = Talk(max_output_tokens=3)
    talk.dialogue.respond(None, None)
    talk.step(speaking("one two"), speaking("three"))
    done = talk.last("response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"]["reason"] == "max_output_tokens"


def test_pictures_only_for_who_asked() -> None:
    talk = Talk()
    assert not talk.dialogue.wants_pictures
    talk.dialogue.update({"type": "realtime", "quintet": {"images": True}})
    talk.dialogue.respond(None, None)
    for output in (drawing("Here."), drawing(done=True), *END):
        talk.dialogue.given()
        talk.dialogue.answered(output, "data:..." if output.image is not None else None)
    drawn = [e for e in talk.events if e["type"].startswith("response.output_image")]
    assert [e["type"] for e in drawn] == [
        "response.output_image.delta", "response.output_image.done"
    ]  # fmt: skip


def test_what_was_answered_elsewhere_is_not_asked_again() -> None:
    talk = Talk()
    talk.write("an old question")
    answer = {"type": "message", "role": "assistant",
              "content": [{"type": "output_text", "text": "an old answer"}]}  # fmt: skip
    talk.dialogue.create(parse_item(answer), None)
    talk.write("a new one")
    talk.dialogue.respond(None, None)
    talk.step(*[silent()] * 4)
    assert [text for _, _, text in talk.given if text] == ["a new one"]


def test_items_are_kept_where_the_client_puts_them() -> None:
    talk = Talk()
    talk.write("b", id="item_b")
    talk.dialogue.create(parse_item({"type": "message", "role": "system", "id": "item_a",
                                     "content": []}), "root")  # fmt: skip
    assert talk.last("conversation.item.added")["previous_item_id"] is None
    assert [item.id for item in talk.dialogue.conversation.items] == ["item_a", "item_b"]
    with pytest.raises(RequestError) as refused:
        talk.write("c", id="item_b")
    assert refused.value.code == "item_create_duplicate_item_id"
    talk.dialogue.delete("item_a")
    assert talk.last("conversation.item.deleted")["item_id"] == "item_a"
    with pytest.raises(RequestError) as refused:
        talk.dialogue.retrieve("item_a")
    assert refused.value.code == "item_retrieve_invalid_item_id"


@pytest.mark.parametrize(("asked", "left"), [(100, 100), (99_999, 500), (-5, 0), ("x", 0)])
def test_truncation_clamps(asked: Any, left: int) -> None:
    talk = Talk()
    talk.dialogue.respond(None, None)
    talk.step(speaking("one two"), speaking("", ended=True), *END)
    item_id = talk.last("response.done")["response"]["output"][0]["id"]
    talk.dialogue.truncate(item_id, 0, asked)
    assert talk.last("conversation.item.truncated")["audio_end_ms"] == left
    talk.dialogue.retrieve(item_id)
    content = talk.last("conversation.item.retrieved")["item"]["content"][0]
    assert len(base64.b64decode(content["audio"])) == left * 48
    assert content["transcript"] == ("one two" if left == 500 else "")


def test_turns_are_transcribed_for_who_asked() -> None:
    talk = Talk({"transcription": {"model": "whisper-1"}})
    talk.hear(*[LOUD] * 4, *[QUIET] * 4)
    item, sound = talk.transcribed[0]
    assert item.id == talk.events[0]["item_id"] and len(sound) > 4 * STEP_SAMPLES
    silent_one = Talk()
    silent_one.hear(*[LOUD] * 4, *[QUIET] * 4)
    assert not silent_one.transcribed


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_a_telephone_speaks_and_hears(kind: str) -> None:
    formats = {"format": {"type": kind}}
    talk = Talk(audio={"input": formats | PUSH_TO_TALK, "output": formats})
    talk.dialogue.ears.append(b"\xff\x7f" * 4_000)  # one second at 8 kHz
    talk.dialogue.commit()
    assert len(talk.dialogue.waiting[0]) == SAMPLE_RATE
    talk.dialogue.respond(None, None)
    talk.step(*[silent()] * 4, speaking("hi"), speaking("", ended=True), *END)
    deltas = [e["delta"] for e in talk.events if e["type"] == "response.output_audio.delta"]
    assert sum(len(base64.b64decode(delta)) for delta in deltas) == 4_000  # half a second


def test_a_picture_is_seen_at_once_while_listening_and_else_when_asked() -> None:
    data = base64.b64encode(PICTURE).decode()
    item = {"type": "message", "role": "user", "content": [
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}]}  # fmt: skip
    for settings, seen in (({}, True), (PUSH_TO_TALK, False)):
        talk = Talk(settings)
        talk.dialogue.create(parse_item(item), None)
        talk.step()
        assert talk.given[0][1] == seen
        talk.dialogue.respond(None, None)
        talk.step()
        assert [picture for _, picture, _ in talk.given].count(True) == 1


PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def test_only_so_much_may_wait_for_the_model() -> None:
    talk = Talk(PUSH_TO_TALK)
    with pytest.raises(RequestError) as refused:
        for _ in range(MAX_WAITING + 1):
            talk.write("hello")
    assert refused.value.code == "too_many_items"
    assert len(talk.dialogue.conversation.items) == MAX_WAITING
    loud = Talk(PUSH_TO_TALK)
    with pytest.raises(RequestError):
        for _ in range(10):
            loud.dialogue.ears.append(bytes(250 * 2 * SAMPLE_RATE))
            loud.dialogue.commit()


def test_a_breath_after_the_words_does_not_cut_the_answer() -> None:
    talk = Talk()
    talk.dialogue.respond(None, None)
    talk.step(speaking("one", ended=True), silent(), speaking(), *END)
    assert talk.kinds().count("response.created") == 1
    assert talk.kinds().count("response.output_audio.delta") == 2

"""Events of the Realtime API that the server sends, each with an id of its own."""

from __future__ import annotations

from typing import Any

from quintet.serve.api.ids import new_id
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import Settings
from quintet.serve.realtime.items import Conversation, Item

Event = dict[str, Any]


def event(kind: str, **fields: Any) -> Event:
    return {"type": kind, "event_id": new_id("event"), **fields}


def error(problem: RequestError, client_event_id: str | None) -> Event:
    return event("error", error=problem.body() | {"event_id": client_event_id})


def session(kind: str, settings: Settings, session_id: str, conversation: Conversation) -> Event:
    """`session.created` or `session.updated`."""
    about = {"id": session_id, "object": "realtime.session"}
    return event(kind, session=about | settings.public())


def item(kind: str, one: Item, previous: str | None) -> Event:
    """`conversation.item.added` or `conversation.item.done`."""
    return event(kind, previous_item_id=previous, item=one.public())


def retrieved(one: Item) -> Event:
    return event("conversation.item.retrieved", item=one.public(whole=True))


def deleted(item_id: str) -> Event:
    return event("conversation.item.deleted", item_id=item_id)


def truncated(item_id: str, index: int, end_ms: int) -> Event:
    return event("conversation.item.truncated", item_id=item_id, content_index=index,
                 audio_end_ms=end_ms)  # fmt: skip


def speech_started(item_id: str, start_ms: int) -> Event:
    return event("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=start_ms)


def speech_stopped(item_id: str, end_ms: int) -> Event:
    return event("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=end_ms)


def timeout_triggered(item_id: str, start_ms: int, end_ms: int) -> Event:
    return event("input_audio_buffer.timeout_triggered", item_id=item_id,
                 audio_start_ms=start_ms, audio_end_ms=end_ms)  # fmt: skip


def committed(item_id: str, previous: str | None) -> Event:
    return event("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous)


def cleared() -> Event:
    return event("input_audio_buffer.cleared")


def transcribed(item_id: str, transcript: str, seconds: float) -> list[Event]:
    """The transcript of what was spoken, in one piece."""
    kind, place = "conversation.item.input_audio_transcription", {"content_index": 0}
    usage = {"type": "duration", "seconds": round(seconds, 3)}
    delta = event(f"{kind}.delta", item_id=item_id, delta=transcript, **place)
    completed = event(f"{kind}.completed", item_id=item_id, transcript=transcript, usage=usage,
                      **place)  # fmt: skip
    return [*([delta] if transcript else []), completed]


def transcription_failed(item_id: str, message: str) -> Event:
    return event(
        "conversation.item.input_audio_transcription.failed", item_id=item_id, content_index=0,
        error={"type": "transcription_error", "code": "transcription_failed", "message": message},
    )  # fmt: skip

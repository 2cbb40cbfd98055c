"""The conversation: its items, in order, and what of them the model is given.

A conversation is a record of what was said. The model remembers by itself, as long as its window
reaches; nothing can be taken out of its memory, so that deleting or truncating an item changes the
record alone.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from quintet.config import SAMPLE_RATE, UserError
from quintet.serve.api.formats import SoundDecoder, decode_base64
from quintet.serve.api.ids import new_id
from quintet.serve.api.problems import RequestError
from quintet.serve.protocol import MAX_TEXT, decode_picture, encode_sound, picture_body

MAX_ITEMS = 1_000  # of a conversation; then the oldest go
MAX_MEDIA = 32 * 2**20  # bytes of sound and pictures kept for retrieval; then the oldest go
MAX_WORDS = 16 * 2**20  # characters of a conversation's items together; then the oldest go
MAX_SAID = 100_000  # characters of one field of an item that the model is not given
MAX_DECODED = 64 * 2**20  # bytes of an item's sound and pictures, once decoded
ROOT = "root"  # stands for the beginning where an item's predecessor is named

Said = Annotated[str, Field(max_length=MAX_SAID)]
Entry = str | np.ndarray  # for the model: words, float32 [N] of sound, uint8 [H, W, 3] of a picture


class InputText(BaseModel):
    type: Literal["input_text"]
    text: str = Field(max_length=MAX_TEXT)


class InputAudio(BaseModel):
    type: Literal["input_audio"]
    audio: str | None = None
    transcript: Said | None = None


class InputImage(BaseModel):
    type: Literal["input_image"]
    image_url: str


class OutputText(BaseModel):
    type: Literal["output_text", "text"]
    text: Said = ""


class OutputAudio(BaseModel):
    type: Literal["output_audio"]
    audio: str | None = None
    transcript: Said | None = None


class _UserMessage(BaseModel):
    type: Literal["message"]
    role: Literal["user"]
    id: str | None = Field(default=None, min_length=1, max_length=64)
    content: list[
        Annotated[InputText | InputAudio | InputImage, Field(discriminator="type")]
    ] = Field(min_length=1, max_length=32)  # fmt: skip


class _SystemMessage(BaseModel):
    type: Literal["message"]
    role: Literal["system"]
    id: str | None = Field(default=None, min_length=1, max_length=64)
    content: list[InputText] = Field(max_length=32)


class _AssistantMessage(BaseModel):
    type: Literal["message"]
    role: Literal["assistant"]
    id: str | None = Field(default=None, min_length=1, max_length=64)
    content: list[Annotated[OutputText | OutputAudio, Field(discriminator="type")]] = Field(
        max_length=32
    )


class _FunctionCall(BaseModel):
    type: Literal["function_call"]
    id: str | None = Field(default=None, min_length=1, max_length=64)
    call_id: Said | None = None
    name: Said
    arguments: Said


class _FunctionOutput(BaseModel):
    type: Literal["function_call_output"]
    id: str | None = Field(default=None, min_length=1, max_length=64)
    call_id: Said
    output: Said


_Message = Annotated[_UserMessage | _SystemMessage | _AssistantMessage, Field(discriminator="role")]
_ITEM: TypeAdapter[Any] = TypeAdapter(
    Annotated[_Message | _FunctionCall | _FunctionOutput, Field(discriminator="type")]
)


@dataclass
class Part:
    """A piece of content; sound is PCM16 at 24 kHz, told only to who retrieves the item."""

    fields: dict[str, Any]  # type, and text or transcript
    media: dict[str, str | bytes] = field(default_factory=dict)  # audio, image_url

    def public(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return dict(self.fields)
        told = {
            key: value if isinstance(value, str) else base64.b64encode(value).decode("ascii")
            for key, value in self.media.items()
        }
        return self.fields | told

    @property
    def size(self) -> int:
        return sum(len(value) for value in self.media.values())


@dataclass
class Item:
    """A message, a call of a function, or its output."""

    id: str
    fields: dict[str, Any]  # type, role, and what else stands beside the content
    parts: list[Part] = field(default_factory=list)
    status: str = "completed"
    entries: list[Entry] = field(default_factory=list)  # for the model, until it gets them

    def public(self, whole: bool = False) -> dict[str, Any]:
        """As the events tell it; `whole` with sound and pictures."""
        told = {"id": self.id, "object": "realtime.item", "status": self.status} | self.fields
        if self.fields["type"] == "message":
            told["content"] = [part.public(whole) for part in self.parts]
        return told

    @property
    def num_characters(self) -> int:
        """Of all its words."""
        fields = [self.fields, *(part.fields for part in self.parts)]
        return sum(len(one) for each in fields for one in each.values() if isinstance(one, str))

    @property
    def is_answer(self) -> bool:
        return self.fields.get("role") == "assistant"


def user_sound(item_id: str, sound: np.ndarray) -> Item:
    """What was spoken (float32 [N]), as an item."""
    part = Part({"type": "input_audio", "transcript": None}, {"audio": encode_sound(sound)})
    return Item(item_id, {"type": "message", "role": "user"}, [part])


def parse_item(value: object) -> Item:
    """An item that a client made. Decodes pictures: not for the event loop.

    Raises:
        RequestError: no item, or media that cannot be read.
    """
    try:
        parsed = _ITEM.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(["item", *(str(p) for p in first["loc"] if isinstance(p, int) or
                                    p in ("content", "text", "role", "type", "id"))])  # fmt: skip
        raise RequestError(
            f"Invalid value for '{place}': {first['msg'].lower()}; send another.",
            "invalid_value", place,
        ) from None  # fmt: skip
    fields = parsed.model_dump(exclude={"id", "content"}, exclude_none=True)
    if fields["type"] == "function_call":
        fields.setdefault("call_id", new_id("call"))
    item = Item(parsed.id or new_id("item"), fields)
    for index, part in enumerate(getattr(parsed, "content", [])):
        _add_part(item, part, f"item.content.{index}")
        if sum(one.nbytes for one in item.entries if isinstance(one, np.ndarray)) > MAX_DECODED:
            raise RequestError(
                "The item holds more sound and pictures than the model can take; send fewer.",
                "too_much_media", f"item.content.{index}",
            )  # fmt: skip
    return item


def _add_part(item: Item, part: Any, place: str) -> None:
    gives = item.fields["role"] == "user"
    if isinstance(part, InputText | OutputText):
        kind = "output_text" if isinstance(part, OutputText) else part.type
        item.parts.append(Part({"type": kind, "text": part.text}))
        if gives and part.text.strip():
            # JSON can hold half of a surrogate pair, which no tokenizer can encode.
            item.entries.append(part.text.encode("utf-8", "replace").decode("utf-8"))
        return
    if isinstance(part, InputImage):
        try:
            picture = decode_picture(picture_body(part.image_url))
        except UserError as error:
            raise RequestError(str(error), "invalid_image", f"{place}.image_url") from None
        item.parts.append(Part({"type": part.type}, {"image_url": part.image_url}))
        item.entries.append(picture)
        return
    data = decode_base64(part.audio, f"{place}.audio") if part.audio else b""
    fields = {"type": part.type, "transcript": part.transcript}
    item.parts.append(Part(fields, {"audio": data} if data else {}))
    if gives and len(data) > 1:
        item.entries.append(SoundDecoder().decode(data))


class Conversation:
    """The items in order."""

    def __init__(self) -> None:
        self.id = new_id("conv")
        self.items: list[Item] = []

    def find(self, item_id: object, code: str) -> Item:
        """That item.

        Raises:
            RequestError: there is none, with `code`.
        """
        for item in self.items:
            if item.id == item_id:
                return item
        raise RequestError(f"There is no item {item_id!r}; check its id.", code, "item_id")

    def add(self, item: Item, after: object = None) -> str | None:
        """Put it at the end, or after the item of that id; the id of its predecessor.

        Raises:
            RequestError: its id is taken, or there is no such predecessor.
        """
        if any(item.id == other.id for other in self.items):
            raise RequestError(
                f"There is an item {item.id!r} already; choose another id.",
                "item_create_duplicate_item_id", "item.id",
            )  # fmt: skip
        place = len(self.items)
        if after == ROOT:
            place = 0
        elif after is not None:
            code = "item_create_invalid_previous_item_id"
            place = self.items.index(self.find(after, code)) + 1
        self.items.insert(place, item)
        self.tidy(item)
        place = self.items.index(item)
        return self.items[place - 1].id if place else None

    def tidy(self, newest: Item | None = None) -> None:
        """Keep to the bounds, and `newest`, which may stand first."""
        words = sum(item.num_characters for item in self.items)
        while len(self.items) > MAX_ITEMS or (words > MAX_WORDS and len(self.items) > 1):
            oldest = self.items.pop(1 if self.items[0] is newest else 0)
            words -= oldest.num_characters
        parts = [part for item in self.items for part in item.parts]
        total = sum(part.size for part in parts)
        for part in parts:
            if total <= MAX_MEDIA:
                return
            total -= part.size
            part.media.clear()

    def delete(self, item_id: object) -> None:
        """Forget that item.

        Raises:
            RequestError: there is none.
        """
        self.items.remove(self.find(item_id, "item_delete_invalid_item_id"))

    def truncate(self, item_id: object, index: object, end_ms: object) -> int:
        """Cut what the assistant said to what was heard of it; the milliseconds that are left.

        More than there is means all of it: clients reckon by their own clock.

        Raises:
            RequestError: no such item, or one that holds no sound.
        """
        item = self.find(item_id, "item_truncate_invalid_item_id")
        part = (
            item.parts[index] if isinstance(index, int) and 0 <= index < len(item.parts) else None
        )
        if part is None or part.fields["type"] != "output_audio":
            raise RequestError(
                "Only what the assistant said can be truncated; name such an item.",
                "item_truncate_invalid_item_id", "item_id",
            )  # fmt: skip
        sound = part.media.get("audio", b"")
        wanted = end_ms if isinstance(end_ms, int) else 0
        left = min(max(0, wanted), len(sound) // 2 * 1_000 // SAMPLE_RATE)
        if left * SAMPLE_RATE // 1_000 * 2 < len(sound):
            part.media["audio"] = sound[: left * SAMPLE_RATE // 1_000 * 2]
            part.fields["transcript"] = ""  # it says more than was heard
        return left

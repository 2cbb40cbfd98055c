"""Records, as JSON and Parquet hold them, to documents. A record has one of three forms:

- two lists in parallel, `texts` and `images`, of which one is empty at each place (OBELICS);
- `text_list`, and `image_info` whose `matched_text_index` says before which text an image stands
  (MMC4);
- plain: any of `image` or `images`, `audio`, and `text` or `caption`, in this order.

An image or sound is bytes, a table with `bytes` or `path`, a data URI, or a name to be found.
Nothing is ever fetched: an image that is only an address is missing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from quintet.config import UserError
from quintet.data.sources.document import Blob, Document, Part, Picture, Sound

Find = Callable[[str], Blob | None]  # what a name stands for; None if there is no such thing
FORMS = "texts and images, text_list and image_info, or text, image and audio"
COLUMNS = (
    "texts", "images", "text_list", "image_info", "text", "caption", "image", "audio",
)  # fmt: skip


def document_of(record: Any, name: str, find: Find) -> Document:
    """A record as a document; `name` is what messages call it.

    Raises:
        UserError: it has none of the forms.
    """
    if not isinstance(record, dict):
        raise UserError(f"{name} is no record; write one with {FORMS}.")
    maker = _Maker(name, find)
    try:
        if "texts" in record:
            maker.parallel(record["texts"], record.get("images"))
        elif "text_list" in record:
            maker.matched(record["text_list"], record.get("image_info") or [])
        else:
            maker.plain(record)
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} has not the form of its kind ({error}); mend it.") from None
    if not maker.parts and not maker.missing:
        raise UserError(f"{name} holds nothing; write a record with {FORMS}.")
    return Document(name, tuple(maker.parts), maker.missing)


class _Maker:
    def __init__(self, name: str, find: Find) -> None:
        self.name, self.find = name, find
        self.parts: list[Part] = []
        self.missing = 0

    def parallel(self, texts: Any, images: Any) -> None:
        texts = _list(texts, "texts")
        images = [None] * len(texts) if images is None else _list(images, "images")
        for text, image in zip(texts, images, strict=True):
            self._image(image)
            self._text(text)

    def matched(self, texts: Any, images: Any) -> None:
        texts, before = _list(texts, "text_list"), dict[int, list[Any]]()
        for image in _list(images, "image_info"):
            place = image["matched_text_index"]
            if not isinstance(place, int) or not 0 <= place < len(texts):
                raise ValueError(f"matched_text_index is {place!r}")
            before.setdefault(place, []).append(image)
        for index, text in enumerate(texts):
            for image in before.get(index, []):
                self._image(image.get("image_name") or image.get("raw_url") or image)
            self._text(text)

    def plain(self, record: dict[str, Any]) -> None:
        for image in [record.get("image"), *_list(record.get("images") or [], "images")]:
            self._image(image)
        if record.get("audio") is not None:
            blob = self._blob(record["audio"])
            if blob is None:
                raise UserError(f"{self.name} names a sound that is not there; put it there.")
            self.parts.append(Sound(blob))
        self._text(record.get("text") or record.get("caption"))

    def _text(self, text: Any) -> None:
        if text is None or text == "":
            return
        if not isinstance(text, str):
            raise TypeError(f"a text is {str(text)[:20]!r}")
        self.parts.append(text)

    def _image(self, image: Any) -> None:
        if image is None or image == "":
            return
        blob = self._blob(image)
        if blob is None:
            self.missing += 1
        else:
            self.parts.append(Picture(blob))

    def _blob(self, value: Any) -> Blob | None:
        name = f"{self.name}, part {len(self.parts) + self.missing}"
        if isinstance(value, dict):
            data = value.get("bytes")
            value = data if data is not None else value.get("path", value.get("image_name"))
        if isinstance(value, bytes):
            return Blob.of_bytes(value, name)
        if isinstance(value, str) and value.startswith("data:"):
            return Blob.of_bytes(_from_uri(value, name), name)
        if isinstance(value, str):
            return self.find(value)
        if value is None:
            return None
        raise TypeError(f"a medium is {str(value)[:20]!r}")


def _list(value: Any, name: str) -> list[Any]:
    """A string has letters to go through, none of which was meant."""
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return value


def _from_uri(uri: str, name: str) -> bytes:
    head, _, body = uri.partition(",")
    if not head.endswith(";base64"):
        raise UserError(f"{name} is a data URI that is not in base64; write it so.")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"{name} is a data URI whose base64 is damaged; write it again.") from None


def is_interleaved(record: Any) -> bool:
    """Whether a record says by itself in which order its texts and images stand."""
    return isinstance(record, dict) and bool({"texts", "text_list"} & set(record))

"""The text tokenizer: SentencePiece BPE, whitespace as `▁`, byte fallback, exact both ways."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from quintet.config import UserError

SPACE = "▁"  # SentencePiece writes a space as this character
# A literal `▁` or NUL in the text would be read as something else: these go in as bytes.
_AS_BYTES = re.compile(f"([{SPACE}\0]+)")


class TextTokenizer:
    """Text <-> ids, with decode(encode(text)) == text for every Unicode string.

    Attributes:
        pad_id: fills the end of short samples; never read.
        end_id: ends a message, typed or written.
        image_id: in the text+image output, a picture's tokens follow.
    """

    pad_id, unknown_id, end_id, image_id = 0, 1, 2, 3

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size: int = self._pieces.get_piece_size()
        self._bytes = [self._as_bytes(index) for index in range(self.vocab_size)]
        self._first_byte = self._pieces.piece_to_id("<0x00>")

    def _as_bytes(self, index: int) -> bytes:
        if self._pieces.is_byte(index):
            return bytes([int(self._pieces.id_to_piece(index)[1:-1], 16)])
        if self._pieces.is_control(index) or self._pieces.is_unknown(index):
            return b""
        return self._pieces.id_to_piece(index).replace(SPACE, " ").encode()

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int) -> TextTokenizer:
        """Learn at most `vocab_size` entries (fewer, if the text has fewer merges)."""
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=written,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            byte_fallback=True,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            pad_id=cls.pad_id,
            unk_id=cls.unknown_id,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["<end>", "<image>"],
            minloglevel=2,
            num_threads=1,
        )
        return cls(written.getvalue())

    def save(self, path: Path) -> None:
        path.write_bytes(self.model)

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing or is not a SentencePiece model.
        """
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"There is no text tokenizer {path}; train or copy it first.") from None
        except RuntimeError:
            raise UserError(
                f"{path} is not a SentencePiece model; restore it or train it again."
            ) from None

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; typed text never gives a control id.

        Raises:
            UserError: the text holds half of a surrogate pair, which is no character.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(
                "The text holds half of a surrogate pair, which is not a character; remove it."
            ) from None
        ids: list[int] = []
        for part in _AS_BYTES.split(text):
            if part and part[0] in (SPACE, "\0"):
                ids += [self._first_byte + byte for byte in part.encode()]
            elif part:
                ids += self._pieces.encode(part)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; control ids are silent, a broken byte sequence becomes U+FFFD."""
        return b"".join(self._bytes[index] for index in ids).decode(errors="replace")

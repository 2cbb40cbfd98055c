"""decode(encode(text)) == text, for every string of Unicode."""

import random
import sys

import pytest
from conftest import LINES

from quintet.config import UserError
from quintet.tokenizers.text import TextTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(LINES, 300)


def test_every_character_of_unicode_round_trips(tokenizer: TextTokenizer) -> None:
    characters = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(characters), 4_096):
        text = "".join(characters[start : start + 4_096])
        assert tokenizer.decode(tokenizer.encode(text)) == text, hex(start)


def test_strings_of_all_kinds_round_trip(tokenizer: TextTokenizer) -> None:
    rng = random.Random(0)
    odd = " \t\n\r▁\0\x7f\u200b\ufeffaé中🍎<end><image><0x41>"
    texts = ["", " ", "   ", " a", "a ", "a  b", "\n\n", "▁", "▁▁ ▁", "<end>", "<unk>", "\0a\0"]
    texts += ["".join(rng.choices(odd, k=rng.randrange(40))) for _ in range(2_000)]
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text, repr(text)
        assert not {tokenizer.pad_id, tokenizer.end_id, tokenizer.image_id} & set(ids)


def test_the_worked_example() -> None:
    """Trained on "lower lower lower", `lo` is merged, then `low`."""
    tokenizer = TextTokenizer.train(["lower lower lower"], 400)
    pieces = [tokenizer._pieces.id_to_piece(i) for i in range(tokenizer.vocab_size)]
    assert pieces.index("lo") < pieces.index("low")
    ids = tokenizer.encode("low")
    assert ids == [pieces.index("low")]


def test_half_a_surrogate_pair_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(UserError, match="surrogate"):
        tokenizer.encode("a\ud800b")


def test_saved_and_loaded_is_the_same(tokenizer: TextTokenizer, tmp_path) -> None:
    tokenizer.save(tmp_path / "text.model")
    again = TextTokenizer.load(tmp_path / "text.model")
    assert again.encode("draw a cat.") == tokenizer.encode("draw a cat.")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    for name in ("bad.model", "missing.model"):
        with pytest.raises(UserError):
            TextTokenizer.load(tmp_path / name)

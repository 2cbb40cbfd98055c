"""The image tokenizer: shapes, previews, and that one picture never touches another."""

import torch
from conftest import make_config

from quintet.tokenizers.image import ImageTokenizer


def _tokenizer() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(make_config().image).eval()


def test_ids_and_back() -> None:
    tokenizer = _tokenizer()
    pictures_BCHW = torch.rand(3, 3, 12, 12)
    ids_BGG = tokenizer.encode(pictures_BCHW)
    assert ids_BGG.shape == (3, 2, 2) and 0 <= ids_BGG.min() <= ids_BGG.max() < 16
    made_BCHW = tokenizer.decode(ids_BGG)
    assert made_BCHW.shape == pictures_BCHW.shape and 0 <= made_BCHW.min() <= made_BCHW.max() <= 1
    torch.testing.assert_close(tokenizer.decode(ids_BGG[1:2])[0], made_BCHW[1])


def test_a_preview_shows_what_is_known_and_white_elsewhere() -> None:
    tokenizer = _tokenizer()
    ids = [3, 5, 7, 9]
    whole = tokenizer.decode(torch.tensor(ids).view(1, 2, 2))[0]
    assert torch.equal(tokenizer.preview(ids), whole)
    half = tokenizer.preview(ids[:2])
    assert (half[:, 6:] == 1).all() and not (half[:, :6] == 1).all()
    assert (tokenizer.preview([]) == 1).all()


def test_training_form_equals_encode_then_decode() -> None:
    tokenizer = _tokenizer()
    pictures = torch.rand(2, 3, 12, 12)
    made, ids, _ = tokenizer(pictures)
    assert torch.equal(ids.view(2, 2, 2), tokenizer.encode(pictures))
    torch.testing.assert_close(made.clamp(0, 1), tokenizer.decode(ids.view(2, 2, 2)))

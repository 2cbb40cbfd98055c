"""The image tokenizer: shapes, previews, what may be asked of it, and that one picture never
touches another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_config
from torch import Tensor

from quintet.config import ImageConfig, UserError
from quintet.tokenizers.image import ImageTokenizer, reach


def _tokenizer(**changes: object) -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(replace(make_config().image, **changes)).eval()  # type: ignore[arg-type]


def test_ids_and_back() -> None:
    tokenizer = _tokenizer()
    pictures_BCHW = torch.rand(3, 3, 12, 12)
    ids_BGG = tokenizer.encode(pictures_BCHW)
    assert ids_BGG.shape == (3, 2, 2) and 0 <= ids_BGG.min() <= ids_BGG.max() < 16
    made_BCHW = tokenizer.decode(ids_BGG)
    assert made_BCHW.shape == pictures_BCHW.shape and 0 <= made_BCHW.min() <= made_BCHW.max() <= 1


@pytest.mark.parametrize("kind", ["pixel", "group"])
def test_a_batch_equals_each_alone(kind: str) -> None:
    tokenizer = _tokenizer(normalization=kind)
    pictures_BCHW = torch.rand(3, 3, 12, 24)
    ids_BRG = tokenizer.encode(pictures_BCHW)
    made_BCHW = tokenizer.decode(ids_BRG)
    for index in range(3):
        alone = slice(index, index + 1)
        assert torch.equal(tokenizer.encode(pictures_BCHW[alone]), ids_BRG[alone])
        torch.testing.assert_close(tokenizer.decode(ids_BRG[alone]), made_BCHW[alone])


@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 7), (5, 2), (3, 4)])
def test_any_multiple_of_the_patch_works(rows: int, columns: int) -> None:
    tokenizer = _tokenizer()
    ids_BRG = tokenizer.encode(torch.rand(1, 3, 6 * rows, 6 * columns))
    assert ids_BRG.shape == (1, rows, columns)
    assert tokenizer.decode(ids_BRG).shape == (1, 3, 6 * rows, 6 * columns)


def test_numbers_of_other_widths_are_taken() -> None:
    """NumPy's floats have 64 bits, and token files hold 8 or 16."""
    tokenizer = _tokenizer()
    pictures_BCHW = torch.rand(1, 3, 12, 12)
    ids_BRG = tokenizer.encode(pictures_BCHW)
    assert torch.equal(tokenizer.encode(pictures_BCHW.double()), ids_BRG)
    for kind in (torch.uint8, torch.uint16, torch.int32):
        assert torch.equal(tokenizer.decode(ids_BRG.to(kind)), tokenizer.decode(ids_BRG))


def test_a_preview_shows_what_is_known_and_white_elsewhere() -> None:
    tokenizer = _tokenizer()
    ids = [3, 5, 7, 9]
    whole = tokenizer.decode(torch.tensor(ids).view(1, 2, 2))[0]
    assert torch.equal(tokenizer.preview(ids), whole)
    half = tokenizer.preview(ids[:2])
    assert (half[:, 6:] == 1).all() and not (half[:, :6] == 1).all()
    assert (tokenizer.preview([]) == 1).all()
    assert tokenizer.preview([], (3, 5)).shape == (3, 18, 30)


@pytest.mark.parametrize("known", [2, 5, 9, 60, 65, 71])
def test_far_from_what_is_unknown_a_preview_is_final(known: int) -> None:
    tokenizer = _tokenizer(residual_blocks=0)
    far = reach(tokenizer.config)
    rows, columns = 14, 5
    ids_RG = torch.randint(16, (rows, columns))
    known = min(known, rows * columns)
    whole_CHW = tokenizer.decode(ids_RG[None])[0]
    shown_CHW = tokenizer.preview(ids_RG.flatten()[:known].tolist(), (rows, columns))
    known_RG = (torch.arange(rows * columns) < known).view(rows, columns)
    known_HW = known_RG.repeat_interleave(6, 0).repeat_interleave(6, 1)
    assert (shown_CHW[:, ~known_HW] == 1).all()
    final = 6 * max(0, known // columns - far)  # rows of pixels that nothing unknown reaches
    assert known < 60 or final > 0
    torch.testing.assert_close(shown_CHW[:, :final], whole_CHW[:, :final], rtol=0, atol=1e-6)


def test_what_is_not_known_continues_what_is_above_it() -> None:
    """So that the pixels beside it come near what they will be."""
    tokenizer = _tokenizer()
    ids_RG = torch.randint(16, (2, 3))
    shown_CHW = tokenizer.preview(ids_RG.flatten()[:5].tolist(), (40, 3))
    continued_RG = torch.cat([ids_RG, ids_RG[1:].expand(38, 3)])
    continued_RG[1:, 2] = ids_RG[0, 2]
    expected_CHW = tokenizer.decode(continued_RG[None])[0]
    torch.testing.assert_close(shown_CHW[:, :6], expected_CHW[:, :6])
    torch.testing.assert_close(shown_CHW[:, 6:12, :12], expected_CHW[:, 6:12, :12])


def test_a_tall_picture_is_shown_at_once() -> None:
    shown_CHW = _tokenizer().preview([1], (50_000, 1))
    assert shown_CHW.shape == (3, 300_000, 6) and (shown_CHW[:, 6:] == 1).all()


def test_more_ids_than_places_are_refused() -> None:
    for grid in ((2, 2), (0, 5)):
        with pytest.raises(UserError, match="5 ids do not fit"):
            _tokenizer().preview([1] * 5, grid)


@pytest.mark.parametrize(
    "codes, memory, patience", [(1_024, 195.3, 78.1), (4_096, 48.8, 19.5), (65_536, 14, 6)]
)
def test_averages_of_small_codebooks_look_back_over_as_many_vectors(
    codes: int, memory: float, patience: float
) -> None:
    quantizer = _tokenizer(codebook_size=codes).quantizer
    assert quantizer.memory == pytest.approx(memory, abs=0.1)
    assert quantizer.patience == pytest.approx(patience, abs=0.1)


def _far_from(at: tuple[int, int], grid: tuple[int, int], distance: int) -> Tensor:
    """Which tokens [R, G] lie farther than `distance` from one, along either side."""
    down = (torch.arange(grid[0]) - at[0]).abs()[:, None]
    across = (torch.arange(grid[1]) - at[1]).abs()[None]
    return torch.maximum(down, across) > distance


CONFIGS = [
    ImageConfig(size=12, channels=8, channel_multipliers=(1, 1, 2), latent_dim=4, codebook_size=16),
    ImageConfig(size=6, channels=4, channel_multipliers=(1, 2, 2), residual_blocks=2, latent_dim=4,
                codebook_size=16),
    ImageConfig(size=8, channels=4, channel_multipliers=(1, 1, 1, 1), strides=(2, 2, 2),
                residual_blocks=1, latent_dim=4, codebook_size=16),
    ImageConfig(size=1, channels=4, channel_multipliers=(1, 1), strides=(1,), residual_blocks=0,
                latent_dim=4, codebook_size=16),
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
def test_a_code_depends_on_no_pixel_beyond_the_reach(config: ImageConfig) -> None:
    torch.manual_seed(0)
    tokenizer, far = ImageTokenizer(config).eval(), reach(config)
    side, patch = 2 * far + 5, config.patch
    picture_BCHW = torch.rand(1, 3, side * patch, side * patch, requires_grad=True)
    at = (far + 2, far + 2)
    tokenizer.latents(picture_BCHW)[0, :, at[0], at[1]].sum().backward()
    assert picture_BCHW.grad is not None
    touched_RG = torch.nn.functional.max_pool2d(picture_BCHW.grad.abs().amax(1), patch)[0] > 0
    assert touched_RG[at] and not touched_RG[_far_from(at, (side, side), far)].any()


@pytest.mark.parametrize("config", CONFIGS)
def test_a_changed_token_leaves_pixels_beyond_the_reach(config: ImageConfig) -> None:
    torch.manual_seed(0)
    tokenizer, far = ImageTokenizer(config).eval(), reach(config)
    side = 2 * far + 5
    ids_BRG = torch.randint(16, (1, side, side))
    other_BRG, at = ids_BRG.clone(), (far + 2, far + 2)
    other_BRG[0, at[0], at[1]] = (ids_BRG[0, at[0], at[1]] + 1) % 16
    changed_HW = (tokenizer.decode(ids_BRG) != tokenizer.decode(other_BRG))[0].any(0)
    changed_RG = torch.nn.functional.max_pool2d(changed_HW.float()[None], config.patch)[0] > 0
    assert changed_RG[at] and not changed_RG[_far_from(at, (side, side), far)].any()


def _refusal(call: object, given: object) -> str:
    with pytest.raises(UserError) as told:
        call(given)  # type: ignore[operator]
    message = str(told.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_bad_pictures_are_refused_in_a_sentence() -> None:
    encode = _tokenizer().encode
    for shape in ((3, 12, 12), (1, 4, 12, 12), (0, 3, 12, 12)):
        assert str(list(shape)) in _refusal(encode, torch.rand(shape))
    assert "uint8" in _refusal(encode, torch.zeros(1, 3, 12, 12, dtype=torch.uint8))
    for shape in ((1, 3, 13, 12), (1, 3, 12, 5), (1, 3, 0, 12)):
        assert "multiples of 6" in _refusal(encode, torch.rand(shape))
    for value in (torch.nan, torch.inf):
        picture = torch.rand(1, 3, 12, 12)
        picture[0, 1, 2, 3] = value
        assert "not numbers" in _refusal(encode, picture)


def test_pictures_outside_of_0_to_1_are_refused() -> None:
    tokenizer, picture = _tokenizer(), torch.rand(1, 3, 12, 12)
    assert "from 0 to 255, not from 0 to 1; divide pixels of up to 255 by 255, and clamp" in (
        _refusal(tokenizer.encode, torch.linspace(0, 255, 3 * 144).view(1, 3, 12, 12))
    )
    for value in (-0.02, 1.02):  # as resizing with overshoot gives
        picture[0, 1, 2, 3] = value
        assert f"{value}" in _refusal(tokenizer.encode, picture)
        tokenizer.encode(picture.clamp(0, 1))
    for value in (-5e-4, 1 + 5e-4):
        picture[0, 1, 2, 3] = value
        tokenizer.encode(picture)


def test_what_is_no_tensor_is_refused_in_a_sentence() -> None:
    tokenizer = _tokenizer()
    for given in (np.zeros((1, 3, 12, 12), np.float32), [[0.5]], None):
        assert "give a torch tensor of floating-point" in _refusal(tokenizer.encode, given)
        assert "give a torch tensor of integers" in _refusal(tokenizer.decode, given)


def test_bad_ids_are_refused_in_a_sentence() -> None:
    decode = _tokenizer().decode
    for wrong in (torch.zeros(2, 2), torch.zeros(1, 2, 2, dtype=torch.bool),
                  torch.zeros(1, 2, 2, dtype=torch.complex64), torch.zeros(2, 2).long(),
                  torch.zeros(1, 0, 2).long(), torch.zeros(1, 2, 2)):  # fmt: skip
        assert "give integers" in _refusal(decode, wrong)
    for wrong_id in (-1, 16, 2**40):
        told = _refusal(decode, torch.tensor([[[0, wrong_id]]]))
        assert "between 0 and 15" in told and (wrong_id < 99 or "1,099,511,627,776" in told)


def test_training_form_equals_encode_then_decode() -> None:
    tokenizer = _tokenizer()
    pictures = torch.rand(2, 3, 12, 12)
    made, ids, _ = tokenizer(pictures)
    assert torch.equal(ids.view(2, 2, 2), tokenizer.encode(pictures))
    torch.testing.assert_close(made.clamp(0, 1), tokenizer.decode(ids.view(2, 2, 2)))


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"strides": ()}, "strides"),
        ({"strides": (2, 0)}, "strides"),
        ({"strides": (2, 3, 1)}, "multiplier"),
        ({"size": 50}, "multiple of 6"),
        ({"size": 0}, "multiple of 6"),
        ({"normalization": "batch"}, "'pixel' or 'group'"),
        ({"channels": 0}, "channels"),
        ({"residual_blocks": -1}, "residual_blocks"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"codebook_size": 1}, "codebook_size"),
    ],
)
def test_sizes_that_no_tokenizer_can_have(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        ImageConfig(**settings)  # type: ignore[arg-type]
    assert str(error.value).endswith(".")


def test_what_follows_from_the_sizes() -> None:
    config = ImageConfig(size=768, codebook_size=65_536)
    assert (config.patch, config.grid, config.num_tokens) == (6, 128, 16_384)
    assert config.bits_per_pixel == 16 / 36

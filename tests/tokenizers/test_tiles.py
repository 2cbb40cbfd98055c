"""A large picture taken in tiles gives what the whole gives at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from quintet.config import ImageConfig
from quintet.tokenizers import image
from quintet.tokenizers.image import ImageTokenizer, reach
from quintet.tokenizers.tiles import Tiling

WHOLE = 1 << 30
CONFIGS = {
    "no blocks": ImageConfig(size=12, channels=8, channel_multipliers=(1, 1, 2), latent_dim=4,
                             residual_blocks=0, codebook_size=16),
    "2 blocks": ImageConfig(size=6, channels=4, channel_multipliers=(1, 2, 2), latent_dim=4,
                            residual_blocks=2, codebook_size=16),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("beyond", [(1, 1), (1, -20), (-20, 7), (9, 2)])
def test_tiles_equal_the_whole(
    name: str, beyond: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[name]
    torch.manual_seed(0)
    tokenizer, tile = ImageTokenizer(config).eval(), 8
    # Tokens on a side, counted from the largest that is taken at once.
    rows, columns = (max(1, tile + 2 * reach(config) + more) for more in beyond)
    picture_BCHW = torch.rand(2, 3, rows * config.patch, columns * config.patch)
    made = {}
    for side in (WHOLE, tile):
        monkeypatch.setattr(image, "TILE", side)
        taken: list[tuple[int, ...]] = []
        watch = tokenizer.encoder.register_forward_hook(
            lambda _, given, __, taken=taken: taken.append(tuple(given[0].shape))
        )
        ids_BRG = tokenizer.encode(picture_BCHW)
        watch.remove()
        made[side] = ids_BRG, tokenizer.decode(ids_BRG)
        assert (len(taken) > 1) == (side == tile)
        largest = min(side, tile) + 2 * reach(config)
        assert side == WHOLE or max(max(shape[2:]) for shape in taken) <= largest * config.patch
    assert torch.equal(made[WHOLE][0], made[tile][0])
    torch.testing.assert_close(made[WHOLE][1], made[tile][1], rtol=0, atol=5e-5)


def test_what_looks_at_the_whole_picture_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "TILE", 1)
    config = ImageConfig(size=12, channels=8, channel_multipliers=(1, 1, 2), latent_dim=4,
                         residual_blocks=0, codebook_size=16, normalization="group")  # fmt: skip
    tokenizer = ImageTokenizer(config).eval()
    taken: list[int] = []
    tokenizer.encoder.register_forward_hook(lambda *_: taken.append(1))
    tokenizer.encode(torch.rand(1, 3, 120, 180))
    assert taken == [1]


@pytest.mark.parametrize("rows, columns", [(5, 23), (23, 5), (12, 12), (13, 9)])
@pytest.mark.parametrize("cell_in, cell_out", [(1, 1), (2, 1), (1, 3)])
def test_every_cell_is_made_once_and_from_its_neighbourhood(
    rows: int, columns: int, cell_in: int, cell_out: int
) -> None:
    """A network that adds up what is two cells around, on whole numbers: equal bit for bit."""

    def network(x_BCHW: Tensor) -> Tensor:
        cells = F.avg_pool2d(x_BCHW, cell_in) * cell_in**2
        sums = F.conv2d(cells, torch.ones(1, 1, 5, 5), padding=2)
        return F.interpolate(sums, scale_factor=cell_out)

    x_BCHW = torch.randint(9, (2, 1, rows * cell_in, columns * cell_in)).float()
    tiled = Tiling(4, 2, cell_in, cell_out).apply(network, x_BCHW)
    assert torch.equal(tiled, network(x_BCHW))

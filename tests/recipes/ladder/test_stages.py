"""The networks of every rung follow from the pictures."""

import pytest
import torch

from melies.data.images import ImageSet
from melies.errors import UserError
from melies.recipes.ladder import BETAS, RUNGS
from melies.recipes.ladder.stages import Shape, runs_of, shape_of, sweep_name

SHAPES = [
    Shape(1, 8, 1_442, 0.75),
    Shape(1, 28, 60_000, 0.7),
    Shape(3, 32, 50_000, 0.5),
    Shape(3, 64, 900, 0.5),
]


def of_size(size: int, channels: int = 1, num: int = 4) -> ImageSet:
    pixels = torch.zeros(num, channels, size, size, dtype=torch.uint8)
    pixels[: num // 2] = 255
    return ImageSet(
        pixels=pixels,
        texts=None,
        labels=None,
        classes=(),
        rows=({},) * num,
        names=tuple(map(str, range(num))),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_rung_fits_the_pictures(shape):
    runs = runs_of(tuple(RUNGS), shape, seed=7)
    assert set(runs) == {*RUNGS, *(sweep_name(beta) for beta in BETAS)}
    for stages in runs.values():
        assert sum(stage.share for stage in stages) == 1
        assert stages[-1].name == ""
        assert all(stage.config.training.seed == 7 for stage in stages)
    for name in ("autoencoder", "vae", "cvae"):
        network = runs[name][0].config.model.network
        assert (network.size, network.channels) == (shape.size, shape.channels)
    assert runs["ddpm"][0].config.sigma_data == shape.sigma_data
    assert 4 <= shape.size >> shape.halvings <= 8
    assert [runs[sweep_name(beta)][0].config.beta for beta in BETAS] == list(BETAS)


def test_only_what_is_climbed_is_trained():
    assert set(runs_of(("gan",), SHAPES[0], seed=0)) == {"gan"}


@pytest.mark.parametrize(("num", "codes"), [(60_000, 512), (100, 32), (1, 16)])
def test_a_codebook_is_smaller_than_what_it_is_for(num, codes):
    shape = Shape(1, 8, num, 0.5)
    assert shape.num_codes == codes
    assert shape.num_codes * 32 <= max(num * 16, 16 * 32)


def test_the_shape_is_read_off_the_pictures():
    shape = shape_of(of_size(8, channels=3, num=6))
    assert (shape.channels, shape.size, shape.num_pictures) == (3, 8, 6)
    assert shape.sigma_data == pytest.approx(1.0, abs=0.05)  # half black, half white: −1 and 1


def test_pictures_that_cannot_be_halved_are_refused():
    with pytest.raises(UserError, match=r"9×9 cannot be halved.*--size 10"):
        shape_of(of_size(9))

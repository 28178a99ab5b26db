"""Batches of pictures: whole epochs, mirrored or not, the same however they are asked for."""

import torch

from melies.data.batches import picture_batches
from melies.data.images import ImageSet
from melies.transform import PixelRange


def numbered(count: int, classes: int = 2) -> ImageSet:
    """Grey pictures of two columns, the left one of which says which picture it is."""
    pixels = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    pixels[..., 0] = torch.arange(count, dtype=torch.uint8)[:, None, None] + 1
    return ImageSet(
        pixels=pixels,
        texts=None,
        labels=torch.arange(count) % classes if classes else None,
        classes=tuple("abcdefgh"[:classes]),
        rows=({},) * count,
        names=tuple(map(str, range(count))),
    )


def test_an_epoch_shows_each_picture_once_with_its_class():
    batch = picture_batches(numbered(40), seed=0)(0, 40)
    shown = PixelRange().inverse(batch["pixels"])[:, 0, 0, 0].long() - 1
    assert torch.equal(shown.sort().values, torch.arange(40))
    assert torch.equal(batch["class"], shown % 2)
    assert not torch.equal(shown, torch.arange(40))


def test_pictures_without_classes_come_without():
    assert picture_batches(numbered(4, classes=0), seed=0)(0, 2).keys() == {"pixels"}


def test_half_of_the_pictures_are_mirrored_and_the_stream_depends_on_position_only():
    plain, flipping = (picture_batches(numbered(96), seed=3, flip=flip) for flip in (False, True))
    a, b = plain(0, 960), flipping(0, 960)
    same = (a["pixels"] == b["pixels"]).flatten(1).all(1)
    mirrored = (a["pixels"].flip(-1) == b["pixels"]).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 0.42 < mirrored.float().mean() < 0.58  # 960 draws: five standard deviations
    assert torch.equal(a["class"], b["class"])
    parts = [flipping(start, 320)["pixels"] for start in (640, 0, 320)]
    assert torch.equal(torch.cat([parts[1], parts[2], parts[0]]), b["pixels"])

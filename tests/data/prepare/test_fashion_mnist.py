"""Fashion-MNIST from small idx files, and from the real ones where they are."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from melies.data.images import read_images
from melies.data.prepare import fashion_mnist
from melies.data.prepare.fashion_mnist import prepare_fashion_mnist, read_idx
from melies.errors import UserError


def idx(values: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, values.ndim))
        + b"".join(n.to_bytes(4, "big") for n in values.shape)
        + values.tobytes()
    )


@pytest.fixture
def fashion(tmp_path) -> Path:
    folder = tmp_path / "fashion"
    folder.mkdir()
    for stem, count in (("train", 20), ("t10k", 10)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.broadcast_to(labels[:, None, None], (count, 28, 28)).copy()
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def test_fashion_mnist(tmp_path, fashion):
    made = prepare_fashion_mnist(tmp_path / "out.zip", source=fashion)
    assert made.num_pictures == 30
    found = read_images(made.path, size=28, channels=1)
    assert found.classes == tuple(sorted(fashion_mnist.CLASSES))
    assert found.labels is not None
    for pixels, label in zip(found.pixels, found.labels.tolist(), strict=True):
        assert pixels.unique().tolist() == [fashion_mnist.CLASSES.index(found.classes[label])]
    assert len(read_images(made.path, size=28, split="test")) == 10


def test_fashion_mnist_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        prepare_fashion_mnist(tmp_path / "out.zip", source=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no idx file"),
        (b"\0\0\x08\x01" + bytes(4), "is no idx file"),
        (idx(np.zeros((2, 3, 4), np.uint8))[:-1], "holds 23 values, not 24"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "holds 0 values"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_idx(path, dimensions=3)


def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "MAX_BYTES", 1000)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(UserError, match="unpacks to more than"):
        read_idx(path, dimensions=3)


def test_labels_that_do_not_fit_are_refused(tmp_path, fashion):
    (fashion / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(UserError, match="do not belong together"):
        prepare_fashion_mnist(tmp_path / "out.zip", source=fashion)


def test_the_real_fashion_mnist():
    if not fashion_mnist.DEBIAN_FOLDER.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    folder = fashion_mnist.DEBIAN_FOLDER
    images = read_idx(folder / "t10k-images-idx3-ubyte.gz", dimensions=3)
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz", dimensions=1)
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * 10

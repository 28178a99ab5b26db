"""CIFAR-10 from its binary version, from a zip of pictures and from the hub."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from melies.data.images import read_images
from melies.data.prepare import cifar10
from melies.data.prepare.cifar10 import prepare_cifar10
from melies.errors import UserError


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def picture(value: int = 0, side: int = 64) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (side, side), (value, value, value, 255)).save(file, "PNG")
    return file.getvalue()


def batch(count: int = 10) -> bytes:
    """Records whose red plane is the label, green 100 and blue 200."""
    records = [
        bytes([i % 10]) + bytes([i % 10]) * 1024 + bytes([100]) * 1024 + bytes([200]) * 1024
        for i in range(count)
    ]
    return b"".join(records)


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_cifar10_from_its_binary_version(tmp_path, kind):
    batches = {f"data_batch_{n}.bin": batch(20) for n in (1, 2)} | {"test_batch.bin": batch(10)}
    if kind == "tar":
        source = tarball(
            tmp_path / "x.tar.gz", {f"cifar-10-batches-bin/{name}": data for name, data in batches.items()}
        )
    else:
        source = tmp_path / "bin"
        source.mkdir()
        for name, data in batches.items():
            (source / name).write_bytes(data)
    made = prepare_cifar10(tmp_path / "out.zip", source=source)
    assert made.num_pictures == 50
    found = read_images(made.path, size=32)
    assert found.classes == cifar10.CLASSES
    assert found.labels is not None
    assert found.labels.bincount().tolist() == [4] * 10
    assert found.pixels[:, 0, 5, 5].tolist() == found.labels.tolist()
    assert found.pixels[:, 1:, 5, 5].unique(dim=0).tolist() == [[100, 200]]
    copied = prepare_cifar10(tmp_path / "again.zip", source=made.path)
    assert read_images(copied.path, size=32).pixels.equal(found.pixels)


@pytest.mark.parametrize(
    ("data", "message"),
    [(batch()[:-1], "is cut short"), (b"", "is cut short"), (b"\x0a" + batch()[1:], "labels above 9")],
)
def test_a_damaged_batch_is_refused(tmp_path, data, message):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "test_batch.bin").write_bytes(data)
    with pytest.raises(UserError, match=f"test_batch (has )?{message}"):
        prepare_cifar10(tmp_path / "out.zip", source=tmp_path / "bin")
    assert not (tmp_path / "out.zip").exists()


def test_python_batches_are_not_read(tmp_path):
    source = tarball(tmp_path / "cifar-10-python.tar.gz", {"cifar-10-batches-py/data_batch_1": b"\x80\x04."})
    with pytest.raises(UserError, match="holds no data_batch_1"):
        prepare_cifar10(tmp_path / "out.zip", source=source)


def test_cifar10_with_a_class_missing(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("train/cat/1.png", picture(side=32))
    with pytest.raises(UserError, match="no pictures in train/ of airplane, automobile"):
        prepare_cifar10(tmp_path / "out.zip", source=tmp_path / "x.zip")


def test_cifar10_from_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "installed", lambda name: False)
    with pytest.raises(UserError, match="--from cifar-10-binary"):
        prepare_cifar10(tmp_path / "out.zip")
    for name in ("none.tar.gz", "none"):
        with pytest.raises(UserError, match=f"{name}: there is no such file or folder; check --from"):
            prepare_cifar10(tmp_path / "out.zip", source=tmp_path / name)


def test_cifar10_from_the_hub(tmp_path, monkeypatch):
    class Table(list):
        column_names = ("img", "label")

    def load_dataset(name, split):
        assert name == cifar10.HUB_NAME
        return Table({"img": Image.new("RGB", (32, 32), (9, 9, 9)), "label": label} for label in range(10))

    module = ModuleType("datasets")
    module.__dict__.update(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(cifar10, "installed", lambda name: True)
    made = prepare_cifar10(tmp_path / "out.zip")
    assert (made.num_pictures, made.source) == (20, "hf:uoft-cs/cifar10")
    assert read_images(made.path, size=32, split="test").classes == cifar10.CLASSES

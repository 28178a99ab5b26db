"""Pictures in shards, read as training comes to them: those of the set in memory, two batches alive."""

import gc
import io
import json
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from melies.data.balance import index_stream
from melies.data.images import read_images
from melies.data.stream import InOrder, StreamedPictures, in_memory, stream_images
from melies.errors import UserError

COUNT = 30


def png(level: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (12, 8), (level, 255 - level, 7)).save(out, "png")
    return out.getvalue()


def entry(number: int) -> dict[str, bytes]:
    """What lies under one key, by ending."""
    return {
        "png": png(8 * number),
        "txt": f"number {number}".encode(),
        "json": json.dumps({"number": number}).encode(),
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> str:
    """Thirty pictures in three shards, as the package's own writer makes them."""
    writer = pytest.importorskip("webdataset").TarWriter
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        with writer(str(folder / f"set-{shard:04d}.tar")) as out:
            for number in range(10 * shard, 10 * shard + 10):
                out.write({"__key__": f"{number:03d}", **entry(number)})
    return str(folder / "set-{0000..0002}.tar")


@pytest.fixture(scope="module")
def streamed(shards) -> StreamedPictures:
    return stream_images(shards, size=8)


def order_of(count: int) -> Callable[[int, int], Tensor]:
    return index_stream(torch.ones(count, dtype=torch.float64), seed=0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its reader leaves files open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_webdataset_yields_is_what_is_read(shards, streamed):
    """Each sample under its key, with the same bytes beside it."""
    package = pytest.importorskip("webdataset")
    theirs = {one["__key__"]: one for one in package.WebDataset(shards, shardshuffle=False)}
    gc.collect()
    assert [name.removesuffix(".png") for name in streamed.names] == sorted(theirs)
    for name, text, row in zip(streamed.names, streamed.texts or (), streamed.rows, strict=True):
        sample = theirs[name.removesuffix(".png")]
        assert streamed.files.read(name) == sample["png"]
        assert text == sample["txt"].decode()
        assert row == {**json.loads(sample["json"]), "text": text}


def test_the_set_is_that_in_memory(shards, streamed):
    held = read_images(shards, size=8)
    assert (streamed.names, streamed.texts, streamed.rows) == (held.names, held.texts, held.rows)
    assert torch.equal(in_memory(streamed).pixels, held.pixels)
    assert in_memory(held) is held
    places = torch.tensor([4, 4, 29, 0])
    assert torch.equal(streamed.read(places), held.read(places))
    mask = torch.arange(COUNT) % 7 == 3
    some = streamed.subset(mask)
    assert torch.equal(some.read(torch.arange(len(some))), held.subset(mask).pixels)
    assert some.texts == held.subset(mask).texts


@given(asked=st.lists(st.tuples(st.integers(0, 70), st.integers(1, 9)), min_size=1, max_size=6))
def test_batches_depend_on_the_position_only(shards, streamed, asked):
    held = InOrder(read_images(shards, size=8), order_of(COUNT))
    shown = InOrder(streamed, order_of(COUNT))
    for start, size in asked:
        expected, found = held(start, size), shown(start, size)
        assert torch.equal(expected.chosen, found.chosen)
        assert torch.equal(expected.pixels, found.pixels)


def test_two_batches_are_in_memory_at_most_and_the_next_is_read_ahead(streamed, monkeypatch):
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    read, most, asked = StreamedPictures.read, [], []

    def recorded(self: StreamedPictures, indices: Tensor) -> Tensor:
        pixels = read(self, indices)
        alive.add(pixels)
        asked.append(indices.tolist())
        gc.collect()
        most.append(sum(len(one) for one in alive))
        return pixels

    monkeypatch.setattr(StreamedPictures, "read", recorded)
    order = order_of(COUNT)
    shown = InOrder(streamed, order)
    for step in range(12):
        batch = shown(5 * step, 5)
        assert batch.pixels.shape == (5, 3, 8, 8)
        del batch
    shown.close()
    assert max(most) <= 10
    assert asked == [order(5 * step, 5).tolist() for step in range(13)]  # each once, the last one ahead


def test_processes_that_take_turns_read_ahead_what_comes(streamed, monkeypatch):
    read, asked = StreamedPictures.read, []
    monkeypatch.setattr(
        StreamedPictures, "read", lambda self, places: asked.append(places.tolist()) or read(self, places)
    )
    order = order_of(COUNT)
    shown = InOrder(streamed, order)
    for step in range(6):
        shown(8 * step, 4)
    shown.close()
    # the first guess is the place beside, which may be dropped; from the second batch on the step is known
    starts = range(0, 49, 8)
    assert [places for places in asked if places != order(4, 4).tolist()] == [
        order(start, 4).tolist() for start in starts
    ]


def test_a_damaged_picture_is_named_when_its_batch_comes(shards, tmp_path):
    whole = Path(shards.replace("{0000..0002}", "0000")).read_bytes()
    at = whole.index(png(8 * 3))
    broken = tmp_path / "broken.tar"
    broken.write_bytes(whole[: at + 20] + bytes(40) + whole[at + 60 :])
    shown = InOrder(stream_images(broken, size=8), lambda start, size: torch.arange(start, start + size) % 10)
    shown(0, 3)
    with pytest.raises(UserError, match=r"broken\.tar: 003\.png"):
        shown(3, 3)
    shown.close()

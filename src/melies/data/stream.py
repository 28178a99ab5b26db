"""Pictures that stay where they lie: read in the order of training, a batch ahead, never all in memory."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from melies.data.archive import Files, open_files
from melies.data.images import MAX_PICTURE_BYTES, ImageSet, Known, fill_all, known_pictures
from melies.data.pixels import check_size, decode
from melies.progress import silent


@runtime_checkable
class Pictures(Protocol):
    """A set of pictures, in memory (`melies.data.images.ImageSet`) or not."""

    @property
    def texts(self) -> tuple[str, ...] | None:
        """Captions; None where there are none."""
        ...

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """All metadata columns of each picture."""
        ...

    def __len__(self) -> int:
        """How many pictures."""
        ...

    def read(self, indices: Tensor) -> Tensor:
        """The pixels of some, uint8 (b, c, size, size)."""
        ...

    def subset(self, indices: Sequence[int] | Tensor) -> Any:
        """Some of them, by index or by a boolean mask."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedPictures:
    """What is known of pictures, and where they lie: RGB on white, read and made square when asked for."""

    files: Files
    """The shards, of which it keeps where each picture lies."""
    size: int
    """Side in pixels."""
    texts: tuple[str, ...] | None
    labels: Int64[Tensor, " n"] | None
    classes: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.names)

    def read(self, indices: Int64[Tensor, " b"]) -> UInt8[Tensor, "b 3 size size"]:
        """The pixels of those at `indices`, from the disk.

        Raises:
            UserError: If one is damaged; naming it, and the shard.
        """
        names = [self.names[index] for index in indices.tolist()]
        pixels = torch.empty(len(names), 3, self.size, self.size, dtype=torch.uint8)

        def fill(index: int) -> None:
            name = names[index]
            data = self.files.read(name, max_bytes=MAX_PICTURE_BYTES)
            pixels[index] = torch.from_numpy(
                decode(data, size=self.size, where=self.files.where(name)).square
            )

        fill_all(fill, len(names), silent)
        return pixels

    def subset(self, indices: Sequence[int] | Tensor) -> "StreamedPictures":
        """Those at `indices`, in that order; a boolean mask of length n selects likewise."""
        chosen = torch.as_tensor(indices)
        if chosen.dtype == torch.bool:
            chosen = chosen.nonzero().flatten()
        chosen = chosen.to(torch.int64)
        places = chosen.tolist()
        return replace(
            self,
            texts=None if self.texts is None else tuple(self.texts[i] for i in places),
            labels=None if self.labels is None else self.labels[chosen],
            rows=tuple(self.rows[i] for i in places),
            names=tuple(self.names[i] for i in places),
        )


def stream_images(source: Any, *, size: int) -> StreamedPictures:
    """The pictures of shards (`shards-{0000..0009}.tar`), which stay on the disk.

    Captions, classes and columns are read now, as by `melies.data.images.read_images`.

    Args:
        source: The shards; see `melies.data.shards`.
        size: Side in pixels.

    Raises:
        UserError: As `read_images` does; but what is wrong with a picture shows when it is read.
    """
    check_size(size, 3)
    with open_files(source) as files:
        if files.spans is None:
            raise ValueError(f"{source} is no shards")
        known = known_pictures(files)
        names = set(known.names)
        spans = {name: span for name, span in files.spans.items() if name in names}
        sizes = {name: span.size for name, span in spans.items()}
        own = replace(files, sizes=sizes, spans=spans)
        return StreamedPictures(files=own, size=size, **known._asdict())


def in_memory(pictures: ImageSet | StreamedPictures) -> ImageSet:
    """A set whose pictures are in memory: the same one where they are, else all of them read now."""
    if isinstance(pictures, ImageSet):
        return pictures
    known = {name: getattr(pictures, name) for name in Known._fields}
    return ImageSet(pixels=pictures.read(torch.arange(len(pictures))), **known)


class Batch(NamedTuple):
    """Some pictures of a set."""

    chosen: Int64[Tensor, " b"]
    """Their places in the set."""
    pixels: UInt8[Tensor, "b c h w"]


class InOrder:
    """`(start, size) → Batch` of the pictures of a set, by a stream of their places.

    Of a set that is not in memory the next batch is read while this one is worked on, so that two of them
    are in memory at most. What comes depends on the position alone, however it is asked for.
    """

    def __init__(self, pictures: Pictures, order: Callable[[int, int], Tensor]) -> None:
        """Nothing is read yet."""
        self._pictures, self._order = pictures, order
        self._pool = ThreadPoolExecutor(1) if isinstance(pictures, StreamedPictures) else None
        self._next: tuple[tuple[int, int], Future[Tensor]] | None = None
        self._last = 0

    def __call__(self, start: int, size: int) -> Batch:
        """The pictures of positions start … start + size − 1.

        Raises:
            UserError: If one cannot be read.
        """
        chosen = self._order(start, size)
        if self._pool is None:
            return Batch(chosen, self._pictures.read(chosen))
        expected, self._next = self._next, None
        if expected is not None and expected[0] == (start, size):
            pixels = expected[1].result()
        else:
            if expected is not None:
                expected[1].cancel()
            pixels = self._pool.submit(self._pictures.read, chosen).result()  # after what is being read
        # several processes take turns: the next start is as far from this as this from the last
        step = start - self._last if start - self._last >= size else size
        self._last = start
        after = self._order(start + step, size)
        self._next = (start + step, size), self._pool.submit(self._pictures.read, after)
        return Batch(chosen, pixels)

    def close(self) -> None:
        """Let what is being read come to its end, and forget it; for a set in memory nothing."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self._next = None

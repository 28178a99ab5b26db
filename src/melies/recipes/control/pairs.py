"""Pairs of pictures and hints: those to learn from, taken on the fly, and those held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from melies.data.balance import balanced_weights, index_stream, uniform_at
from melies.data.captions import CaptionTable
from melies.data.emoji import Emoji, Set
from melies.data.images import spread
from melies.data.splits import split_by_hash
from melies.data.stream import InOrder, Pictures
from melies.errors import UserError
from melies.images.augment import move
from melies.images.control import PictureControl
from melies.images.fidelity import hints_of
from melies.recipes.control.settings import ControlRecipe
from melies.rng import generator_for
from melies.transform import PixelRange

MODULUS, REMAINDER = 20, 7
"""Texts whose hash is the second modulo the first are held out, beside the compositions that the base has
not seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split(Generic[Set]):
    """The pictures of a set."""

    training: Set
    held_out: Set


class Pairs(NamedTuple):
    """Held-out pictures of one kind of hint."""

    kind: str
    pixels: Tensor
    """uint8 (n, 3, h, w)."""
    prompts: tuple[str, ...]
    hints: Tensor
    """uint8 (n, 1 or 3, h, w)."""
    seeds: tuple[int, ...]
    """Of the hints where they vary, and of the noise that is drawn from."""
    rows: tuple[int, ...] = ()
    """Their places in the set."""


def split_pairs(everything: Emoji[Set], config: ControlRecipe) -> Split[Set]:
    """The pictures to learn from, `config.num_pairs` at most, and those held out.

    Raises:
        UserError: If the pictures have no texts, or too few of them are on one side.
    """
    pictures = everything.pictures
    if pictures.texts is None:
        raise UserError("the pictures have no texts", remedy="add a metadata.jsonl with `text`")
    held_out = everything.held_out | split_by_hash(pictures.texts, modulus=MODULUS, remainder=REMAINDER)
    training = (~held_out).nonzero().flatten()
    if config.num_pairs:
        order = torch.randperm(len(training), generator=generator_for(config.training.seed, "pairs"))
        training = training[order[: config.num_pairs]].sort().values
    if int(held_out.sum()) < len(config.kinds) or not len(training):
        raise UserError(
            f"{len(training)} pictures to learn from and {int(held_out.sum())} held out are too few",
            remedy="add pictures with other texts",
        )
    return Split(training=pictures.subset(training), held_out=pictures.subset(held_out))


def held_out_pairs(pictures: Pictures, kinds: Sequence[str], count: int) -> tuple[Pairs, ...]:
    """`count` pictures at even distances, or all, shared out among the kinds in turn; always the same."""
    rows = [int(row) for row in spread([str(i) for i in range(len(pictures))], count)]
    texts, found = pictures.texts or (), []
    for number, kind in enumerate(kinds):
        own = rows[number :: len(kinds)]
        pixels = pictures.read(torch.tensor(own, dtype=torch.int64))
        seeds = tuple(range(number, number + len(own) * len(kinds), len(kinds)))
        words, hints = tuple(texts[row] for row in own), hints_of(kind, pixels, seeds)
        found.append(Pairs(kind, pixels, words, hints, seeds, tuple(own)))
    return tuple(found)


def pair_batches(
    config: ControlRecipe,
    pictures: Pictures,
    latents: Callable[[Tensor, Tensor], Tensor],
    encode: Callable[[Tensor], Tensor],
    captions: CaptionTable,
    conditions: Callable[[Tensor], dict[str, Tensor]],
    branch: PictureControl,
) -> Callable[[int, int], dict[str, Tensor]]:
    """Balanced pictures with a caption, a kind of hint and the hint itself, as a function of position.

    Every kind comes as often; a kind that varies is drawn anew for every position, and so is what is moved.

    Args:
        config: How many are moved, and how far; which kinds.
        pictures: The set.
        latents: Of pictures by their places, and of their pixels.
        encode: The same of pixels that are in no set.
        captions: The words of each picture.
        conditions: What the base is told of them.
        branch: Whose hints these are.
    """
    seed, kinds = config.training.seed, config.kinds
    groups = [str(row.get("subcategory", "")) for row in pictures.rows]
    shown = InOrder(pictures, index_stream(balanced_weights(groups, config.balance), seed=seed))

    def batches(start: int, size: int) -> dict[str, Tensor]:
        (chosen, pixels), positions = shown(start, size), torch.arange(start, start + size)
        condition = conditions(captions.at(chosen, start, seed=seed))
        length = int(condition["text_valid"].sum(1).max())
        number = (uniform_at(positions, seed=seed, stream="kind of hint") * len(kinds)).long()
        channels = branch.config.branch.hint_channels
        x0 = latents(chosen, pixels)
        moved = (uniform_at(positions, seed=seed, stream="moved") < config.moved).nonzero().flatten()
        if len(moved):
            pixels = pixels.index_copy(0, moved, _elsewhere(config, pixels[moved], positions[moved]))
            x0 = x0.index_copy(0, moved, encode(pixels[moved]))
        hint = torch.empty(size, channels, *pixels.shape[2:], dtype=torch.uint8)
        for which, kind in enumerate(kinds):
            own = (number == which).nonzero().flatten()
            hint[own] = hints_of(kind, pixels[own], positions[own].tolist()).expand(-1, channels, -1, -1)
        return {
            "x0": x0,
            **{name: value[:, :length] for name, value in condition.items()},
            "hint": hint[:, None].float() / 255,
            "hint_kind": number[:, None],
        }

    return batches


def _elsewhere(config: ControlRecipe, pixels: Tensor, positions: Tensor) -> Tensor:
    """Pictures moved, each as its position in the run says."""

    def drawn(name: str, low: float, high: float) -> Tensor:
        share = uniform_at(positions, seed=config.training.seed, stream=name)
        return (low + (high - low) * share).float()

    moved = move(
        PixelRange().forward(pixels),
        drawn("zoom", *config.zoom),
        drawn("sideways", -config.shift, config.shift),
        drawn("upwards", -config.shift, config.shift),
        drawn("mirrored", 0, 1) < config.mirrored,
    )
    return PixelRange().inverse(moved)

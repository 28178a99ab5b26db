"""Control fidelity: the hint is taken again from what was drawn, and held against the one that was given."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies.errors import choose
from melies.images.conditions import CONDITIONS, extract
from melies.metrics.control import TOLERANCE_PX, colour_agreement, edge_f1, mask_iou, thinned

WHITE = 128
"""Level from which a pixel of a grey hint counts."""


def hints_of(kind: str, pixels: UInt8[Tensor, "n 3 h w"], seeds: Sequence[int]) -> UInt8[Tensor, "n _ h w"]:
    """Hints of one kind that needs no weights, each with a seed of its own where the kind varies."""
    if not choose(kind, CONDITIONS, "kind of condition").varied:
        return extract(kind, pixels)
    one_by_one = [extract(kind, pixels[i : i + 1], seed=seed) for i, seed in enumerate(seeds)]
    return torch.cat(one_by_one) if one_by_one else extract(kind, pixels)


def fidelity_name(kind: str) -> str:
    """What `control_fidelity` measures of a kind, in words."""
    entry = choose(kind, CONDITIONS, "kind of condition")
    return "edge F1" if entry.lines else "mask IoU" if entry.channels == 1 else "colour agreement"


def control_fidelity(
    kind: str,
    hints: UInt8[Tensor, "n _ h w"],
    drawn: UInt8[Tensor, "n 3 h w"],
    *,
    seeds: Sequence[int],
    tolerance_px: float = TOLERANCE_PX,
) -> Float[Tensor, " n"]:
    """How far drawn pictures keep to their hints, 0 … 1, float64.

    Edge F1 for kinds of lines, made one pixel wide lest wide strokes always meet; intersection over union for
    other grey kinds, agreement of colours for the rest. Lines and masks are what is at least half white.

    Args:
        kind: A kind that needs no weights.
        hints: What was asked for.
        drawn: What was drawn.
        seeds: Those that the hints were taken with, for a kind that varies.
        tolerance_px: Of edges.
    """
    again = hints_of(kind, drawn, seeds)
    match fidelity_name(kind):
        case "edge F1":
            lines, wanted = (thinned(given[:, 0] >= WHITE) for given in (again, hints))
            return edge_f1(lines, wanted, tolerance_px=tolerance_px)
        case "mask IoU":
            return mask_iou(again[:, 0] >= WHITE, hints[:, 0] >= WHITE)
        case _:
            return colour_agreement(again, hints)

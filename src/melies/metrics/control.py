"""How far pictures keep to a hint: edges within a tolerance, masks by their overlap, colours by distance."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from melies.config import check_range
from melies.metrics.features import blocks

TOLERANCE_PX = 2.0
"""Distance in pixels up to which an edge counts as found."""


def edge_f1(
    found: Bool[Tensor, "n h w"], wanted: Bool[Tensor, "_ _ _"], *, tolerance_px: float = TOLERANCE_PX
) -> Float[Tensor, " n"]:
    """Harmonic mean of precision and recall of edges, float64, one for each picture.

    Precision is the share of found pixels within the tolerance of a wanted one, recall that of wanted pixels
    within it of a found one; pixels are not matched one to one. Without any edges on either side it is 1,
    with some on one side only 0.

    Args:
        found: Edges of what was drawn.
        wanted: Edges of the hint.
        tolerance_px: Euclidean distance between the middles of pixels; at least 0.

    Source: Csurka, Larlus & Perronnin (2013), "What is a good evaluation measure for semantic segmentation?",
    §2.2 (the BF score).
    """
    check_range("tolerance_px", tolerance_px, low=0)
    if found.shape != wanted.shape:
        raise ValueError(f"edges of {tuple(found.shape)} and {tuple(wanted.shape)}")
    scores = [torch.empty(0, dtype=torch.float64)]
    for part in blocks(len(found), found[:1].numel()):
        a, b = found[part], wanted[part]
        precision = _share(a, _widened(b, tolerance_px))
        recall = _share(b, _widened(a, tolerance_px))
        f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
        nothing = ~(a.flatten(1).any(1) | b.flatten(1).any(1))
        scores.append(torch.where(nothing, torch.ones_like(f1), f1).cpu())
    return torch.cat(scores)


def thinned(lines: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """Strokes made lines one pixel wide that run in their middle, each as connected as it was.

    Source: Zhang & Suen (1984), "A fast parallel algorithm for thinning digital patterns".
    """
    parts = [torch.empty_like(lines)[:0]]
    for part in blocks(len(lines), 16 * lines[:1].numel()):
        now, before = lines[part], None
        while before is None or not torch.equal(now, before):
            before = now
            for first in (True, False):
                now = now & ~_peeled(now, first=first)
        parts.append(now)
    return torch.cat(parts)


def mask_iou(found: Bool[Tensor, "n h w"], wanted: Bool[Tensor, "_ _ _"]) -> Float[Tensor, " n"]:
    """Intersection over union of masks (Jaccard 1912), float64, for each picture; two empty ones agree."""
    if found.shape != wanted.shape:
        raise ValueError(f"masks of {tuple(found.shape)} and {tuple(wanted.shape)}")
    both = (found & wanted).flatten(1).sum(1).double()
    either = (found | wanted).flatten(1).sum(1).double()
    return torch.where(either > 0, both / either.clamp_min(1), 1.0).cpu()


def colour_agreement(
    found: UInt8[Tensor, "n c h w"], wanted: UInt8[Tensor, "_ _ _ _"]
) -> Float[Tensor, " n"]:
    """1 less the mean distance of the levels, as a share of 255: 1 for equal pictures, float64."""
    if found.shape != wanted.shape:
        raise ValueError(f"pictures of {tuple(found.shape)} and {tuple(wanted.shape)}")
    apart = [torch.empty(0, dtype=torch.float64)]
    for part in blocks(len(found), found[:1].numel()):
        apart.append((found[part].double() - wanted[part].double()).abs().flatten(1).mean(1).cpu())
    return 1 - torch.cat(apart) / 255


def _peeled(lines: Tensor, *, first: bool) -> Tensor:
    """Pixels of the rim that one half of a turn takes away: of the south and east first, then the others."""
    h, w = lines.shape[1:]
    padded = F.pad(lines, (1, 1, 1, 1))
    clockwise = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))  # from the north on
    around = torch.stack([padded[:, y : y + h, x : x + w] for y, x in clockwise])
    count = around.sum(0)
    turns = (~around & around.roll(-1, 0)).sum(0)  # from background to line, going round
    north, east, south, west = around[0], around[2], around[4], around[6]
    if first:
        inner = (north & east & south) | (east & south & west)
    else:
        inner = (north & east & west) | (north & south & west)
    return (count >= 2) & (count <= 6) & (turns == 1) & ~inner


def _share(edges: Tensor, near: Tensor) -> Tensor:
    """Share of the edges that lie in `near`; 0 where there are none."""
    count = edges.flatten(1).sum(1).double()
    return (edges & near).flatten(1).sum(1).double() / count.clamp_min(1)


def _widened(edges: Tensor, radius: float) -> Tensor:
    """Everything within `radius` of an edge."""
    reach = math.floor(radius)
    steps = torch.arange(-reach, reach + 1, device=edges.device)
    disc = (steps[:, None].square() + steps.square() <= radius**2).float()
    return F.conv2d(edges[:, None].float(), disc[None, None], padding=reach)[:, 0] > 0.5

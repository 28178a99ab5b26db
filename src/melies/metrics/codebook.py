"""Use of a codebook over a whole set: in one batch some codes are always missing, whatever was learned."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from melies.config import check_positive
from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.interval import draw_indices
from melies.metrics.measure import recentred_metric

Codes = Int[Tensor, "n *grid"]
"""Numbers of codes, one grid per picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCounts:
    """How often each code was used; `a + b` are the counts of both batches."""

    counts: Float64[Tensor, " k"]

    def __add__(self, other: "CodeCounts") -> "CodeCounts":
        """The counts of the union."""
        if self.counts.shape != other.counts.shape:
            raise ValueError(f"{len(self.counts)} and {len(other.counts)} codes do not add up")
        return CodeCounts(counts=self.counts + other.counts)

    @property
    def usage(self) -> float:
        """Share of the codes that were used at all, 0 … 1."""
        return float((self.counts > 0).double().mean())

    @property
    def perplexity(self) -> float:
        """Exp of the entropy of the codes: their effective number, 1 … k.

        Raises:
            UserError: If nothing was counted.
        """
        if not self.counts.sum():
            raise UserError("no codes were counted", where="codebook")
        return float(torch.special.entr(self.counts / self.counts.sum()).sum().exp())


def count_codes(codes: Codes, num_codes: int) -> CodeCounts:
    """Counts of one batch of codes 0 … num_codes − 1, on the CPU.

    Raises:
        ValueError: If a code is not in the book.
    """
    check_positive("num_codes", num_codes)
    flat = codes.detach().flatten().long().cpu()
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < num_codes:
        raise ValueError(f"codes {int(flat.min())} … {int(flat.max())} of a book of {num_codes}")
    return CodeCounts(counts=torch.bincount(flat, minlength=num_codes).double())


def measure_codebook(
    codes: Codes, num_codes: int, *, num_resamples: int = 200, seed: int = 0
) -> tuple[Metric, Metric]:
    """Usage and perplexity over a set, with recentred intervals from resampling pictures, not codes.

    Args:
        codes: Of all pictures of the set.
        num_codes: Size of the book.
        num_resamples: Bootstrap replicates.
        seed: Of the resampling.

    Raises:
        UserError: If there are no pictures.
        ValueError: If a code is not in the book.
    """
    if not codes.numel():
        raise UserError("there are no codes to count", where="codebook")
    rows = codes.detach().flatten(1).cpu()
    whole = count_codes(rows, num_codes)
    drawn = [
        count_codes(rows[indices], num_codes) for indices in draw_indices(len(rows), num_resamples, seed)
    ]
    usage = torch.tensor([found.usage for found in drawn], dtype=torch.float64)
    perplexity = torch.tensor([found.perplexity for found in drawn], dtype=torch.float64)
    rest = {"higher_is_better": True, "num_samples": len(rows), "seed": seed}
    return (
        recentred_metric("codebook usage", whole.usage, usage, unit="share", least=0, most=1, **rest),
        recentred_metric(
            "codebook perplexity", whole.perplexity, perplexity, unit="codes", least=1, most=num_codes, **rest
        ),
    )

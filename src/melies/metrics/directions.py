"""Directions of features: rows of unit length, whose products are cosines."""

import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.metrics.features import Features, as_matrix


def as_directions(features: Features, name: str = "features", *, least: int = 1) -> Float[Tensor, "n d"]:
    """Rows divided by their lengths, float64.

    Raises:
        UserError: As `as_matrix` does; and if a row is zero, which has no direction.
    """
    rows = as_matrix(features, name, least=least).double()
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    num_zero = int((lengths == 0).sum())
    if num_zero:
        raise UserError(
            f"{num_zero} of {len(rows)} rows of features are zero and have no direction",
            where=name,
            remedy="look at the samples: the extractor sees nothing in them",
        )
    return rows / lengths

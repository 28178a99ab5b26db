"""Which rows are held out: decided by a hash of the row itself, so that no list has to be kept."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor


def split_by_hash(keys: Sequence[str], *, modulus: int = 10, remainder: int = 0) -> Bool[Tensor, " n"]:
    """True where `crc32(key) % modulus == remainder`: about one key in `modulus`.

    Equal keys fall on the same side, wherever and however often they appear.
    """
    if not 0 <= remainder < modulus:
        raise ValueError(f"need 0 <= remainder < modulus, got {remainder=}, {modulus=}")
    return torch.tensor([zlib.crc32(key.encode()) % modulus == remainder for key in keys], dtype=torch.bool)


def held_out(rows: Sequence[Mapping[str, Any]]) -> Bool[Tensor, " n"]:
    """The compositions that the emoji model never sees: about a tenth of the texts with a skin tone.

    The rule looks at `text` only, so a text is held out in every drawing style or in none.
    """
    texts = [str(row.get("text", "")) for row in rows]
    toned = torch.tensor(["skin tone" in text for text in texts], dtype=torch.bool)
    return toned & split_by_hash(texts)

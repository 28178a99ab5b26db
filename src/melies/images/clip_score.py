"""CLIP score: how well pictures agree with texts, as a network says that has read both (Radford et al.)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies.errors import UserError
from melies.images.features import best_device
from melies.images.networks import clip_statistics, resized, standardised
from melies.text.weights import find_weights, load_pretrained, loading, weights_sha256

HUB = "openai/clip-vit-large-patch14"
"""Where CLIP comes from when no other is named."""

BATCH = 32
"""Pictures at once."""


class ClipScorer:
    """Both halves of CLIP."""

    def __init__(self, folder: Path) -> None:
        """Load them from a folder as transformers keeps it.

        Raises:
            UserError: If it holds no CLIP, or its tokeniser is missing.
        """
        from transformers import AutoTokenizer

        if not (folder / "config.json").is_file():
            raise UserError("CLIP needs its folder: config.json beside the weights", where=str(folder))
        self._network = load_pretrained("transformers:CLIPModel", folder).to(best_device())
        with loading("transformers:AutoTokenizer", folder):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._statistics = clip_statistics(folder)
        self.name = f"clip@{weights_sha256(folder)[:8]}"

    @torch.no_grad()
    def __call__(self, pixels: UInt8[Tensor, "n c h w"], texts: Sequence[str]) -> Float[Tensor, " n"]:
        """100 · max(cos, 0) of each picture with its text, float64: about 20 for strangers, 30 for a match.

        Raises:
            ValueError: If there is not one text per picture.

        Source: Hessel et al. (2021), "CLIPScore", with the weight 100 in place of 2.5, as it is often quoted.
        """
        if len(texts) != len(pixels):
            raise ValueError(f"{len(texts)} texts for {len(pixels)} pictures")
        known = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        of_texts = torch.cat([self._of_texts(part) for part in _parts(list(known), BATCH)])
        size = int(self._network.config.vision_config.image_size)
        found = []
        for start in range(0, len(pixels), BATCH):
            x = standardised(resized(pixels[start : start + BATCH], size), *self._statistics)
            pictures = _direction(
                self._network.visual_projection(self._network.vision_model(x).pooler_output)
            )
            rows = of_texts[[known[text] for text in texts[start : start + BATCH]]]
            found.append((100 * (pictures * rows).sum(1)).clamp(min=0).double().cpu())
        return torch.cat(found)

    def _of_texts(self, texts: list[str]) -> Tensor:
        length = int(self._network.config.text_config.max_position_embeddings)
        read = self._tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        read = {name: read[name].to(best_device()) for name in ("input_ids", "attention_mask")}
        return _direction(self._network.text_projection(self._network.text_model(**read).pooler_output))


def find_clip(
    given: str | None, *, allow_download: bool = False, say: Callable[[str], None] = print
) -> ClipScorer | None:
    """CLIP from where it is named; where nothing is named the usual one, or None if it is not here.

    Args:
        given: A folder, or hf:OWNER/NAME.
        allow_download: Whether the hub may be asked for what is named and not here.
        say: Told before anything is downloaded.

    Raises:
        UserError: If what is named is not found, or is no CLIP.
    """
    hub = given.removeprefix("hf:") if given is not None and given.startswith("hf:") else None
    if given is None:
        try:
            return ClipScorer(find_weights("clip", hub=HUB))
        except UserError:
            return None
    path = None if hub else given
    return ClipScorer(find_weights("clip", path=path, hub=hub, allow_download=allow_download, say=say))


def _parts(entries: list[str], size: int) -> list[list[str]]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]


def _direction(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)

"""The models beside the one that draws: those that guide it, and the control branches of its hints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from melies import checkpoint
from melies.checkpoint import Loaded
from melies.files import file_sha256
from melies.images.diffusers.draw import Pipeline
from melies.images.families import Family
from melies.images.generate import read_diffusion
from melies.images.hints import open_branches
from melies.images.noisy_classifier import read_noisy_classifier
from melies.images.settings import DrawSettings

OTHERS = {"weak": "the weaker model", "classifier": "the classifier"}
"""In words, the settings that name a model beside the one that draws."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beside:
    """Models beside the one that draws, ready to."""

    others: Mapping[str, Loaded]
    """Those that guide it, by the names of their settings."""
    branches: tuple[Loaded, ...]
    """The control branch of each hint; none where a pipeline has its own."""
    digests: Mapping[str, str]
    """SHA-256 of the weights of each, by what it is called in a picture."""
    words: Mapping[str, str]
    """What each is, by the same."""


def load_beside(
    family: Family | Pipeline, settings: DrawSettings, allow_download: bool, say: Callable[[str], None]
) -> Beside:
    """The models that the settings name beside the one that draws.

    Raises:
        UserError: If one is not found, damaged, of another kind, or made for another model.
    """
    others = {}
    if settings.weak is not None:
        others["weak"] = read_diffusion(settings.weak)
        if settings.prompts:
            others["weak"].model.load_text_encoder(allow_download=allow_download, say=say)
    if settings.classifier is not None:
        others["classifier"] = read_noisy_classifier(settings.classifier)
    digests = {name: _digest(loaded) for name, loaded in others.items()}
    words = {name: f"{OTHERS[name]} {getattr(settings, name)!r}" for name in others}
    branches = () if isinstance(family, Pipeline) else open_branches(settings, family.loaded)
    own = family.controls if isinstance(family, Pipeline) else ()
    controls = [*own, *((loaded.folder, _digest(loaded)) for loaded in branches)]
    for number, (folder, digest) in enumerate(controls, start=1):
        digests[f"control model {number}"] = digest
        words[f"control model {number}"] = f"the control branch {folder.name!r}"
    return Beside(others=others, branches=branches, digests=digests, words=words)


def _digest(loaded: Loaded) -> str:
    return file_sha256(checkpoint.weights_file(loaded.folder))

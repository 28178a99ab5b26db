"""What drawn pictures are like, beside how far they lie from real ones: variety, copies, blur, classes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from jaxtyping import Float, UInt8
from torch import Tensor

from melies.errors import UserError
from melies.images.classifier import Verdict
from melies.interfaces import Metric
from melies.metrics.inception import measure_inception_score
from melies.metrics.memorisation import measure_memorisation
from melies.metrics.modes import measure_modes
from melies.metrics.neighbours import nearest
from melies.metrics.spectrum import high_power, measure_sharpness
from melies.metrics.variety import measure_variety


class Pictures(NamedTuple):
    """Some pictures and their features."""

    pixels: UInt8[Tensor, "n c h w"]
    features: Float[Tensor, "n d"]


class Learned(NamedTuple):
    """What a model has seen: where copies would come from."""

    pictures: Pictures
    """The training pictures."""
    held_out: Float[Tensor, " m"]
    """Distance of each real picture that it has not seen to its nearest training picture."""


def measure_quality(
    drawn: Pictures,
    real: Pictures,
    *,
    learned: Learned | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> list[Metric]:
    """Vendi score and diversity of pairs beside those of real pictures, copies of training pictures, detail.

    A measure that means nothing of these pictures is left out, and `say` is told why.

    Args:
        drawn: What is measured.
        real: Pictures of the set.
        learned: None where it is not known what the model has learned, and nothing can be said of copies.
        seed: Of the resampling.
        say: Told what is left out.
    """

    def copies() -> Iterator[Metric]:
        if learned is not None:
            to_training = nearest(drawn.features, learned.pictures.features).distances[:, 0]
            yield from measure_memorisation(to_training, learned.held_out, seed=seed)

    def sharpness() -> tuple[Metric, ...]:
        return measure_sharpness(high_power(drawn.pixels), high_power(real.pixels), seed=seed)

    found: list[Metric] = []
    for measured in (lambda: measure_variety(drawn.features, real.features, seed=seed), copies, sharpness):
        try:
            found += measured()
        except UserError as error:
            say(f"left out: {error}")
    return found


def measure_classes(
    drawn: Verdict, real: Verdict, classes: tuple[str, ...], *, seed: int = 0
) -> list[Metric]:
    """Which classes a judge sees in pictures that were drawn of all alike, and how surely.

    Each number is followed by what it is of real pictures.

    Args:
        drawn: What it sees in them.
        real: What it sees in real ones.
        classes: Names of the classes of its head "class".
        seed: Of the resampling.
    """
    found = []
    for title, verdict in (("", drawn), (", real", real)):
        modes = measure_modes(verdict.predicted["class"], classes, seed=seed)
        score = measure_inception_score(verdict.probability["class"], seed=seed)
        found.append([m._replace(name=f"{m.name}{title}") for m in (modes.least, modes.entropy, score)])
    return [metric for pair in zip(*found, strict=True) for metric in pair]

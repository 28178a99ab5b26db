"""What the figures of classifier guidance share: a model, its guiding classifier, and who judges."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies import checkpoint
from melies.config import check_range
from melies.data.images import ImageSet
from melies.diffusion import GRIDS, SAMPLERS
from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError, choose
from melies.files import file_sha256
from melies.images.classifier import classify
from melies.images.generate import draw
from melies.images.instruments import Instruments, open_instruments, short_name
from melies.images.model import ImageDiffusion
from melies.images.noisy_classifier import NoisyClassifier, check_guides, read_noisy_classifier
from melies.images.reference import LEAST, MOST
from melies.progress import Progress, silent
from melies.recipes.ladder.figures import of_each_class
from melies.rng import generator_for
from melies.transform import PixelRange


@dataclass(frozen=True, kw_only=True)
class ClassifiedSettings:
    """What is drawn by classifier guidance, and how it is measured."""

    model: str = "fashion-mnist"
    """The diffusion model: its name, or the path of a checkpoint."""
    classifier: str = "fashion-mnist-noisy-classifier"
    """The classifier of noisy pictures that guides it: its name, or the path of a checkpoint."""
    scales: tuple[float, ...] = (0.0, 1.0, 2.5)
    """Classifier scales γ; 0 is off."""
    beside: float = 0.0
    """Scale of classifier-free guidance beside it: 0 asks the model for no class, 1 tells it the class."""
    classes: tuple[str, ...] = ()
    """Classes to guide to; none: all of the classifier."""
    shown: int = 10
    """Pictures of each scale in the figure."""
    count: int = 200
    """Pictures of each scale that are measured; the same noise at each."""
    data: Path | None = None
    """The real pictures; none: where `melies data prepare` puts those of the model's recipe."""
    judge: str | None = None
    """The independent classifier; none: that of the model's set, if it is here."""
    features: str | None = None
    """Whose features pictures are compared in, as for `melies evaluate`; none: the classifier of the set."""
    weights: str | None = None
    """A file or folder with the weights of the network that `features` names, or hf:OWNER/NAME."""
    steps: int = 25
    """Steps of the sampler."""
    sampler: str = "ddim"
    """How the noise is taken away."""
    grid: str = "karras"
    """How the noise levels are spaced."""
    seed: int = 0
    """Seed of the choice of real pictures and of the first noise; the next has seed + 1."""
    batch: int = 50
    """Pictures drawn at once."""

    @property
    def title(self) -> str:
        """Which model is guided by which classifier, and what the model itself is told."""
        base = {0.0: "told no class", 1.0: "told the class"}.get(self.beside, f"at scale {self.beside:g}")
        return f"{short_name(self.model)} {base}, by {short_name(self.classifier)}"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise UserError("at least one scale is needed, each once", remedy="--scales 0 1 2")
        for scale in (*self.scales, self.beside):
            check_range("scales", scale, low=0, high=1_000)
        check_range("count", self.count, low=LEAST, high=MOST)
        check_range("shown", self.shown, low=1, high=min(self.count, 100))
        check_range("steps", self.steps, low=1, high=10_000)
        check_range("seed", self.seed, low=0, high=2**53)
        check_range("batch", self.batch, low=1, high=4_096)
        choose(self.sampler, SAMPLERS, "sampler")
        choose(self.grid, GRIDS, "grid")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classified:
    """All that is needed to draw by classifier guidance and to measure what was drawn."""

    settings: ClassifiedSettings
    tools: Instruments
    classifier: NoisyClassifier
    classifier_sha256: str
    asked: ImageSet
    """Real pictures whose classes are asked for, the classes in turn."""
    real_features: Float[Tensor, "m d"]
    """Of all real pictures of these classes."""

    @property
    def model(self) -> ImageDiffusion:
        """The model that draws."""
        return self.tools.loaded.model

    @property
    def names(self) -> list[str]:
        """The class of each picture."""
        assert self.asked.labels is not None
        return [self.asked.classes[label] for label in self.asked.labels.tolist()]

    def draw(self, scale: float, progress: Progress = silent) -> UInt8[Tensor, "n c h w"]:
        """Every picture at one classifier scale, each from the same noise at any."""
        settings = self.settings
        return draw(
            self.model,
            classes=self.names,
            guidance=guidance_of(f"classifier:{settings.beside}", scale),
            classifier=self.classifier,
            num_steps=settings.steps,
            sampler=settings.sampler,
            grid=settings.grid,
            seeds=range(settings.seed, settings.seed + len(self.asked)),
            batch_size=settings.batch,
            progress=progress,
        )

    @torch.no_grad()
    def guiding_probability(self, pixels: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """What the guiding classifier thinks of finished pictures, at the least noise that it knows."""
        found = []
        for batch in pixels.split(self.settings.batch):
            x0 = self.model.encode(PixelRange().forward(batch.to(self.model.device)))
            sigma = x0.new_full((len(x0),), self.classifier.config.sigma_min)
            found.append(self.classifier(x0, sigma).softmax(1).cpu())
        return torch.cat(found)

    def judging_probability(self, pixels: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """What the independent judge thinks, its classes in the order of the guiding classifier."""
        judge = self.tools.judge
        assert judge is not None
        (head,) = [head for head in judge.model.config.heads if head.name == "class"]
        place = {name: number for number, name in enumerate(head.classes)}
        order = [place[name] for name in self.classifier.classes]
        return classify(judge.model, pixels).probability["class"][:, order]

    def notes(self) -> dict[str, Any]:
        """What belongs to the numbers."""
        judge = self.tools.judge
        return {
            "settings": {
                name: getattr(self.settings, name)
                for name in ("beside", "classes", "steps", "sampler", "grid", "seed")
            },
            "weights_sha256": file_sha256(checkpoint.weights_file(self.tools.loaded.folder)),
            "classifier_sha256": self.classifier_sha256,
            "trained": dict(self.tools.loaded.provenance),
            "features": self.tools.space.name,
            **({"judge": judge.name} if judge else {}),
        }


def open_classified(
    settings: ClassifiedSettings,
    *,
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Classified:
    """Load the models and the real pictures, and check that they fit together.

    Raises:
        UserError: If one is not found, the classifier is one of other pictures or classes, a class is
            unknown, or no judge of these classes is here.
    """
    loaded = read_noisy_classifier(settings.classifier)
    classifier: NoisyClassifier = loaded.model
    tools = open_instruments(
        settings.model,
        count=MOST,
        seed=settings.seed,
        data=settings.data,
        judge=settings.judge,
        features=settings.features,
        weights=settings.weights,
        allow_download=allow_download,
        progress=progress,
        say=say,
    )
    model = tools.loaded.model
    if not isinstance(model, ImageDiffusion) or tools.by_words:
        raise UserError(
            f"{tools.loaded.kind} that reads words" if tools.by_words else f"{tools.loaded.kind}",
            where=settings.model,
            remedy="give a diffusion model of classes, or of nothing",
        )
    wanted = [choose(name, classifier.classes, "class of the classifier") for name in settings.classes]
    check_guides(classifier, model, wanted or classifier.classes)
    _check_judge(tools, classifier)
    real, among = tools.reference.pictures, wanted or classifier.classes
    if real.labels is None or not set(among) <= set(real.classes):
        raise UserError(
            "the classes of the pictures are not those of the classifier", where=str(settings.data or "data")
        )
    numbers = torch.tensor([real.classes.index(name) for name in among])
    places = torch.isin(real.labels, numbers).nonzero().flatten()
    if len(places) < LEAST:
        raise UserError(
            f"{len(places)} real pictures of these classes are too few to measure with",
            where=str(settings.data or "data"),
            remedy=f"bring at least {LEAST}",
        )
    order = torch.randperm(len(places), generator=generator_for(settings.seed, "asked"))
    chosen = real.subset(places[order[: settings.count]])
    return Classified(
        settings=settings,
        tools=tools,
        classifier=classifier,
        classifier_sha256=file_sha256(checkpoint.weights_file(loaded.folder)),
        asked=chosen.subset(of_each_class(chosen, len(chosen), seed=settings.seed)),
        real_features=tools.real.features[places],
    )


def _check_judge(tools: Instruments, classifier: NoisyClassifier) -> None:
    judge = tools.judge
    heads = [] if judge is None else judge.model.config.heads
    if not any(head.name == "class" and set(head.classes) >= set(classifier.classes) for head in heads):
        raise UserError(
            "no independent classifier of these classes is here, and without one nothing tells a picture of"
            " the class from one that only the guiding classifier takes for it",
            where="--judge",
            remedy="train one: melies train fashion-mnist-judge --data PATH",
        )

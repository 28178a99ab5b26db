"""What every rung is measured with: the same real pictures, the same features, the same judge."""

from dataclasses import dataclass, field, replace

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from melies.checkpoint import newest_checkpoint
from melies.data.images import ImageSet
from melies.data.sets import Parts
from melies.errors import UserError
from melies.images.classifier import Verdict, classify
from melies.images.features import FeatureSpace, find_classifier, open_space
from melies.images.judge import Judge, read_judge
from melies.interfaces import Metric
from melies.metrics.measure import measure_apart, measure_frechet
from melies.metrics.neighbours import nearest
from melies.recipes import class_classifier
from melies.recipes.classifier import PictureClassifierConfig, train_classifier
from melies.recipes.job import Job
from melies.recipes.ladder import OWN
from melies.recipes.ladder.settings import LadderSettings
from melies.rng import some_of

CLASSIFIERS = {
    "digits": {"features": class_classifier.DIGITS_FEATURES, "judge": class_classifier.DIGITS_JUDGE},
    "fashion-mnist": {
        "features": class_classifier.FASHION_MNIST_FEATURES,
        "judge": class_classifier.FASHION_MNIST_JUDGE,
    },
    "cifar10": {"features": class_classifier.CIFAR10_FEATURES, "judge": class_classifier.CIFAR10_JUDGE},
}
"""The recipes of the classifiers of each prepared set."""

MOST_EPOCHS = 60
"""How often a classifier that is trained for somebody's own pictures sees each of them, at most."""

OF_TRAINING = " of training pictures"
"""After the name of a distance: what it reads of them in place of drawn ones."""

LEAST = 20
"""Fewer test pictures than this measure nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Yardstick:
    """The evaluator of a ladder."""

    train: ImageSet
    test: ImageSet
    """What no rung sees."""
    space: FeatureSpace
    """What distances are taken in."""
    judge: Judge
    """Says what a picture shows; trained apart from the features."""
    train_features: Float[Tensor, "n d"]
    test_features: Float[Tensor, "m d"]
    held_out: Float[Tensor, " m"]
    """Distance of each test picture to its nearest training picture."""
    real: Verdict
    """What the judge sees in the test pictures."""
    of_training: list[Metric] = field(default_factory=list)
    """What the distances read of training pictures in place of drawn ones, once it is known."""

    def distances(self, drawn: Float[Tensor, "n d"], *, seed: int) -> list[Metric]:
        """The six distances of drawn features to the test pictures, each beside that of training pictures.

        Of these there are as many as were drawn. They are what a model could learn at best, and not the
        floor of `metrics.floor`: the features may have been trained on them.
        """
        if not self.of_training:
            chosen = some_of(len(self.train_features), len(drawn), seed=seed, name="floor")
            found = measure_apart(self.train_features[chosen], self.test_features, seed=seed)
            self.of_training.extend(metric._replace(name=f"{metric.name}{OF_TRAINING}") for metric in found)
        pairs = zip(measure_apart(drawn, self.test_features, seed=seed), self.of_training, strict=True)
        return [self.spelled(metric) for pair in pairs for metric in pair]

    def frechet(self, pixels: UInt8[Tensor, "n c h w"], *, seed: int) -> Metric:
        """The Fréchet distance alone."""
        return self.spelled(measure_frechet(self.space(pixels), self.test_features, seed=seed))

    def seen(self, pixels: UInt8[Tensor, "n c h w"]) -> Int64[Tensor, " n"]:
        """The class that the judge sees in each picture, a number of the set's classes."""
        return classify(self.judge.model, pixels).predicted["class"]

    def spelled(self, metric: Metric) -> Metric:
        """The metric with its features in its name, where it is a distance between features."""
        return metric._replace(name=self.space.spell(metric.name))


def build_yardstick(settings: LadderSettings, parts: Parts, job: Job) -> Yardstick:
    """The evaluator for a set: the classifiers that are here for it, or two that are trained for it now.

    Args:
        settings: Whose pictures, and in which features they are compared.
        parts: The pictures, with at least two classes.
        job: Trained classifiers go into `yardstick/` below its `out`, and are taken from there again.

    Raises:
        UserError: If there are too few test pictures, or the features that were asked for are not found.
    """
    if len(parts.test) < LEAST:
        raise UserError(
            f"{len(parts.test)} pictures for testing are too few, {LEAST} are needed",
            remedy=f"bring {10 * LEAST} pictures or more, or put {LEAST} into a folder test beside train",
        )
    judge = read_judge(_classifier("judge", settings, parts, job))
    chosen = settings.features or _classifier("features", settings, parts, job)
    space = open_space(chosen, settings.weights, say=job.say)
    job.say(f"comparing in {space.name}, judged by {judge.name}")
    train_features = space(parts.train.pixels, progress=job.progress)
    test_features = space(parts.test.pixels, progress=job.progress)
    return Yardstick(
        train=parts.train,
        test=parts.test,
        space=space,
        judge=judge,
        train_features=train_features,
        test_features=test_features,
        held_out=nearest(test_features, train_features).distances[:, 0],
        real=classify(judge.model, parts.test.pixels),
    )


def _classifier(role: str, settings: LadderSettings, parts: Parts, job: Job) -> str:
    """The name or folder of the set's classifier, which is trained where there is none."""
    pictures, set_name = parts.train, settings.set_name
    channels, size = pictures.pixels.shape[1:3]
    here = find_classifier(role, classes=pictures.classes, shape=(channels, size, size), prepared=set_name)
    if here is not None and read_judge(here).model.config.heads[0].classes == pictures.classes:
        return here
    out = job.out / "yardstick" / f"{set_name}-{role}"
    if not (out / "record.json").exists():
        job.say(f"training the {role} to measure with")
        config = classifier_config(role, set_name, pictures)
        config = replace(
            config, training=replace(config.training, seed=config.training.seed + 2 * settings.seed)
        )
        part = replace(job, out=out, resume=newest_checkpoint(out) is not None, say=lambda message: None)
        train_classifier(config, part, pictures, {"test pictures": parts.test})
    return str(out)


def classifier_config(role: str, set_name: str, pictures: ImageSet) -> PictureClassifierConfig:
    """The recipe of a set's classifier, or that of `OWN` sized to somebody's own pictures."""
    if set_name in CLASSIFIERS:
        return CLASSIFIERS[set_name][role]
    like = CLASSIFIERS[OWN][role]
    n, channels, size, _ = pictures.pixels.shape
    training = replace(like.training, num_samples=min(like.training.num_samples, MOST_EPOCHS * n))
    stem = 1 if size <= 16 or size % 2 else 2 if size <= 48 or size % 4 else 4
    name = f"{set_name}-{role}"
    return replace(like, name=name, size=size, channels=channels, stem=stem, training=training)

"""Recipes: reproducible runs, one file each, with its config, its data and the numbers to expect.

The table is strings, so that it can be listed without loading torch. A recipe is a module with a
frozen config (named here) and `run(config, job)`; see `melies.recipes.job`.
"""

import ast
import importlib.util
import inspect
from pathlib import Path
from typing import NamedTuple

from melies.errors import choose


class Recipe(NamedTuple):
    """One line of the table."""

    config: str
    """`"module:config"`; the module's `run` trains it."""
    what: str
    """What comes out, in one line."""
    data: str
    """The set it trains on when not told otherwise, as `melies data prepare` calls it."""
    takes: str
    """Time on two processor cores, in words."""

    @property
    def module(self) -> str:
        """The module's name."""
        return self.config.partition(":")[0]

    @property
    def run(self) -> str:
        """`"module:run"`."""
        return f"{self.module}:run"


RECIPES = {
    "emoji": Recipe("melies.recipes.emoji:CONFIG", "words to 64×64 pictures", "emoji", "hours"),
    "emoji-codec": Recipe(
        "melies.recipes.emoji_codec:CONFIG", "pictures to 8×8 latents and back", "emoji", "20 min"
    ),
    "emoji-judge": Recipe(
        "melies.recipes.emoji_classifier:JUDGE", "a classifier to judge drawn emoji by", "emoji", "10 min"
    ),
    "emoji-features": Recipe(
        "melies.recipes.emoji_classifier:FEATURES",
        "features to compare sets of emoji by",
        "emoji",
        "10 min",
    ),
    "control-emoji": Recipe(
        "melies.recipes.control.emoji:CONFIG", "hints that emoji keep to, beside the words", "emoji", "hours"
    ),
    "control-emoji-canny": Recipe(
        "melies.recipes.control.emoji:CANNY", "the same for Canny edges alone", "emoji", "hours"
    ),
    "control-emoji-hough": Recipe(
        "melies.recipes.control.emoji:HOUGH", "the same for straight lines alone", "emoji", "hours"
    ),
    "control-emoji-scribble": Recipe(
        "melies.recipes.control.emoji:SCRIBBLE", "the same for drawings by hand alone", "emoji", "hours"
    ),
    "control-emoji-lineart": Recipe(
        "melies.recipes.control.emoji:LINEART", "the same for line drawings alone", "emoji", "hours"
    ),
    "control-emoji-softedge": Recipe(
        "melies.recipes.control.emoji:SOFTEDGE", "the same for soft edges alone", "emoji", "hours"
    ),
    "control-emoji-mask": Recipe(
        "melies.recipes.control.emoji:MASK", "the same for masks alone", "emoji", "hours"
    ),
    "director": Recipe(
        "melies.recipes.camera.director:CONFIG", "words and a character to a camera path", "", "hours"
    ),
    "director-in-context": Recipe(
        "melies.recipes.camera.director:IN_CONTEXT", "the same, told as tokens before the frames", "", "hours"
    ),
    "director-modulated": Recipe(
        "melies.recipes.camera.director:MODULATED", "the same, told as one vector", "", "hours"
    ),
    "clatr": Recipe(
        "melies.recipes.camera.clatr:CONFIG", "one space for camera paths and sentences", "", "hours"
    ),
    "fashion-mnist": Recipe(
        "melies.recipes.fashion_mnist:CONFIG", "ten classes to 28×28 grey pictures", "fashion-mnist", "hours"
    ),
    "fashion-mnist-small": Recipe(
        "melies.recipes.fashion_mnist:SMALL",
        "the same by fewer weights, to guide by a classifier",
        "fashion-mnist",
        "1 hour",
    ),
    "cifar10": Recipe(
        "melies.recipes.cifar10:CONFIG", "ten classes to 32×32 colour pictures", "cifar10", "half a day"
    ),
    "autoencoder": Recipe(
        "melies.recipes.autoencoder:CONFIG",
        "28×28 grey pictures to 16 numbers and back",
        "fashion-mnist",
        "4 min",
    ),
    "vae": Recipe(
        "melies.recipes.vae:CONFIG", "new 28×28 grey pictures from 16 numbers", "fashion-mnist", "4 min"
    ),
    "cvae": Recipe("melies.recipes.vae:CONDITIONAL", "the same, by class", "fashion-mnist", "4 min"),
    "vqvae": Recipe(
        "melies.recipes.vqvae:CONFIG", "28×28 grey pictures to 7×7 codes", "fashion-mnist", "3 min"
    ),
    "vqvae-fsq": Recipe(
        "melies.recipes.vqvae:FSQ", "the same without a learned codebook", "fashion-mnist", "3 min"
    ),
    "vqvae-prior": Recipe(
        "melies.recipes.vqvae_prior:CONFIG", "what makes a VQ-VAE draw, by class", "fashion-mnist", "6 min"
    ),
    "gan": Recipe(
        "melies.recipes.gan:CONFIG", "noise to 28×28 grey pictures in one pass", "fashion-mnist", "10 min"
    ),
    "cgan": Recipe("melies.recipes.gan:CONDITIONAL", "the same, by class", "fashion-mnist", "10 min"),
    "gan-minimax": Recipe(
        "melies.recipes.gan:MINIMAX", "the same by the first game, which collapses", "fashion-mnist", "10 min"
    ),
    "gan-nonsaturating": Recipe(
        "melies.recipes.gan:NONSATURATING", "the same by its usual variant", "fashion-mnist", "10 min"
    ),
    "celeba": Recipe(
        "melies.recipes.celeba:CONFIG", "faces in 64×64, from 128 numbers", "brought by you", "hours"
    ),
    "imagenet": Recipe(
        "melies.recipes.imagenet:CONFIG", "64×64 pictures to 16×16 codes", "brought by you", "days"
    ),
    "celeba-hq": Recipe(
        "melies.recipes.celeba_hq:CONFIG", "faces in 64×64, by diffusion", "brought by you", "days"
    ),
    "fashion-mnist-judge": Recipe(
        "melies.recipes.class_classifier:FASHION_MNIST_JUDGE",
        "a classifier to judge drawn clothing by",
        "fashion-mnist",
        "6 min",
    ),
    "fashion-mnist-features": Recipe(
        "melies.recipes.class_classifier:FASHION_MNIST_FEATURES",
        "features to compare sets of clothing by",
        "fashion-mnist",
        "6 min",
    ),
    "fashion-mnist-noisy-classifier": Recipe(
        "melies.recipes.noisy_classifier:CONFIG",
        "a classifier of noisy clothing to guide by",
        "fashion-mnist",
        "15 min",
    ),
    "cifar10-judge": Recipe(
        "melies.recipes.class_classifier:CIFAR10_JUDGE",
        "a classifier to judge drawn 32×32 pictures by",
        "cifar10",
        "15 min",
    ),
    "cifar10-features": Recipe(
        "melies.recipes.class_classifier:CIFAR10_FEATURES",
        "features to compare sets of 32×32 pictures by",
        "cifar10",
        "15 min",
    ),
    "digits-judge": Recipe(
        "melies.recipes.class_classifier:DIGITS_JUDGE",
        "a classifier to judge drawn digits by",
        "digits",
        "1 min",
    ),
    "digits-features": Recipe(
        "melies.recipes.class_classifier:DIGITS_FEATURES",
        "features to compare sets of digits by",
        "digits",
        "1 min",
    ),
}
"""Name → recipe, in the order in which they are listed."""


def recipe_page(name: str) -> str:
    """The docstring of a recipe: command, hardware, time and the numbers to expect; loads no torch.

    Raises:
        UserError: If there is no recipe of that name.
    """
    spec = importlib.util.find_spec(choose(name, RECIPES, "recipe").module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the module of recipe {name!r} is missing")
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return inspect.cleandoc(docstring or "")

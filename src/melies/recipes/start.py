"""Where a training begins: a new model, or the weights of one that is there."""

from collections.abc import Callable
from typing import Any, TypeVar

from melies import checkpoint
from melies.errors import UserError

Model = TypeVar("Model", bound=Any)


def build(make: Callable[[Any], Model], config: Any, start_from: str | None, *, called: str) -> Model:
    """A new model, or the one in a checkpoint, which must have been made of the same configuration.

    Args:
        make: The class of the model; called with `config`, which a model of it keeps as `.config`.
        config: What the model is to be.
        start_from: Name or checkpoint, or None.
        called: The recipes that make such models, in words: `"vae or cvae"`.

    Raises:
        UserError: If the checkpoint is not found, or of another kind, shape or classes.
    """
    if start_from is None:
        return make(config)
    model = checkpoint.load(start_from).model
    if not isinstance(model, make):  # type: ignore[arg-type]
        raise UserError(
            f"a {type(model).__name__}, which this recipe does not train",
            where=start_from,
            remedy=f"name one that melies train {called} made",
        )
    if model.config != config:
        raise UserError(
            "of another shape or of other classes",
            where=start_from,
            remedy="give the options, and the names of the folders, that it was made with",
        )
    return model.train()

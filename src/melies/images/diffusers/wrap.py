"""Our guidance inside a pipeline of `diffusers`: its network is made to return what is guided already.

A pipeline evaluates its network on the null and the conditional half of a batch and combines them as
u + s·(c − u). Here the network's `forward` is replaced for a while: it evaluates what the step needs,
and returns the guided prediction g in both halves, of which the pipeline makes g + s·(g − g) = g. So
every option of the pipeline keeps working, from its scheduler to its callbacks, and none of its state
is written, which is where changing `guidance_scale` in a callback goes wrong: that acts one step late,
and below 1 the pipeline halves its batch and not its prompts.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from melies.diffusion.guidance.bind import Trace, check_fits
from melies.diffusion.guidance.measure import deviation
from melies.errors import UserError
from melies.images.diffusers.attention import edited_attention
from melies.images.diffusers.coordinates import Coordinates, coordinates_of, sampler_of
from melies.images.diffusers.families import Family, Inputs, family_of
from melies.interfaces import AttentionEdit, Branch, Denoise, Guidance


@contextmanager
def guided(
    pipe: Any,
    guidance: Guidance,
    *,
    negative: str = "",
    weak: nn.Module | None = None,
    trace: Trace | None = None,
) -> Iterator["Run"]:
    """Guide every call of a pipeline inside the block; afterwards it is as it was.

    The pipeline must be called so that it prepares a null: with `guidance_scale` above 1, as is its
    default, whatever the number, or for Flux with `true_cfg_scale` above 1 and a `negative_prompt`. Its
    `negative_prompt` is the null of our guidance. Where guidance needs a negative beside the null, that
    is `negative`, read by the pipeline's own text encoders; plain guidance takes it in place of the null.
    A schedule covers the noise levels of the pipeline's scheduler; a tensor of scales has one for each
    picture, in the order in which the pipeline returns them.

    Args:
        pipe: A `StableDiffusionPipeline`, `StableDiffusionXLPipeline`, `StableDiffusion3Pipeline` or
            `FluxPipeline`, with whatever LoRA or IP adapter is loaded.
        guidance: How to guide; methods that edit self-attention need a UNet.
        negative: Words for the negative branch.
        weak: A weaker network of the same inputs, for autoguidance.
        trace: As of `Guidance.bind`.

    Yields:
        The run, which counts.

    Raises:
        UserError: If the pipeline's class or scheduler is not supported, the guidance does not fit the
            scheduler, or the pipeline is called without a null.
    """
    family = family_of(pipe)
    network = getattr(pipe, family.network)
    run = (_InTurn if family.in_turn else _Halves)(pipe, family, network, guidance, negative, weak, trace)
    own = network.__dict__.get("forward")  # one that offloading has put there, or none
    if isinstance(getattr(own, "__self__", None), Run):
        raise UserError("the pipeline is guided already", remedy="leave the block that guides it first")
    network.forward = run.forward
    try:
        yield run
        run.finish()
    finally:
        if own is None:
            del network.forward
        else:
            network.forward = own


class Run:
    """A guided pipeline: what it has cost, and the guidance bound to the scheduler's present timesteps."""

    def __init__(
        self,
        pipe: Any,
        family: Family,
        network: nn.Module,
        guidance: Guidance,
        negative: str,
        weak: nn.Module | None,
        trace: Trace | None,
    ) -> None:
        self.network_calls = 0
        """Calls of the network, of a weaker one too."""
        self.rows = 0
        """Samples that went through it: of two branches at every step, twice pictures times steps."""
        self._pipe, self._family, self._guidance = pipe, family, guidance
        self._network, self._weak = network.forward, weak
        self._module, self._negative, self._trace = network, negative, trace
        self._timesteps: Any = None
        self._size = 0
        self._coordinates: Coordinates
        self._denoise: Denoise
        self._unwanted: dict[str, Tensor] = {}
        # of the call that is answered now
        self._inputs: Inputs = {}
        self._place = (1.0, 1.0)
        self._conditional: Tensor | None = None

    def forward(self, *args: Any, **named: Any) -> tuple[Tensor]:
        """Takes the place of the network's own."""
        raise NotImplementedError

    def finish(self) -> None:
        """Called once the block ends well."""

    def _start(self, inputs: Inputs, size: int) -> None:
        """Bind the guidance anew where the pipeline has begun another run."""
        scheduler = self._pipe.scheduler
        if scheduler.timesteps is self._timesteps and size == self._size:
            return
        check_fits(self._guidance, sampler_of(scheduler))
        self._timesteps, self._size = scheduler.timesteps, size
        self._coordinates = coordinates_of(scheduler)
        if self._negative:
            self._unwanted = self._family.read(self._pipe, self._negative, inputs)
        self._denoise = self._guidance.bind(self._branches(size), self._coordinates.sigmas, trace=self._trace)

    def _branches(self, size: int) -> dict[str, Branch]:
        raise NotImplementedError

    def _guide(self, inputs: Inputs, size: int) -> Tensor:
        """The guided prediction (size, …) of one call."""
        x = inputs[self._family.inputs[0]][:size]
        alpha, noise = self._place = self._coordinates.at(inputs["timestep"], self._family.time_unit)
        wide = x.double() if x.dtype == torch.float64 else x.float()
        sigma = wide.new_full((size,), noise / alpha)
        x0 = self._denoise(wide / alpha, sigma)
        found = self._rescaled(self._coordinates.prediction(wide, alpha, noise, x0))
        return found.to(x)

    def _rescaled(self, found: Tensor) -> Tensor:
        """The pipeline's own `guidance_rescale`, which needs the conditional prediction and so acts here."""
        share = getattr(self._pipe, "guidance_rescale", 0.0)
        if not share or self._conditional is None:
            return found
        return torch.lerp(found, found * (deviation(self._conditional) / deviation(found)), share)

    def _evaluate(
        self, network: Callable[..., Any], inputs: Inputs, attention: AttentionEdit | None = None
    ) -> Tensor:
        """A prediction by the network itself, counted."""
        self.network_calls += 1
        self.rows += len(inputs[self._family.inputs[0]])
        with nullcontext() if attention is None else edited_attention(self._module, attention):
            return network(**{**inputs, "return_dict": False})[0]

    def _x0(self, x: Tensor, prediction: Tensor) -> Tensor:
        alpha, noise = self._place
        return self._coordinates.x0(alpha * x, alpha, noise, prediction.to(x))

    def _named(self, args: Sequence[Any], named: Mapping[str, Any]) -> Inputs:
        return {**dict(zip(self._family.inputs, args, strict=False)), **named}


class _Halves(Run):
    """A pipeline that evaluates both at once: the null in the first half of the batch."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._shift: Tensor | None = None

    def forward(self, *args: Any, **named: Any) -> tuple[Tensor]:
        """The guided prediction in both halves."""
        inputs = self._named(args, named)
        if "skip_layers" in inputs:  # of SD 3, which then adds k·(c − this), and takes the guided one for c
            found = self._evaluate(self._network, inputs)
            return (found if self._shift is None else found + self._shift,)
        if not self._pipe.do_classifier_free_guidance:
            raise _no_null(self._family)
        size = len(inputs[self._family.inputs[0]]) // 2
        self._inputs, self._conditional = inputs, None
        self._start(inputs, size)
        found = self._guide(inputs, size)
        self._shift = None if self._conditional is None else found - self._conditional.to(found)
        return (torch.cat([found, found]),)

    def _branches(self, size: int) -> dict[str, Branch]:
        null, conditional = {"rows": torch.arange(size)}, {"rows": torch.arange(size) + size}
        both = self._predict  # one object, by which the planner knows that one call may do for both
        branches = {"conditional": Branch(both, conditional), "null": Branch(both, null)}
        if self._negative:
            branches["negative"] = Branch(functools.partial(self._predict, unwanted=True), null)
        if self._weak is not None:
            branches["weak"] = Branch(functools.partial(self._predict, network=self._weak), conditional)
        return branches

    def _predict(
        self,
        x: Tensor,
        sigma: Tensor,
        condition: Mapping[str, Tensor],
        *,
        attention: AttentionEdit | None = None,
        network: Callable[..., Any] | None = None,
        unwanted: bool = False,
    ) -> Tensor:
        """x0 by the network, for the rows of the pipeline's batch that a branch stands for."""
        rows = condition["rows"]
        inputs = _rows_of(self._inputs, rows, 2 * self._size)
        if unwanted:
            inputs = _replaced(inputs, self._unwanted, len(rows))
        found = self._evaluate(network or self._network, inputs, attention)
        if network is None and attention is None and int(rows.max()) >= self._size:
            self._conditional = found[rows >= self._size].to(x)
        return self._x0(x, found)


class _InTurn(Run):
    """Flux, which evaluates first the condition and then its null, each in a call of its own.

    When the second call comes both conditions are known, and the tensor that the first returned is
    made what is guided, so that the pipeline combines two that are equal. The condition is therefore
    evaluated even where the scale is 0.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._first: tuple[Inputs, Tensor] | None = None

    def forward(self, *args: Any, **named: Any) -> tuple[Tensor]:
        """The conditional prediction, then in its place and beside it what is guided."""
        inputs = self._named(args, named)
        latents = inputs[self._family.inputs[0]]
        if self._first is None or self._first[0][self._family.inputs[0]] is not latents:
            self.finish()
            self._first = inputs, self._evaluate(self._network, inputs)
            return (self._first[1],)
        (before, said), self._first = self._first, None
        self._inputs = {"conditional": before, "null": inputs}
        self._conditional = said.to(torch.promote_types(latents.dtype, torch.float32), copy=True)
        self._start(before, len(latents))
        said.copy_(self._guide(inputs, len(latents)))
        return (said,)

    def finish(self) -> None:
        """Refuse a pipeline that has not asked for the null.

        Raises:
            UserError: Saying what makes it ask.
        """
        if self._first is not None:
            self._first = None
            raise _no_null(self._family)

    def _branches(self, size: int) -> dict[str, Branch]:
        ways: dict[str, Mapping[str, Any]] = {"conditional": {"of": "conditional"}, "null": {"of": "null"}}
        if self._negative:
            ways["negative"] = {"of": "null", "unwanted": True}
        if self._weak is not None:
            ways["weak"] = {"of": "conditional", "network": self._weak}
        return {name: Branch(functools.partial(self._predict, **way), {}) for name, way in ways.items()}

    def _predict(
        self,
        x: Tensor,
        sigma: Tensor,
        condition: Mapping[str, Tensor],
        *,
        attention: AttentionEdit | None = None,
        of: str,
        network: Callable[..., Any] | None = None,
        unwanted: bool = False,
    ) -> Tensor:
        """x0 by the network, or by what it has said of the condition already."""
        if of == "conditional" and network is None and attention is None and self._conditional is not None:
            return self._x0(x, self._conditional)
        inputs = self._inputs[of]
        if unwanted:
            inputs = _replaced(inputs, self._unwanted, len(x))
        return self._x0(x, self._evaluate(network or self._network, inputs, attention))


def _rows_of(value: Any, rows: Tensor, total: int) -> Any:
    """The rows of a batch in every tensor that has `total` of them, however deep it lies."""
    match value:
        case Tensor():
            if not value.ndim or len(value) != total or torch.equal(rows, torch.arange(total)):
                return value
            return value[rows.to(value.device)]
        case Mapping():
            return {name: _rows_of(inner, rows, total) for name, inner in value.items()}
        case list() | tuple():
            return type(value)(_rows_of(inner, rows, total) for inner in value)
        case _:
            return value


def _replaced(inputs: Inputs, embeddings: Mapping[str, Tensor], count: int) -> Inputs:
    """The inputs with other words: `"outer.inner"` lies in a mapping."""
    inputs = dict(inputs)
    for name, value in embeddings.items():
        outer, _, inner = name.partition(".")
        many = value.expand(count, *value.shape[1:])
        inputs[outer] = {**inputs[outer], inner: many} if inner else many
    return inputs


def _no_null(family: Family) -> UserError:
    return UserError(
        "the pipeline was called without a null, so that there is nothing to guide by",
        remedy=f"call it with {family.switch}; the number itself does not count",
    )

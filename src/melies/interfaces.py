"""The seams between the parts: every type that two of them share, and nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

Condition = Mapping[str, Tensor]
"""What a picture is asked to be; each value (b, …).

`"text"` (b, l, d) token states with `"text_valid"` (b, l) bool (True = real token);
`"class"` (b,) int64. `"present.text"`, `"present.class"` (b,) bool: False stands for the null
condition, at the same shapes. A condition whose `present` entry is absent counts as present.
For control branches `"hint"`, `"hint_encoded"` and `"hint_kind"`, as `melies.nn.control` says.
"""

Noise = Callable[[int, Tensor], Tensor]
"""`(step, like) → noise` in the shape of `like`; per-sample seeds, drawn on the CPU."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""A bound denoiser: `(x, sigma (b,)) → x0_hat`, conditions and guidance already inside."""

AttentionEdit = Callable[[Tensor, Tensor, Tensor, str], Tensor | None]
"""`(query, key, value (b, h, l, d), name) → output or None`; None leaves that layer as it is."""

Residuals = Callable[[Tensor, Tensor], Sequence[Tensor] | None]
"""`(x, c_noise) → residuals or None`: what control branches add inside a network at one evaluation."""


@runtime_checkable
class Network(Protocol):
    """Takes c_in·x, gives the raw prediction; residuals and attention edits enter here."""

    def __call__(
        self,
        x: Tensor,
        c_noise: Tensor,
        condition: Condition,
        *,
        residuals: Sequence[Tensor] | None = None,
        attention: AttentionEdit | None = None,
    ) -> Tensor: ...


@runtime_checkable
class Denoiser(Protocol):
    """`(x_sigma (b, …), sigma (b,), condition) → x0_hat (b, …)`, x_sigma = x0 + sigma·epsilon."""

    def __call__(
        self, x: Tensor, sigma: Tensor, condition: Condition, *, attention: AttentionEdit | None = None
    ) -> Tensor: ...


@runtime_checkable
class Sampler(Protocol):
    """Integrates from sigmas[0] to sigmas[-1]; `x` already has standard deviation sigmas[0]."""

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise | None = None
    ) -> Tensor: ...


class Branch(NamedTuple):
    """One thing that guidance may evaluate: a denoiser with its condition."""

    denoiser: Denoiser
    condition: Condition
    attention: AttentionEdit | None = None


@runtime_checkable
class Guidance(Protocol):
    """Combines branches into one bound denoiser; a fresh closure per run holds its state."""

    @property
    def space(self) -> str:
        """Where it acts: "x0", "epsilon" or "velocity"."""
        ...

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names of the samplers it fits, of `melies.diffusion.SAMPLERS`."""
        ...

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> Denoise: ...


@runtime_checkable
class Schedule(Protocol):
    """Guidance weight over a run: one number per step of the σ-grid, on the canonical scale."""

    def on(self, sigmas: Tensor) -> Tensor: ...


@runtime_checkable
class ControlBranch(Protocol):
    """Residuals for a network, from the same noisy input and a hint in the condition."""

    def __call__(self, x: Tensor, c_noise: Tensor, condition: Condition) -> tuple[Tensor, ...]: ...


@runtime_checkable
class Codec(Protocol):
    """Pixels (b, c, h, w) in [−1, 1] to latents (b, d, h', w'), and back."""

    def encode(self, pixels: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


@runtime_checkable
class PictureModel(Protocol):
    """What every family of generative models can do with pictures, whatever it is made of.

    Pictures are float (b, c, h, w) in [−1, 1]; labels are int64 (b,) numbers of `classes`, or None
    for a model without classes.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it can be asked for; empty where it has none."""
        ...

    def encode(self, pixels: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures to latents (b, …), such that straight ways between two of them make sense."""
        ...

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents to pictures."""
        ...

    def sample(self, num: int, *, noise: Noise, labels: Tensor | None = None) -> Tensor:
        """`num` new pictures; all randomness comes from `noise`, so one seed gives one picture."""
        ...


class TextStates(NamedTuple):
    """What a text encoder says of a batch of texts."""

    tokens: Tensor
    """(b, l, d) float32."""
    valid: Tensor
    """(b, l) bool, True = real token."""
    pooled: Tensor
    """(b, d) float32."""


@runtime_checkable
class TextEncoder(Protocol):
    """Texts to token states."""

    def __call__(self, texts: Sequence[str]) -> TextStates: ...


class Reply(NamedTuple):
    """An answer of a language model."""

    text: str
    tokens_in: int
    tokens_out: int


@runtime_checkable
class Chat(Protocol):
    """One turn with a language model, local or behind an OpenAI-compatible endpoint."""

    def __call__(
        self, messages: Sequence[Mapping[str, str]], *, images: Sequence[Any] = (), options: Any = None
    ) -> Reply: ...


LossFn = Callable[[nn.Module, Any, Any], tuple[Tensor, Mapping[str, float]]]
"""`(model, batch, generator) → (loss (), scalars to log)`."""


class Objective(NamedTuple):
    """One loss and the parameters that it trains; a GAN has two."""

    name: str
    parameters: Callable[[nn.Module], Iterable[nn.Parameter]]
    loss_fn: LossFn


class Metric(NamedTuple):
    """One measured number, with what is needed to trust it."""

    name: str
    value: float
    unit: str
    higher_is_better: bool | None
    """None where neither is."""
    num_samples: int
    interval: tuple[float, float]
    """95 % interval, low then high."""
    seed: int

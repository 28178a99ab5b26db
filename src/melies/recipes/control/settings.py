"""What a control branch is trained by."""

from dataclasses import dataclass, field

from melies.config import check_positive, check_range
from melies.errors import UserError, choose
from melies.images.conditions import CONDITIONS
from melies.metrics.control import TOLERANCE_PX
from melies.training.loop import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRecipe:
    """The branch, the hints that it learns, and its training."""

    base: str = "emoji"
    """Name or checkpoint of the model that is to be steered; its weights stay as they are."""
    kinds: tuple[str, ...] = ("canny", "hough", "scribble", "lineart", "softedge", "mask")
    """Kinds of hint, none of which may need weights; one branch learns them all and is told which it is."""
    depth: int = 2
    """Blocks of the base's transformer that are copied, 0 for the hint alone; of a UNet the whole way down
    is."""
    hint_width: int = 16
    """Channels of the hint encoder at the hint's own size."""
    zero_joints: bool = True
    """Whether the branch is joined by layers that start at zero; False to see what that is for."""
    tune_base: bool = False
    """Whether a copy of the base is trained along; False locks it."""
    num_pairs: int = 0
    """Most pictures to learn from; 0 for all."""
    drop: float = 0.4
    """Share of pictures trained without their text, so that the hint alone must say something."""
    moved: float = 0.5
    """Share of pictures that are shifted, scaled and mirrored: a base that knows its pictures by heart knows
    where everything is without a hint, unless it is elsewhere."""
    zoom: tuple[float, float] = (0.8, 1.4)
    """Least and largest share of the picture's side that a moved one shows."""
    shift: float = 0.2
    """Its largest shift, in halves of the picture's side."""
    mirrored: float = 0.5
    """Share of the moved ones that are mirrored."""
    balance: float = 0.5
    """How far rare subcategories are shown more often: 0 not at all, 1 until all are equal."""
    P_mean: float = 0.2
    """Mean of log σ while training."""
    P_std: float = 1.1
    """Standard deviation of log σ while training."""
    num_watched: int = 48
    """Held-out pairs by which fidelity is watched, of each kind in turn; at each preview."""
    watched_steps: int = 10
    """Steps in which they are drawn."""
    num_measured: int = 500
    """Most held-out pairs on which fidelity is measured at the end, with control and without."""
    measured_steps: int = 25
    """Steps in which these are drawn."""
    scale: float = 3.0
    """Guidance scale of both."""
    tolerance_px: float = TOLERANCE_PX
    """Distance up to which an edge counts as found."""
    strict_px: float = 1.0
    """The same, for a second look at the end."""
    patience: int = 8
    """Watches after the jump without a gain after which the run is done, twice as many where fidelity rises
    without a jump; 0 to train to the end."""
    gain: float = 0.01
    """Rise of the mean fidelity that counts as one."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            num_samples=600_000,
            batch_size=64,
            learning_rate=5e-4,
            warmup=6_400,
            decay="constant",
            betas=(0.9, 0.95),
            ema_half_life=10_000,
            log_every=3_200,
            preview_every=12_800,
            checkpoint_every_s=180,
        )
    )
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges, and that every kind can be taken from a picture without more."""
        for name in ("hint_width", "P_std", "watched_steps", "measured_steps"):
            check_positive(name, getattr(self, name))
        for name in ("drop", "moved", "shift", "mirrored", "balance"):
            check_range(name, getattr(self, name), low=0, high=1)
        for name in ("depth", "num_pairs", "patience", "gain", "scale", "tolerance_px", "strict_px"):
            check_range(name, getattr(self, name), low=0)
        for share in self.zoom:
            check_positive("zoom", share)
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UserError(f"kinds = {list(self.kinds)}: give each kind once, and at least one")
        for kind in self.kinds:
            if choose(kind, CONDITIONS, "kind of condition").weights:
                raise UserError(
                    f"{kind} needs weights, and hints are taken while training",
                    where="kinds",
                    remedy="choose kinds that need none",
                )
        for name in ("num_watched", "num_measured"):
            check_range(name, getattr(self, name), low=len(self.kinds))
        if not self.training.preview_every:
            raise UserError(
                "without previews fidelity is not watched",
                where="training.preview_every",
                remedy="give the number of pictures after which it is",
            )

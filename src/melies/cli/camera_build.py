"""`melies camera dataset build`: videos into a set of camera paths."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from tyro.conf import Positional, arg

from melies.batch import BatchConfig
from melies.cli.camera_dataset import set_answer
from melies.cli.output import Answer, Output, place
from melies.cli.read import bare_arg, read_arguments
from melies.errors import UserError

Settings = TypeVar("Settings")

ABOUT = (
    "Make a set in E.T.'s layout of videos: their shots, where the camera was in each, the character beside"
    " it, what both do, and captions.\n\nA camera that stands still or turns on a tripod is told so; of one"
    " that moves COLMAP finds the path. Other software's paths are taken with --poses, in any format that"
    " `melies camera convert` reads, and its characters with --characters. Else the character is put into"
    " space by the joints that a network finds in the pictures (--pose-weights), as if everybody were 1.70 m"
    " tall: near enough to say how a shot moves, and not more. How long a unit of COLMAP's world is, is told"
    " by what is seen beside the feet, or guessed; the report says which.\n\n--out gets traj, char, segments,"
    " captions and lists of splits, report.html with a picture of every sample, and videos/NAME.json with"
    " what became of every shot. A run that was stopped goes on with the same command; a bad video is"
    " recorded and passed over."
)
EXAMPLES = (
    "melies camera dataset build film.mp4 --out et --pose-weights mediapipe.whl",
    "melies camera dataset build films/ --out et --poses slahmr --characters slahmr --workers 2",
    "melies camera dataset build films/ --out et --pose-weights mediapipe.whl --ray --retry",
)


@dataclass(frozen=True, kw_only=True)
class Build(Generic[Settings]):
    """Which videos, and where to."""

    videos: Annotated[Positional[tuple[Path, ...]], bare_arg(metavar="VIDEO…")] = ()
    """Files, and folders of them."""
    settings: Annotated[Settings, arg(name="")]
    batch: Annotated[BatchConfig, arg(name="")] = BatchConfig()
    out: Annotated[Path, bare_arg(metavar="FOLDER")]
    """Where the set goes; one that was begun goes on."""
    output: Annotated[Output, arg(name="")] = Output()


def build(argv: Sequence[str]) -> Answer:
    """Read the arguments and build the set."""
    from melies.camera.build import BuildConfig
    from melies.camera.build_set import build_set

    arguments = read_arguments(
        Build[BuildConfig], argv, verb="camera dataset build", about=ABOUT, examples=EXAMPLES
    )
    built = build_set(
        arguments.videos,
        arguments.out,
        arguments.settings,
        arguments.batch,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    failed = [one for one in built.outcomes if one.state == "failed"]
    left_out = [
        *(f"{one.name}: {one.error}" for one in failed),
        *(
            f"{one.name}, shot {shot['shot']}: {shot['left out']}"
            for one in built.outcomes
            if one.state == "done"
            for shot in one.result["shots"]
            if "left out" in shot
        ),
    ]
    if built.statistics is None:
        raise UserError(
            f"no sample came of {len(built.outcomes)} videos; {left_out[0]}",
            where=str(built.report),
            remedy="the report says why, of every shot",
        )
    answer = set_answer(arguments.out, asdict(built.statistics), asked=False)
    return Answer(
        data={**asdict(built.statistics), "report": built.report, "left out": left_out},
        show=[*(f"left out: {line}" for line in left_out), *answer.show, f"look at {place(built.report)}"],
        asked=False,
    )

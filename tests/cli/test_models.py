"""Models are found by name; what is brought by hand is checked, converted, and kept whole or not at all."""

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from melies import checkpoint, models
from melies.errors import UserError
from melies.files import file_sha256
from melies.models import check_digests, describe_model, find_model, list_models, user_folder, write_digests


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """An empty folder in place of the one of the models that ship."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(models, "shipped_folder", lambda: folder)
    monkeypatch.setattr("melies.cli.add.shipped_folder", lambda: folder)
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder).model.state_dict()


def assert_half_of(folder: Path, source: Path) -> None:
    expected = {name: value.half().float() for name, value in weights_of(source).items()}
    found = weights_of(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def zipped(folder: Path, out: Path, root: str = "") -> Path:
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"{root}{path.relative_to(folder)}")
    return out


def test_a_run_is_added_listed_shown_and_drawn_with(run, shipped, tiny_model):
    (tiny_model / "checkpoint-64" / "card.md").write_text(
        "# Pets\n\nCats and dogs of eight pixels.\n\nMore.\n"
    )
    added = run("models", "add", str(tiny_model), "--json", "--quiet").json
    assert (added["name"], added["kind"], added["shipped"]) == ("pets", "image-diffusion", False)
    folder = user_folder() / "pets"
    assert added["path"] == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "card.md",
        "config.json",
        "ema.safetensors",
    ]
    assert check_digests(folder) == 3
    assert_half_of(folder, tiny_model)
    assert added["provenance"] == {"recipe": "pets", "samples_seen": 64}
    assert [path.name for path in user_folder().iterdir()] == ["pets"]

    listed = run("models")
    assert listed.code == 0
    assert "Cats and dogs of eight pixels." in listed.out
    assert "pets" in listed.out
    shown = run("models", "show", "pets")
    assert shown.out.endswith("# Pets\n\nCats and dogs of eight pixels.\n\nMore.\n")
    assert run("models", "--json").json["models"][0]["size_bytes"] == sum(
        path.stat().st_size for path in folder.iterdir() if path.name != "SHA256SUMS"
    )
    drawn = run(
        "generate", "--class", "dog", "--model", "pets", "--steps", "1", "--count", "1", "--quiet", "--json"
    )
    assert Path(drawn.json["pictures"][0]).is_file()


def test_facts_of_a_checkpoint_are_told_in_words(run, tiny_model):
    facts = {"versions": {"torch": "2.13", "numpy": "2.4"}, "hardware": {"cores": 2, "accelerators": []}}
    model = checkpoint.load(tiny_model).model
    checkpoint.save(tiny_model / "checkpoint-64", model, provenance={**facts, "heads": ["tone", "style"]})
    done = run("models", "show", str(tiny_model / "checkpoint-64"))
    assert "versions: torch 2.13, numpy 2.4\nhardware: cores 2\nheads: tone, style\n" in done.out


def test_a_model_without_a_card_shows_where_it_comes_from(run, tiny_model):
    done = run("models", "show", str(tiny_model / "checkpoint-64"))
    assert "no card; its checkpoint says:\nrecipe: pets\nsamples_seen: 64" in done.out


@pytest.mark.parametrize("root", ["", "deep/down/"])
@pytest.mark.parametrize("part", ["", "checkpoint-64"])
def test_zips_of_a_run_and_of_a_checkpoint(run, shipped, tiny_model, tmp_path, root, part):
    file = zipped(tiny_model / part, tmp_path / "brought.zip", root)
    assert run("models", "add", str(file), "--name", "from-zip").code == 0
    assert_half_of(user_folder() / "from-zip", tiny_model)


@pytest.mark.parametrize("like", [(), ("--like", "pets")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".wrapped.pt"])
def test_weights_alone_take_the_config_of_the_model_they_fit(
    run, shipped, tiny_model, tmp_path, suffix, like
):
    assert run("models", "add", str(tiny_model)).code == 0
    weights = {name: value + 1 for name, value in weights_of(tiny_model).items()}
    file = tmp_path / f"other{suffix}"
    if suffix == ".safetensors":
        save_file(weights, file)
    else:
        torch.save({"model": weights, "epoch": 3} if "wrapped" in suffix else weights, file)
    added = run("models", "add", str(file), "--name", "other", *like, "--quiet", "--json").json
    found = weights_of(user_folder() / "other")
    assert all(torch.equal(found[name], weights[name].half().float()) for name in weights)
    assert added["provenance"]["config_of"] == "pets"
    assert added["provenance"]["weights_of"] == file.name
    assert added["provenance"]["sha256"] == file_sha256(file)


class Payload:
    """What a malicious pickle does."""

    def __reduce__(self):
        return (os.mkdir, ("proof-that-code-ran",))


def damaged(kind: str, tmp_path: Path, tiny_model: Path) -> tuple[str, str]:
    """A file that must not be added, and what must be said of it."""
    path = tmp_path / f"bad{'.zip' if 'zip' in kind else '.pth'}"
    match kind:
        case "pickled code":
            path.write_bytes(pickle.dumps({"weight": Payload()}))
            return str(path), "melies never runs what is in a file"
        case "code in torch's own format":
            torch.save({"weight": Payload()}, path)
            return str(path), "it holds more than tensors, and melies never runs"
        case "no weights":
            torch.save([1, 2, 3], path)
            return str(path), "holds no table of named tensors"
        case "empty file":
            path.write_bytes(b"")
            return str(path), "it is damaged"
        case "other weights":
            torch.save({"layer.weight": torch.zeros(2)}, path)
            return str(path), "the weights fit no model (pets: lacks "
        case "other shapes":
            torch.save({name: torch.zeros(7) for name in weights_of(tiny_model)}, path)
            return str(path), "is (7,), not ("
        case "truncated":
            file = tiny_model / "checkpoint-64" / "ema.safetensors"
            file.write_bytes(file.read_bytes()[:-10])
            return str(tiny_model), "not a complete safetensors file"
        case "foreign folder":
            (tmp_path / "foreign").mkdir()
            (tmp_path / "foreign" / "config.json").write_text('{"model_type": "bert"}')
            return str(tmp_path / "foreign"), "not a melies checkpoint"
        case "zip with a name outside":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("../config.json", "{}")
            return str(path), "outside the archive"
        case "zip without a checkpoint":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("readme.md", "nothing")
            return str(path), "the zip holds no checkpoint"
        case "zip that is none":
            path.write_bytes(b"PK but not for long")
            return str(path), "is neither a checkpoint folder, a zip of one"
        case "zip bomb":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("config.json", b" " * (64 << 20))
            return str(path), "zip bomb"
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "pickled code",
            "code in torch's own format",
            "no weights",
            "empty file",
            "other weights",
            "other shapes",
        ),
        *(
            "truncated",
            "foreign folder",
            "zip with a name outside",
            "zip without a checkpoint",
            "zip that is none",
        ),
        "zip bomb",
    ],
)
def test_what_is_broken_or_dangerous_leaves_nothing_behind(run, shipped, tiny_model, tmp_path, kind):
    assert run("models", "add", str(tiny_model)).code == 0
    file, said = damaged(kind, tmp_path, tiny_model)
    done = run("models", "add", file, "--name", "bad", "--quiet")
    assert done.code == 2
    assert said in done.error
    assert [path.name for path in user_folder().iterdir()] == ["pets"]
    assert not Path("proof-that-code-ran").exists()


def test_a_full_disk_leaves_nothing_behind(run, shipped, tiny_model, monkeypatch):
    import errno

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("melies.cli.add.write_digests", full)
    done = run("models", "add", str(tiny_model), "--quiet")
    assert (done.code, list(user_folder().iterdir())) == (2, [])
    assert "the disk is full" in done.error


def test_names_that_are_taken_or_no_names(run, shipped, tiny_model):
    shutil.copytree(tiny_model / "checkpoint-64", shipped / "ours")
    assert "ships with melies" in run("models", "add", str(tiny_model), "--name", "ours", "--quiet").error
    assert (
        "cannot be the name of a model"
        in run("models", "add", str(tiny_model), "--name", "../x", "--quiet").error
    )
    assert run("models", "add", str(tiny_model), "--quiet").code == 0
    assert "there is a model 'pets' already" in run("models", "add", str(tiny_model), "--quiet").error


def test_the_order_in_which_a_name_is_looked_up(shipped, tiny_model):
    source = tiny_model / "checkpoint-64"
    assert find_model(source) == source
    shutil.copytree(source, user_folder() / "twice")
    assert find_model("twice") == user_folder() / "twice"
    shutil.copytree(source, shipped / "twice")
    assert find_model("twice") == shipped / "twice"
    shutil.copytree(source, Path("here-only"))
    assert find_model("here-only") == Path("here-only")
    assert [(entry.name, entry.shipped) for entry in list_models()] == [("twice", True)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("twise", "did you mean 'twice'? Valid: twice, or the path of a checkpoint"),
        ("../shipped/nothing", "there is no model"),
        ("", "there is no model"),
        ("weights.pth", "is a file, not a checkpoint folder; run `melies models add weights.pth`"),
        ("empty", "holds no checkpoint"),
    ],
)
def test_names_that_are_not_found(shipped, tiny_model, name, said):
    shutil.copytree(tiny_model / "checkpoint-64", shipped / "twice")
    Path("weights.pth").write_bytes(b"")
    Path("empty").mkdir()
    with pytest.raises(UserError) as raised:
        find_model(name) if name else find_model(Path("nothing"))
    assert said in str(raised.value)


def test_a_folder_that_is_no_model_does_not_hide_the_others(shipped, tiny_model):
    shutil.copytree(tiny_model / "checkpoint-64", shipped / "good")
    (shipped / "bad").mkdir()
    (shipped / "bad" / "config.json").write_text("not JSON")
    assert [entry.name for entry in list_models()] == ["good"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").write_text("{}"), "the file has changed"),
        (lambda folder: (folder / "config.json").unlink(), "the file is missing"),
        (lambda folder: (folder / "more").write_text(""), "is not in SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "the list of digests is missing"),
        (lambda folder: (folder / "SHA256SUMS").write_text("nonsense\n"), "cannot be read"),
    ],
)
def test_digests_see_every_change(tmp_path, damage, said):
    folder = tmp_path / "model"
    (folder / "codec").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"kind": "image-codec"}))
    (folder / "codec" / "weights").write_bytes(b"\0" * 1000)
    write_digests(folder)
    assert check_digests(folder) == 2
    damage(folder)
    with pytest.raises(UserError, match=said):
        check_digests(folder)


def test_what_mends_a_model_depends_on_whose_it_is(shipped, tiny_model):
    for parent, remedy in ((shipped, "install melies again"), (user_folder(), "melies models add")):
        folder = parent / "pets"
        shutil.copytree(tiny_model / "checkpoint-64", folder)
        with pytest.raises(UserError, match=rf"digests is missing; .*{remedy}"):
            check_digests(folder)
        write_digests(folder)
        (folder / "config.json").write_text("{}")
        with pytest.raises(UserError, match=rf"has changed; .*{remedy}"):
            check_digests(folder)


@pytest.mark.parametrize(
    ("card", "summary"),
    [
        ("# Title\n\nFirst line.\nSecond.", "First line."),
        ("---\nlicense: mit\n---\n# Title\n![figure](a.png)\n\nFirst.", "First."),
        ("", ""),
        ("# Only a title", ""),
    ],
)
def test_the_line_of_a_card(tmp_path, card, summary):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"kind": "image-codec"}))
    (folder / "README.md").write_text(card)
    assert describe_model(folder).summary == summary

"""The recipe of control branches: pairs on the fly, a base that stays, watched fidelity, resume, refusals."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from melies import checkpoint
from melies.data.captions import caption_table
from melies.data.emoji import open_emoji, read_emoji
from melies.errors import UserError
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
from melies.images.codec import CodecConfig, ImageCodec
from melies.images.control import PictureControl, new_branch, read_branch, weights_of
from melies.images.fidelity import control_fidelity, fidelity_name, hints_of
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.images.tuned import TunedControl
from melies.nn.transformer import TransformerConfig
from melies.recipes.control import emoji as recipe
from melies.recipes.control.evaluate import ControlEvaluation, alike, crossed, evaluate_control
from melies.recipes.control.pairs import Pairs, held_out_pairs, pair_batches, split_pairs
from melies.recipes.control.settings import ControlRecipe
from melies.recipes.control.watch import CURVE, WATCHED, Watch
from melies.recipes.emoji import encode_pixels, latents_of
from melies.recipes.job import Job
from melies.report.record import read_record
from melies.text.conditions import caption_conditions
from melies.text.config import TextConfig
from melies.text.learned import build_vocabulary
from melies.training.log import read_log
from melies.training.loop import TrainingConfig

SIZE = 16
KINDS = ("canny", "scribble", "mask", "clusters")
TRAINING = TrainingConfig(
    num_samples=160,
    batch_size=16,
    learning_rate=3e-3,
    warmup=0,
    decay="constant",
    ema_half_life=30,
    log_every=16,
    preview_every=80,
    precision="fp32",
)


def silent(*_: object) -> None:
    """A run that says nothing."""


@pytest.fixture(scope="module")
def pictures(write_emoji, tmp_path_factory) -> Path:
    """240 pictures of discs and bars."""
    return write_emoji(tmp_path_factory.mktemp("emoji") / "emoji.zip", 10)


@pytest.fixture(scope="module")
def base(pictures, tmp_path_factory) -> Path:
    """A model of random weights with a learned text encoder and an untrained codec."""
    torch.manual_seed(0)
    codec = ImageCodec(CodecConfig(latent_channels=4, widths=(8, 16), decoder_blocks=1))
    network = TransformerConfig(channels=4, size=4, dim=16, depth=2, head_dim=8, text_dim=16)
    found = read_emoji(pictures, size=SIZE).training()
    words = build_vocabulary(caption_table(found.rows).texts)
    text = TextConfig(name="learned", num_layers=1, num_heads=2, max_tokens=16, dim=16, vocabulary=words)
    model = ImageDiffusion(ImageDiffusionConfig(network=network, size=SIZE, text=text), codec=codec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    latents_of(model, found, refit=True)
    return checkpoint.save(tmp_path_factory.mktemp("base") / "base", model)


@pytest.fixture(scope="module")
def config(base) -> ControlRecipe:
    return ControlRecipe(
        base=str(base),
        kinds=KINDS,
        depth=1,
        hint_width=8,
        num_watched=8,
        watched_steps=2,
        num_measured=8,
        measured_steps=2,
        training=TRAINING,
    )


def go(config: ControlRecipe, data: Path, out: Path, **options):
    return recipe.run(config, Job(data=data, out=out, say=silent, **options))


@pytest.fixture(scope="module")
def trained(config, pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "control"
    go(config, pictures, out)
    return out


def test_the_loss_falls_beside_a_base_that_stays(config, pictures, base, trained):
    """Against the same noise and pictures: the branch predicts what the base alone cannot."""
    loaded = checkpoint.load(base)
    model = loaded.model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss_fn = recipe.control_loss(config, model)
    batches = batches_of(config, pictures, model)
    fresh = new_branch(model, KINDS, depth=1, hint_width=8)
    after = read_branch(trained, loaded).model
    batch = batches(0, 64)
    with torch.no_grad():
        losses = [
            float(loss_fn(branch, batch, torch.Generator().manual_seed(5))[0]) for branch in (fresh, after)
        ]
    assert losses[1] < 0.95 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def batches_of(config: ControlRecipe, pictures: Path, model: ImageDiffusion):
    split = split_pairs(open_emoji(pictures, size=SIZE), config)
    captions = caption_table(split.training.rows)
    latents = latents_of(model, split.training, refit=False)
    conditions = caption_conditions(model.load_text_encoder(), captions.texts)
    branch = new_branch(model, config.kinds, depth=1, hint_width=8)
    standardize = model.transforms["latent"].forward

    def encode(pixels):
        return standardize(encode_pixels(model, pixels))

    return pair_batches(config, split.training, latents, encode, captions, conditions, branch)


def test_pairs_are_a_function_of_position_and_hints_are_of_their_pictures(config, pictures, base):
    model = checkpoint.load(base).model
    for moved in (0.5, 0.0):
        batches = batches_of(replace(config, moved=moved), pictures, model)
        whole, first, second = batches(0, 48), batches(0, 20), batches(20, 28)
        for name in ("x0", "hint", "hint_kind"):
            torch.testing.assert_close(whole[name], torch.cat([first[name], second[name]]))
    assert set(whole["hint_kind"].flatten().tolist()) == {0, 1, 2, 3}
    assert whole["hint"].shape == (48, 1, 3, SIZE, SIZE)
    training = split_pairs(read_emoji(pictures, size=SIZE), config).training
    latents = latents_of(model, training, refit=False)(torch.arange(len(training)), training.pixels)
    for row in range(12):
        place = int((latents == whole["x0"][row]).flatten(1).all(1).nonzero()[0])
        kind = KINDS[int(whole["hint_kind"][row])]
        expected = hints_of(kind, training.pixels[place : place + 1], [row])[0].expand(3, -1, -1)
        assert torch.equal((whole["hint"][row, 0] * 255).round().to(torch.uint8), expected)


@pytest.fixture(scope="module")
def shards(pictures, tmp_path_factory) -> Path:
    """The same pictures in three shards."""
    folder = tmp_path_factory.mktemp("shards")
    found = read_emoji(pictures, size=SIZE).pictures
    for shard in range(3):
        with tarfile.open(folder / f"set-{shard}.tar", "w") as archive:
            for index in range(shard, len(found), 3):
                out = io.BytesIO()
                Image.fromarray(found.pixels[index].permute(1, 2, 0).numpy()).save(out, "png")
                columns = json.dumps(dict(found.rows[index])).encode()
                key = found.names[index].rpartition(".")[0].replace(".", "-")
                for ending, data in (("png", out.getvalue()), ("json", columns)):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return folder / "set-{0..2}.tar"


def test_shards_stay_on_the_disk_and_give_the_batches_of_the_set(config, pictures, shards, base, monkeypatch):
    model = checkpoint.load(base).model
    held = batches_of(config, pictures, model)
    monkeypatch.setattr("melies.data.images.allocate", None)  # what makes room for a whole set
    streamed = batches_of(config, shards, model)
    for start, size in ((0, 16), (16, 16), (200, 48)):
        expected, found = held(start, size), streamed(start, size)
        assert expected.keys() == found.keys()
        for name in expected.keys() - {"x0"}:
            assert torch.equal(expected[name], found[name])
        torch.testing.assert_close(found["x0"], expected["x0"])


def test_a_run_on_shards_goes_on_bit_for_bit(config, shards, tmp_path):
    short = replace(
        config,
        num_watched=4,
        num_measured=4,
        training=replace(config.training, num_samples=128, preview_every=64, checkpoint_every_s=1e-6),
    )
    whole = go(short, shards, tmp_path / "whole")
    half = replace(short, training=replace(short.training, num_samples=64))
    go(half, shards, tmp_path / "parts")
    parts = go(short, shards, tmp_path / "parts", resume=True)
    for name, value in whole.ema.model.state_dict().items():
        assert torch.equal(value, parts.ema.model.state_dict()[name])


def test_held_out_pictures_are_not_learned_from(config, pictures):
    everything = read_emoji(pictures, size=SIZE)
    split = split_pairs(everything, config)
    assert not set(split.training.texts or ()) & set(split.held_out.texts or ())
    assert len(split.training) + len(split.held_out) == len(everything.pictures)
    few = split_pairs(everything, replace(config, num_pairs=10))
    assert len(few.training) == 10
    assert set(few.training.texts or ()) <= set(split.training.texts or ())
    pairs = held_out_pairs(split.held_out, KINDS, 8)
    assert [one.kind for one in pairs] == list(KINDS)
    assert [len(one.pixels) for one in pairs] == [2] * 4
    assert len({seed for one in pairs for seed in one.seeds}) == 8


def test_the_run_says_what_it_measured_and_which_base_it_is_for(config, base, trained):
    rows = read_log(trained / WATCHED)
    assert [row["samples_seen"] for row in rows] == [0, 80, 160]
    assert all(0 <= row[kind] <= 1 for row in rows for kind in KINDS)
    assert rows[0]["fidelity"] == pytest.approx(sum(rows[0][kind] for kind in KINDS) / 4)
    record = read_record(trained / "record.json")
    found = [metric.name for metric in record.metrics]
    for kind in KINDS:
        lines = kind in ("canny", "scribble")
        for what in ("with control", "without"):
            assert f"{fidelity_name(kind)} of {kind}, {what}" in found
            assert (f"edge F1 (1 px) of {kind}, {what}" in found) == lines
    strict, usual = (record.metric(f"edge F1{how} of canny, without").value for how in (" (1 px)", ""))
    assert strict <= usual
    branch, tuned = (
        record.metric(f"memory of a step, {who}") for who in ("control branch", "tuning the base")
    )
    assert 0 < branch.value
    assert 0 < tuned.value
    assert record.metric("seconds per step, control branch").value > 0
    told = checkpoint.load(trained).provenance
    assert told["base_sha256"] == weights_of(checkpoint.load(base))
    assert told["base"].startswith("base@")
    assert (trained / CURVE).stat().st_size > 1_000
    assert len(list((trained / "preview").glob("*.png"))) == 2


def test_a_run_that_is_resumed_ends_like_one_that_was_not(config, pictures, trained, tmp_path):
    half = replace(config, training=replace(TRAINING, num_samples=80))
    go(half, pictures, tmp_path / "run")
    go(config, pictures, tmp_path / "run", resume=True)
    for name in ("weights", "ema"):
        one, other = (
            checkpoint.read_tensors(checkpoint.newest_checkpoint(out) / f"{name}.safetensors")  # type: ignore[operator]
            for out in (trained, tmp_path / "run")
        )
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert read_log(tmp_path / "run" / WATCHED) == read_log(trained / WATCHED)


def test_the_run_stops_when_fidelity_has_jumped_and_rises_no_more(config, base, tmp_path, monkeypatch):
    """With fidelity as it is told: low, a jump, then nothing new for `patience` watches."""
    told = iter([0.2, 0.21, 0.2, 0.2, 0.8, 0.81, 0.8, 0.805, 0.8, 0.8])
    monkeypatch.setattr("melies.recipes.control.watch.fidelity_of", lambda *_: torch.tensor([next(told)]))
    monkeypatch.setattr(
        "melies.recipes.control.watch.draw_pairs", lambda *_: torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    )
    model = checkpoint.load(base).model
    said: list[str] = []
    (tmp_path / "preview").mkdir()
    pixels = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    pairs = [Pairs("mask", pixels, ("disc",), pixels[:, :1], (0,))]
    job = Job(out=tmp_path, say=said.append)
    watch = Watch(replace(config, patience=3), model, pairs, job)
    branch = new_branch(model, KINDS, depth=1)
    stopped = []
    for number in range(1, 9):
        watch.preview(branch, tmp_path / "preview", 100 * number)
        stopped.append(watch.stop())
    assert stopped == [False] * 6 + [True, True]
    assert len(said) == 1
    assert "between 300 and 400" in said[0]
    assert watch.jump is not None
    assert not Watch(replace(config, patience=0), model, pairs, replace(job, out=tmp_path / "other")).stop()


@pytest.mark.parametrize(
    ("values", "done_at"),
    [
        (
            [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.45, 0.45, 0.45, 0.45],
            9,
        ),  # a slow rise, then four without a gain
        ([0.2] * 10, None),  # the jump may still come
    ],
)
def test_a_run_without_a_jump_stops_when_it_has_risen_and_rises_no_more(config, values, done_at):
    watch = Watch.__new__(Watch)
    watch.config, watch.rows, stopped = replace(config, patience=2), [], []
    for number, value in enumerate(values):
        watch.rows.append({"samples_seen": 100 * number, "fidelity": value})
        stopped.append(watch.stop())
    assert watch.jump is None
    assert stopped == [done_at is not None and number >= done_at for number in range(len(values))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_keeps_to_its_own_hint(pictures, kind):
    pixels = read_emoji(pictures, size=SIZE).pictures.pixels[:6]
    seeds = range(6)
    hints = hints_of(kind, pixels, seeds)
    own = control_fidelity(kind, hints, pixels, seeds=seeds)
    other = control_fidelity(kind, hints, 255 - pixels.roll(5, -1), seeds=seeds)
    assert own.tolist() == [1] * 6
    assert other.mean() < 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ("hed",)}, "needs weights"),
        ({"kinds": ("mask", "mask")}, "each kind once"),
        ({"kinds": ("pencil",)}, "unknown kind"),
        ({"num_watched": 3}, "num_watched"),
        ({"drop": 1.5}, "drop"),
        ({"training": replace(TRAINING, preview_every=0)}, "without previews"),
    ],
)
def test_what_cannot_be_is_refused(config, change, message):
    with pytest.raises(UserError, match=message):
        replace(config, **change)


def test_a_branch_of_other_kinds_or_another_base_is_not_gone_on_with(
    config, pictures, base, trained, tmp_path
):
    with pytest.raises(UserError, match="knows the hints canny"):
        go(replace(config, kinds=("mask",)), pictures, tmp_path / "a", start_from=str(trained))
    other = checkpoint.load(base).model
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    moved = checkpoint.save(tmp_path / "moved", other)
    with pytest.raises(UserError, match="is made for base@"):
        go(replace(config, base=str(moved)), pictures, tmp_path / "b", start_from=str(trained))
    with pytest.raises(UserError, match="not a text-to-image model"):
        go(replace(config, base=str(trained)), pictures, tmp_path / "c")


def test_joints_that_do_not_start_at_zero_change_the_base_at_once(config, base):
    """The ablation: what zero-initialised joints are for."""
    loaded = checkpoint.load(base)

    def residuals(zero: bool) -> Tensor:
        torch.manual_seed(0)
        branch = recipe.build_branch(replace(config, zero_joints=zero), loaded.model, loaded, None)
        assert isinstance(branch, PictureControl)
        told = {"hint": torch.ones(1, 3, SIZE, SIZE), "hint_kind": torch.zeros(1, dtype=torch.long)}
        return torch.cat(branch(torch.randn(1, 4, 4, 4), torch.zeros(1), told))

    assert not residuals(zero=True).any()
    assert residuals(zero=False).any()


@pytest.mark.parametrize("depth", [0, 1])
def test_a_base_that_is_tuned_along_changes_and_starts_as_it_was(config, pictures, base, tmp_path, depth):
    """Unlocked with a branch, and with the hint alone; the base's own checkpoint stays what it is."""
    loaded, before = checkpoint.load(base), weights_of(checkpoint.load(base))
    alone = loaded.model
    tuned = replace(config, tune_base=True, depth=depth, training=replace(TRAINING, num_samples=80))
    fresh = TunedControl(alone, recipe.build_branch(tuned, alone, loaded, None))
    told = {"hint": torch.rand(2, 1, 3, SIZE, SIZE), "hint_kind": torch.zeros(2, 1, dtype=torch.long)}
    x, sigma = torch.randn(2, 4, 4, 4), torch.ones(2)
    words = alone.condition_on(["a disc", "a bar"])
    assert torch.equal(fresh(x, sigma, {**words, **told}), alone(x, sigma, words))
    go(tuned, pictures, tmp_path)
    assert weights_of(checkpoint.load(base)) == before
    after = checkpoint.load(tmp_path).model
    assert isinstance(after, TunedControl)
    pairs = zip(after.model.denoiser.parameters(), alone.denoiser.parameters(), strict=True)
    assert sum(not torch.equal(ours, theirs) for ours, theirs in pairs) > 10
    record = read_record(tmp_path / "record.json")
    own, plain = (
        record.metric(f"memory of a step, tuning the base{what}") for what in (" and its hints", "")
    )
    assert own.value > plain.value
    assert len(record.notes["strict fidelity of each pair"]) == 8


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Path:
    """A classifier of random weights that tells discs and bars, and is right of some."""
    torch.manual_seed(0)
    heads = (Head(name="subcategory", classes=("disc", "bar")),)
    shape = {"size": SIZE, "channels": 3, "stem": 1, "widths": (8,), "feature_dim": 4}
    model = ImageClassifier(ClassifierConfig(heads=heads, **shape))
    return checkpoint.save(tmp_path_factory.mktemp("judge") / "judge", model)


def test_a_branch_is_measured_beside_its_base(pictures, base, trained, judge, tmp_path):
    settings = ControlEvaluation(
        branch=str(trained),
        model=str(base),
        data=pictures,
        judge=str(judge),
        features=str(judge),
        count=24,
        control_scales=(0.0, 1.0),
        steps=2,
    )
    record = evaluate_control(settings, tmp_path, command="melies control evaluate", say=silent)
    assert read_record(tmp_path / "record.json").metrics == record.metrics
    names = [metric.name for metric in record.metrics]
    for scale in ("0", "1"):
        for kind in KINDS:
            assert f"{fidelity_name(kind)} of {kind}, control scale {scale}" in names
        assert f"subcategory, control scale {scale}: drawn / real" in names
        assert any(name.startswith("FD[") and name.endswith(f"control scale {scale}") for name in names)
    alone, steered = (record.metric(f"colour agreement of clusters, control scale {s}").value for s in "01")
    assert alone != steered
    for name in ("scales", "pairs", "one-drawing", "one-prompt"):
        assert (tmp_path / f"{name}.png").stat().st_size > 500
    with pytest.raises(UserError, match="give 0 and at least one other"):
        replace(settings, control_scales=(1.0,))


def test_crossed_pairs_keep_their_hints_and_are_judged_by_their_words(config, pictures):
    held_out = split_pairs(read_emoji(pictures, size=SIZE), config).held_out
    for own in held_out_pairs(held_out, KINDS, 20):
        other = crossed(own)
        assert torch.equal(other.hints, own.hints)
        assert other.seeds == own.seeds
        assert not any(a == b for a, b in zip(other.rows, own.rows, strict=True))
        assert [(held_out.texts or ())[row] for row in other.rows] == list(other.prompts)
        assert sorted(other.rows) == sorted(own.rows)


def test_words_that_come_twice_are_not_crossed_with_themselves():
    words = ("bee", "ant", "cat", "dog", "bee", "ant", "cat", "dog")
    pixels = torch.zeros(8, 3, 4, 4, dtype=torch.uint8)
    own = Pairs("canny", pixels, words, pixels, tuple(range(8)), tuple(range(8)))
    other = crossed(own)
    assert all(a != b for a, b in zip(own.prompts, other.prompts, strict=True))
    assert [words[row] for row in other.rows] == list(other.prompts)
    alone = Pairs("canny", pixels[:1], words[:1], pixels[:1], (0,), (0,))
    assert crossed(alone).prompts == ("bee",)


def test_drawings_are_shown_with_those_that_are_like_them_and_have_other_names():
    hints = torch.zeros(6, 1, 64, 64, dtype=torch.uint8)
    for row, left in enumerate((4, 40, 5, 6, 41, 7)):  # two places
        hints[row, :, 4:24, left : left + 20] = 255
    prompts = ("red hat", "blue sun", "red hat", "red cat", "blue moon", "red shoe")
    pairs = Pairs("scribble", hints.expand(-1, 3, -1, -1), prompts, hints, tuple(range(6)))
    assert sorted(alike(pairs, 2)) in ([1, 4], [3, 5])  # of one place; words of many prompts do not count
    assert sorted(alike(pairs, 6)) == [1, 3, 4, 5]  # and what has no name of its own is left out
    assert len(alike(pairs._replace(prompts=("one",) * 6), 3)) == 1

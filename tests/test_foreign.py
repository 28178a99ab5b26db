"""Tables of tensors are read whatever wraps them; anything that could run is not."""

import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from melies.errors import UserError
from melies.foreign import WRAPPERS, read_weights

TENSORS = {"a": torch.arange(3, dtype=torch.float16), "n": torch.tensor(4)}


@pytest.mark.parametrize("wrapper", [None, *WRAPPERS])
def test_the_tensors_of_a_file_in_float32(tmp_path, wrapper):
    torch.save({wrapper: TENSORS, "epoch": 3} if wrapper else TENSORS, tmp_path / "x.pth")
    found = read_weights(tmp_path / "x.pth")
    assert found.keys() == TENSORS.keys()
    assert (found["a"].dtype, found["a"].tolist(), found["n"].dtype) == (
        torch.float32,
        [0, 1, 2],
        torch.int64,
    )


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors")
    assert read_weights(tmp_path / "x.safetensors")["a"].dtype == torch.float32


class Evil:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_code_is_never_run(tmp_path, capsys):
    (tmp_path / "x.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"a": Evil()}, tmp_path / "y.pth")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "z.pt")
    for name in ("x.pth", "y.pth", "z.pt"):
        with pytest.raises(UserError, match=r"cannot be read: it holds more than tensors.*never runs"):
            read_weights(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [{}, {"a": 1}, [torch.zeros(2)], torch.zeros(2)])
def test_what_is_no_table_of_tensors(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no table of named tensors"):
        read_weights(tmp_path / "x.pth")


def test_a_damaged_file(tmp_path):
    torch.save(TENSORS, tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="it is damaged"):
        read_weights(tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        archive.writestr("nothing", "here")
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "y.pth")

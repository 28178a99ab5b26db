"""Pages: everything in one file, text as text, pictures without loss."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from melies.errors import UserError
from melies.report import html

NASTY = """<script src="https://example.org/x.js">alert('1')</script> & "quoted" """.strip()


class Seen(HTMLParser):
    """Tags with their attributes, and text, as a browser takes them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def whole(record, metric) -> str:
    """A page of every kind of section, with markup in every text."""
    nasty = record(NASTY, metric(NASTY, unit=NASTY), command=NASTY, data={NASTY: NASTY}, notes={"a": NASTY})
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    sections = [
        html.pictures(NASTY, images, [NASTY]),
        html.measures(NASTY, [nasty]),
        html.measures(NASTY, [nasty], [NASTY]),
        html.text(NASTY, [NASTY, "second"]),
    ]
    return html.page(NASTY, sections)


def test_text_stays_text(whole):
    seen = Seen(whole)
    assert not seen.all("script")
    assert NASTY in seen.texts  # and reads as it was written
    assert {NASTY} == {image["alt"] for image in seen.all("img")}
    assert seen.texts.count(NASTY) >= 10


def test_nothing_is_loaded_from_outside(whole):
    seen = Seen(whole)
    assert not {tag for tag, _ in seen.tags} & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attributes in seen.tags:
        assert "href" not in attributes, tag
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert not any(name.startswith("on") for name in attributes)
    style = whole[whole.index("<style>") : whole.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(entry["content"] for entry in seen.all("meta") if "http-equiv" in entry)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_pictures_come_back_bit_for_bit():
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    found = Seen(html.pictures("two", images, ["a", "b"], width_px=70)).all("img")
    assert [(image["alt"], image["width"]) for image in found] == [("a", "70"), ("b", "70")]
    for image, expected in zip(found, images, strict=True):
        data = base64.b64decode(image["src"].partition(",")[2], validate=True)
        np.testing.assert_array_equal(Image.open(io.BytesIO(data)), expected.permute(1, 2, 0))


def test_pictures_of_other_kinds_are_kept():
    paletted = Image.new("P", (3, 2))
    section = html.pictures("one", [paletted])
    assert Seen(section).all("img")[0]["width"] == "3"
    assert "figcaption" not in section


def test_a_caption_for_every_picture():
    with pytest.raises(ValueError, match="1 captions for 2"):
        html.pictures("two", torch.zeros(2, 1, 2, 2, dtype=torch.uint8), ["a"])


def test_the_table_and_how_it_was_measured(record, metric):
    shown = record("emoji", metric("fd", 12.5, (12, 13)), command="melies evaluate emoji")
    seen = Seen(html.measures("Numbers", [shown]))
    cells = [text for text in seen.texts if text.strip()]
    for cell in ("fd ↓", "12.50", "12.00 to 13.00", "2,048", "melies evaluate emoji"):
        assert cell in cells
    assert "commit" not in cells  # what is empty is left out


def test_a_page_is_written_whole(tmp_path):
    path = html.write_page(tmp_path / "new" / "page.html", "Title", [html.text("h", ["é"])])
    assert "<title>Title</title>" in path.read_text(encoding="utf-8")
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"taken: is a file, and a folder is needed"):
        html.write_page(tmp_path / "taken" / "page.html", "Title", [])

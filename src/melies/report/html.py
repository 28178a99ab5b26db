"""One HTML page that holds everything it shows: it can be mailed, archived, and opened offline."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from melies.files import write_text
from melies.report.figure import Images, as_pictures
from melies.report.record import Record
from melies.report.table import Cells, comparison_cells, metric_cells

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #8884; text-align: left; }
td { font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; min-width: min(16rem, 100%); max-width: 100%; }
figure img { max-width: 100%; image-rendering: pixelated; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
dt { font-weight: 600; }
""".strip()


def page(title: str, sections: Sequence[str]) -> str:
    """A whole HTML document of sections made by the functions below; it loads nothing from outside."""
    name = html.escape(title)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def pictures(
    heading: str, images: Images, captions: Sequence[str] | None = None, *, width_px: int | None = None
) -> str:
    """A section of pictures, each with its caption, which is its description for screen readers too.

    Args:
        heading: Title of the section; plain text, as all text here.
        images: As in `figure.grid`; kept without loss, as PNG.
        captions: One text per picture.
        width_px: Width of each picture on the page; None is its own.

    Raises:
        ValueError: If there is not one caption per picture.
    """
    found = list(as_pictures(images))
    texts = list(captions) if captions is not None else [""] * len(found)
    if len(texts) != len(found):
        raise ValueError(f"{len(texts)} captions for {len(found)} pictures")
    shown = "\n".join(
        _figure(image, text, image.width if width_px is None else width_px)
        for image, text in zip(found, texts, strict=True)
    )
    return f'<section>\n<h2>{html.escape(heading)}</h2>\n<div class="pictures">\n{shown}\n</div>\n</section>'


def measures(heading: str, records: Sequence[Record], metrics: Sequence[str] | None = None) -> str:
    """A section with the table of records, and how each of them was measured.

    Args:
        heading: Title of the section.
        records: What to show.
        metrics: Names of the metrics to compare, one column each; None gives one row per metric.
    """
    cells = metric_cells(records) if metrics is None else comparison_cells(records, metrics)
    context = "\n".join(_context(record) for record in records)
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{_table(cells)}\n{context}\n</section>"


def table(heading: str, cells: Cells) -> str:
    """A section with a table."""
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{_table(cells)}\n</section>"


def text(heading: str, paragraphs: Sequence[str]) -> str:
    """A section of plain paragraphs."""
    shown = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{shown}\n</section>"


def write_page(path: str | Path, title: str, sections: Sequence[str]) -> Path:
    """Write `page(title, sections)`, whole or not at all.

    Raises:
        UserError: If the file cannot be written.
    """
    return write_text(Path(path), page(title, sections))


def _figure(image: Image.Image, caption: str, width_px: int) -> str:
    target = io.BytesIO()
    shown = image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGBA")
    shown.save(target, format="PNG")
    data = base64.b64encode(target.getvalue()).decode()
    said = html.escape(caption)
    under = f"<figcaption>{said}</figcaption>" if caption else ""
    shown_as = f'<img width="{width_px}" alt="{said}" src="data:image/png;base64,{data}">'
    return f'<figure style="width: {width_px}px">{shown_as}{under}</figure>'


def _table(cells: Cells) -> str:
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in cells.header)
    rows = "\n".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in cells.rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _cell(text: str) -> str:
    """A number keeps its interval beside it."""
    number = ' class="number"' if text.lstrip("−")[:1].isdigit() else ""
    return f"<td{number}>{html.escape(text)}</td>"


def _context(record: Record) -> str:
    entries = {
        "command": record.command,
        "data": _listed(record.data),
        "notes": _listed(record.notes),
        "hardware": _listed(record.hardware),
        "versions": _listed(record.versions),
        "commit": record.commit,
        "duration": f"{record.duration_s:,.0f} s" if record.duration_s else "",
        "date": record.date,
    }
    rows = "".join(
        f"<dt>{name}</dt><dd>{html.escape(entry)}</dd>" for name, entry in entries.items() if entry
    )
    return f"<details><summary>How {html.escape(record.name)} was measured</summary><dl>{rows}</dl></details>"


def _listed(entries: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in entries.items() if value not in (None, [], ""))

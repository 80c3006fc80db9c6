"""Writes the results of experiments into docs/quality.md, between its markers: tables, and a curve.

A result counts while its params are those of its row; `data.source` may differ.
"""

import re
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import FOLDER, ROOT, Experiment, Result, everything, is_of, names

from segpipe.common.errors import UserError, exits_cleanly
from segpipe.common.files import write_text
from segpipe.params import recipes
from segpipe.report import grids

PAGE = ROOT / "docs/quality.md"
CURVE = ROOT / "docs/images/quality-curve.png"
SEEDS = 3
"""How many seeds a row should have."""
WHERE = ("data.source", "data.folder.layout", "data.tfds.name")
"""Params that a result may have other values of than the row: they say where the data are."""


@exits_cleanly
def main() -> None:
    """Write what belongs between the markers."""
    parts = recipes.ablation(FOLDER)
    results = load()
    if results.empty:
        print("no result yet; `python experiments/run.py` writes them")
        return
    tables = {
        "recipes": table(results, {"": {name: f"`{name}`" for name in recipes.recipes(FOLDER)}}),
        "ablation": table(
            results, {part.part: {row.name: row.label for row in part.rows} for part in parts}
        ),
        "curve": curve(results),
    }
    for name, content in tables.items():
        put(PAGE, name, content)


def load() -> pd.DataFrame:
    """Return scores, a row a result: its `name`, and the columns of the tables; NaN: not measured."""
    known, found = names(), []
    for result in everything():
        experiment = Experiment(result["name"], int(result["seed"]))
        if experiment.name in known and is_of(result, experiment, {}, but=WHERE):
            found.append(scores(result))
        else:
            print(f"left out: {experiment}, whose params are those of no row as it is now")
    return pd.DataFrame(found)


def scores(result: Result) -> dict:
    """Return the numbers of one result."""
    iou = "original.iou."
    columns = {
        "val mean IoU": "summary.val_mean_iou",
        "accuracy": "original.pixel_accuracy",
        "mean IoU": "original.mean_iou",
        **{f"IoU, {key.removeprefix(iou)}": key for key in result if key.startswith(iou)},
        "binary IoU": "binary_iou",
        "boundary F1, 2 px": "original.boundary_f1.2px",
        "5 px": "original.boundary_f1.5px",
        "calibration error": "calibration_error",
        "training, s": "seconds",
    }
    numbers = {name: float(result.get(key) or "nan") for name, key in columns.items()}
    return {"name": result["name"], "images": int(result["images.train"]), **numbers}


def table(results: pd.DataFrame, parts: dict[str, dict[str, str]]) -> str:
    """Return Markdown: mean ± standard deviation over the seeds.

    Args:
        results: as `load` returns them.
        parts: by heading, the labels of its rows by name.
    """
    columns = [column for column in results if column not in ("name", "images")]
    lines = [row_of(["", *columns]), row_of(["---", *["---:"] * len(columns)])]
    for heading, labels in parts.items():
        lines += [row_of([f"**{heading}**", *[""] * len(columns)])] if heading else []
        for name, label in labels.items():
            own = results[results["name"] == name]
            counted = "" if len(own) >= SEEDS else f" (n = {len(own)})"
            cells = [cell(own[column], 0 if column == "training, s" else 3) for column in columns]
            lines.append(row_of([label + counted, *cells]))
    return "\n".join(lines)


def row_of(cells: list[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def cell(values: pd.Series, digits: int) -> str:
    """Return mean ± standard deviation (of a sample); the mean alone of one value."""
    values = values.dropna().astype(float)
    if values.empty:
        return "–"
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def curve(results: pd.DataFrame) -> str:
    """Draw mean IoU over the number of training images; return Markdown that shows the figure.

    The points are the rows named `samples-...` and their bases.
    """
    rows = [row for part in recipes.ablation(FOLDER) for row in part.rows]
    fewer = [row for row in rows if row.name.startswith("samples-")]
    shown = results[results["name"].isin({name for row in fewer for name in (row.name, row.base)})]
    by_count = shown.groupby("images")["mean IoU"].agg(["mean", "std"])
    if len(by_count) < 2:
        return "No results yet."
    with mpl.rc_context(grids.STYLE):
        figure = Figure(figsize=(4.2, 2.8), layout="constrained")
        axes = figure.subplots()
        axes.errorbar(
            by_count.index, by_count["mean"], by_count["std"].fillna(0), color="#0072b2", marker="o"
        )
        axes.set(xscale="log", xlabel="training images", ylabel="mean IoU")
        axes.set_xticks(by_count.index, map(str, by_count.index))
        axes.minorticks_off()
    grids.save(figure, CURVE)
    return f"![Mean IoU by number of training images]({CURVE.relative_to(PAGE.parent).as_posix()})"


def put(page: Path, name: str, content: str) -> None:
    """Write new content between two comments of a page.

    Raises:
        UserError: the page has no such comments.
    """
    text, start, end = page.read_text(encoding="utf-8"), f"<!-- table: {name} -->", "<!-- end -->"
    marked = re.compile(rf"({re.escape(start)}\n).*?({re.escape(end)})", re.DOTALL)
    if not marked.search(text):
        raise UserError(f"{page}: no {start} with an {end} after it; put both where the table goes")
    write_text(page, marked.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text))


if __name__ == "__main__":
    main()

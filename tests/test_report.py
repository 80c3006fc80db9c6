"""The report: self-contained, true to metrics.json, safe against odd names, readable in a browser."""

import html.parser
import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers import PETS
from PIL import Image

from segpipe import grids, plots
from segpipe.classes import IGNORE, ClassTable, SegmentationClass
from segpipe.data.records import Manifest
from segpipe.metrics import summarise
from segpipe.report import Results, chosen_samples, worst_samples, write_report

ODD = '<script>alert("1")</script> | $x$ *ü*'


@pytest.fixture
def report(tmp_path, rng):
    """A report on three images, one of which has an odd name."""
    matrix = np.array([[50, 5, 0], [10, 80, 5], [0, 0, 0]])
    names = ["photo 1", "photo 2", ODD]
    per_image = pd.DataFrame({"name": names, "mean_iou": [0.9, 0.2, 0.5]})
    history = pd.DataFrame(
        {
            c: [0.5, 0.6]
            for c in ("loss", "accuracy", "mean_iou", "val_loss", "val_accuracy", "val_mean_iou")
        }
        | {"epoch": [1, 2]}
    )
    scores = {name: summarise(matrix, PETS.names) for name in ("network", "original")}
    scores |= {"loss": 0.25, "images": 3}
    params = {
        "model": {"encoder": {"name": "mobilenet_v2", "layers": ["a", "b"]}},
        "train": {"epochs": 2},
    }
    confusion = pd.DataFrame(matrix, PETS.names, PETS.names)
    split = {"samples": 3, "class_shares": dict.fromkeys(PETS.names, 1 / 3), "ignored_share": 0.0}
    left_out = [{"file": "bad.jpg", "problem": f"{ODD}: an empty file"}]
    manifest = Manifest(
        tmp_path, "a test", 32, PETS, dict.fromkeys(("train", "val", "test"), split), left_out
    )
    pictures = {
        name: {
            "image": rng.integers(0, 256, (32, 32, 3), np.uint8),
            "truth": rng.integers(0, 3, (32, 32)).astype(np.uint8),
            "prediction": rng.integers(0, 3, (32, 32)).astype(np.uint8),
        }
        for name in names
    }
    summary = {"stopped_by": "max_minutes", "best_epoch": 2}
    results = Results(params, history, summary, scores, per_image, confusion)

    def write(folder):
        write_report(results, manifest, pictures, names, names[1:], folder)
        return folder

    return write


class Page(html.parser.HTMLParser):
    """Collects the tags of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_asks_for_no_other_file(report, tmp_path):
    text = (report(tmp_path / "report") / "index.html").read_text()
    addresses = [v for _, attrs in Page(text).tags for k, v in attrs.items() if k in ("src", "href")]
    assert len(addresses) == 6, "five figures and an icon"
    assert all(address.startswith("data:") for address in addresses)
    assert "url(" not in text and "@import" not in text


def test_every_figure_has_words_for_those_who_do_not_see_it(report, tmp_path):
    page = Page((report(tmp_path / "report") / "index.html").read_text())
    alts = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert len(alts) == 5
    assert all(alts)


def test_odd_names_do_not_break_into_page_or_markdown(report, tmp_path):
    folder = report(tmp_path / "report")
    page = (folder / "index.html").read_text()
    assert not [tag for tag, _ in Page(page).tags if tag == "script"]
    assert "&lt;script&gt;" in page
    markdown = (folder / "report.md").read_text()
    assert "<script>" not in markdown
    assert r"\<script\>" in markdown


def test_markdown_shows_scores_and_links_figures_that_exist(report, tmp_path):
    folder = report(tmp_path / "report")
    markdown = (folder / "report.md").read_text()
    assert "| IoU of pet | 0.7692 | 0.7692 |" in markdown  # 50 / (50 + 5 + 10)
    assert "| IoU of border | 0.0000 | 0.0000 |" in markdown
    linked = re.findall(r"\]\((figures/\w+\.png)\)", markdown)
    assert len(linked) == 5
    assert all((folder / path).is_file() for path in linked)


def test_the_same_results_give_the_same_bytes(report, tmp_path):
    one, two = report(tmp_path / "one"), report(tmp_path / "two")
    for path in filter(lambda p: p.is_file(), one.rglob("*")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path


def test_numbers_in_the_report_are_those_in_metrics_json(finished_project):
    scores = json.loads((finished_project / "results/evaluate/metrics.json").read_text())
    for page in ("index.html", "report.md"):
        text = (finished_project / "results/report" / page).read_text()
        for size in ("original", "network"):
            for score in ("pixel_accuracy", "mean_iou", "mean_dice"):
                assert f"{scores[size][score]:.4f}" in text


@pytest.mark.parametrize("width", [400, 800, 1400])
def test_a_browser_without_a_network_shows_all_figures(report, tmp_path, visit, width):
    visited = visit(report(tmp_path / "report") / "index.html", width)
    shown = "[...document.images].filter(i => i.naturalWidth > 0).length"
    assert visited.page.evaluate(shown) == 5
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert [url for url in visited.requests if not url.startswith(("file:", "data:"))] == []
    assert visited.complaints == []


def test_fixed_samples_do_not_depend_on_the_order_of_the_table():
    table = pd.DataFrame({"name": [f"photo {n}" for n in range(30)]})
    assert chosen_samples(table, 4) == chosen_samples(table.iloc[::-1], 4)
    assert len(set(chosen_samples(table, 4))) == 4


def test_the_worst_come_worst_first_and_names_break_ties():
    table = pd.DataFrame({"name": ["c", "b", "a", "d"], "mean_iou": [0.1, 0.5, 0.5, 0.9]})
    assert worst_samples(table, 3) == ["c", "a", "b"]


def test_the_error_picture_shows_wrong_pixels_and_leaves_ignored_ones_white():
    picture = plots.errors(np.array([[0, 1, IGNORE]], np.uint8), np.array([[0, 2, 0]], np.uint8))
    assert picture.tolist() == [[list(plots.RIGHT), list(plots.WRONG), [255, 255, 255]]]


def test_saved_figures_hold_no_date_or_version(tmp_path):
    grids.save(
        plots.class_scores({"pet": 0.5, "background": None, "border": 1.0}, PETS), tmp_path / "f.png"
    )
    assert b"tEXt" not in (tmp_path / "f.png").read_bytes()


@pytest.mark.parametrize("classes", [2, 31, 250])
def test_figures_stay_of_a_size_to_look_at_for_few_and_many_classes(tmp_path, classes):
    table = ClassTable(
        tuple(SegmentationClass(f"class {n}", n, f"#0000{n:02x}") for n in range(classes))
    )
    mask = np.resize(np.arange(classes, dtype=np.uint8), (32, 32))
    figures = [
        plots.confusion(pd.DataFrame(np.eye(classes), table.names, table.names)),
        plots.class_scores(dict.fromkeys(table.names, 0.5), table),
        grids.sample_grid([{"label": "a", "truth": mask}], table),
    ]
    for figure in figures:
        grids.save(figure, tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as picture:
            assert max(picture.size) < 3000

"""The report: self-contained, true to metrics.json, safe against odd names, readable in a browser."""

import html.parser
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers import PETS
from PIL import Image

from segpipe.common.classes import IGNORE, ClassTable, SegmentationClass
from segpipe.common.nested import flat
from segpipe.common.records import Manifest
from segpipe.evaluate import metrics
from segpipe.evaluate.metrics import summarise
from segpipe.report import grids, plots
from segpipe.report.build import write_report, write_samples
from segpipe.report.pages import TEMPLATES, Section, write_page
from segpipe.report.read import Results
from segpipe.report.render import render

ODD = '<script>alert("1")</script> | $x$ *ü*'


def counts_table(matrices, names):
    """The columns of per_image.csv that scores of groups come from."""
    counts = np.stack([metrics.counts(m) for m in matrices])
    return {
        f"{pixels}_{c}": counts[:, row, i]
        for row, pixels in enumerate(("hits", "truth", "predicted"))
        for i, c in enumerate(names)
    }


def make_results(table, names, baseline=None, samples=0):
    """Results on images of those names, 32 px, all with the same counts."""
    matrix = np.zeros((len(table), len(table)), int)
    matrix[:2, :2] = [[50, 15], [10, 85]]
    scores = {size: summarise(matrix, table.names) for size in ("network", "original")}
    interval = {"low": 0.5, "high": 0.75}
    scores["original"]["interval"] = dict.fromkeys(metrics.MEANS, interval)
    scores["original"]["boundary_f1"] = {"2px": 0.5, "5px": 0.625}
    scores |= {"loss": 0.25, "calibration_error": 0.0625, "images": len(names)}
    history = pd.DataFrame(
        {
            c: [0.5, 0.6]
            for c in ("loss", "accuracy", "mean_iou", "val_loss", "val_accuracy", "val_mean_iou")
        }
        | {"epoch": [1, 2]}
    )
    per_image = pd.DataFrame(
        {"name": names, "height": 32, "width": range(32, 32 + len(names)),
         "mean_iou": np.linspace(0.9, 0.2, len(names)),
         **counts_table([matrix] * len(names), table.names)}
    )  # fmt: skip
    params = {
        "model": {"encoder": {"name": "mobilenet_v2", "layers": ["a", "b"]}},
        "train": {"epochs": 2, "samples": samples},
    }
    return Results(
        params, history, {"stopped_by": "max_minutes", "best_epoch": 2}, scores, per_image,
        pd.DataFrame(matrix, table.names, table.names),
        pd.DataFrame({"low": [0.0, 0.5], "high": [0.5, 1.0], "pixels": [0, 160],
                      "confidence": [np.nan, 0.9], "accuracy": [np.nan, 0.84375]}),
        pd.DataFrame({"distance": ["1", ">1"], "share": [0.25, 0.75], "accuracy": [0.5, np.nan]}),
        pd.DataFrame(
            {f"boundary_{name}_{t}px": [0.125 * t, 0.75, *[np.nan] * (len(table) - 2)]
             for t in (2, 5) for name in ("precision", "recall", "f1")},
            table.names,
        ),
        baseline or {},
    )  # fmt: skip


def write(folder, table=PETS, baseline=None, names=("photo 1", "photo 2", ODD), ignored=0.25, samples=0):
    """Write a report on images of those names, by default three, one of which has an odd one."""
    names = [*names]
    split = {"samples": 3, "class_shares": dict.fromkeys(table.names, 0.25), "ignored_share": ignored}
    left_out = [{"file": "bad.jpg", "problem": f"{ODD}: an empty file"}]
    manifest = Manifest(
        folder, "a test", (32, 32), "stretch", table,
        dict.fromkeys(("train", "val", "test"), split), left_out,
    )  # fmt: skip
    mask = np.resize(np.arange(len(table), dtype=np.uint8), (32, 32))
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pictures = {name: {"image": noise, "truth": mask, "prediction": mask.T} for name in names}
    results = make_results(table, names, baseline, samples)
    write_report(results, manifest, pictures, names, names[1:], folder)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of a report; do not change it."""
    return write(tmp_path_factory.mktemp("pages") / "report")


class Page(html.parser.HTMLParser):
    """Collects the tags of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


FIGURES = 11
QUESTIONS = [
    "What was trained on what?", "Is it good?", "Is it better than last time?", "Where does it fail?",
    "Which images are the worst?", "How did training go?", "Which params made it?",
]  # fmt: skip
FAILURES = [
    "By class", "By image size", "By the share of pet in the picture", "Near the boundaries",
    "Is it as sure as it is right?",
]  # fmt: skip


def test_the_page_asks_for_no_other_file(report):
    text = (report / "index.html").read_text()
    addresses = [v for _, attrs in Page(text).tags for k, v in attrs.items() if k in ("src", "href")]
    outside = [address for address in addresses if not address.startswith(("data:", "#"))]
    assert (outside, len(addresses)) == ([], FIGURES + 1 + len(QUESTIONS) + 1), (
        "icon, contents, skip link"
    )
    assert "url(" not in text and "@import" not in text


def test_both_pages_tell_the_same_story_in_the_same_order(report, visit):
    page = visit(report / "index.html").page
    headings = [(int(level), text) for level, text in page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(h => [h.tagName[1], h.textContent])"
    )]  # fmt: skip
    assert [text for level, text in headings if level == 2] == QUESTIONS
    assert [text for level, text in headings if level == 3] == FAILURES
    markdown = re.findall(r"^(#+) (.*)$", (report / "report.md").read_text(), re.MULTILINE)
    assert [(len(marks), text) for marks, text in markdown] == headings
    assert max(b - a for (a, _), (b, _) in itertools.pairwise(headings)) == 1, "no level is skipped"


def test_every_figure_has_words_for_those_who_do_not_see_it(report):
    page = Page((report / "index.html").read_text())
    alts = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert len({*alts}) == FIGURES
    assert all(alts)


def test_every_table_has_a_caption_and_headings_of_its_rows_and_columns(report, visit):
    page = visit(report / "index.html").page
    tables = page.locator("table")
    assert tables.count() >= 10
    for number in range(tables.count()):
        table = tables.nth(number)
        assert table.locator("caption").inner_text()
        assert table.locator("thead th[scope=col]").count() > 1
        assert table.locator("tbody th[scope=row]").count() == table.locator("tbody tr").count()


def test_the_keyboard_comes_to_the_skip_link_first_and_then_to_the_contents_in_order(report, visit):
    page = visit(report / "index.html").page
    visited = []
    for _ in range(1 + len(QUESTIONS)):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.textContent"))
        box = page.locator(":focus").bounding_box()
        assert box["x"] >= 0, "what has the focus is seen"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert visited == ["Skip to the content", *QUESTIONS]
    targets = page.evaluate("[...document.links].map(a => !!document.querySelector(a.hash))")
    assert all(targets)


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_the_page_and_figures_have_a_light_ground(report, visit, dark):
    page = visit(report / "index.html", dark=dark).page

    def luminance(selector, what):
        colour = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{what}")
        channels = np.array([int(c) / 255 for c in re.findall(r"\d+", colour)[:3]])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    ground = luminance("body", "backgroundColor")
    assert (ground < 0.1) == dark
    for selector in ("p", "td", "caption", "figcaption", "nav a"):
        lighter, darker = sorted((luminance(selector, "color"), ground), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"WCAG's contrast, of {selector}"
    assert luminance("img", "backgroundColor") == 1


def test_odd_names_do_not_break_into_page_or_markdown(report):
    page = (report / "index.html").read_text()
    assert not [tag for tag, _ in Page(page).tags if tag == "script"]
    assert "&lt;script&gt;" in page
    markdown = (report / "report.md").read_text()
    assert "<script>" not in markdown
    assert r"\<script\>" in markdown


def test_a_name_of_two_lines_stays_on_its_line():
    section = Section("s", "one\n- two", [])
    context = {"title": "Report", "sections": [section], "figures": {}}
    assert "## one - two\n" in render(TEMPLATES / "page.md", context)


def test_a_class_with_an_odd_name_breaks_neither_page_nor_figures(tmp_path):
    """`$\\frac$` would be an error in a formula."""
    odd = ClassTable(
        tuple(SegmentationClass(rf"{ODD} $\frac$ {n}", n, f"#0000{n:02x}") for n in range(2))
    )
    page = (write(tmp_path / "report", odd) / "index.html").read_text()
    assert not [tag for tag, _ in Page(page).tags if tag == "script"]


def test_markdown_shows_scores_and_links_figures_that_exist(report):
    markdown = (report / "report.md").read_text()
    assert "| mean IoU | 0.7197 | 0.5000 to 0.7500 | 0.7197 |" in markdown  # (50 / 75 + 85 / 110) / 2
    assert "| pet | 0.6667 | 0.8000 | 0.6667 | 0.8000 |" in markdown  # 50 / (50 + 15 + 10)
    assert "| border | absent | absent | absent | absent |" in markdown
    assert "| pet | background | 9.4 % |" in markdown  # 15 of 160 pixels
    assert "| 0.50–1.00 | 160 | 0.9000 | 0.8438 |" in markdown
    assert "| \\>1 | 75.0 % | – |" in markdown
    assert "| boundary F1 within 2 px | 0.5000 | – | – |" in markdown
    assert f"| background |{' 0.7500 |' * 6}" in markdown
    assert f"| border |{' – |' * 6}" in markdown
    linked = re.findall(r"\]\((figures/\w+\.png)\)", markdown)
    assert len(linked) == FIGURES
    assert all((report / path).is_file() for path in linked)


def test_kinds_that_the_names_tell_have_a_table_of_their_own(tmp_path):
    names = [f"{kind}_{number}" for kind in ("Ragdoll", "beagle") for number in range(5)]
    markdown = (write(tmp_path / "report", names=names) / "report.md").read_text()
    _, table = markdown.split("### By kind, as the names tell it\n")
    accuracy = 135 / 160
    assert f"| Ragdoll | 5 | {accuracy:.4f} | 0.7197 | 0.6667 | 0.7727 | absent |" in table


def test_where_pixels_are_ignored_the_report_says_that_their_boundaries_do_not_count(report, tmp_path):
    said = "Boundaries with ignored pixels do not count"
    assert said in (report / "report.md").read_text()
    assert said not in (write(tmp_path / "report", ignored=0.0) / "report.md").read_text()


def test_the_report_says_on_how_many_samples_the_network_was_trained(report, tmp_path):
    assert "trained on 3 images of 32 x 32 px" in (report / "report.md").read_text()
    some = (write(tmp_path / "some", samples=2) / "report.md").read_text()
    assert "trained on 2 of 3 images of 32 x 32 px" in some


def test_without_a_baseline_the_report_says_how_to_make_one(report):
    assert "“segpipe baseline”" in (report / "report.md").read_text()


def test_scores_are_compared_with_the_baseline(tmp_path):
    baseline = {"original.mean_iou": 0.7, "images": 3}
    markdown = (write(tmp_path / "report", baseline=baseline) / "report.md").read_text()
    assert "| mean IoU | 0.7000 | 0.7197 | \\+0.0197 |" in markdown
    assert "| mean Dice | missing | 0.8359 | missing |" in markdown  # (0.8 + 170 / 195) / 2
    assert "0.7000, lies inside the 95 % interval" in markdown


def test_the_same_results_give_the_same_bytes(report, tmp_path):
    one, two = report, write(tmp_path / "two")
    for path in filter(lambda p: p.is_file(), one.rglob("*")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path


def test_numbers_in_the_report_are_those_in_metrics_json(finished_project):
    scores = json.loads((finished_project / "results/evaluate/metrics.json").read_text())
    for page in ("index.html", "report.md"):
        text = (finished_project / "results/report" / page).read_text()
        said = {
            key: "absent" if value is None else f"{value:.4f}" for key, value in flat(scores).items()
        }
        said["images"] = f"{scores['images']} test images"
        missing = [key for key, value in said.items() if value not in text]
        assert missing == []


@pytest.mark.parametrize("width", [400, 800, 1400])
def test_a_browser_without_a_network_shows_all_figures(report, visit, width):
    visited = visit(report / "index.html", width)
    shown = "[...document.images].filter(i => i.naturalWidth > 0).length"
    assert visited.page.evaluate(shown) == FIGURES
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert [url for url in visited.requests if not url.startswith(("file:", "data:"))] == []
    assert visited.complaints == []


def test_of_very_many_classes_the_report_shows_the_lowest_and_says_so(tmp_path, visit):
    colours = [f"#{n:02x}{n:02x}80" for n in range(250)]
    table = ClassTable(tuple(SegmentationClass(f"class {n}", n, c) for n, c in enumerate(colours)))
    page = visit(write(tmp_path / "report", table) / "index.html", 400).page
    captions = "\n".join(page.locator("caption").all_inner_texts())
    assert "the 30 most frequent of 250; data/records/manifest.json has all" in captions
    assert "the 2 lowest of 250; results/evaluate/metrics.json has all" in captions, "248 are absent"
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_picture_for_git_is_small_and_the_same_every_time(tmp_path, rng):
    noise = {"image": rng.integers(0, 256, (128, 128, 3), np.uint8)}
    masks = {
        what: np.tri(128, 128, k).astype(np.uint8) for k, what in enumerate(("truth", "prediction"))
    }
    for file in ("one.jpg", "two.jpg"):
        write_samples({"a": noise | masks}, ["a"] * 4, PETS, tmp_path / file)
    with Image.open(tmp_path / "one.jpg") as picture:
        assert picture.format == "JPEG"
    content = (tmp_path / "one.jpg").read_bytes()
    assert len(content) < 150e3, "even of noise"
    assert content == (tmp_path / "two.jpg").read_bytes()


def test_the_error_picture_shows_wrong_pixels_and_leaves_ignored_ones_white():
    picture = grids.errors(np.array([[0, 1, IGNORE]], np.uint8), np.array([[0, 2, 0]], np.uint8))
    assert picture.tolist() == [[list(grids.RIGHT), list(grids.CRIMSON), [255, 255, 255]]]


def test_a_link_to_a_folder_of_pages_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/old").touch()
    (tmp_path / "page").symlink_to("disk")
    write_page("T", [Section("a", "A", ["words"])], tmp_path / "page", "page.md")
    assert (tmp_path / "page").is_symlink()
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"index.html", "page.md", "figures"}


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

"""DVC's plots: one revision and several, on pages that a browser without a network draws in full."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import PETS, commit, git, run, set_params, with_venv

from segpipe.evaluate import metrics
from segpipe.review import plotpage

MANY = ["Straße", "ciel-bleu", "road.marking", 'it\'s [a] "road"', "1", "None", "人"]
MANY += [f"class-{number}" for number in range(30, 0, -1)]
EPOCHS = 3
IOU, CONFUSION = "results_evaluate_per_class_csv", "results_evaluate_confusion_csv"
"""As DVC names the elements of its page."""
VEGA = ["loss", "accuracy", "mean_iou", IOU, CONFUSION]


@pytest.fixture(scope="module")
def project(finished_project, tmp_path_factory):
    """A project with the branches main, exp (other params and scores) and many (many classes)."""
    project = tmp_path_factory.mktemp("plots") / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    with_venv(project)
    for branch, names in (("main", PETS.names), ("exp", PETS.names), ("many", MANY)):
        git(project, f"checkout -q -B {branch}")
        set_params(project, {"train.learning_rate": 0.01 + len(branch) / 1000})
        write_results(project, names, np.random.default_rng(len(branch)))
        commit(project)
    return project


@pytest.fixture(scope="module")
def shown(project):
    """The page that `make plots` made, of many classes."""
    result = run("make", "plots", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    page = project / "dvc_plots/index.html"
    assert f"{page.as_uri()}\n" in result.stdout
    assert git(project, "status --porcelain") == "", "neither page nor setting is for Git"
    return page


@pytest.fixture(scope="module")
def compared(project, shown):
    """The page of `dvc plots diff HEAD main`, run on exp after `make plots`, and a tidy-up, on many."""
    git(project, "checkout -q exp")
    shutil.rmtree(project / ".dvc/tmp")
    result = run("dvc", "plots", "diff", "HEAD", "main", "-o", "compared", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    return project / "compared/index.html"


def write_results(project, names, rng):
    """Write tables as `train` and `evaluate` do; the last class but one is absent."""
    columns = [
        "loss",
        "accuracy",
        "mean_iou",
        "val_loss",
        "val_accuracy",
        "val_mean_iou",
        "learning_rate",
    ]
    history = pd.DataFrame(rng.random((EPOCHS, len(columns))), range(1, EPOCHS + 1), columns)
    history.to_csv(project / "results/train/history.csv", index_label="epoch")
    matrix = rng.integers(0, 1000, (len(names), len(names)))
    matrix[-2] = matrix[:, -2] = 0
    pairs = [(t, p, matrix[i, j]) for i, t in enumerate(names) for j, p in enumerate(names)]
    pairs = pd.DataFrame(pairs, columns=["truth", "prediction", "pixels"])
    pairs.to_csv(project / "results/evaluate/confusion.csv", index=False)
    iou = metrics.scores(metrics.counts(matrix))["iou"]
    by_class = pd.DataFrame({"class": names, "iou": iou})
    by_class.to_csv(project / "results/evaluate/per_class.csv", index=False)


def results(project, branch):
    """The IoU by class and the share of each true class in per cent, as written on the plots."""
    git(project, f"checkout -q {branch}")
    folder = project / "results/evaluate"
    iou = pd.read_csv(folder / "per_class.csv")["iou"]
    pixels = pd.read_csv(folder / "confusion.csv")["pixels"].to_numpy().reshape(len(iou), len(iou))
    shares = [f"{100 * count / row.sum():.1f}" if row.sum() else "–" for row in pixels for count in row]
    return ["absent" if np.isnan(score) else f"{score:.3f}" for score in iou], shares


def drawn(visit, path, **options):
    """A page on which Vega has drawn all of its plots."""
    visited = visit(path, **options)
    for plot in VEGA:
        visited.page.wait_for_selector(f"#{plot} svg")
    return visited


def marks(visited, plot, kind):
    return visited.page.locator(f"#{plot} g.mark-{kind}.role-mark > *")


def labels(visited, plot):
    """The labels on both axes of a plot."""
    return visited.page.locator(f"#{plot} g.role-axis-label > text").all_text_contents()


def test_every_number_of_many_classes_is_a_mark_on_the_page(project, shown, visit):
    visited = drawn(visit, shown)
    for curve in ("loss", "accuracy", "mean_iou"):
        assert marks(visited, curve, "line").count() == 2, "training and validation"
        assert marks(visited, curve, "symbol").count() == 2 * EPOCHS
    iou, shares = results(project, "many")
    assert marks(visited, IOU, "rect").count() == len(MANY)
    assert marks(visited, IOU, "text").all_text_contents() == iou
    assert marks(visited, CONFUSION, "rect").count() == len(MANY) ** 2
    assert marks(visited, CONFUSION, "text").all_text_contents() == shares


def test_classes_stand_in_the_order_of_their_table(shown, visit):
    visited = drawn(visit, shown)
    assert labels(visited, IOU)[-len(MANY) :] == MANY
    assert labels(visited, CONFUSION) == MANY * 2


def test_a_comparison_draws_every_revision_and_tells_them_apart(project, compared, visit):
    visited = drawn(visit, compared)
    lines = marks(visited, "loss", "line")
    looks = lines.evaluate_all(
        "lines => lines.map(l => [l.getAttribute('stroke'), l.getAttribute('stroke-dasharray')].join())"
    )
    assert len(set(looks)) == 4, "two colours for two revisions, dashed for validation"
    for curve in ("loss", "accuracy", "mean_iou"):
        assert marks(visited, curve, "symbol").count() == 2 * 2 * EPOCHS
    (one, these), (other, those) = results(project, "exp"), results(project, "main")
    assert sorted(marks(visited, IOU, "text").all_text_contents()) == sorted(one + other)
    assert marks(visited, CONFUSION, "text").all_text_contents() == these + those
    headers = visited.page.locator(f"#{CONFUSION} .column_header text").all_text_contents()
    assert headers == ["HEAD", "main"]


@pytest.mark.parametrize("page", ["shown", "compared"])
@pytest.mark.parametrize(("width", "dark"), [(500, False), (1400, True)])
def test_the_pages_need_no_network_and_fit_a_white_screen(page, width, dark, visit, request):
    visited = drawn(visit, request.getfixturevalue(page), width=width, dark=dark)
    loaded = "[...document.images].map(i => i.naturalWidth > 0)"
    assert visited.page.evaluate(loaded) == [True] * (3 if page == "shown" else 6), "previews, samples"
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
    white = "getComputedStyle(document.body).backgroundColor"
    assert visited.page.evaluate(white) == "rgb(255, 255, 255)"
    assert [url for url in visited.requests if not url.startswith(("file:", "data:"))] == []
    assert visited.complaints == []


def test_a_clone_without_the_cache_shows_what_lives_in_git(project, tmp_path):
    git(tmp_path, f"clone -q -b main {project} clone")
    result = run("dvc", "plots", "show", "--json", cwd=tmp_path / "clone")
    shown = {re.sub(r"\W", "_", name) for name in json.loads(result.stdout)["data"]}
    assert {*VEGA} <= shown, result.stderr


def test_the_template_holds_the_place_for_the_plots_once_and_no_other():
    template = plotpage.template()
    assert template.count("{plot_divs}") == 1
    assert "{scripts}" not in template and "{refresh_tag}" not in template

"""Curves and pictures in a pull request's comment."""

import re
import subprocess

import pytest
from helpers import commit, git

from segpipe.review.comment import curves_and_pictures
from segpipe.review.git import web_address
from segpipe.review.revision import CURVES, HISTORY


@pytest.fixture
def comment(pull_request, monkeypatch):
    monkeypatch.chdir(pull_request)

    def of_epochs(epochs):
        rows = [",".join(["epoch", *CURVES])]
        rows += [",".join([str(n), *(f"{1 / n}" for _ in CURVES)]) for n in range(1, epochs + 1)]
        (pull_request / HISTORY).write_text("\n".join(rows) + "\n")
        commit(pull_request)
        return curves_and_pictures("origin/main")

    return of_epochs


def first_chart(comment):
    """Epochs, the points before, the points after."""
    lines = re.findall(r"^  (?:x-axis|line).*\[(.*)\]$", comment.split("```")[1], re.MULTILINE)
    return [[float(number) for number in line.split(", ")] for line in lines]


def test_each_curve_ends_where_its_run_ended(comment):
    epochs, before, after = first_chart(comment(4))
    assert epochs == [1, 2, 3, 4]
    assert len(before) == 1
    assert after == [1, 0.5, 0.33333, 0.25]


def test_a_long_run_is_thinned_out_to_what_an_axis_can_label(comment):
    epochs, _, after = first_chart(comment(100))
    assert epochs == list(range(1, 101, 4))
    assert after[1] == 0.2, "of epoch 5"


def test_without_a_history_it_says_so(comment, pull_request):
    git(pull_request, f"rm -q {HISTORY}")
    commit(pull_request)
    assert "One side has no curves in `results/train/history.csv`." in curves_and_pictures("origin/main")


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://github.com/owner/name.git", "https://github.com/owner/name"),
        ("https://x-access-token:secret@github.com/owner/name", "https://github.com/owner/name"),
        ("git@github.com:owner/name.git", "https://github.com/owner/name"),
        ("ssh://git@gitlab.example.org/group/sub/name.git", "https://gitlab.example.org/group/sub/name"),
        ("/srv/git/name.git", None),
        ("https://github.com/owner/na me)![x](y", None),
    ],
)
def test_pictures_are_linked_where_a_browser_finds_origin(pull_request, monkeypatch, origin, address):
    monkeypatch.chdir(pull_request)
    subprocess.run(["git", "remote", "set-url", "origin", origin], check=True)
    assert web_address() == address

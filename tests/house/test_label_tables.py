"""The tables in docs/labels.md are those of the results that experiments/ holds."""

import sys

import pandas as pd
from helpers import ROOT

sys.path.insert(0, str(ROOT / "experiments"))

import next as labelled_next
import planted


def table_of(name):
    page = (ROOT / "docs/labels.md").read_text()
    return page.split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0].strip()


def test_the_table_of_planted_masks_is_that_of_its_results():
    rows = pd.read_csv(planted.RESULTS, keep_default_na=False)
    assert planted.recalls(rows).strip() == table_of("planted")


def test_the_table_of_what_to_label_next_is_that_of_its_results(monkeypatch):
    monkeypatch.setattr(labelled_next, "draw", lambda rows, ways: None)
    assert labelled_next.shown(labelled_next.results()).strip() == table_of("next")

"""What a comment on a pull request shows besides the answer: curves and pictures, before and after.

A comment holds no files. Curves are Mermaid diagrams, which GitHub and GitLab draw; pictures are links
to the small ones that Git holds, at both commits.
"""

from typing import Any

import pandas as pd

from segpipe.report.pages import render
from segpipe.review import TEMPLATES, git
from segpipe.review.revision import SAMPLES, Revision

CHARTS = {"loss": "training loss", "val_loss": "validation loss", "val_mean_iou": "validation mean IoU"}
MOST_POINTS = 30
"""How many epochs an axis can label."""


def curves_and_pictures(base: str) -> str:
    """Curves and sample pictures of a base revision and of HEAD, as Markdown.

    Raises:
        CannotTell: there is no such base.
    """
    before, after = Revision(base), Revision("HEAD")
    histories = before.history(), after.history()
    both = all(history is not None for history in histories)
    context = {
        "charts": [_chart(column, title, *histories) for column, title in CHARTS.items()]
        if both
        else [],
        "before": _link(before, str(before.commit)),
        "after": _link(after, git.merged_commit(before.commit)),
        "no_address": git.web_address() is None,
    }
    return render(TEMPLATES / "comment.md", context)


def _chart(column: str, title: str, before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    """The points of two curves over the same epochs; the shorter run's curve ends where it ended."""
    epochs = max(len(before), len(after))
    shown = range(0, epochs, -(-epochs // MOST_POINTS))
    lines = [
        [f"{history[column][n]:.5f}" for n in shown if n < len(history)] for history in (before, after)
    ]
    return {"title": title, "epochs": [n + 1 for n in shown], "lines": lines}


def _link(revision: Revision, commit: str) -> str | None:
    """The address of a revision's sample pictures, where the origin has one and Git the pictures."""
    web = git.web_address()
    return f"{web}/raw/{commit}/{SAMPLES}" if web and revision.has(SAMPLES) else None

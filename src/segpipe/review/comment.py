"""The curves and pictures before and after, for a comment on a pull request.

A comment holds no files. Curves are Mermaid diagrams, which GitHub and GitLab draw; pictures are links
to the small ones in Git, at both commits.
"""

from typing import Any

import pandas as pd

from segpipe.report.render import render
from segpipe.review import TEMPLATES, git
from segpipe.review.revision import SAMPLES, Revision

CHARTS = {"loss": "training loss", "val_loss": "validation loss", "val_mean_iou": "validation mean IoU"}
MOST_POINTS = 30  # the most epochs that an axis can label


def curves_and_pictures(base: str) -> str:
    """Show curves and samples of a base and of HEAD in Markdown. Raises CannotTell without the base."""
    before, after, web = Revision(base), Revision("HEAD"), git.web_address()
    histories = [history for side in (before, after) if (history := side.history()) is not None]
    commits = str(before.commit), git.merged_commit(before.commit)
    pictures = [
        f"{web}/raw/{commit}/{SAMPLES}" if web and revision.read(SAMPLES) else None
        for revision, commit in zip((before, after), commits, strict=True)
    ]
    charted = CHARTS if len(histories) == 2 else {}
    context = {
        "charts": [_chart(column, title, histories) for column, title in charted.items()],
        "before": pictures[0],
        "after": pictures[1],
        "no_address": web is None,
    }
    return render(TEMPLATES / "comment.md", context)


def _chart(column: str, title: str, histories: list[pd.DataFrame]) -> dict[str, Any]:
    """Return the points of curves over the same epochs; a shorter run's curve ends earlier."""
    epochs = max(map(len, histories))
    shown = range(0, epochs, -(-epochs // MOST_POINTS))
    lines = [[f"{history[column][n]:.5f}" for n in shown if n < len(history)] for history in histories]
    return {"title": title, "epochs": [n + 1 for n in shown], "lines": lines}

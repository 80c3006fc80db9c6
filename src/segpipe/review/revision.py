"""The repository's files at a revision: those of Git, and those that DVC keeps."""

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.scm import RevError
from PIL import Image

from segpipe.common.errors import brief
from segpipe.common.nested import flat
from segpipe.review import git
from segpipe.review.git import CannotTell

CURVES = ("loss", "accuracy", "mean_iou", "val_loss", "val_accuracy", "val_mean_iou")
HISTORY, SAMPLES = "results/train/history.csv", "results/samples.jpg"
METRICS = ("results/evaluate/metrics.json", "results/train/summary.json")
MINOR = re.compile(r"^network\.|\.interval\.|dice|^val_(loss|accuracy)$")
"""Scores that follow others: whoever reviews a change looks at them last."""


class NotHere(Exception):
    """What a revision holds cannot be had here; the message says why."""


class Revision:
    """A commit, branch, tag or DVC experiment; None is the working tree.

    Args:
        name: what Git or DVC call it.

    Raises:
        CannotTell: neither knows it here.
    """

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not name or name.startswith("-")):
            raise CannotTell(f"{name!r} names no revision")
        self.label = name or "the working tree"
        self._files = DVCFileSystem(rev=name)
        try:
            self.commit = self._files.repo.get_rev() if name else None
        except RevError:
            raise CannotTell(f"{name}: no such revision here; {git.how_to_fetch(str(name))}") from None
        except DvcException as error:
            raise CannotTell(f"DVC cannot read the repository ({brief(error)})") from None

    def has(self, path: str) -> bool:
        """Whether Git or DVC know the path; of a file that DVC keeps, its content may not be here."""
        return bool(self._files.exists(path))

    def text(self, path: str) -> str | None:
        """A text file, or None where the revision has no such file.

        Raises:
            CannotTell: it is no text.
        """
        if not self.has(path):
            return None
        try:
            return self._files.read_text(path, encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CannotTell(f"{path} of {self.label}: not UTF-8 text ({error})") from None

    def picture(self, path: str) -> np.ndarray | None:
        """A picture as RGB uint8 [height, width, 3], or None where the revision has none."""
        if not self.has(path):
            return None
        with Image.open(io.BytesIO(self._files.read_bytes(path))) as picture:
            return np.asarray(picture.convert("RGB"))

    def copy(self, path: str, folder: Path) -> Path:
        """A local copy of a file or folder from Git, DVC's cache or its remote.

        Raises:
            NotHere: none of them has it, or the remote does not answer.
        """
        target = folder / Path(path).name
        try:
            self._files.get(path, str(target), recursive=True)
        except Exception as error:  # DVC lets through whatever a kind of remote raises
            raise NotHere(brief(error)) from None
        return target

    def scores(self) -> dict[str, Any]:
        """The metrics by dotted name, as `dvc metrics show` names them; empty where there is no file.

        Raises:
            CannotTell: a metrics file is not JSON, or holds NaN or infinity.
        """
        scores: dict[str, Any] = {}
        for path in METRICS:
            if (text := self.text(path)) is not None:
                scores |= flat(self._json(path, text))
        return scores

    def history(self) -> pd.DataFrame | None:
        """A row an epoch, as `results/train/history.csv` holds them; None where it has no curves."""
        if (text := self.text(HISTORY)) is None:
            return None
        try:
            history = pd.read_csv(io.StringIO(text), dtype=float)
        except ValueError:
            return None
        return history if len(history) and {"epoch", *CURVES} <= {*history} else None

    def params(self) -> dict[str, Any]:
        """`params.yaml` by dotted key, not checked: an older one may know other keys.

        Raises:
            CannotTell: it is not YAML.
        """
        try:
            content = yaml.safe_load(self.text("params.yaml") or "")
        except yaml.YAMLError as error:
            raise CannotTell(f"params.yaml of {self.label}: not YAML ({brief(error)})") from None
        return flat(content) if isinstance(content, dict) else {}

    def _json(self, path: str, text: str) -> dict[str, Any]:
        where = f"{path} of {self.label}"
        mend = "`dvc repro` writes it anew" if self.commit is None else "mend it there first"

        def finite(number: str) -> float:
            if not math.isfinite(float(number)):
                raise CannotTell(f"{where}: holds {number}, which is no score; {mend}")
            return float(number)

        try:
            content = json.loads(text, parse_constant=finite, parse_float=finite)
        except ValueError as error:
            raise CannotTell(f"{where}: not JSON ({error}); {mend}") from None
        if not isinstance(content, dict):
            raise CannotTell(f"{where}: holds no table of scores; {mend}")
        return content

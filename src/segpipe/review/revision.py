"""The repository's files at a revision: those of Git, and those that DVC keeps."""

import json
from pathlib import Path
from typing import Any

import yaml
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException

from segpipe.errors import brief
from segpipe.review import git
from segpipe.review.git import CannotTell

METRICS = ("results/evaluate/metrics.json", "results/train/summary.json")


class Revision:
    """A commit, branch, tag or DVC experiment; None is the working tree.

    Args:
        name: what Git or DVC call it.

    Raises:
        CannotTell: neither knows it here.
    """

    def __init__(self, name: str | None = None) -> None:
        self.label = name or "the working tree"
        self._files = DVCFileSystem(rev=name)
        try:
            self.commit = self._files.repo.get_rev() if name else None
        except DvcException:
            raise CannotTell(f"{name}: no such revision here; {git.how_to_fetch(str(name))}") from None

    def text(self, path: str) -> str | None:
        """A text file, or None where the revision has no such file.

        Raises:
            CannotTell: it is no text.
        """
        if not self._files.exists(path):
            return None
        try:
            return self._files.read_text(path, encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CannotTell(f"{path} of {self.label}: not UTF-8 text ({error})") from None

    def copy(self, path: str, folder: Path) -> Path | None:
        """A local copy of a file or folder from Git, DVC's cache or its remote; None: none has it."""
        target = folder / Path(path).name
        try:
            self._files.get(path, str(target), recursive=True)
        except (OSError, DvcException, KeyError):
            return None
        return target if target.exists() else None

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

        def refuse(constant: str) -> None:
            raise CannotTell(f"{where}: holds {constant}, which is no score; {mend}")

        try:
            content = json.loads(text, parse_constant=refuse)
        except ValueError as error:
            raise CannotTell(f"{where}: not JSON ({error}); {mend}") from None
        if not isinstance(content, dict):
            raise CannotTell(f"{where}: holds no table of scores; {mend}")
        return content


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; all else, lists too, is a value."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values

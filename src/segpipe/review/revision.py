"""Read the repository's files at a revision: those in Git, and those that DVC keeps."""

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from dvc.api import DVCFileSystem
from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.scm import RevError

from segpipe.common.errors import CannotTell, brief
from segpipe.common.nested import flat
from segpipe.evaluate.counts import Counts, decode
from segpipe.fetch import tally
from segpipe.params.load import read_yaml
from segpipe.review import git

CURVES = ("loss", "accuracy", "mean_iou", "val_loss", "val_accuracy", "val_mean_iou")
HISTORY, SAMPLES = "results/train/history.csv", "results/samples.jpg"
COUNTS, MASK_TALLY = "results/evaluate/counts.json", "results/fetch/labels.json"
METRICS = ("results/evaluate/metrics.json", "results/train/summary.json")
MINOR = re.compile(r"^network\.|\.interval\.|dice|^val_(loss|accuracy)$|^calibration\.")
"""Scores that follow from others, which a reviewer looks at last."""


class NotHere(Exception):
    """A revision's data cannot be had here. The message says why."""


class Revision:
    """A commit, branch, tag or DVC experiment by its name; None is the working tree.

    Raises CannotTell where neither Git nor DVC knows the name here.
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

    def read(self, path: str) -> bytes | None:
        """Read a file; None if the revision has no such file."""
        return self._files.read_bytes(path) if self._files.exists(path) else None

    def text(self, path: str) -> str | None:
        """Read a text file; None if there is no such file. Raises CannotTell where it is no text."""
        try:
            return None if (content := self.read(path)) is None else content.decode()
        except UnicodeDecodeError as error:
            raise CannotTell(f"{path} of {self.label}: not UTF-8 text ({error})") from None

    def copy(self, path: str, folder: Path) -> Path:
        """Copy a file or folder from Git, DVC's cache or its remote.

        Raises NotHere where none of them has it, or the remote does not answer.
        """
        target = folder / Path(path).name
        try:
            self._files.get(path, str(target), recursive=True)
        except Exception as error:  # each kind of remote raises errors of its own
            raise NotHere(brief(error)) from None
        return target

    def scores(self) -> dict[str, Any]:
        """Read the metrics by dotted name, as in `dvc metrics show`; empty if there is no file.

        Raises CannotTell where a metrics file is not JSON, or holds NaN or infinity.
        """
        texts = {path: self.text(path) for path in METRICS}
        scores: dict[str, Any] = {}
        for path, text in texts.items():
            scores |= flat(self._json(path, text)) if text is not None else {}
        return scores

    def counts(self) -> Counts | None:
        """Read the counts of each test image; None if there is no file. Raises CannotTell if damaged."""
        if (text := self.text(COUNTS)) is None:
            return None
        try:
            return decode(text)
        except ValueError as error:
            where = f"{COUNTS} of {self.label}"
            raise CannotTell(f"{where}: holds no counts ({brief(error)}); {self._mend()}") from None

    def masks(self) -> tally.Tally | None:
        """Read the tally of all masks; None if there is no file. Raises CannotTell if it is damaged."""
        if (text := self.text(MASK_TALLY)) is None:
            return None
        try:
            return tally.decode(text)
        except ValueError as error:
            where = f"{MASK_TALLY} of {self.label}"
            raise CannotTell(f"{where}: no tally of masks ({brief(error)}); {self._mend()}") from None

    def locked(self, path: Path) -> str | None:
        """Return the hash that `dvc.lock` has of a file or folder; None if it has none."""
        files = (*self._locked("outs"), *self._locked("deps"))
        return next((file.get("md5") for file in files if file["path"] == path.as_posix()), None)

    def code(self) -> dict[str, str | None]:
        """Return the hash by path, as `dvc.lock` has it, of what the stages read and none writes."""
        written = {file["path"] for file in self._locked("outs")}
        read = {file["path"]: file.get("md5") for file in self._locked("deps")}
        return {path: md5 for path, md5 in read.items() if path not in written}

    def left_behind(self) -> str | None:
        """Return a stage that the scores depend on and that ran with other params or data; else None.

        `dvc exp run train` leaves the scores of the commit that it started from.
        """
        repo = self._files.repo
        written = {out.fs_path: out for stage in repo.index.stages for out in stage.outs}
        paths = [repo.fs.join(repo.root_dir, path) for path in METRICS]
        stages = [written[path].stage for path in paths if path in written]
        for stage in stages:  # grows by the stages before
            if not stage.cmd:  # data added with `dvc add`
                continue
            if not all(out.hash_info for out in stage.outs):
                return str(stage.name)
            for dep in stage.deps:
                if isinstance(dep, ParamsDependency):
                    same = flat(dep.read_params()) == flat(dep.hash_info.value or {})
                else:
                    out = written.get(dep.fs_path)
                    same = out is None or out.hash_info == dep.hash_info
                    stages += [] if out is None or out.stage in stages else [out.stage]
                if not same:
                    return str(stage.name)
        return None

    def history(self) -> pd.DataFrame | None:
        """Read `results/train/history.csv`, a row an epoch; None if it has no curves."""
        if (text := self.text(HISTORY)) is None:
            return None
        try:
            history = pd.read_csv(io.StringIO(text), dtype=float)
        except ValueError:
            return None
        return history if len(history) and {"epoch", *CURVES} <= {*history} else None

    def params(self) -> dict[str, Any]:
        """Read `params.yaml` by dotted key. Raises CannotTell where it is not YAML.

        It is not checked further: an older one may have other keys.
        """
        try:
            content = read_yaml(self.text("params.yaml") or "")
        except yaml.YAMLError as error:
            raise CannotTell(f"params.yaml of {self.label}: not YAML ({brief(error)})") from None
        return flat(content) if isinstance(content, dict) else {}

    def _locked(self, kind: str) -> list[dict[str, Any]]:
        """Return the entries of `dvc.lock` for the `outs` or the `deps` of all stages."""
        stages = (yaml.safe_load(self.text("dvc.lock") or "") or {}).get("stages", {}).values()
        return [file for stage in stages for file in stage.get(kind, [])]

    def _mend(self) -> str:
        return "`dvc repro` writes it anew" if self.commit is None else "fix it there first"

    def _json(self, path: str, text: str) -> dict[str, Any]:
        where = f"{path} of {self.label}"
        mend = self._mend()

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

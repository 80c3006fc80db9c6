"""Plants wrong masks among the photographs, and looks where `segpipe suspects` ranks them.

    python experiments/planted.py --draws 0 1 2

A tenth of the training masks becomes wrong, in five ways in turn: two classes swapped, the mask moved by
15 px, the pet missing, a border painted over the pet, another photograph's mask. Each of three folds
trains the recipe `quick` on the other two, wrong masks and all, and judges its own. Each draw chooses
other masks. Writes `experiments/planted.csv`, with the list of each draw, and the table in
docs/labels.md: the recall of each kind in the first tenth of the lists. A draw with a list does not run
again. SEGPIPE_PET_DIR names the photographs, SEGPIPE_ENCODER_WEIGHTS replaces a download.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import FOLDER, ROOT, Experiment, names_in, params, photographs
from _stages import SCRATCH, Stages, copy_code, lock
from table import put, row_of

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import name_hash, write_text
from segpipe.common.index import read_index
from segpipe.common.nested import changed
from segpipe.common.words import percent
from segpipe.label.judges import Judge
from segpipe.label.suspects import find, table
from segpipe.predict.predictor import load_model
from segpipe.preprocess.splitting import SplitRule

RESULTS, PAGE = FOLDER / "planted.csv", ROOT / "docs/labels.md"
PET, BACKGROUND, BORDER = 1, 2, 3  # values of the trimaps
FOLDS, SHARE, MOVED = 3, 0.1, 15


def swapped(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return pet and background in each other's place."""
    return np.choose(mask, [mask, np.full_like(mask, BACKGROUND), np.full_like(mask, PET), mask])


def moved(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mask moved to the right and down; what comes in is background."""
    found = np.full_like(mask, BACKGROUND)
    found[MOVED:, MOVED:] = mask[:-MOVED, :-MOVED]
    return found


def missing(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return background alone."""
    return np.full_like(mask, BACKGROUND)


def painted(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mask with its border painted over by the pet."""
    return np.where(mask == BORDER, PET, mask).astype(np.uint8)


def anothers(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return another photograph's mask, at this one's size."""
    return np.asarray(Image.fromarray(other).resize(mask.shape[::-1], Image.Resampling.NEAREST))


KINDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "two classes swapped": swapped,
    f"moved by {MOVED} px": moved,
    "the pet missing": missing,
    "the border painted over": painted,
    "another photograph's mask": anothers,
}


@exits_cleanly
def main() -> None:
    """Run the draws that have no list, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    draws = parser.parse_args().draws
    pets, found = photographs(), pd.read_csv(RESULTS, keep_default_na=False)
    with lock():
        copy_code()
        for draw in sorted({*draws} - {*found["draw"]}):
            print(f"draw {draw}", flush=True)
            found = pd.concat([found, listed(pets, draw)])
            write_text(RESULTS, found.to_csv(index=False))
    put(PAGE, "planted", recalls(found))


def listed(pets: Path, draw: int) -> pd.DataFrame:
    """Plant, train and judge each fold; return the table of suspects, with what was planted."""
    folder = SCRATCH / f"planted-{draw}"  # the stages' results are kept by the path of their data
    kinds = plant(pets, folder, draw)
    suspects = [one for fold in range(FOLDS) for one in judged(folder, fold)]
    rows = table(sorted(suspects, key=lambda one: one.overlap))
    return rows.assign(planted=rows["name"].map(kinds).fillna(""), draw=draw)


def plant(pets: Path, folder: Path, draw: int) -> dict[str, str]:
    """Copy the photographs, a tenth of the training masks wrong; return what is wrong, by name."""
    trimaps = Path("annotations/trimaps")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pets, folder)
    names = names_in(pets, "trainval")
    key = f"planted {draw}" if draw else "planted"
    ordered = sorted(names, key=lambda name: name_hash(name, key))
    kinds: dict[str, str] = {}
    for number, name in enumerate(ordered[: round(SHARE * len(names))]):
        kinds[name] = [*KINDS][number % len(KINDS)]
        mask, other = (
            np.asarray(Image.open(pets / trimaps / f"{one}.png")) for one in (name, ordered[-1 - number])
        )
        Image.fromarray(KINDS[kinds[name]](mask, other)).save(folder / trimaps / f"{name}.png")
    return kinds


def judged(pets: Path, fold: int) -> list:
    """Train on all folds but one, and judge the masks of that one."""
    values = {"data.folds": FOLDS, "data.fold": fold, "data.folder.path": str(pets)}
    content = changed(params(Experiment("quick", 0), {}), values)
    model = Stages(side_by_side=False).model(content, SCRATCH / f"logs/planted-{fold}.log")
    os.chdir(model.parents[1])  # where data/raw is
    splits = SplitRule(0.1, FOLDS, fold).assign(read_index(Path("data/raw"))).splits
    found, _ = find([Judge(load_model(model), {n: s for n, s in splits.items() if s == "val"})])
    return found


def recalls(rows: pd.DataFrame) -> str:
    """Return the recall of each kind in the first tenth of each draw's list, in Markdown."""
    of_draws = [of_draw for _, of_draw in rows.groupby("draw")]
    first = pd.concat([of_draw[: round(SHARE * len(of_draw))] for of_draw in of_draws])
    lines = [
        row_of(["planted", "masks", "in the first tenth of the list"]),
        row_of(["---", "---:", "---:"]),
    ]
    for kind, every in rows[rows.planted != ""].groupby("planted", sort=False):
        lines.append(row_of([str(kind), str(len(every)), str((first.planted == kind).sum())]))
    planted, found = (rows.planted != "").sum(), (first.planted != "").sum()
    lines.append(row_of(["all", str(planted), f"{found} ({percent(found / planted, 0)})"]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()

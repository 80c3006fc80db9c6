"""Proves `segpipe drift` on the test photographs: false alarms, and what it sees of changed ones.

    python experiments/drift.py [MODEL]

Without a model it trains the recipe `quick` for four epochs. The test photographs are taken as they are,
changed in five ways, and replaced by drawings. Of each kind, 1,000 folders of 50 pictures are drawn; an
alarm is a folder in which a trait shifted. Writes `experiments/drift.csv`, and the table in
docs/drift.md. SEGPIPE_PET_DIR names the photographs, SEGPIPE_ENCODER_WEIGHTS replaces a download.
"""

import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import FOLDER, ROOT, Experiment, names_in, params, photographs
from _stages import SCRATCH, Stages, copy_code, lock
from rich.progress import track
from table import put, row_of

from segpipe.common.errors import UserError, exits_cleanly
from segpipe.common.files import write_text
from segpipe.common.words import percent
from segpipe.drift.compare import compare
from segpipe.drift.measured import Measured, measure
from segpipe.evaluate import metrics
from segpipe.fetch import synthetic
from segpipe.fetch.params import SyntheticParams
from segpipe.predict.inputs import find
from segpipe.predict.predictor import Predictor, load_model

RESULTS, PAGE = FOLDER / "drift.csv", ROOT / "docs/drift.md"
FOLDERS, PICTURES, EPOCHS = 1000, 50, 4
OWN, DRAWINGS = "as they are", "drawings in place of photographs"
Change = Callable[[Image.Image], Image.Image]


def blurred(photo: Image.Image) -> Image.Image:
    """Blur by a Gaussian of 2 px."""
    return photo.filter(ImageFilter.GaussianBlur(2))


def grey(photo: Image.Image) -> Image.Image:
    """Take the colours away."""
    return photo.convert("L").convert("RGB")


def dark(photo: Image.Image) -> Image.Image:
    """Halve the brightness."""
    return photo.point([round(value / 2) for value in range(256)] * 3)


def of_another_camera(photo: Image.Image) -> Image.Image:
    """Raise red by 12 %, lower blue by 15 %, and lighten with a gamma of 0.9."""
    curves = [
        [min(255, round(255 * gain * (value / 255) ** 0.9)) for value in range(256)]
        for gain in (1.12, 1.0, 0.85)
    ]
    return photo.point([value for curve in curves for value in curve])


def packed(photo: Image.Image) -> Image.Image:
    """Store as JPEG of quality 10."""
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=10)
    return Image.open(io.BytesIO(buffer.getvalue()))


CHANGES: dict[str, Change] = {
    OWN: lambda photo: photo,
    "blur of 2 px": blurred,
    "grey": grey,
    "half the brightness": dark,
    "another camera's colours": of_another_camera,
    "JPEG of quality 10": packed,
}


@exits_cleanly
def main() -> None:
    """Look at the photographs, changed and as they are, and write what was found."""
    pets = photographs()
    predictor = load_model(Path(sys.argv[1]) if len(sys.argv) > 1 else trained())
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for kind, masks in written(pets, Path(scratch)):
            folder = Path(scratch) / kind
            rows.append(
                {"pictures": kind, **judged(predictor, folder), **scored(predictor, folder, masks)}
            )
            print(rows[-1], flush=True)
    results = pd.DataFrame(rows)
    results["fall"] = results["mean_iou"][0] - results["mean_iou"]
    write_text(RESULTS, results.round(4).to_csv(index=False))
    put(PAGE, "drift", table(results))


def trained() -> Path:
    """Train the model, unless it was done."""
    with lock():
        copy_code()
        content = params(Experiment("quick", 0), {"train.epochs": EPOCHS})
        return Stages(side_by_side=False).model(content, SCRATCH / "logs/drift.log")


def written(pets: Path, scratch: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Write the test photographs of each kind to a folder; yield the kind, and the masks by name."""
    names = names_in(pets, "test")
    masks = {name: (pets / f"annotations/trimaps/{name}.png").read_bytes() for name in names}
    for kind, change in CHANGES.items():
        (scratch / kind).mkdir()
        for name in track(names, f"Writing {kind}"):
            with Image.open(pets / f"images/{name}.jpg") as photo:
                change(photo.convert("RGB")).save(scratch / kind / f"{name}.png", compress_level=1)
        yield kind, masks
    drawn = synthetic.samples(SyntheticParams(train=1, test=len(names), size=400, seed=0))
    (scratch / DRAWINGS).mkdir()
    masks = {}
    tested = (sample for sample in drawn if sample.split == "test")
    for sample in track(tested, "Drawing", total=len(names)):
        picture, masks[sample.name] = sample.content.read()
        (scratch / DRAWINGS / f"{sample.name}.png").write_bytes(picture)
    yield DRAWINGS, masks


def judged(predictor: Predictor, folder: Path) -> dict[str, object]:
    """Return how many folders alarm, by which trait first, and the share of foreign pictures."""
    check = predictor.foreign_check
    if check is None:
        raise UserError("the model has no profile; train it again")
    measured, _ = measure(predictor, check, find([str(folder)], folder.with_name("out")))
    draws, first = np.random.default_rng(0), Counter[str]()
    for _ in track(range(FOLDERS), "Drawing folders"):
        chosen: list[Measured] = [
            measured[n] for n in draws.choice(len(measured), PICTURES, replace=False)
        ]
        surest = compare(check.profile, [one.traits for one in chosen], [one.mark for one in chosen])[0]
        first[surest.trait if surest.is_shifted else ""] += 1
    quiet = first.pop("", 0)
    surest_traits = ", ".join(trait for trait, _ in first.most_common(2))
    foreign = sum(one.mark.foreign for one in measured) / len(measured)
    return {"alarms": 1 - quiet / FOLDERS, "first": surest_traits, "foreign": foreign}


def scored(predictor: Predictor, folder: Path, masks: dict[str, bytes]) -> dict[str, float]:
    """Return the mean IoU at the pictures' own size."""
    classes = predictor.classes
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    paths = sorted(folder.glob("*.png"))
    for path, mask in zip(paths, predictor.predict(paths), strict=True):
        truth = classes.to_indices(np.asarray(Image.open(io.BytesIO(masks[path.stem]))))
        confusion += metrics.confusion_matrix(truth, mask, len(classes))
    return {"mean_iou": float(metrics.scores(metrics.counts(confusion))["mean_iou"])}


def table(results: pd.DataFrame) -> str:
    """Return the results in Markdown."""
    head = ["test photographs", f"alarms of {FOLDERS:,} folders", "surest traits", "foreign, one by one"]
    lines = [row_of([*head, "mean IoU", "fall"]), row_of(["---", "---:", "---", "---:", "---:", "---:"])]
    for row in results.itertuples():
        cells = [row.pictures, percent(row.alarms), row.first or "–", percent(row.foreign)]
        lines.append(row_of([*cells, f"{row.mean_iou:.3f}", f"{row.fall:.3f}"]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()

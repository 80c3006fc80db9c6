"""Times one photograph from the bytes of its JPEG to the bytes of its mask's PNG, in each runtime.

    python experiments/latency.py [MODEL]

Without a model it trains the recipe `quick`. The model is exported, and scored on the test
photographs in each runtime; OpenVINO is among them where it is installed (`pip install openvino`). Then
all runtimes predict the same photographs in turns: one after the other on one core and on two, and two
at once, each on a core of its own. Writes `experiments/latency.csv`, and the table in docs/export.md.
The machine must be idle meanwhile.
SEGPIPE_PET_DIR names the photographs, SEGPIPE_ENCODER_WEIGHTS replaces a download.
"""

import functools
import importlib.util
import os
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from _bench import OwnProcess, Seconds, in_turns

from _results import FOLDER, ROOT, Experiment, names_in, params, photographs
from _stages import SCRATCH, Stages, copy_code, lock
from table import put, row_of

from segpipe.common.codec import encode_png
from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_text
from segpipe.common.modelfile import read_card
from segpipe.common.records import open_records
from segpipe.evaluate.masks import Predict, mask_at_size, softmax
from segpipe.export.agreement import Agreement, Reference
from segpipe.export.run import default_target, export_to, open_trained
from segpipe.export.runtimes import FORMATS
from segpipe.export.signature import Run
from segpipe.fetch.pictures import decode_picture
from segpipe.params.load import load_params
from segpipe.predict.predictor import load_model
from segpipe.preprocess.intensity import Levels, fit

RESULTS, PAGE = FOLDER / "latency.csv", ROOT / "docs/export.md"
PICTURES, ROUNDS = 20, 15
WAYS = {"ms_1": 1, "ms_2": 1, "ms_at_once": 2}
"""The ways to predict, and how many pictures are under way."""
HEADS = ["ms, 1 core", "ms, 2 cores", "ms, 2 cores, two at once"]
FILES_ALONE, KERAS = "decoding, and encoding an empty mask", "`segpipe predict`"
OPENVINO = {f"OpenVINO, {name}": name for name in ("onnx", "onnx-int8")}

Masks = Callable[[np.ndarray], np.ndarray]
"""From the pixels of a picture, uint8 [height, width, 3], to its mask, uint8 [height, width]."""


@exits_cleanly
def main() -> None:
    """Export and score, then time, and write what was found."""
    pets = photographs()
    model = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else trained()
    os.chdir(model.parents[1])  # where data/records is
    scores = exported(model)
    names = [FILES_ALONE, *scores]
    seconds = timed(names, model, [pets / f"images/{name}.jpg" for name in names_in(pets, "test")])
    rows = [
        {"runtime": name, **{way: each(seconds, name, way) for way in WAYS}, **scores.get(name, {})}
        for name in names
    ]
    results = pd.DataFrame(rows)
    write_text(RESULTS, results.round(4).to_csv(index=False))
    put(PAGE, "latency", table(results))


def trained() -> Path:
    """Train the model, unless it was done."""
    with lock():
        copy_code()
        content = params(Experiment("quick", 0), {})
        return Stages(side_by_side=False).model(content, SCRATCH / "logs/latency.log")


def exported(model: Path) -> dict[str, dict[str, float]]:
    """Export the model to each format; return its size and mean IoU by runtime."""
    settings = load_params().export.model_copy(update={"max_drop": 1.0})
    source = open_trained(model, open_records(Path("data/records")))
    found = {KERAS: source.findings}
    for name, made in FORMATS.items():
        found[name] = export_to(source, name, settings, default_target(name), whole=bool(made.whole))
    reference = Reference.of(source.model, source.card)
    for name, of in OPENVINO.items() if importlib.util.find_spec("openvino") else ():
        run = openvino(default_target(of), 2)
        agreement = Agreement(run, reference, source.manifest.classes.names)
        agreement.over(list(source.evaluation.per_image()["name"]))
        found[name] = {**agreement.findings(), "bytes": found[of]["bytes"]}
    return {
        name: {"mb": one["bytes"] / 1e6, "mean_iou": one["original"]["mean_iou"]}
        for name, one in found.items()
    }


def timed(names: list[str], model: Path, paths: list[Path]) -> Seconds:
    """Return the seconds of all pictures, by runtime and way; each runtime in processes of its own."""
    chosen = [str(path) for path in paths[:: len(paths) // PICTURES][:PICTURES]]
    cores = sorted(os.sched_getaffinity(0))[:2]
    runs: dict[str, Callable[[], object]] = {}
    for name in names:
        first, second, both = (
            OwnProcess(on_cores, kept, name, str(model), chosen)
            for kept in (cores[:1], cores[1:], cores)
        )
        ways = (first, both, functools.partial(at_once, [first, second]))
        runs |= {f"{name}, {way}": run for way, run in zip(WAYS, ways, strict=True)}
    return in_turns(runs, ROUNDS)


def at_once(processes: list[OwnProcess]) -> None:
    """Let several processes predict all pictures at the same time."""
    with ThreadPoolExecutor(len(processes)) as pool:
        for done in [pool.submit(process) for process in processes]:
            done.result()


def each(seconds: Seconds, name: str, way: str) -> float:
    """Return the milliseconds of one picture."""
    return 1e3 * statistics.median(seconds[f"{name}, {way}"]) / (PICTURES * WAYS[way])


def on_cores(cores: list[int], name: str, model: str, paths: list[str]) -> Callable[[], object]:
    """Keep this process to some cores; return what predicts all pictures once."""
    os.sched_setaffinity(0, cores)
    masks, files = runtime(name, Path(model), len(cores)), [Path(path).read_bytes() for path in paths]

    def all_pictures() -> None:
        for data in files:
            encode_png(masks(decode_picture(data, "a photograph").pixels))

    return all_pictures


def runtime(name: str, model: Path, cores: int) -> Masks:
    """Return what makes masks of pictures."""
    if name == FILES_ALONE:
        return lambda pixels: np.zeros(pixels.shape[:2], np.uint8)
    if name == KERAS:
        return load_model(model).predict
    if name in OPENVINO:
        return of_whole(openvino(default_target(OPENVINO[name]), cores))
    if whole := FORMATS[name].whole:
        return of_whole(whole.load(default_target(name), cores))
    return of_network(FORMATS[name].load(default_target(name), cores), read_card(model))


def of_whole(run: Run) -> Masks:
    """Return what makes masks with a whole predictor."""
    return lambda pixels: run(pixels[None])[0][0]


def of_network(predict: Predict, card: dict[str, Any]) -> Masks:
    """Return what makes masks with a network alone, as docs/export.md says."""
    levels, (height, width), resize = Levels.of_card(card), card["image_size"], card["resize"]

    def mask(pixels: np.ndarray) -> np.ndarray:
        seen = fit(pixels, None, levels, (height, width), resize)
        return mask_at_size(softmax(predict(seen[None])[0]), pixels.shape[:2], resize)

    return mask


def openvino(path: Path, threads: int) -> Run:
    """Load a whole predictor in OpenVINO, which would compute in bfloat16 where the processor can."""
    import openvino as library

    exact = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = library.Core().compile_model(path, "CPU", exact)

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = compiled({"image": images})
        return found["mask"], found["confidence"]

    return run


def table(results: pd.DataFrame) -> str:
    """Return the results in Markdown."""
    heads = ["", *HEADS, "MB", "mean IoU"]
    lines = [row_of(heads), row_of(["---", *["---:"] * (len(heads) - 1)])]
    for row in results.to_dict("records"):
        of_model = ["", ""] if np.isnan(row["mb"]) else [f"{row['mb']:.1f}", f"{row['mean_iou']:.4f}"]
        name = f"`{row['runtime']}`" if row["runtime"] in FORMATS else row["runtime"]
        lines.append(row_of([name, *(f"{row[way]:.1f}" for way in WAYS), *of_model]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()

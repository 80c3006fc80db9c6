"""Preprocessing: images a second of the stage's work, against the tutorial's map on the same cores.

Both begin with encoded pictures and masks. segpipe checks, decodes, scales, encodes and writes shards;
the tutorial decodes, scales and mirrors, and writes nothing. The photographs of SEGPIPE_PET_DIR are
taken as they are (500 x 375 at the median), and some of them at 4000 x 3000. Then ten times as many
drawings of 96 px show how time and memory grow. The large photographs are cut into tiles too, against
decoding them on as many threads. TensorFlow is imported in functions, since other processes import this
file too.
"""

import _bench

import io
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from segpipe.common.classes import class_table
from segpipe.common.codec import decode_png
from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.records import Tiles
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import layouts, synthetic
from segpipe.fetch.params import SyntheticParams
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Problem, Sample
from segpipe.params import recipes
from segpipe.params.load import Params
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records

SIZE, ROUNDS, LARGE, FEW, MANY = 128, 5, 48, 3_000, 30_000
DATA = Params.model_validate(recipes.committed(_bench.ROOT / "params.yaml")).data
MARGIN = DATA.tiles.margin
PETS = class_table(DATA.classes, DATA.ignore)


def main() -> None:
    """Run the rounds and publish the ratios."""
    import tutorial

    rows, ratios = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, pets in {
            "photographs": _bench.photographs(),
            "of 4000 x 3000": enlarged(_bench.photographs(), Path(scratch, "large")),
        }.items():
            found = layouts.samples("oxford", pets, 0.2, PETS)
            raw = Path(scratch, "raw")
            images = prepare(found, raw)
            theirs = tutorial.loaded(tutorial.files(pets, "trainval") + tutorial.files(pets, "test"))
            seconds = _bench.in_turns(
                {
                    "segpipe": lambda raw=raw: preprocess(raw),
                    "the tutorial": lambda theirs=theirs: drain(theirs),
                },
                ROUNDS,
            )
            for who, times in seconds.items():
                rows[f"images/s, {name}, {who}"] = images / sorted(times)[ROUNDS // 2]
            ratios[f"{name}: segpipe / the tutorial, images/s"] = _bench.ratio(
                seconds, "the tutorial", "segpipe"
            )
            if name == "of 4000 x 3000":
                tiles = _bench.in_turns(
                    {"tiles": lambda raw=raw: cut(raw), "decoding": lambda raw=raw: decode(raw)}, ROUNDS
                )
                rows |= {
                    f"images/s, {name}, {what}": images / sorted(times)[ROUNDS // 2]
                    for what, times in tiles.items()
                }
                ratios["tiles / decoding, time"] = _bench.ratio(tiles, "tiles", "decoding")
            shutil.rmtree(raw)
        (few_s, few_mb), (many_s, many_mb) = (of_drawings(Path(scratch), n) for n in (FEW, MANY))
    rows |= {f"s, {FEW} drawings": few_s, f"s, {MANY} drawings": many_s}
    rows |= {f"MB at most, {FEW} drawings": few_mb, f"MB at most, {MANY} drawings": many_mb}
    ratios[f"time an image, {MANY} / {FEW} drawings"] = many_s / few_s * FEW / MANY
    ratios[f"memory, {MANY} / {FEW} drawings"] = many_mb / few_mb
    _bench.publish("preprocess", rows, ratios)


def enlarged(pets: Path, target: Path) -> Path:
    """Write some of the photographs at 4000 x 3000, half of them in each split."""
    import tutorial

    (target / "images").mkdir(parents=True)
    (target / "annotations/trimaps").mkdir(parents=True)
    for split in ("trainval", "test"):
        pairs = [tuple(map(Path, pair)) for pair in tutorial.files(pets, split)[: LARGE // 2]]
        for image, mask in pairs:
            with Image.open(image) as picture, Image.open(mask) as drawing:
                large = picture.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
                large.save(target / "images" / image.name, quality=90)
                drawing.resize((4000, 3000)).save(target / "annotations/trimaps" / mask.name)
        lines = (f"{image.stem} 1 1 1\n" for image, _ in pairs)
        (target / f"annotations/{split}.txt").write_text("".join(lines), encoding="utf-8")
    return target


def prepare(found: Iterator[Sample | Problem], raw: Path) -> int:
    """Write raw shards; return the number of samples."""
    summary = write_raw("a benchmark", found, PETS, True, 100, raw)
    return sum(split["samples"] for split in summary["splits"].values())


def preprocess(raw: Path) -> None:
    """Do the work of the stage."""
    write_records(raw, PETS, RecordFormat((SIZE, SIZE), "stretch"), SplitRule(0.1), 100, raw / "records")


def cut(raw: Path) -> None:
    """Do the work of the stage for tiles, with the params' margin."""
    in_tiles = RecordFormat((SIZE, SIZE), "tiles", tiles=Tiles(1.0, MARGIN))
    write_records(raw, PETS, in_tiles, SplitRule(0.1), 100, raw / "records")


def decode(raw: Path) -> None:
    """Decode all pictures and masks, on a thread a core."""

    def decoded(sample: dict) -> None:
        Image.open(io.BytesIO(sample["image"])).load()
        decode_png(sample["mask"])

    samples = (one for shard in sorted(raw.glob("*.tfrecord")) for one in read_shard(shard))
    with ThreadPoolExecutor(usable_cores()) as pool:
        drain(in_order(lambda one: pool.submit(decoded, one), samples, 4 * usable_cores()))


def drain(samples: Iterable[object]) -> None:
    """Take all samples."""
    for _ in samples:
        pass


def of_drawings(scratch: Path, count: int) -> tuple[float, float]:
    """Return the seconds and the peak memory (10^6 bytes) of preprocessing `count` drawings."""
    prepare(
        synthetic.samples(SyntheticParams(train=count, test=count // 10, size=96, seed=0)),
        scratch / "raw",
    )
    with multiprocessing.get_context("spawn").Pool(1) as own_process:
        found = own_process.apply(measured, [scratch / "raw"])
    shutil.rmtree(scratch / "raw")
    return found


def measured(raw: Path) -> tuple[float, float]:
    """Return the seconds and the peak memory of one call."""
    start = time.perf_counter()
    preprocess(raw)
    return time.perf_counter() - start, _bench.peak_mb()


if __name__ == "__main__":
    main()

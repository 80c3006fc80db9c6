"""Measures `data.workers`: the seconds of `fetch` and `preprocess` on this machine's cores, and by Ray.

    python experiments/workers.py local ray
    python experiments/workers.py ray

Run the first where `RAY_ADDRESS` names a cluster of one host, and the second with two. SEGPIPE_PET_DIR
is a folder in the pets' layout. It also prints what chunks that do nothing cost: what Ray takes itself.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.common import cluster
from segpipe.common.classes import class_table
from segpipe.common.codec import encode_png
from segpipe.common.errors import exits_cleanly
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Encoded, Sample, Samples
from segpipe.fetch.sources import open_source
from segpipe.params.load import Params, load_params
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records

CHUNKS = 400


def sources(params: Params) -> Iterator[tuple[str, Samples]]:
    """Yield what is fetched, with its name."""
    pets = {"source": "folder", "folder": params.data.folder.model_copy(
        update={"path": os.environ["SEGPIPE_PET_DIR"], "layout": "oxford"})}  # fmt: skip
    drawn = params.data.synthetic.model_copy(update={"train": 28_000, "test": 2_000})
    yield "600 photographs", open_source(params.data.model_copy(update=pets))
    yield (
        "30,000 drawings",
        open_source(params.data.model_copy(update={"source": "synthetic", "synthetic": drawn})),
    )
    yield "100 pictures of 4000 x 3000", large()


def large() -> Samples:
    """Yield pictures of smooth noise, each another one, with a mask of three classes."""
    rng = np.random.default_rng(0)
    for number in range(100):
        coarse = rng.integers(0, 256, (30, 40, 3), np.uint8)
        image, mask = coarse.repeat(100, 0).repeat(100, 1), np.ones((3000, 4000), np.uint8)
        mask[: 10 * number], mask[-500:] = 2, 3
        name = f"large-{number:03d}"
        content = Encoded(encode_png(image), encode_png(mask))
        yield Sample(name, "test" if number < 10 else "train", name, name, content)


@exits_cleanly
def main() -> None:
    """Print a line for each source and kind of workers."""
    params = load_params()
    table = class_table(params.data.classes, params.data.ignore)
    begin = time.perf_counter()
    done = sum(1 for _ in cluster.ordered_map(bool, range(16 * CHUNKS), lambda _: 0, "a measurement"))
    print(f"{CHUNKS} chunks of {done // CHUNKS}: {time.perf_counter() - begin:.2f} s with Ray's start")
    for workers in sys.argv[1:] or ("local", "ray"):
        for name, found in sources(params):
            with tempfile.TemporaryDirectory() as scratch:
                raw, times = Path(scratch, "raw"), [time.perf_counter()]
                write_raw(name, found, table, True, 100, raw, workers=workers)
                times.append(time.perf_counter())
                write_records(raw, table, RecordFormat((128, 128), "stretch"), SplitRule(0.1), 100,
                              Path(scratch, "records"), workers=workers)  # fmt: skip
                times.append(time.perf_counter())
            fetched, resized = np.diff(times)
            print(f"{workers}: {name}: fetch {fetched:.1f} s, preprocess {resized:.1f} s", flush=True)


if __name__ == "__main__":
    main()

"""A drawn data set in the layout `pairs`, and what the scripts that draw one take and say."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Draws a picture and its mask of class values; the generator is the only source of random numbers."""
Save = Callable[[np.ndarray, Path], None]
"""Saves a picture at a path without suffix, to which it appends its own."""


def parser(doc: str | None, train: int, test: int) -> argparse.ArgumentParser:
    """Return a parser of `out`, `--train`, `--test` and `--seed`, with these default numbers."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("out", type=Path, help="the folder to write")
    made.add_argument("--train", type=int, default=train, help="pictures in train.txt")
    made.add_argument("--test", type=int, default=test, help="pictures in test.txt")
    made.add_argument("--seed", type=int, default=0, help="another seed, other pictures")
    return made


def written(arguments: argparse.Namespace) -> str:
    """Say what was written, and what comes next."""
    counts = f"{arguments.train} + {arguments.test} pictures"
    return f"{counts}; next: segpipe init-data {arguments.out} --write"


def write(
    out: Path, counts: dict[str, int], seed: int, classes: Sequence[str], draw: Draw, save: Save
) -> None:
    """Write `images/`, `masks/`, a list for each of `counts`, and the names in `classes.txt`."""
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for split, (part, count) in enumerate(counts.items()):
        names = [f"{part}-{number:05d}" for number in range(count)]
        for number, name in enumerate(names):
            image, mask = draw(np.random.default_rng([seed, split, number]))
            save(image, out / "images" / name)
            Image.fromarray(mask).save(out / f"masks/{name}.png")
        (out / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in classes))

"""The tally of the masks for Git (`results/fetch/labels.json`): a digest of each, and pixels by class.

With it a change of labels can be reviewed where there are no data. The file is a list in JSON, in which
DVC finds no score; `common.packed` packs the digests.
"""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, field

from segpipe.common.packed import pack, unpack

FILE = "labels.json"
IGNORED = "(ignored)"
"""The name of ignored pixels; that of no class."""
_ABOUT = (
    "Pixels of all masks by class, and a digest of each mask, read by segpipe.fetch.tally: names and "
    "digests are CSV in bzip2 in base85."
)
_DIGITS = 8  # hexadecimal digits of a digest: one change in 4 billion goes unseen
_SHOWN = 6  # classes in a sentence


@dataclass
class Tally:
    """The masks of a data set."""

    digests: dict[str, str] = field(default_factory=dict)  # by the sample's name
    pixels: Counter[str] = field(default_factory=Counter)  # by the class's name

    def add(self, name: str, digest: str, pixels: dict[str, int]) -> None:
        """Take a mask: its sample's name, the SHA-256 of its PNG in hexadecimal, its pixels by class."""
        self.digests[name] = digest[:_DIGITS]
        self.pixels.update(pixels)


def encode(tally: Tally) -> str:
    """Return the content of `labels.json`, equal for equal masks in any order."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(sorted(tally.digests.items()))
    packed = pack(table.getvalue())
    return json.dumps([_ABOUT, dict(tally.pixels), packed], indent=2, ensure_ascii=False) + "\n"


def decode(text: str) -> Tally:
    """Read what `encode` wrote. Raises ValueError where it is something else."""
    try:
        _, pixels, packed = json.loads(text)
        table = unpack(packed).decode()
        digests = dict(csv.reader(io.StringIO(table, newline="")))
        return Tally(digests, Counter({name: int(count) for name, count in pixels.items()}))
    except (OSError, TypeError, AttributeError, csv.Error) as error:
        raise ValueError(f"it holds no such table: {error}") from None


def changes(before: Tally, after: Tally) -> str:
    """Return how masks changed: `312 masks, 24 changed: pet +1.2 %`; nothing where none did.

    The shares tell by how much the pixels of a class in all masks grew or shrank, the largest first.
    """
    common = before.digests.keys() & after.digests.keys()
    counts = {
        "changed": sum(before.digests[name] != after.digests[name] for name in common),
        "new": len(after.digests) - len(common),
        "gone": len(before.digests) - len(common),
    }
    changed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    if not changed and before.pixels == after.pixels:
        return ""
    names = dict.fromkeys([*before.pixels, *after.pixels])
    shares = {name: _share(before.pixels[name], after.pixels[name]) for name in names}
    moved = sorted((name for name in names if shares[name]), key=lambda name: -abs(shares[name]))
    classes = [f"{name} {_percent(shares[name])}" for name in moved[:_SHOWN]]
    more = [f"{len(moved) - _SHOWN} more classes"] if len(moved) > _SHOWN else []
    sentence = f"{len(after.digests)} masks, {changed or 'in other classes'}"
    return f"{sentence}: {', '.join([*classes, *more])}" if classes else sentence


def _share(before: int, after: int) -> float:
    return (after - before) / before if before else float("inf") if after else 0.0


def _percent(share: float) -> str:
    if share in (float("inf"), -1):
        return "is new" if share > 0 else "is gone"
    return f"{100 * share:+.1f} %" if abs(share) >= 5e-4 else f"{100 * share:+.1g} %"

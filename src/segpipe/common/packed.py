"""Tables packed as text, small enough for Git, in the JSON of a DVC metric.

Two things decide the form.

* **Equal bytes.** bzip2 has one implementation. zlib and xz have several, which give other bytes.
* **DVC.** A stage keeps its run cache only if each of its outs in Git is a metric or a plot, and DVC
  complains of a metric that it cannot read. It reads a list in JSON, and finds no score in it.
"""

import base64
import bz2


def pack(text: str) -> str:
    """Return a text in bzip2 in base85."""
    return base64.b85encode(bz2.compress(text.encode())).decode()


def unpack(packed: str) -> bytes:
    """Return what `pack` packed, in UTF-8. Raises ValueError, TypeError or OSError for anything else."""
    return bz2.decompress(base64.b85decode(packed))

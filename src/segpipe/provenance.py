"""What made a model: all that decides its weights, and what a run leaves behind of its circumstances."""

import datetime
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

import segpipe
from segpipe.data.records import MANIFEST, Manifest
from segpipe.files import sha256
from segpipe.modelfile import CARD_FORMAT
from segpipe.pretrained import Backbone

_LIBRARIES = (
    "keras",
    "numpy",
    *({"jax": ("jax", "jaxlib")}.get(keras.config.backend(), (keras.config.backend(),))),
)


def identity(
    params: dict[str, Any], manifest: Manifest, backbone: Backbone, code: Iterable[Path]
) -> dict[str, Any]:
    """All that decides what a training run gives, as plain values: equal ones mean the same run.

    Args:
        params: those that reach training.
        manifest: the records; it holds the digest of each shard.
        backbone: the encoder's network and weights.
        code: the files that the stage runs.
    """
    return {
        "params": params,
        "records": sha256(manifest.folder / MANIFEST),
        "encoder": backbone.digest,
        "code": {path.as_posix(): sha256(path) for path in sorted(code)},
        "libraries": {name: version(name) for name in _LIBRARIES},
        "backend": keras.config.backend(),
    }


def fingerprint(of: dict[str, Any]) -> str:
    """16 hexadecimal digits that stand for an identity."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def card(of: dict[str, Any], manifest: Manifest, training: dict[str, Any]) -> dict[str, Any]:
    """What the saved model carries about itself; equal for equal runs.

    Args:
        of: the run's identity.
        manifest: the records that it was trained on.
        training: how the run went, and the scores of its best epoch.
    """
    return {
        "format": CARD_FORMAT,
        "segpipe": segpipe.__version__,
        "fingerprint": fingerprint(of),
        "image_size": list(manifest.size),
        "resize": manifest.resize,
        **manifest.classes.to_json(),
        "training": training,
        "params": of["params"],
        "records": {
            "source": manifest.source,
            "train": manifest.count("train"),
            "val": manifest.count("val"),
            "manifest_sha256": of["records"],
        },
        "encoder_sha256": of["encoder"],
        "libraries": of["libraries"],
        "backend": of["backend"],
    }


def circumstances() -> dict[str, Any]:
    """What differs between two equal runs: where, when and from which commit this one starts."""
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "git": {
            "revision": _git("rev-parse", "HEAD"),
            # Other files change while the pipeline runs: dvc.lock, metrics.
            "dirty": bool(_git("status", "--porcelain", "src", "stages", "params.yaml", "dvc.yaml")),
        },
    }


def _git(*arguments: str) -> str | None:
    """What Git prints; None where there is no Git, no repository or no commit."""
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()

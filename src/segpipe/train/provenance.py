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

from segpipe.common import __version__
from segpipe.common.files import sha256
from segpipe.common.modelfile import CARD_FORMAT
from segpipe.common.records import MANIFEST, Manifest
from segpipe.model.assemble import is_trainable
from segpipe.model.encoders import taps
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.train.params import TrainParams

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


def resolved(seed: int, model: ModelParams, train: TrainParams, backbone: Backbone) -> dict[str, Any]:
    """The params that made the model, with `auto` and `default` resolved and no path of this machine."""
    return {
        "seed": seed,
        "model": {
            "encoder": {
                "name": backbone.name,
                "alpha": backbone.alpha,
                "pretrained": backbone.pretrained,
                "layers": list(taps(backbone.name, model.encoder.layers)),
                "trainable": is_trainable(model.encoder, backbone),
            },
            "decoder": model.decoder.model_dump(mode="json"),
        },
        "train": train.model_dump(mode="json")
        | {"backend": keras.config.backend(), "precision": precision(train)},
    }


def precision(params: TrainParams) -> str:
    """What `train.precision` comes to: `auto` is float32 until others are measured to be as good."""
    return "float32" if params.precision == "auto" else params.precision


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
        "segpipe": __version__,
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

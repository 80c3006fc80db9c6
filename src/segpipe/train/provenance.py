"""Provenance of a model: everything that decides its weights, and the circumstances of its training."""

import datetime
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import yaml

from segpipe.common import __version__, git
from segpipe.common.files import sha256
from segpipe.common.modelfile import CARD_FORMAT
from segpipe.common.profile import KEY, Profile
from segpipe.common.records import MANIFEST, Manifest
from segpipe.model.encoders import taps
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import is_trainable
from segpipe.model.warm_start import WarmStart
from segpipe.train.params import TrainParams
from segpipe.train.resume import fingerprint

_BACKEND = keras.config.backend()
_LIBRARIES = ("keras", "numpy", *(("jax", "jaxlib") if _BACKEND == "jax" else (_BACKEND,)))


def identity(
    params: dict[str, Any], manifest: Manifest, backbone: Backbone, code: Iterable[Path]
) -> dict[str, Any]:
    """Return everything that decides a run's result, as plain values: equal ones mean the same run.

    `params` are those that `resolved` returns, and `code` the files that the stage runs. The manifest
    holds the digest of each shard of the records.
    """
    return {
        "params": params,
        "records": sha256(manifest.folder / MANIFEST),
        "encoder": backbone.digest,
        "code": {path.as_posix(): sha256(path) for path in sorted(code)},
        "libraries": {name: version(name) for name in _LIBRARIES},
        "backend": _BACKEND,
    }


def code_files(pipeline: Path, stage: str) -> list[Path]:
    """Return the Python files in a stage's deps of `dvc.yaml`: their change makes DVC run it again."""
    deps = yaml.safe_load(pipeline.read_text(encoding="utf-8"))["stages"][stage]["deps"]
    roots = [pipeline.parent / dep for dep in deps if dep.startswith(("src/", "stages/"))]
    # As in .dvcignore, hidden files do not count: an editor's lock may be a link to nowhere.
    return [file for root in roots for file in ([root] if root.is_file() else root.rglob("[!.]*.py"))]


def resolved(seed: int, model: ModelParams, train: TrainParams, backbone: Backbone) -> dict[str, Any]:
    """Return the params that made the model: `auto` and `default` resolved, no path of this machine.

    `model.init` is the SHA-256 of the model that training started from.
    """
    return {
        "seed": seed,
        "model": {
            "encoder": {
                "name": backbone.name,
                "alpha": backbone.alpha,
                "pretrained": backbone.pretrained,
                "layers": list(taps(backbone.name, model.encoder.layers)),
                "trainable": train.freeze == "none" and is_trainable(model.encoder, backbone),
            },
            "decoder": model.decoder.model_dump(mode="json"),
            "init": backbone.init.digest if backbone.init else "none",
        },
        "train": train.model_dump(mode="json")
        | {"backend": _BACKEND, "precision": train.resolved_precision},
    }


def card(
    identity: dict[str, Any],
    manifest: Manifest,
    summary: dict[str, Any],
    temperature: float,
    start: WarmStart | None = None,
    profile: Profile | None = None,
) -> dict[str, Any]:
    """Return what the saved model says about itself; equal for equal runs.

    Args:
        identity: what decided the run's result.
        manifest: the records.
        summary: the content of `summary.json`.
        temperature: what the logits are divided by already.
        start: what the network took of the model that it started from.
        profile: the pictures that it knows.
    """
    return {
        "format": CARD_FORMAT,
        "segpipe": __version__,
        "fingerprint": fingerprint(identity),
        "image_size": list(manifest.size),
        "resize": manifest.resize,
        **({"tiles": {"scale": manifest.tiles.scale}} if manifest.tiles else {}),
        "bands": manifest.bands,
        "intensity": manifest.intensity,
        "depths": list(manifest.depths),
        **manifest.classes.to_json(),
        "temperature": temperature,
        "training": summary,
        "params": identity["params"],
        "records": {
            "source": manifest.source,
            "train": manifest.count("train"),
            "val": manifest.count("val"),
            "manifest_sha256": identity["records"],
        },
        "encoder_sha256": identity["encoder"],
        **({"init": start.card} if start else {}),
        "libraries": identity["libraries"],
        "backend": identity["backend"],
        **({KEY: profile.to_json()} if profile else {}),
    }


def circumstances() -> dict[str, Any]:
    """Return what may differ between two equal runs: when, where and from which commit they start."""
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "git": {
            "revision": git.output("rev-parse", "HEAD"),
            # Other files change while the pipeline runs, such as dvc.lock and the metrics.
            "dirty": bool(
                git.output("status", "--porcelain", "src", "stages", "params.yaml", "dvc.yaml")
            ),
        },
    }

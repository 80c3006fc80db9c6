"""The card inside an export: the model's card, with what the file takes and gives and how good it is."""

from typing import Any

from segpipe.common import __version__
from segpipe.common.bands import in_words
from segpipe.common.network_traits import Components
from segpipe.common.profile import Profile
from segpipe.common.records import Manifest
from segpipe.evaluate.metrics import MEANS
from segpipe.export.runtimes import FORMATS, Format
from segpipe.export.signature import CONFIDENCE, FEATURES, IMAGE, LOGITS, MASK
from segpipe.export.whole import picture_type
from segpipe.preprocess.intensity import Levels


def export_card(
    card: dict[str, Any], manifest: Manifest, original: dict[str, Any], name: str, whole: bool
) -> dict[str, Any]:
    """Return the card of an export in a format called `name`.

    `card` is the model's, `original` holds its scores at original size. Raises a UserError as
    `picture_type` does.
    """
    format_ = FORMATS[name]
    seen = in_words(manifest.bands, manifest.intensity)
    count = manifest.pictures("train")
    interface = _of_whole(card, manifest, format_) if whole else _of_network(manifest, format_)
    export = {
        "format": name,
        "segpipe": __version__,
        "whole": whole,
        **interface,
        "pictures": f"{seen}, like the {count} training pictures ({manifest.source})",
        "scores": {key: original[key] for key in (*MEANS, "iou", "interval")},
    }
    return {**card, "export": export}


def _of_network(manifest: Manifest, format_: Format) -> dict[str, Any]:
    shape = [format_.batch or "any", *manifest.size]
    seen = f"{in_words(manifest.bands, manifest.intensity)}, 0 to 255; scaling is inside the network"
    largest = "the largest of a pixel is its class, in the order of classes"
    return {
        "input": _tensor(IMAGE, "uint8", [*shape, manifest.channels], seen),
        "output": _tensor(LOGITS, format_.logits, [*shape, len(manifest.classes)], largest),
    }


def _of_whole(card: dict[str, Any], manifest: Manifest, format_: Format) -> dict[str, Any]:
    assert format_.whole
    shape, type_ = [format_.whole.batch or "any", "any", "any"], picture_type(Levels.of_card(card))
    seen = f"{in_words(manifest.bands, manifest.intensity)}, as in the files, of any size"
    return {
        "input": _tensor(IMAGE, type_, [*shape, manifest.channels], seen),
        "output": _tensor(MASK, "uint8", shape, "the index of the pixel's class"),
        "confidence": _tensor(CONFIDENCE, "float32", shape, "the probability of that class"),
        **_of_profile(card, shape[0], [*manifest.size, len(manifest.classes)]),
    }


def _of_profile(card: dict[str, Any], count: Any, shape: list[int]) -> dict[str, Any]:
    """Return the outputs that tell foreign pictures; none where the card has no profile of features."""
    profile = Profile.of_card(card)
    if not profile or not profile.features:
        return {}
    channels = Components.from_json(profile.features).centre.size
    return {
        "logits": _tensor(LOGITS, "float32", [count, *shape], "the network's, at its own size"),
        "features": _tensor(FEATURES, "float32", [count, channels], "the encoder's, for the profile"),
    }


def _tensor(name: str, type_: str, shape: list, values: str) -> dict[str, Any]:
    return {"name": name, "type": type_, "shape": shape, "values": values}

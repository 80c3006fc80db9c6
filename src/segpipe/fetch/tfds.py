"""Data sets of TensorFlow Datasets, Oxford-IIIT Pet among them.

TFDS checks their checksums and prepares them in its own folder (`TFDS_DATA_DIR`, else
`~/tensorflow_datasets`), which other projects share.
"""

import tempfile
import time
from collections.abc import Iterator

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.util import DownloadError

from segpipe.common.errors import UserError, brief
from segpipe.fetch.params import TfdsParams
from segpipe.fetch.sample import Encoded, Sample, Split

OXFORD_IIIT_PET = TfdsParams(
    name="oxford_iiit_pet:4.0.0", train_split="train", test_split="test",
    image_key="image", mask_key="segmentation_mask",
)  # fmt: skip

RETRY_AFTER = (2.0, 8.0, 30.0)
"""Seconds before the second, third and fourth try of a download that broke half-way.

TFDS itself retries a server that it cannot reach, ten times in about 200 s."""


def oxford_iiit_pet() -> Iterator[Sample]:
    """Yield Oxford-IIIT Pet, its official test list first, named after the photographs."""
    return samples(OXFORD_IIIT_PET, name_key="file_name")


def samples(params: TfdsParams, name_key: str | None = None) -> Iterator[Sample]:
    """Yield a data set's samples, test split first, each split in name order.

    Samples are named by the file name in the text feature `name_key`; without it, by TFDS's ids. Raises
    UserError where there is no such data set, split or feature, or the data cannot be downloaded.
    """
    builder = _prepared(params.name)
    features = builder.info.features.items()
    images = [key for key, feature in features if isinstance(feature, tfds.features.Image)]
    for key, feature in (("image_key", params.image_key), ("mask_key", params.mask_key)):
        if feature not in images:
            found = f"{params.name} has no image feature {feature!r}"
            raise UserError(f"data.tfds.{key}: {found}; it has {images}")
    yield from _split(builder, "test", params, name_key)
    yield from _split(builder, "train", params, name_key)


def _prepared(name: str) -> tfds.core.DatasetBuilder:
    """Return the builder of a data set, downloaded and prepared."""
    try:
        builder = tfds.builder(name)
    except (AssertionError, ImportError, ValueError) as error:  # what TFDS raises for an unknown name
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"data.tfds.name: TFDS knows no {name!r} ({reason})") from None
    for wait in (*RETRY_AFTER, None):
        try:
            builder.download_and_prepare()
            return builder
        except (requests.RequestException, DownloadError, NonMatchingChecksumError) as error:
            broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
            if wait is None or not broken:
                raise UserError(
                    f"{builder.info.full_name} could not be downloaded: {_described(error)}. Two ways "
                    "on: point the environment variable TFDS_DATA_DIR at a folder that holds it already "
                    f"(looked for {builder.data_dir}), or get the files by hand and set data.source to "
                    "folder"
                ) from None
            print(f"{_described(error)}; next try in {wait:.0f} s", flush=True)
            time.sleep(wait)
        except (AssertionError, ImportError) as error:  # manual downloads, or a package to install
            raise UserError(f"data.tfds.name: {name} needs more: {_described(error)}") from None
    raise AssertionError("the last try returns or raises")


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {brief(error)}"


def _split(
    builder: tfds.core.DatasetBuilder, split: Split, params: TfdsParams, name_key: str | None
) -> Iterator[Sample]:
    """Yield one split in name order, with one sample in memory at a time.

    TFDS stores examples in the order of a hash, so they pass through a temporary file.
    """
    skip = tfds.decode.SkipDecoding()
    tfds_split = params.test_split if split == "test" else params.train_split
    try:
        examples = builder.as_dataset(
            split=tfds_split,
            decoders={params.image_key: skip, params.mask_key: skip},
            read_config=tfds.ReadConfig(add_tfds_id=True),
        )
    except ValueError as error:
        found = f"no split {tfds_split!r} ({_described(error)})"
        raise UserError(f"data.tfds: {found}; it has {[*builder.info.splits]}") from None
    with tempfile.TemporaryFile() as spool:
        index: list[tuple[str, int, int, int]] = []
        for example in examples.as_numpy_iterator():
            image, mask = example[params.image_key], example[params.mask_key]
            name = example[name_key or "tfds_id"].decode()
            name = name.rsplit(".", 1)[0] if name_key else name
            index.append((name, spool.tell(), len(image), len(mask)))
            spool.write(image + mask)
        for name, start, image_size, mask_size in sorted(index):
            spool.seek(start)
            content = Encoded(spool.read(image_size), spool.read(mask_size))
            yield Sample(name, split, f"{name} (image)", f"{name} (mask)", content)

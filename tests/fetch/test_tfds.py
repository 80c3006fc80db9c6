"""Oxford-IIIT Pet and other data sets through the real TFDS builders, from a real HTTP server."""

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers import PETS, draw_photo
from PIL import Image
from tensorflow_datasets.core.download import checksums, downloader
from tensorflow_datasets.datasets.oxford_iiit_pet import oxford_iiit_pet_dataset_builder as pets

from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.records import SUMMARY
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import tfds as source
from segpipe.fetch.params import TfdsParams
from segpipe.fetch.raw import write_raw

TRAIN, TEST = ["Abyssinian_2", "Bengal_1", "pug_7"], ["Abyssinian_1", "pug_3"]


class Server(http.server.ThreadingHTTPServer):
    """Serves byte strings by path; `broken` lists how many times a path's answer stops half-way."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.broken: dict[str, int] = {}
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files[self.path]
        self.server.requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.broken.get(self.path, 0):
            self.server.broken[self.path] -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def encoded(image: Image.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Two small archives in the official layout, and a builder that knows their true checksums."""
    rng = np.random.default_rng(0)
    drawn = {name: draw_photo(rng, 40, 30) for name in (*TRAIN, *TEST)}
    images = {f"images/{name}.jpg": encoded(image, "JPEG") for name, (image, _) in drawn.items()}
    masks = {
        f"annotations/trimaps/{name}.png": encoded(mask, "PNG") for name, (_, mask) in drawn.items()
    }
    lists = {
        "annotations/trainval.txt": "".join(f"{name} 1 1 1\n" for name in TRAIN).encode(),
        "annotations/test.txt": "".join(f"{name} 1 1 1\n" for name in TEST).encode(),
    }
    with Server() as server:
        server.files = {
            "/images.tar.gz": archive(images),
            "/annotations.tar.gz": archive({**masks, **lists}),
        }
        infos = {
            server.address + path: checksums.UrlInfo(
                size=tfds.core.utils.Size(len(content)),
                checksum=hashlib.sha256(content).hexdigest(),
                filename=path[1:],
            )
            for path, content in server.files.items()
        }
        monkeypatch.setattr(pets, "_BASE_URL", server.address)
        monkeypatch.setattr(pets.Builder, "url_infos", infos)
        monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
        monkeypatch.setattr(downloader, "MAX_RETRIES", 1)
        monkeypatch.setattr(source, "RETRY_AFTER", (0.01, 0.01))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def fetch(folder: Path) -> dict:
    return write_raw("a test", source.oxford_iiit_pet(), PETS, True, 100, folder, processes=1)


def test_a_good_download_becomes_canonical_shards_with_official_splits(server, tmp_path):
    summary = fetch(tmp_path / "raw")
    names = {
        split: [s["name"].decode() for s in read_shard(tmp_path / "raw" / f"{split}-00000.tfrecord")]
        for split in ("train", "test")
    }
    assert names == {"train": sorted(TRAIN), "test": sorted(TEST)}
    assert summary["left_out"] == []
    sample = next(read_shard(tmp_path / "raw" / "test-00000.tfrecord"))
    assert np.unique(decode_png(sample["mask"])).tolist() == [0, 1, 2]
    assert sample["image"].startswith(b"\xff\xd8"), "the JPEG's own bytes are kept"


def test_a_data_set_that_tfds_prepared_before_is_not_downloaded_again(server, tmp_path):
    fetch(tmp_path / "raw")
    downloads = len(server.requests)
    fetch(tmp_path / "again")
    assert len(server.requests) == downloads
    first, second = ((tmp_path / f / "train-00000.tfrecord").read_bytes() for f in ("raw", "again"))
    assert first == second


def test_a_wrong_checksum_stops_the_fetch_and_leaves_nothing(server, tmp_path):
    server.files["/images.tar.gz"] += b"one byte more"
    with pytest.raises(UserError, match="wrong checksum") as error:
        fetch(tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
    assert "TFDS_DATA_DIR" in str(error.value)
    assert "data.source to folder" in str(error.value)


def test_a_download_that_stops_half_way_is_tried_again(server, tmp_path):
    server.broken["/images.tar.gz"] = 2
    assert fetch(tmp_path / "raw")["splits"]["train"]["samples"] == 3


def test_a_server_that_always_stops_half_way_ends_in_an_error(server, tmp_path):
    server.broken["/images.tar.gz"] = 99
    with pytest.raises(UserError, match="could not be downloaded: ChunkedEncodingError"):
        fetch(tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
    assert server.requests.count("/images.tar.gz") == 3


def test_a_server_that_is_down_ends_in_an_error_with_the_two_ways_on(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"(?s)127\.0\.0\.1.*TFDS_DATA_DIR.*data\.source to folder"):
        fetch(tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_any_tfds_data_set_is_read_by_name_splits_and_keys(server, tmp_path):
    params = TfdsParams(
        name="oxford_iiit_pet:4.0.0", train_split="train[:2]", test_split="test",
        image_key="image", mask_key="segmentation_mask",
    )  # fmt: skip
    summary = write_raw("a test", source.samples(params), PETS, True, 100, tmp_path / "raw", processes=1)
    assert {s: v["samples"] for s, v in summary["splits"].items()} == {"test": 2, "train": 2}
    assert (tmp_path / "raw" / SUMMARY).is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "no_such_data"}, "TFDS knows no 'no_such_data'"),
        ({"name": "oxford_iiit_pet:9.9.9"}, "TFDS knows no 'oxford_iiit_pet:9.9.9'"),
        ({"mask_key": "label"}, r"no image feature 'label'; it has \['image', 'segmentation_mask'\]"),
        ({"test_split": "validation"}, "no split 'validation'.*it has .*'test'"),
    ],
)
def test_a_wrong_tfds_param_is_named_with_what_there_is(server, tmp_path, change, message):
    params = source.OXFORD_IIIT_PET.model_copy(update=change)
    with pytest.raises(UserError, match=message):
        list(source.samples(params))

"""Small folders as users have them: every layout, every kind of mask, with the truth at each pixel.

Each function draws a folder and returns the truth by sample name: an array of values, or of colours as
`#rrggbb`, with those to ignore among them.
"""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segpipe.fetch.sample import Sample

HEIGHT, WIDTH = 30, 40
Truth = dict[str, np.ndarray]


def shapes(rng: np.random.Generator, values: list) -> np.ndarray:
    """Boxes of all values but the first on a ground of the first, each visible: [HEIGHT, WIDTH]."""
    drawing = np.full((HEIGHT, WIDTH), values[0], object if isinstance(values[0], str) else int)
    for number, value in enumerate(values[1:]):
        left = 2 + number * (WIDTH - 4) // (len(values) - 1)
        top, height, width = rng.integers(1, 10), rng.integers(5, 18), rng.integers(3, 8)
        drawing[top : top + height, left : left + width] = value
    return drawing


def photo(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def noise(path: Path, size: tuple[int, int], orientation: int = 1) -> None:
    """Save noise, which depends on the path's last parts alone, with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x112] = orientation
    seed = zlib.crc32("/".join(path.parts[-3:]).encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


def only(kind: Any, items: list) -> list:
    return [item for item in items if isinstance(item, kind)]


def mask_in(items: list) -> np.ndarray:
    """The mask of the only sample."""
    (sample,) = only(Sample, items)
    return sample.content.read()[1]


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def in_colours(drawing: np.ndarray) -> Image.Image:
    rgb = [[tuple(bytes.fromhex(colour[1:])) for colour in row] for row in drawing]
    return Image.fromarray(np.array(rgb, np.uint8))


def with_palette(drawing: np.ndarray, palette: list[int]) -> Image.Image:
    image = Image.fromarray(drawing.astype(np.uint8), "L")
    image.putpalette(palette)
    return image


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, [height, width], which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", *values.shape[::-1], bits, 0, 0, 0, 0)
    split = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
    rows = np.packbits(split.reshape(len(values), -1), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def voc_palette() -> list[int]:
    """Pascal VOC's: the bits of the index, spread over the channels from the highest bit on."""
    return [
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
        for index in range(256)
        for channel in range(3)
    ]


def camvid(root: Path, rng: np.random.Generator) -> Truth:
    """Three splits, masks in RGB, names of the colours in a file."""
    colours = ["#808080", "#800000", "#804080", "#000000"]
    truth = {}
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        for number in range(count):
            drawing = shapes(rng, colours)
            save(photo(rng), root / part / f"{number:04d}.png")
            save(in_colours(drawing), root / f"{part}annot" / f"{number:04d}.png")
            truth[f"{part}/{number:04d}"] = drawing
    names = "128 128 128\tSky\n128 0 0\tBuilding\n128 64 128\tRoad\n0 0 0\tVoid\n64 0 64\tVegetation\n"
    (root / "label_colors.txt").write_text(names)
    return truth


def carvana(root: Path, rng: np.random.Generator) -> Truth:
    """As Kaggle ships it: 16 views a car would be, four here; the test pictures have no masks."""
    truth = {}
    for car in range(8):
        for view in range(1, 5):
            name = f"{car * 123456789:012x}_{view:02d}"
            drawing = shapes(rng, [0, 255])
            save(photo(rng), root / "train" / f"{name}.jpg")
            save(Image.fromarray(drawing.astype(np.uint8)), root / "train_masks" / f"{name}_mask.gif")
            truth[name] = drawing
    save(photo(rng), root / "test" / "00a0fe0ca2cb_01.jpg")
    return truth


def carvana_in_one_folder(root: Path, rng: np.random.Generator) -> Truth:
    truth = {}
    for number in range(14):
        drawing = shapes(rng, [0, 255])
        save(photo(rng), root / f"car {number}.jpg")
        save(Image.fromarray(drawing.astype(np.uint8)), root / f"car {number}_mask.gif")
        truth[f"car {number}"] = drawing
    return truth


def voc(root: Path, rng: np.random.Generator) -> Truth:
    """Palette masks, objects with a border of 255, the official lists."""
    truth, names = {}, [f"2007_{number:06d}" for number in range(14)]
    for name in names:
        drawing = shapes(rng, [0, 1, 15])
        inside = np.pad(drawing, 1, mode="edge")
        around = [inside[1:-1, 2:], inside[1:-1, :-2], inside[2:, 1:-1], inside[:-2, 1:-1]]
        drawing[np.any([drawing != shifted for shifted in around], axis=0)] = 255
        save(photo(rng), root / "JPEGImages" / f"{name}.jpg")
        save(with_palette(drawing, voc_palette()), root / "SegmentationClass" / f"{name}.png")
        truth[name] = drawing
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:10]))
    (lists / "val.txt").write_text("\n".join(names[10:]))
    return truth


def coco(root: Path, rng: np.random.Generator) -> Truth:
    """A crowd, a large polygon, a small one within it, and run lengths of both kinds, in this order."""
    truth = {}
    categories = [
        {"id": 3, "name": "traffic light"},
        {"id": 17, "name": "cat"},
        {"id": 44, "name": "never seen"},
    ]
    for part, count in (("train2017", 12), ("val2017", 4)):
        images, annotations = [], []
        for number in range(1, count + 1):
            name, identity = f"{number:012d}", len(annotations)
            drawing = np.zeros((HEIGHT, WIDTH), int)
            x, y = rng.integers(2, 8, 2)
            crowd = np.zeros((HEIGHT, WIDTH), int)
            crowd[y : y + 20, x : x + 30] = 1
            drawing[crowd == 1] = 255
            drawing[y + 2 : y + 14, x + 2 : x + 22] = 17  # 240 pixels
            drawing[y + 4 : y + 9, x + 4 : x + 10] = 3  # 30 pixels within
            drawing[25:29, 33:39] = 3
            runs = np.zeros((HEIGHT, WIDTH), int)
            runs[25:29, 33:39] = 1
            small = _box(x + 4, y + 4, x + 10, y + 9)
            large = _box(x + 2, y + 2, x + 22, y + 14)
            annotations += [
                {"category_id": 3, "segmentation": [small], "iscrowd": 0},
                {"category_id": 17, "segmentation": [large, [1.0, 1.0]], "iscrowd": 0},
                {"category_id": 17, "segmentation": _run_lengths(crowd), "iscrowd": 1},
                {"category_id": 3, "segmentation": _run_lengths(runs), "iscrowd": 0},
            ]
            for more, annotation in enumerate(annotations[identity:]):
                annotation |= {"id": identity + more, "image_id": number}
            images.append({"id": number, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH})
            save(photo(rng), root / part / f"{name}.jpg")
            truth[f"{part.removesuffix('2017')}/{name}"] = drawing
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{part}.json").write_text(json.dumps(content))
        captions = {"images": images, "annotations": [{"image_id": 1, "caption": "a cat"}]}
        (root / f"annotations/captions_{part}.json").write_text(json.dumps(captions))
    return truth


def _box(left: int, top: int, right: int, bottom: int) -> list[float]:
    """A polygon around the pixels from (left, top) up to, and without, (right, bottom)."""
    return [float(n) for n in (left, top, right, top, right, bottom, left, bottom)]


def _run_lengths(mask: np.ndarray) -> dict:
    """COCO's: lengths of runs of 0 and 1 in turn, column by column, 0 first."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


def labelme(root: Path, rng: np.random.Generator) -> Truth:
    """A polygon, a rectangle over it, and a region to ignore; a label of two words."""
    truth = {}
    for number in range(14):
        x, y = (int(n) for n in rng.integers(2, 8, 2))
        drawing = np.zeros((HEIGHT, WIDTH), int)
        drawing[y : y + 13, x : x + 21] = 1  # Pillow's shapes hold their last row and column
        drawing[y + 4 : y + 9, x + 4 : x + 11] = 2
        drawing[27:30, 35:40] = 255
        outline = [[x, y], [x + 20, y], [x + 20, y + 12], [x, y + 12]]
        content = {
            "version": "5.4.1",
            "shapes": [
                {"label": "car body", "points": outline, "shape_type": "polygon", "flags": {}},
                {"label": "wheel", "points": [[x + 10, y + 8], [x + 4, y + 4]],
                 "shape_type": "rectangle"},
                {"label": "__ignore__", "points": [[35, 27], [39, 29]], "shape_type": "rectangle"},
            ],
            "imagePath": f"shot {number}.jpg", "imageData": None,
            "imageHeight": HEIGHT, "imageWidth": WIDTH,
        }  # fmt: skip
        save(photo(rng), root / f"shot {number}.jpg")
        (root / f"shot {number}.json").write_text(json.dumps(content))
        truth[f"shot {number}"] = drawing
    return truth


def _pairs(
    root: Path, rng: np.random.Generator, values: list, encode: Callable[[np.ndarray], Image.Image]
) -> Truth:
    truth = {}
    for number in range(14):
        drawing = shapes(rng, values)
        save(photo(rng), root / "images" / f"{number}.jpg")
        save(encode(drawing), root / "masks" / f"{number}.png")
        truth[f"{number}"] = drawing
    return truth


def binary(root: Path, rng: np.random.Generator) -> Truth:
    return _pairs(root, rng, [0, 255], lambda drawing: Image.fromarray(drawing.astype(np.uint8)))


def one_bit(root: Path, rng: np.random.Generator) -> Truth:
    return _pairs(root, rng, [0, 1], lambda drawing: Image.fromarray(drawing.astype(bool)))


def sixteen_bits(root: Path, rng: np.random.Generator) -> Truth:
    """Indices in PNGs of 16 bits, names in order in a file."""
    truth = _pairs(root, rng, [0, 1, 2], lambda drawing: Image.fromarray(drawing.astype(np.uint16)))
    (root / "classes.txt").write_text("ground\ncell\nnucleus\n")
    return truth


def colours_in_palettes(root: Path, rng: np.random.Generator) -> Truth:
    """Each file numbers the same colours in its own way, as programs that count colours do."""
    colours = ["#101010", "#c80000", "#00c800"]

    def encode(drawing: np.ndarray) -> Image.Image:
        order = [colours[n] for n in rng.permutation(3)]
        indices = np.array([[order.index(colour) for colour in row] for row in drawing])
        return with_palette(indices, [*bytes.fromhex("".join(colour[1:] for colour in order))])

    return _pairs(root, rng, colours, encode)


def parts_with_folders(root: Path, rng: np.random.Generator) -> Truth:
    """`train/images` and `train/masks`, the same names in each part, masks `NAME_mask`, 255 ignored."""
    truth = {}
    for part, count in (("train", 10), ("valid", 4)):
        for number in range(count):
            drawing = shapes(rng, [0, 1, 2, 3, 255])
            save(photo(rng), root / part / "images" / f"{number}.jpg")
            mask = Image.fromarray(drawing.astype(np.uint8))
            save(mask, root / part / "masks" / f"{number}_mask.png")
            truth[f"{part}/{number}"] = drawing
    return truth


def folders_with_parts(root: Path, rng: np.random.Generator) -> Truth:
    """`images/training` and `annotations/training`, as ADE20K has them; every tenth of 0..140."""
    truth = {}
    for part, count in (("training", 10), ("validation", 4)):
        for number in range(count):
            drawing = shapes(rng, [0, *range(10, 150, 20)])
            save(photo(rng), root / "images" / part / f"ADE_{number}.jpg")
            mask = Image.fromarray(drawing.astype(np.uint8))
            save(mask, root / "annotations" / part / f"ADE_{number}.png")
            truth[f"{part}/ADE_{number}"] = drawing
    return truth


FOLDERS: dict[str, tuple[str, Callable[[Path, np.random.Generator], Truth]]] = {
    "CamVid": ("splits", camvid),
    "Carvana": ("carvana", carvana),
    "VOC": ("voc", voc),
    "COCO": ("coco", coco),
    "Labelme": ("labelme", labelme),
    "binary": ("pairs", binary),
    "16 bits": ("pairs", sixteen_bits),
    "one folder": ("carvana", carvana_in_one_folder),
    "one bit": ("pairs", one_bit),
    "palettes of their own": ("pairs", colours_in_palettes),
    "folders in parts": ("splits", parts_with_folders),
    "parts in folders": ("splits", folders_with_parts),
}
"""By name: the layout that it is, and how to draw it."""

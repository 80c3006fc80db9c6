"""Small folders as annotation tools and challenges export them, with the class of each pixel.

Each function draws twelve pictures with a `car` and, over it, a `wheel` on a background, and returns the
truth by the stem of the picture's file: an array of names.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from own_folders import HEIGHT, WIDTH, photo, save
from PIL import Image

Truth = dict[str, np.ndarray]
Box = tuple[int, int, int, int]  # left, top, and the first column and row beyond

GROUND, CAR, WHEEL = "background", "car", "wheel"


def drawings(rng: np.random.Generator) -> Iterator[tuple[str, list[tuple[str, Box]], np.ndarray]]:
    """Yield names, boxes in the order in which they are drawn, and the class of each pixel."""
    for number in range(12):
        x, y = (int(n) for n in rng.integers(2, 8, 2))
        boxes = [(CAR, (x, y, x + 24, y + 16)), (WHEEL, (x + 4, y + 5, x + 12, y + 12))]
        classes = np.full((HEIGHT, WIDTH), GROUND, object)
        for label, (left, top, right, bottom) in boxes:
            classes[top:bottom, left:right] = label
        yield f"shot_{number:02d}", boxes, classes


def part_of(number: int) -> str:
    return "test" if number < 3 else "valid" if number < 5 else "train"


def grey(classes: np.ndarray, values: dict[str, int]) -> Image.Image:
    numbers = np.zeros(classes.shape, np.uint8)
    for label, value in values.items():
        numbers[classes == label] = value
    return Image.fromarray(numbers)


def yolo(root: Path, rng: np.random.Generator) -> Truth:
    """Roboflow's export; Ultralytics counts the outline, of whole pixels, to the object."""
    truth = {}
    for number, (name, boxes, classes) in enumerate(drawings(rng)):
        folder = root / part_of(number)
        lines = []
        for label, (left, top, right, bottom) in boxes:
            corners = [left, top, right - 1, top, right - 1, bottom - 1, left, bottom - 1]
            shares = [n / (HEIGHT if i % 2 else WIDTH) + 1e-6 for i, n in enumerate(corners)]
            lines.append(" ".join([str([CAR, WHEEL].index(label)), *map(str, shares)]))
        save(photo(rng), folder / "images" / f"{name}.jpg")
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{name}.txt").write_text("\n".join(lines))
        truth[name] = classes
    parts = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{parts}nc: 2\nnames: [car, wheel]\n")
    return truth


def roboflow(root: Path, rng: np.random.Generator) -> Truth:
    truth = {}
    for number, (name, _, classes) in enumerate(drawings(rng)):
        folder = root / part_of(number)
        save(photo(rng), folder / f"{name}.jpg")
        save(grey(classes, {CAR: 1, WHEEL: 2}), folder / f"{name}_mask.png")
        (folder / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, car\n2, wheel\n")
        truth[name] = classes
    return truth


def nnunet(root: Path, rng: np.random.Generator) -> Truth:
    """Two channels, one file each."""
    truth = {}
    for number, (name, _, classes) in enumerate(drawings(rng)):
        part = "Ts" if number < 3 else "Tr"
        for channel in (0, 1):
            save(photo(rng).convert("L"), root / f"images{part}" / f"{name}_{channel:04d}.png")
        save(grey(classes, {CAR: 1, WHEEL: 2}), root / f"labels{part}" / f"{name}.png")
        truth[name] = classes
    content = {
        "channel_names": {"0": "near", "1": "far"}, "file_ending": ".png", "numTraining": 9,
        "labels": {"background": 0, "car": 1, "wheel": 2},
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(content))
    return truth


def cityscapes(root: Path, rng: np.random.Generator) -> Truth:
    """Of the 34 label ids the road, the car, and what is ignored."""
    truth = {}
    for number, (_, _, classes) in enumerate(drawings(rng)):
        part, city = ("val", "frankfurt") if number < 3 else ("train", "aachen")
        name = f"{city}_{number:06d}_000019"
        save(photo(rng), root / f"leftImg8bit/{part}/{city}/{name}_leftImg8bit.png")
        for kind in ("color", "instanceIds"):
            save(grey(classes, {CAR: 9}), root / f"gtFine/{part}/{city}/{name}_gtFine_{kind}.png")
        values = {GROUND: 7, CAR: 26, WHEEL: 3}
        save(grey(classes, values), root / f"gtFine/{part}/{city}/{name}_gtFine_labelIds.png")
        seen = np.where(classes == GROUND, "road", classes)
        truth[f"{name}_leftImg8bit"] = np.where(seen == WHEEL, "ignored", seen)
    return truth


def cvat(root: Path, rng: np.random.Generator) -> Truth:
    """The wheel comes first and lies above, by its z-order."""
    truth = {}
    document = ElementTree.Element("annotations")
    ElementTree.SubElement(document, "version").text = "1.1"
    for number, (name, boxes, classes) in enumerate(drawings(rng)):
        image = ElementTree.SubElement(
            document, "image", id=str(number), name=f"{name}.jpg", width=str(WIDTH), height=str(HEIGHT)
        )
        for order, (label, (left, top, right, bottom)) in reversed(list(enumerate(boxes))):
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            points = ";".join(f"{x}.00,{y}.00" for x, y in corners)
            ElementTree.SubElement(image, "polygon", label=label, points=points, z_order=str(order))
        save(photo(rng), root / "images" / f"{name}.jpg")
        truth[name] = classes
    ElementTree.ElementTree(document).write(root / "annotations.xml", encoding="utf-8")
    return truth


def label_studio(root: Path, rng: np.random.Generator) -> Truth:
    truth, tasks = {}, []
    for number, (name, boxes, classes) in enumerate(drawings(rng), 1):
        result = []
        for label, (left, top, right, bottom) in boxes:
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners]
            result.append({
                "type": "polygonlabels", "from_name": "label", "to_name": "image",
                "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
                "value": {"points": points, "polygonlabels": [label], "closed": True},
            })  # fmt: skip
        image = f"/data/upload/1/ab12cd34-{name}.jpg"
        tasks.append(
            {"id": number, "data": {"image": image}, "annotations": [{"id": number, "result": result}]}
        )
        save(photo(rng), root / "images" / f"{name}.jpg")
        truth[name] = classes
    (root / "project-1-at-2026-11-28.json").write_text(json.dumps(tasks))
    return truth


def label_studio_png(root: Path, rng: np.random.Generator) -> Truth:
    truth = {}
    for number, (_, boxes, classes) in enumerate(drawings(rng), 1):
        save(photo(rng), root / f"task-{number}.jpg")
        for label, (left, top, right, bottom) in boxes:
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[top:bottom, left:right] = 255
            save(
                Image.fromarray(mask),
                root / f"task-{number}-annotation-{number}-by-ann-tag-{label}-0.png",
            )
        truth[f"task-{number}"] = classes
    return truth


def nuclei(root: Path, rng: np.random.Generator) -> Truth:
    """A mask an object, all of one class."""
    truth = {}
    for name, boxes, classes in drawings(rng):
        save(photo(rng), root / name / "images" / f"{name}.png")
        for number, (_, (left, top, right, bottom)) in enumerate(boxes):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[top:bottom, left:right] = 255
            save(Image.fromarray(mask), root / name / "masks" / f"{number}.png")
        truth[name] = np.where(classes == GROUND, GROUND, "object")
    return truth


def a_folder_a_class(root: Path, rng: np.random.Generator) -> Truth:
    """The class that stands later in the table lies above: wheel comes after car."""
    truth = {}
    for name, boxes, classes in drawings(rng):
        save(photo(rng), root / "images" / f"{name}.png")
        for label, (left, top, right, bottom) in boxes:
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[top:bottom, left:right] = 255
            save(Image.fromarray(mask), root / "masks" / label / f"{name}.png")
        truth[name] = classes
    return truth


def run_lengths(root: Path, rng: np.random.Generator) -> Truth:
    """Kaggle's: pixels from 1, down the columns; a row a picture and class."""
    truth = {}
    with (root / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Image_Label", "EncodedPixels"])
        for name, _, classes in drawings(rng):
            save(photo(rng), root / "train_images" / f"{name}.jpg")
            for label in (CAR, WHEEL):
                flat = np.concatenate([[0], (classes == label).T.ravel(), [0]]).astype(int)
                starts, ends = (np.flatnonzero(np.diff(flat) == step) + 1 for step in (1, -1))
                runs = (f"{start} {end - start}" for start, end in zip(starts, ends, strict=True))
                rows.writerow([f"{name}.jpg_{label}", " ".join(runs)])
            truth[name] = classes
    return truth


def lists_of_pairs(root: Path, rng: np.random.Generator) -> Truth:
    truth: Truth = {}
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, (name, _, classes) in enumerate(drawings(rng)):
        save(photo(rng), root / "photos" / f"{name}.jpg")
        save(grey(classes, {CAR: 1, WHEEL: 2}), root / "truth" / f"{name}.png")
        part = part_of(number).replace("valid", "val")
        lines[part].append(f"photos/{name}.jpg truth/{name}.png")
        truth[name] = classes
    for part, listed in lines.items():
        (root / f"{part}.txt").write_text("\n".join(listed))
    (root / "labels.txt").write_text("background\ncar\nwheel\n")
    return truth


EXPORTS: dict[str, tuple[str, Callable[[Path, np.random.Generator], Truth]]] = {
    "YOLO": ("yolo", yolo),
    "Roboflow's masks": ("roboflow", roboflow),
    "nnU-Net": ("nnunet", nnunet),
    "Cityscapes": ("splits", cityscapes),
    "CVAT": ("cvat", cvat),
    "Label Studio": ("label_studio", label_studio),
    "Label Studio's PNGs": ("label_studio_png", label_studio_png),
    "nuclei": ("layers", nuclei),
    "a folder a class": ("layers", a_folder_a_class),
    "run lengths": ("rle", run_lengths),
    "lists of pairs": ("pairs", lists_of_pairs),
}
"""By name: the layout that it is, and how to draw it."""

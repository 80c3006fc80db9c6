"""Public data sets whose labels are merged before training, as their official scores merge them.

A label in the table counts as its class; all other labels of the data set are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segpipe.common.classes import MaskValue, class_name

_MOST_OF = 0.8  # share of a data set's labels that must be there to recognise it


@dataclass(frozen=True)
class PublicTable:
    """The labels of a data set, and the classes that they are merged to."""

    name: str
    classes: dict[str, tuple[str, ...]]  # labels by class
    ignored: tuple[str, ...]  # labels
    colours: dict[str, str]  # by class
    note: str  # for people

    def class_of(self, label: str) -> str | None:
        """Return the class of a label: empty where it is ignored, None where the table lacks it."""
        known = {class_name(own).lower(): c for c, labels in self.classes.items() for own in labels}
        known |= {class_name(own).lower(): "" for own in self.ignored}
        return known.get(class_name(label).lower())


_TRAIN_IDS = {
    "road": "#804080", "sidewalk": "#f423e8", "building": "#464646", "wall": "#66669c",
    "fence": "#be9999", "pole": "#999999", "traffic_light": "#faaa1e", "traffic_sign": "#dcdc00",
    "vegetation": "#6b8e23", "terrain": "#98fb98", "sky": "#4682b4", "person": "#dc143c",
    "rider": "#ff0000", "car": "#00008e", "truck": "#000046", "bus": "#003c64", "train": "#005064",
    "motorcycle": "#0000e6", "bicycle": "#770b20",
}  # fmt: skip
_IDS = (
    "unlabeled", "ego_vehicle", "rectification_border", "out_of_roi", "static", "dynamic", "ground",
    "road", "sidewalk", "parking", "rail_track", "building", "wall", "fence", "guard_rail", "bridge",
    "tunnel", "pole", "polegroup", "traffic_light", "traffic_sign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip

CITYSCAPES = PublicTable(
    "Cityscapes",
    {name: (name,) for name in _TRAIN_IDS},
    (*(name for name in _IDS if name not in _TRAIN_IDS), "license_plate"),
    _TRAIN_IDS,
    "Cityscapes' labels become its 19 classes of training; its other labels are ignored",
)

CAMVID = PublicTable(
    "CamVid",
    {
        "Sky": ("Sky",),
        "Building": ("Building", "Archway", "Bridge", "Tunnel", "Wall"),
        "Pole": ("Column_Pole", "TrafficCone"),
        "Road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
        "Pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
        "Tree": ("Tree", "VegetationMisc"),
        "SignSymbol": ("SignSymbol", "Misc_Text", "TrafficLight"),
        "Fence": ("Fence",),
        "Car": ("Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"),
        "Pedestrian": ("Pedestrian", "Child", "CartLuggagePram", "Animal"),
        "Bicyclist": ("Bicyclist", "MotorcycleScooter"),
    },
    ("Void",),
    {},
    "CamVid's 32 labels become the 11 classes that are usually scored",
)


def recognised(named: Mapping[MaskValue, str]) -> PublicTable | None:
    """Return the data set whose labels the names of mask values are, if it is known."""
    labels = {*named.values()}
    for table in (CITYSCAPES, CAMVID):
        classes = [table.class_of(label) for label in labels]
        count = sum(map(len, table.classes.values()))
        if None not in classes and sum(map(bool, classes)) >= _MOST_OF * count:
            return table
    return None


def names_by_file(masks: Sequence[str]) -> dict[MaskValue, str]:
    """Return the names of mask values where the masks' files are named as those of Cityscapes."""
    endings = {name.rpartition("_")[2] for name in masks}
    if endings == {"labelIds.png"}:
        return {**dict(enumerate(_IDS)), 255: "license_plate"}
    if endings == {"labelTrainIds.png"}:
        return {**dict(enumerate(_TRAIN_IDS)), 255: "unlabeled"}
    return {}

"""Names of classes in the files that data sets bring along."""

import re
from dataclasses import dataclass, field
from pathlib import Path

FILES = (
    "classes.txt", "class_names.txt", "labels.txt", "label_names.txt", "label_colors.txt",
    "label_colours.txt", "labelmap.txt", "class_dict.csv", "classes.csv", "labels.csv",
)  # fmt: skip


@dataclass(frozen=True)
class Names:
    """The names in one file, if there is one: by value, by colour, or in order."""

    file: Path | None = None
    by_value: dict[int | str, str] = field(default_factory=dict)  # by number, and by `#rrggbb`
    in_order: list[str] = field(default_factory=list)

    def of(self, values: list[int | str]) -> dict[int | str, str]:
        """Return names of mask values: as given, else by position, else by rank if the counts agree."""
        kinds = {type(value) for value in values}
        known = {value: name for value, name in self.by_value.items() if type(value) in kinds}
        if known or str in kinds:
            return known
        positions: dict[int | str, str] = dict(enumerate(self.in_order))
        if self.in_order[:1] == ["__ignore__"]:  # Labelme's list begins with -1
            positions = dict(enumerate(self.in_order[1:]))
        unnamed = {255} if len(values) > 2 else set()  # 255 is a class only beside one other
        if {*values} - unnamed <= positions.keys():
            return positions
        if len(values) == len(self.in_order):
            return dict(zip(sorted(values), self.in_order, strict=True))
        return {}


def find_names(root: Path) -> Names:
    """Read the first file with names in a folder or right below it."""
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    files = (place / name for place in places for name in FILES)
    found = (read_names(file) for file in files if file.is_file())
    return next((names for names in found if names.by_value or names.in_order), Names())


def read_names(file: Path) -> Names:
    """Read lines such as `64 128 64 Animal`, `road,128,64,128`, `3: cat` or `cat`."""
    names = Names(file)
    for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if line.startswith("# "):
            continue
        words = [word for word in re.split(r"[\s,;:]+", line.strip()) if word]
        numbers = [int(word) for word in words if word.isdecimal() and int(word) <= 255]
        codes = [word.lower() for word in words if re.fullmatch("#[0-9a-fA-F]{6}", word)]
        name = "_".join(word for word in words if not word.isdecimal() and word.lower() not in codes)
        if not name:
            continue
        if codes or len(numbers) >= 3:
            colour = codes[0] if codes else "#{:02x}{:02x}{:02x}".format(*numbers[-3:])
            names.by_value.setdefault(colour, name)
        elif len(numbers) == 1:
            names.by_value.setdefault(numbers[0], name)
        else:
            names.in_order.append(name)
    return names

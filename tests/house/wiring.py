"""What a stage really imports: the files of this repository that its code reaches."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TRACKED_BY_VALUE = ROOT / "src/segpipe/params"
"""Loads every section of params.yaml; DVC compares the values that a stage reads, not this code."""


def import_closure(script: Path) -> set[Path]:
    """Files that `script` imports, directly or not, at the top or inside functions, itself included."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in found and not path.is_relative_to(TRACKED_BY_VALUE):
            found.add(path)
            waiting += imported_files(path)
    return found


def imported_files(path: Path) -> list[Path]:
    """The files of this repository that a file imports, with those of the packages around them."""
    modules = set()
    text = path.read_text()
    if 'import_module(f"{__name__}.' in text:  # the layouts, by their names
        package = ".".join(path.parent.relative_to(ROOT / "src").parts)
        modules |= {f"{package}.{module.stem}" for module in path.parent.glob("*.py")}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = []
    for module in modules:
        parts = module.split(".")
        if parts[0] == "segpipe":
            files += [f for n in range(2, len(parts) + 1) if (f := _file(ROOT / "src", parts[:n]))]
        elif f := _file(ROOT / "stages", parts):
            files.append(f)
    return files


def _file(base: Path, parts: list[str]) -> Path | None:
    path = base.joinpath(*parts)
    return next((f for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)

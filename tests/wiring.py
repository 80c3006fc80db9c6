"""What a stage really imports: the files of this repository that its code reaches."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def import_closure(script: Path) -> set[str]:
    """Files that `script` imports, directly or not, at the top or inside functions, itself included."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return {path.relative_to(ROOT).as_posix() for path in found}


def _imported(path: Path) -> list[Path]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = []
    for module in modules:
        parts = module.split(".")
        if parts[0] == "segpipe":
            files += [f for n in range(1, len(parts) + 1) if (f := _file(ROOT / "src", parts[:n]))]
        elif f := _file(ROOT / "stages", parts):
            files.append(f)
    return files


def _file(base: Path, parts: list[str]) -> Path | None:
    path = base.joinpath(*parts)
    return next((f for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)

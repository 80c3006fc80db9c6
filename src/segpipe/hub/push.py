"""Pushes an export and its card to the Hugging Face Hub, through the hub's own client."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from segpipe.common.errors import UserError, brief
from segpipe.common.modelfile import MODEL_CARD, read_card

EXPORTS = Path("models/export")
README = "README.md"  # the name of the card on the hub


def only_export() -> Path:
    """Return the only export in models/export; raise a UserError where there is none, or several."""
    exports = [path for folder in sorted(EXPORTS.glob("[!.]*")) for path in _exports(folder)]
    if len(exports) == 1:
        return exports[0]
    if not exports:
        raise UserError(f"{EXPORTS}: holds no export; `segpipe export --to onnx` writes one")
    raise UserError(
        f"{EXPORTS}: holds {len(exports)} exports; name one of {', '.join(map(str, exports))}"
    )


def files_of(export: Path) -> dict[str, Path]:
    """Return the files of an export and its card by their paths on the hub.

    Raises a UserError where it is no export, or its card is missing.
    """
    if not export.exists():
        raise UserError(f"{export}: no such file; `segpipe export --to onnx` writes an export")
    if "export" not in read_card(export):
        raise UserError(f"{export}: a model, and no export of it; `segpipe export` writes those")
    card = export / MODEL_CARD if export.is_dir() else export.with_name(MODEL_CARD)
    if not card.is_file():
        raise UserError(f"{card}: no such file; export the model again, which writes it")
    if export.is_file():
        return {export.name: export, README: card}
    inside = sorted(path for path in export.rglob("*") if path.is_file() and path != card)
    return {**{path.relative_to(export).as_posix(): path for path in inside}, README: card}


def check_name(repository: str) -> None:
    """Raise a UserError where the client is missing, or no repository may have this name."""
    with _client():
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"{repository!r}: no name of a repository ({brief(error)})") from None


def push(repository: str, files: dict[str, Path]) -> str:
    """Commit files to a repository of models, created if it is missing; return the commit's URL.

    The client takes its address and token from the environment, as `hf auth login` leaves them. Raises a
    UserError where the hub refuses, or cannot be reached.
    """
    with _client():
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HTTPError
    hub = HfApi()
    added = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    try:
        hub.create_repo(repository, exist_ok=True)
        commit = hub.create_commit(repository, added, commit_message="Upload a model with segpipe")
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{repository}: the hub refused or was not reached ({brief(error)})") from None
    return str(commit.commit_url)


@contextlib.contextmanager
def _client() -> Iterator[None]:
    """Say how to install the hub's client where it is missing."""
    try:
        yield
    except ImportError:
        raise UserError(
            "huggingface_hub is not installed; in the clone of segpipe, `pip install -e '.[hub]'` "
            "brings it"
        ) from None


def _exports(folder: Path) -> list[Path]:
    if (folder / "saved_model.pb").is_file():
        return [folder]
    return sorted(folder.glob("model.*"))

"""The settings of a server: model, limits, allowed origins; workers read them from the environment."""

import ipaddress
import math
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationInfo, field_validator

from segpipe.common.errors import UserError

TOKEN = "SEGPIPE_TOKEN"
"""Environment variable with the bearer token: a command line would show it to everybody."""

_PORTS = {"http": 80, "https": 443}
_SETTINGS = "SEGPIPE_SERVE"  # environment variable through which workers get their settings


class Settings(BaseModel, frozen=True):
    """The settings of all workers."""

    model: Path
    workers: int = 1
    megabytes: float = 32  # 10^6 bytes of a request's body
    megapixels: float = 25  # of each picture
    pictures: int = 16  # a request
    queue: int = 64  # requests of a worker that wait
    seconds: float = 30  # for a body to arrive, and for its answer
    origins: tuple[str, ...] = ()  # whose pages may call the server
    local: bool = False  # whether only this machine reaches it

    @field_validator("megabytes", "megapixels", "seconds")
    @classmethod
    def _is_finite(cls, value: float, info: ValidationInfo) -> float:
        if not math.isfinite(value):
            raise UserError(f"{value} {info.field_name}: expected a finite number")
        return value

    @field_validator("origins")
    @classmethod
    def _as_browsers_send(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("*" if value == "*" else _origin(value) for value in values)

    @property
    def most_bytes(self) -> int:
        """Bytes of a request's body, at most."""
        return round(1e6 * self.megabytes)

    @property
    def most_pixels(self) -> int:
        """Pixels of a picture, at most."""
        return round(1e6 * self.megapixels)

    def to_environment(self) -> None:
        """Hand the settings to the workers of this process."""
        os.environ[_SETTINGS] = self.model_dump_json()

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings that `to_environment` handed on."""
        return cls.model_validate_json(os.environ[_SETTINGS])


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server by this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _origin(value: str) -> str:
    """Return an origin as browsers send it: in lower case, without a slash and the usual port."""
    try:
        parts = urlsplit(value.strip().lower())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or (parts.path + parts.query).strip("/"):
        raise UserError(
            f"{value!r}: no origin for --allow-origin; expected one such as https://example.org, or '*'"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = port in (None, _PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if usual else f":{port}")


def token() -> str:
    """Return the bearer token, empty for none. Raises a UserError where no header can hold it."""
    secret = os.environ.get(TOKEN, "")
    if not re.fullmatch("[!-~]*", secret):
        raise UserError(f"{TOKEN}: expected ASCII letters without spaces, as HTTP headers hold them")
    return secret

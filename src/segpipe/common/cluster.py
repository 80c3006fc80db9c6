"""A Ray cluster: hosts that compute for this one. Ray is imported only when somebody asks for it."""

import contextlib
import importlib.util
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import segpipe
from segpipe.common.errors import UserError, brief
from segpipe.common.parallel import in_order
from segpipe.common.quiet import quiet

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST, _HEAVIEST = 16, 1 << 25  # items and bytes of a chunk; one item may weigh more
_RETRIES = 3
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # begins HTTP/2, which Ray speaks; TLS refuses it, aloud
_SETTINGS = b"\x04\x00\x00\x00\x00\x00"  # begins the answer, behind a length of three bytes
_TRIES = {"RAY_NUM_REDIS_GET_RETRIES": "2", "RAY_py_gcs_connect_timeout_s": "10"}
"""How often and how long Ray tries to connect; by itself it tries for 12 minutes."""


@contextlib.contextmanager
def connected(asker: str, **variables: str) -> Iterator[None]:
    """Connect to the Ray cluster at `RAY_ADDRESS` until the block ends.

    Its processes get segpipe's code, and `variables` as their environment. `asker` says in messages who
    needs the cluster. Raises UserError where Ray is missing, or no cluster answers.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"{asker} needs Ray, which is not here; pip install -e '.[cluster]'")
    address = os.environ.get("RAY_ADDRESS", "")
    if not _answers(address):
        raise UserError(
            f"{asker}, but no Ray cluster answers at RAY_ADDRESS = {address!r}; start one (`ray start "
            "--head`), and set RAY_ADDRESS to its address, such as 10.0.0.1:6379"
        )
    for name, value in _TRIES.items():
        os.environ.setdefault(name, value)
    import ray

    code = {"py_modules": [str(Path(segpipe.__file__).parent)]}
    environment = {**code, "env_vars": variables}
    at_sigterm = signal.getsignal(signal.SIGTERM)
    with quiet():
        try:
            ray.init(address, logging_level="error", log_to_driver=False, runtime_env=environment)
        except (RuntimeError, ConnectionError, ValueError) as error:
            raise UserError(
                f"this host cannot use the Ray cluster at {address} ({brief(error)}); is Ray started "
                f"here too (`ray start --address={address}`)?"
            ) from None
    signal.signal(signal.SIGTERM, at_sigterm)  # Ray's own raises SystemExit
    try:
        yield
    finally:
        ray.shutdown()


def _answers(address: str) -> bool:
    """Whether a server of HTTP/2 answers within 10 seconds; a frozen process accepts connections too."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), 10) as connection:
            connection.sendall(_HELLO)
            return connection.recv(len(_SETTINGS) + 3)[3:] == _SETTINGS
    except (OSError, ValueError):
        return False


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], weight: Callable[[Item], int], asker: str
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, computed by all processors of the cluster.

    Items travel in chunks of at most 16 and about 32 MB; `weight` returns the bytes of an item or its
    result, whichever is more. At most two chunks a processor are under way. If a worker is lost, Ray
    computes its chunk again. Raises what `function` raises, and what `connected` raises.
    """
    lost = f"{asker}: the workers were lost {_RETRIES + 1} times"
    with connected(asker), own_errors(lost):
        import ray

        shared, task = ray.put(function), ray.remote(num_cpus=1, max_retries=_RETRIES)(_of_each)
        ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        each = chunks(items, weight)
        for results in in_order(lambda chunk: task.remote(shared, chunk).future(), each, ahead):
            yield from results


@contextlib.contextmanager
def own_errors(lost: str) -> Iterator[None]:
    """Raise what a computation of Ray raised, or UserError with `lost` where its process has ended."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise UserError(f"{lost} ({brief(error)})") from None


def _of_each(function: Callable[[Item], Result], chunk: Iterable[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def chunks(items: Iterable[Item], weight: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield the items in lists of at most 16 and about 32 MB, or one heavier item."""
    chunk: list[Item] = []
    total = 0
    for item in items:
        own = weight(item)
        if chunk and (len(chunk) == _MOST or total + own > _HEAVIEST):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += own
    if chunk:
        yield chunk


def hosts() -> dict[str, dict[str, int]]:
    """Return how many CPUs and GPUs each host of the cluster has, by its address."""
    import ray

    resources = {node["NodeManagerAddress"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    return {
        host: {kind: int(resources[host].get(kind, 0)) for kind in ("CPU", "GPU")}
        for host in sorted(resources)
    }


def gpus_each(devices: Literal["auto"] | int) -> int:
    """Return how many GPUs one of several trainings takes by `train.devices`; auto is one."""
    return 1 if devices == "auto" else devices


def places(gpus: int) -> list[str]:
    """Return where trainings with so many GPUs each have room: `HOST/NUMBER`.

    Where the cluster has no GPU, each of its hosts has room for one.
    """
    import ray

    room = {host: has["GPU"] // gpus for host, has in hosts().items()}
    if not ray.cluster_resources().get("GPU"):
        room = dict.fromkeys(room, 1)
    return [f"{host}/{number}" for host, count in room.items() for number in range(count)]

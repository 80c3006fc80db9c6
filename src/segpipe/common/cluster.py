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


@contextlib.contextmanager
def connected(asked: str, **variables: str) -> Iterator[None]:
    """Connect to the Ray cluster at `RAY_ADDRESS` until the block ends.

    Its processes get segpipe's code, and `variables` as their environment. `asked` says in messages who
    needs the cluster. Raises UserError where Ray is missing, or no cluster answers.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"{asked} needs Ray, which is not here; pip install -e '.[cluster]'")
    address = os.environ.get("RAY_ADDRESS", "")
    try:  # Ray itself would try for two minutes, and then crash
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(_HELLO)
            connection.recv(1)  # a frozen process accepts connections too
    except (OSError, ValueError):
        raise UserError(
            f"{asked}, but no Ray cluster answers at RAY_ADDRESS = {address!r}; start one (`ray start "
            "--head`), and set RAY_ADDRESS to its address, such as 10.0.0.1:6379"
        ) from None
    import ray

    code = {"py_modules": [str(Path(segpipe.__file__).parent)]}
    environment = {**code, "env_vars": variables}
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with quiet():
            ray.init(address, logging_level="error", log_to_driver=False, runtime_env=environment)
    except (RuntimeError, ConnectionError, ValueError) as error:
        raise UserError(
            f"this host cannot use the Ray cluster at {address} ({brief(error)}); is Ray started here "
            f"too (`ray start --address={address}`)?"
        ) from None
    signal.signal(signal.SIGTERM, at_sigterm)  # Ray's own raises SystemExit
    try:
        yield
    finally:
        ray.shutdown()


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], weight: Callable[[Item], int], asked: str
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, computed by all processors of the cluster.

    Items travel in chunks of at most 16 and about 32 MB; `weight` says how many bytes an item or its
    result takes, whichever is more. At most two chunks a processor are under way. If a worker is lost,
    Ray computes its chunk again. Raises what `function` raises, and as `connected`.
    """
    with connected(asked):
        import ray

        known, task = ray.put(function), ray.remote(num_cpus=1, max_retries=_RETRIES)(_of_each)
        ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        chunks = _chunks(items, weight)
        try:
            for some in in_order(lambda chunk: task.remote(known, chunk).future(), chunks, ahead):
                yield from some
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise UserError(
                f"{asked}: the workers were lost {_RETRIES + 1} times ({brief(error)})"
            ) from None


def _of_each(function: Callable[[Item], Result], chunk: Iterable[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _chunks(items: Iterable[Item], weight: Callable[[Item], int]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    heavy = 0
    for item in items:
        own = weight(item)
        if chunk and (len(chunk) == _MOST or heavy + own > _HEAVIEST):
            yield chunk
            chunk, heavy = [], 0
        chunk.append(item)
        heavy += own
    if chunk:
        yield chunk


def hosts() -> dict[str, dict[str, int]]:
    """Return how many CPUs and GPUs each host of the cluster has, by its address."""
    import ray

    found = {node["NodeManagerAddress"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    return {h: {kind: int(found[h].get(kind, 0)) for kind in ("CPU", "GPU")} for h in sorted(found)}


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

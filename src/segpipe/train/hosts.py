"""Several hosts train one model: Ray starts the others, and JAX computes over all as over one.

The first host is the stage's own process, and alone keeps checkpoints and writes results. The others
get copies of its files. They need equal libraries, but neither a checkout nor a shared disk.
"""

import atexit
import contextlib
import importlib.util
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segpipe
from segpipe.common import locks
from segpipe.common.errors import UserError, brief
from segpipe.common.quiet import quiet, release

if TYPE_CHECKING:  # takes seconds, and another host compares its libraries first
    from segpipe.train.job import Job, Trained

_PATIENCE, _BEAT, _SILENCE, _GRACE = 60, 2, 30, 10
"""Seconds: to find free hosts; between two questions to a host; until it is lost; to end in order."""
_AGAIN = "run the same command again to go on"


def train(job: "Job") -> "Trained":
    """Train on as many hosts as `train.hosts` asks for.

    Raises:
        UserError: there are too few hosts, they have other libraries, or one was lost while it trained.
    """
    wanted, batch_size, devices = job.params.hosts, job.params.batch_size, job.params.devices
    if wanted == "auto" and "RAY_ADDRESS" not in os.environ:
        print("train.hosts = auto: RAY_ADDRESS is not set, so this host trains alone")
    elif wanted != 1:
        job.check()
        with _cluster(f"train.hosts = {wanted}") as alive:
            dividing = [n for n in range(1, alive + 1) if batch_size % (n * int(devices)) == 0]
            number = dividing[-1] if wanted == "auto" else wanted
            if number > 1:
                return _together(job, number)
            print(f"train.hosts = auto: none of {alive} hosts in the Ray cluster can train along")
    return job.train()


@contextlib.contextmanager
def _cluster(asked: str) -> Iterator[int]:
    """Connect to the Ray cluster at `RAY_ADDRESS` until the block ends; yield how many hosts it has."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"{asked} needs Ray, which is not here; pip install 'segpipe[cluster]'")
    address = os.environ.get("RAY_ADDRESS", "")
    try:  # Ray itself would try for two minutes, and then crash
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), 10).close()
    except (OSError, ValueError):
        raise UserError(
            f"{asked}, but no Ray cluster answers at RAY_ADDRESS = {address!r}; start one (`ray start "
            "--head`), and set RAY_ADDRESS to its address, such as 10.0.0.1:6379"
        ) from None
    import ray

    settings = {key: value for key, value in os.environ.items() if key.startswith(("JAX_", "XLA_"))}
    code = {"py_modules": [str(Path(segpipe.__file__).parent)]}
    environment = {**code, "env_vars": {**settings, "KERAS_BACKEND": "jax"}}
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
        yield sum(node["Alive"] for node in ray.nodes())
    finally:
        ray.shutdown()


def _together(job: "Job", number: int) -> "Trained":
    """Train on the first host, which is this one, and on `number - 1` others."""
    import jax
    import keras
    import ray

    others = _start(number, int(job.params.devices))
    here = ray.util.get_node_ip_address()
    try:
        names = ray.get([o.introduce.remote(job.identity["libraries"]) for o in others])
        print(f"training on {number} hosts: {here} (this one), {', '.join(names)}", flush=True)
        files = {name: ray.put(path.read_bytes()) for name, path in job.files.items()}
        ray.get([other.receive.remote(job, files) for other in others])
    except ray.exceptions.RayError as error:
        reason = brief(getattr(error, "cause", None) or error)
        raise UserError(f"another host cannot train along: {reason}") from None
    with socket.create_server((here, 0)) as free:
        coordinator = f"{here}:{free.getsockname()[1]}"
    running = [other.train.remote(coordinator, number, n) for n, other in enumerate(others, 1)]
    with _watched(names, others, running):
        _join(coordinator, number, 0)
        trained = job.train()
        jax.distributed.shutdown()
        keras.distribution.set_distribution(None)  # its devices left with the other hosts
    ray.wait(running, num_returns=len(running), timeout=_GRACE)  # they remove their copies
    return trained


def _start(number: int, devices: int) -> list[Any]:
    """Start a process on each other host, once so many have room."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    need = {"CPU": 1} | ({"GPU": devices} if ray.cluster_resources().get("GPU") else {})
    group = ray.util.placement_group([need | here, *[need] * (number - 1)], "STRICT_SPREAD")
    if not group.wait(_PATIENCE):
        alive = sum(node["Alive"] for node in ray.nodes())
        room = " and ".join(f"{count} {kind}" for kind, count in need.items())
        raise UserError(
            f"train.hosts = {number}, but of {alive} hosts in the Ray cluster not so many had {room} "
            f"free within {_PATIENCE} s; add some (`ray start --address=...`), or lower train.hosts"
        )
    # Of two threads one trains, and one answers.
    actor = ray.remote(max_concurrency=2, num_cpus=1, num_gpus=need.get("GPU", 0))(_Host)
    places = [PlacementGroupSchedulingStrategy(group, rank) for rank in range(1, number)]
    return [actor.options(scheduling_strategy=place).remote() for place in places]


class _Host:
    """Another host, as an actor of Ray."""

    def introduce(self, libraries: Mapping[str, str]) -> str:
        """Return the host's address, if it has these versions of the libraries."""
        import ray

        address = ray.util.get_node_ip_address()
        for name, expected in libraries.items():
            if (found := version(name)) != expected:
                raise UserError(f"{address} has {name} {found}, not {expected}; install that there")
        return address

    def receive(self, job: "Job", files: Mapping[str, Any]) -> None:
        """Write copies of the files."""
        import ray

        self.scratch = contextlib.ExitStack()
        root = Path(tempfile.gettempdir(), f"segpipe-hosts-{os.getuid()}")
        folder = self.scratch.enter_context(locks.scratch(root))
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(ray.get(content))
        self.job = job.with_copies(folder)

    def beat(self) -> None:
        """Answer, as a sign of life."""

    def train(self, coordinator: str, number: int, rank: int) -> None:
        """Train along, and remove the copies."""
        import jax

        with self.scratch:
            _join(coordinator, number, rank)
            self.job.train()
            jax.distributed.shutdown()


def _join(coordinator: str, number: int, rank: int) -> None:
    """Make this process one of JAX's, whose devices then belong together."""
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    try:
        jax.distributed.initialize(
            coordinator, number, rank, initialization_timeout=_PATIENCE,
            coordinator_bind_address=coordinator,  # by default all addresses of the machine
            cluster_detection_method="deactivate",  # Slurm's variables would choose the devices
        )  # fmt: skip
    except RuntimeError as error:
        raise UserError(f"the hosts did not meet at {coordinator} ({brief(error)}); {_AGAIN}") from None


@contextlib.contextmanager
def _watched(names: Sequence[str], others: Sequence[Any], running: Sequence[Any]) -> Iterator[None]:
    """End training if another host is lost: a computation would wait for it, perhaps for ever."""
    over, losses = threading.Event(), queue.SimpleQueue[str]()

    def watch() -> None:
        while not over.wait(_BEAT):
            if loss := _loss(names, others, running):
                losses.put(f"{loss}; {_AGAIN}")
                if not over.wait(_GRACE):
                    release()
                    print(f"error: {loss}; {_AGAIN}", file=sys.stderr)
                    _leave()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except BaseException as error:
        atexit.register(_leave, error)
        if isinstance(error, RuntimeError | ValueError):  # JAX's, most likely because of a loss
            with contextlib.suppress(queue.Empty):
                raise UserError(losses.get(timeout=_SILENCE + _GRACE)) from None
        raise
    finally:
        over.set()


def _loss(names: Sequence[str], others: Sequence[Any], running: Sequence[Any]) -> str | None:
    """Return which host failed or is lost, in words; None where all train."""
    import ray

    beats = [other.beat.remote() for other in others]
    ray.wait(beats, num_returns=len(beats), timeout=_SILENCE)
    for name, beat in zip(names, beats, strict=True):
        try:
            ray.get(beat, timeout=0)
        except ray.exceptions.GetTimeoutError:
            return f"the host {name} was lost, because it gave no sign of life for {_SILENCE} s"
        except ray.exceptions.RayError:
            return f"the host {name} was lost, because its process or its Ray has ended"
    for name, task in zip(names, running, strict=True):
        with contextlib.suppress(ray.exceptions.GetTimeoutError):
            try:
                ray.get(task, timeout=0)
            except ray.exceptions.RayTaskError as error:
                return f"training failed on the host {name} ({brief(error.cause)})"
    return None


def _leave(error: BaseException | None = None) -> None:
    """End at once: at exit JAX would wait for hosts that are gone, and then abort."""
    sys.stdout.flush()
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(1)

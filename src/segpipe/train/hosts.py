"""Several hosts train one model: Ray starts the others, and JAX computes over all as over one.

The first host is the stage's own process. It alone keeps checkpoints and writes results. The others get
copies of its files through Ray, so that they need neither a checkout nor a shared disk, only equal
libraries. Nothing here imports Ray before `train.hosts` asks for several.
"""

import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segpipe
from segpipe.common import locks
from segpipe.common.errors import UserError, brief
from segpipe.common.quiet import quiet, release

if TYPE_CHECKING:  # takes seconds, and another host compares its libraries first
    from segpipe.train.job import Job, Trained

_PATIENCE = 60
"""Seconds in which the cluster must have enough free hosts, and in which all must have joined."""
_BEAT, _SILENCE, _GRACE = 2, 30, 10
"""Seconds: between two questions to a host, until it counts as lost, and for an orderly end then."""


def train(job: "Job") -> "Trained":
    """Train on as many hosts as `train.hosts` asks for.

    Raises:
        UserError: there are too few hosts, they have other libraries, or one was lost while it trained.
    """
    wanted = job.params.hosts
    if wanted == 1:
        return job.train()
    if wanted == "auto" and "RAY_ADDRESS" not in os.environ:
        print("train.hosts = auto: RAY_ADDRESS is not set, so this host trains alone")
        return job.train()
    with _cluster(f"train.hosts = {wanted}") as address:
        number = _number(job) if wanted == "auto" else wanted
        if number == 1:
            print(f"train.hosts = auto: the Ray cluster at {address} has no other host to train on")
            return job.train()
        return _together(job, number, address)


@contextlib.contextmanager
def _cluster(asked: str) -> Iterator[str]:
    """Connect to the Ray cluster at `RAY_ADDRESS` until the block ends; yield the address."""
    import keras

    if (backend := keras.config.backend()) != "jax":
        raise UserError(
            f"{asked} needs JAX, and Keras runs on {backend}, whose way to train on several hosts does "
            "not work with Keras 3; set train.backend to jax, or train.hosts to 1"
        )
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            f"{asked} needs Ray, which is not installed here; pip install 'segpipe[cluster]'"
        )
    address = os.environ.get("RAY_ADDRESS", "")
    if not _answers(address):
        raise UserError(
            f"{asked}: no Ray cluster answers at RAY_ADDRESS = {address!r}; start one (`ray start "
            "--head`) and set RAY_ADDRESS to what it prints, such as 10.0.0.1:6379"
        )
    import ray

    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with quiet():
            ray.init(address, logging_level="error", log_to_driver=False, runtime_env=_environment())
    except (RuntimeError, ConnectionError, ValueError) as error:
        raise UserError(
            f"the Ray cluster at {address} cannot be used from this host ({brief(error)}); is Ray "
            f"started here too (`ray start --address={address}`)?"
        ) from None
    signal.signal(signal.SIGTERM, at_sigterm)  # Ray's own ends Python, which JAX would hold up
    try:
        yield address
    finally:
        ray.shutdown()


def _answers(address: str) -> bool:
    """Return whether something listens there: Ray itself would try for two minutes, and then crash."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 10).close()
    except (OSError, ValueError):
        return False
    return True


def _environment() -> dict[str, Any]:
    """Return what Ray prepares on the other hosts: this code, and the settings of this JAX."""
    settings = {k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_"))}
    return {
        "py_modules": [str(Path(segpipe.__file__).parent)],
        "env_vars": {**settings, "KERAS_BACKEND": "jax"},
    }


def _number(job: "Job") -> int:
    """Return how many hosts `auto` is: as many of the cluster as divide the batch."""
    import ray

    alive = sum(node["Alive"] for node in ray.nodes())
    batch, devices = job.params.batch_size, int(job.params.devices)
    return next(n for n in range(alive, 0, -1) if n == 1 or batch % (n * devices) == 0)


def _together(job: "Job", number: int, address: str) -> "Trained":
    """Train on the first host, which is this one, and on `number - 1` others."""
    import jax
    import keras
    import ray

    others = _start(number, int(job.params.devices), address)
    names = _introduced(others, job.identity["libraries"])
    here = ray.util.get_node_ip_address()
    print(f"training on {number} hosts: {here} (this one), {', '.join(names)}", flush=True)
    sent = {name: ray.put(path.read_bytes()) for name, path in _files(job).items()}
    _answered(names, [other.receive.remote(job, sent) for other in others])
    coordinator = f"{here}:{_free_port(here)}"
    running = [other.train.remote(coordinator, number, n) for n, other in enumerate(others, 1)]
    with _watched(names, others, running):
        _join(coordinator, number, 0)
        trained = job.train()
        jax.distributed.shutdown()
        keras.distribution.set_distribution(None)  # its devices left with the other hosts
    ray.wait(running, num_returns=len(running), timeout=_GRACE)  # they remove their copies
    return trained


def _start(number: int, devices: int, address: str) -> list[Any]:
    """Start a process on each other host, once so many have room."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    need = {"CPU": 1.0} | ({"GPU": float(devices)} if ray.cluster_resources().get("GPU") else {})
    group = placement_group([need | here, *[need] * (number - 1)], "STRICT_SPREAD")
    if not group.wait(_PATIENCE):
        alive = sum(node["Alive"] for node in ray.nodes())
        room = " and ".join(f"{count:g} {kind}" for kind, count in need.items())
        raise UserError(
            f"train.hosts = {number}, but within {_PATIENCE} s no {number} hosts of the Ray cluster at "
            f"{address} had {room} free (it has {alive}); add some (`ray start --address={address}`), or "
            "lower train.hosts"
        )
    return [
        ray.remote(_Host)
        .options(
            max_concurrency=2, num_cpus=1, num_gpus=need.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank),
        )
        .remote()
        for rank in range(1, number)
    ]  # fmt: skip


def _introduced(others: Sequence[Any], libraries: Mapping[str, str]) -> list[str]:
    """Return the other hosts' addresses, if all have these libraries."""
    unnamed = ["another host"] * len(others)
    found = _answered(unnamed, [other.introduce.remote([*libraries]) for other in others])
    for name, own in found:
        different = [key for key in libraries if own[key] != libraries[key]]
        if different:
            here = ", ".join(f"{key} {libraries[key]}" for key in different)
            there = ", ".join(f"{key} {own[key]}" for key in different)
            raise UserError(
                f"the host {name} has {there}, and this one {here}; install the same versions on all hosts"
            )
    return [name for name, _ in found]


def _answered(names: Sequence[str], asked: Sequence[Any]) -> list[Any]:
    """Return what the other hosts answer."""
    import ray

    answers = []
    for name, answer in zip(names, asked, strict=True):
        try:
            answers.append(ray.get(answer))
        except ray.exceptions.RayError as error:
            raise UserError(f"{name} cannot train along: {_reason(error)}") from None
    return answers


def _reason(error: Exception) -> str:
    """Return why Ray gives no answer: what was raised on the other host, or that it is gone."""
    return brief(getattr(error, "cause", None) or error)


def _files(job: "Job") -> dict[str, Path]:
    """Return the files that another host needs, by their names there."""
    shards = [*job.manifest.shards("train"), *job.manifest.shards("val")]
    files = {f"records/{path.name}": path for path in shards}
    files |= {f"{job.run.fingerprint}/{path.name}": path for path in job.run.checkpoints}
    if job.backbone.weights:
        files["backbone.weights.h5"] = job.backbone.weights
    if job.backbone.init:
        files["init.keras"] = job.backbone.init.path
    return files


def _with_copies(job: "Job", folder: Path) -> "Job":
    """Return the job of another host, whose copies of the files lie in `folder`."""
    backbone, run = job.backbone, job.run
    if backbone.weights:
        backbone = replace(backbone, weights=folder / "backbone.weights.h5")
    if backbone.init:
        backbone = replace(backbone, init=replace(backbone.init, path=folder / "init.keras"))
    return replace(
        job, manifest=replace(job.manifest, folder=folder / "records"), backbone=backbone,
        run=replace(run, folder=folder / run.fingerprint, keeps=False),
        saved=folder / "model.keras", previews=folder, logs=folder,
    )  # fmt: skip


class _Host:
    """Another host, as an actor of Ray: one thread trains, another one answers meanwhile."""

    def introduce(self, names: Sequence[str]) -> tuple[str, dict[str, str]]:
        """Return the host's address, and the versions of its libraries."""
        import ray

        versions = {}
        for name in names:
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                versions[name] = "missing"
        return ray.util.get_node_ip_address(), versions

    def receive(self, job: "Job", files: Mapping[str, Any]) -> None:
        """Write copies of the files; remove those that killed processes have left."""
        import ray

        root = Path(tempfile.gettempdir(), f"segpipe-hosts-{os.getuid()}")
        root.mkdir(mode=0o700, exist_ok=True)
        for path in root.glob("*.lock"):
            if lock := locks.take(path):
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                locks.remove(path)
                lock.release()
        self.folder = Path(tempfile.mkdtemp(dir=root))
        self.lock = locks.take(self.folder.with_suffix(".lock"))
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(ray.get(content))
        self.job = _with_copies(job, self.folder)
        self.job.run.folder.mkdir(exist_ok=True)

    def beat(self) -> None:
        """Answer, as a sign of life."""

    def train(self, coordinator: str, number: int, rank: int) -> None:
        """Train along."""
        import jax

        try:
            _join(coordinator, number, rank)
            self.job.train()
            jax.distributed.shutdown()
        finally:
            shutil.rmtree(self.folder)
            locks.remove(self.folder.with_suffix(".lock"))


def _free_port(host: str) -> int:
    with socket.socket() as free:
        free.bind((host, 0))
        return free.getsockname()[1]


def _join(coordinator: str, number: int, rank: int) -> None:
    """Make this process one of JAX's, all of whose devices then belong together."""
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would catch SIGTERM
    try:
        jax.distributed.initialize(
            coordinator, number, rank, initialization_timeout=_PATIENCE,
            coordinator_bind_address=coordinator,  # by default all addresses of the machine
            cluster_detection_method="deactivate",  # Slurm's variables would choose the devices
        )  # fmt: skip
    except RuntimeError as error:
        raise UserError(
            f"the hosts did not meet at {coordinator} within {_PATIENCE} s ({brief(error)}); they must "
            "reach one another on every port"
        ) from None


@contextlib.contextmanager
def _watched(names: Sequence[str], others: Sequence[Any], running: Sequence[Any]) -> Iterator[None]:
    """End training if another host is lost: a computation would wait for it, perhaps for ever."""
    over, told = threading.Event(), threading.Event()
    said: list[str] = []

    def watch() -> None:
        while not over.wait(_BEAT):
            if loss := _loss(names, others, running):
                said.append(f"{loss}; run the same command again to go on")
                told.set()
                if not over.wait(_GRACE):  # the block itself has not noticed
                    release()
                    print(f"error: {said[0]}", file=sys.stderr)
                    _leave()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except BaseException as error:
        atexit.register(_leave, error)
        if not isinstance(error, Exception) or isinstance(error, UserError | OSError):
            raise
        if told.wait(_GRACE):  # it failed because of that
            raise UserError(said[0]) from None
        raise
    finally:
        over.set()


def _loss(names: Sequence[str], others: Sequence[Any], running: Sequence[Any]) -> str | None:
    """Return which host failed, is gone or gives no sign of life, in words; None where all train."""
    import ray

    beats = [other.beat.remote() for other in others]
    ray.wait(beats, num_returns=len(beats), timeout=_SILENCE)
    for name, beat, task in zip(names, beats, running, strict=True):
        ended, _ = ray.wait([task, beat], timeout=0, num_returns=2)
        try:
            ray.get(ended)
        except ray.exceptions.RayTaskError as error:
            return f"training failed on the host {name} ({brief(error.cause)})"
        except ray.exceptions.RayError:
            return f"the host {name} was lost: its process or its Ray has ended"
        if beat not in ended:
            return f"the host {name} was lost: no sign of life for {_SILENCE} s"
    return None


def _leave(error: BaseException | None = None) -> None:
    """End at once: at exit JAX would wait for hosts that are gone, and then abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(1)

"""Several hosts train one model: Ray starts the others, and JAX computes on all of them as on one.

The first host is the stage's own process, and alone keeps checkpoints and writes results. The others
get copies of its files and its samples. They need equal libraries, but neither checkout nor shared disk.
"""

import atexit
import contextlib
import math
import os
import queue
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segpipe.common import cluster, locks, records
from segpipe.common.errors import LOST_HOST, NO_ROOM, UserError, brief
from segpipe.common.files import replaces
from segpipe.common.parallel import in_order
from segpipe.common.quiet import release

if TYPE_CHECKING:  # takes seconds, and another host compares its libraries first
    from segpipe.train.job import Job, Trained

_PATIENCE, _BEAT, _SILENCE, _GRACE = 60, 2, 30, 10
"""Seconds: to find free hosts; between two questions to a host; of its silence until it is lost; to end
in order."""
TRAIN_ON = "SEGPIPE_TRAIN_ON"
"""The variable that names the one host on which to train; `segpipe sweep` sets it for its trials."""
_AGAIN = "run the same command again to go on"


def train(job: "Job") -> "Trained":
    """Train on as many hosts as `train.hosts` asks for.

    Raises:
        UserError: there are too few hosts, they have other libraries, or one was lost while it trained.
    """
    if host := os.environ.get(TRAIN_ON):
        with _connected(f"a trial on {host}"):
            return _train_on_one_host(job, host)
    wanted, batch_size, devices = job.params.hosts, job.params.batch_size, job.params.devices
    if wanted == "auto" and "RAY_ADDRESS" not in os.environ:
        print("train.hosts = auto: RAY_ADDRESS is not set, so this host trains alone")
    elif wanted != 1:
        job.check()
        with _connected(f"train.hosts = {wanted}"):
            alive = len(cluster.hosts())
            dividing = [n for n in range(1, alive + 1) if batch_size % (n * int(devices)) == 0]
            number = dividing[-1] if wanted == "auto" else wanted
            if number > 1:
                return _train_on_several_hosts(job, number)
            print(
                "train.hosts = auto: this host trains alone, because no number above 1 of the hosts in "
                f"the Ray cluster ({alive}) divides the batch"
            )
    return job.train()


@contextlib.contextmanager
def _connected(asked: str) -> Iterator[None]:
    """Connect to the cluster, whose processes compute with the backend and the settings of this one."""
    import keras

    settings = {key: value for key, value in os.environ.items() if key.startswith(("JAX_", "XLA_"))}
    with cluster.connected(asked, **settings, KERAS_BACKEND=keras.config.backend()):
        yield


def _train_on_one_host(job: "Job", host: str) -> "Trained":
    """Train on one host of the cluster; checkpoints come here, so losing it costs one epoch at most."""
    import ray

    gpus = cluster.gpus_each(job.params.devices) if _has_gpus() else 0
    there = {f"node:{host}": 0.001}
    actor = ray.remote(max_concurrency=2, num_cpus=1, num_gpus=gpus, resources=there)(_Host)
    other = actor.remote()
    try:
        try:
            _send_files([other], job, keeps=True)
        except ray.exceptions.GetTimeoutError:
            room = f"1 CPU and {gpus} GPU" if gpus else "1 CPU"
            raise UserError(
                f"{NO_ROOM}{host} within {_PATIENCE} s: training needs {room} (`ray status` shows what "
                f"is in use); {_AGAIN}"
            ) from None
        print(f"training on {host}", flush=True)
        running = other.train_alone.remote()
        while not ray.wait([running], timeout=_BEAT)[0]:
            print(ray.get(other.printed_since.remote(), timeout=_SILENCE), end="", flush=True)
            job.run.take(ray.get(other.new_files.remote(job.run.names), timeout=_SILENCE))
        trained, model, new_files = ray.get(running)
        print(ray.get(other.printed_since.remote(), timeout=_SILENCE), end="", flush=True)
    except ray.exceptions.RayTaskError as error:
        raise UserError(brief(error.cause)) from None
    except ray.exceptions.GetTimeoutError:
        raise UserError(f"{_silent(host)}; {_AGAIN}") from None
    except ray.exceptions.RayError:
        raise UserError(f"{_ended(host)}; {_AGAIN}") from None
    job.run.take(new_files)
    with replaces(job.saved) as partial:
        partial.write_bytes(model)
    if job.run.previews.is_dir():
        shutil.copytree(job.run.previews, job.previews, dirs_exist_ok=True)
    return trained


def _train_on_several_hosts(job: "Job", number: int) -> "Trained":
    """Train on the first host, which is this one, and on `number - 1` others."""
    import jax
    import keras
    import ray

    from segpipe.train.samples import locate

    actors = _start(number, int(job.params.devices))
    here = ray.util.get_node_ip_address()
    reader = ray.remote(num_cpus=0, resources={f"node:{here}": 0.001})(_Reader).remote()
    manifest = replace(job.manifest, folder=job.manifest.folder.resolve())
    job = replace(job, located=[locate(manifest, "train"), locate(manifest, "val")])
    streamed = [replace(split, read=partial(_streamed, reader)) for split in job.located]
    try:
        names = _send_files(actors, replace(job, located=streamed))
        print(f"training on {number} hosts: {here} (this one), {', '.join(names)}", flush=True)
    except ray.exceptions.RayError as error:
        reason = brief(getattr(error, "cause", None) or error)
        raise UserError(f"another host cannot train along: {reason}") from None
    with socket.create_server((here, 0)) as free:
        coordinator = f"{here}:{free.getsockname()[1]}"
    shutil.rmtree(job.logs / "hosts", ignore_errors=True)
    others = [
        _Other(name, actor, actor.train.remote(coordinator, number, rank), job.logs / "hosts")
        for rank, (name, actor) in enumerate(zip(names, actors, strict=True), 1)
    ]
    with _watched(others, reader):
        _join(coordinator, number, 0)
        trained = job.train()
        jax.distributed.shutdown()
        keras.distribution.set_distribution(None)  # its devices left with the other hosts
    # They remove their copies, and their last lines are logged.
    ray.wait([other.task for other in others], num_returns=len(others), timeout=_GRACE)
    _lost_host(others, reader)
    return trained


class _Other(NamedTuple):
    """Another host that trains along."""

    name: str
    actor: Any
    task: Any
    logs: Path

    def log(self, printed: str) -> None:
        """Add what it printed to its log. A full disk must not end the thread that watches the hosts."""
        with contextlib.suppress(OSError):
            self.logs.mkdir(parents=True, exist_ok=True)
            with (self.logs / f"{self.name}.log").open("a", encoding="utf-8") as file:
                file.write(printed)


def _send_files(others: Sequence[Any], job: "Job", keeps: bool = False) -> list[str]:
    """Give other hosts the job with copies of its files; return their names."""
    import ray

    asked = [other.introduce.remote(job.identity["libraries"]) for other in others]
    names = ray.get(asked, timeout=_PATIENCE)
    files = {name: ray.put(path.read_bytes()) for name, path in job.files.items()}
    ray.get([other.receive.remote(job, files, keeps) for other in others])
    return names


def _has_gpus() -> bool:
    import ray

    return bool(ray.cluster_resources().get("GPU"))


def _start(number: int, devices: int) -> list[Any]:
    """Start a process on each other host, as soon as enough hosts have room."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    need = {"CPU": 1} | ({"GPU": devices} if _has_gpus() else {})
    group = ray.util.placement_group([need | here, *[need] * (number - 1)], "STRICT_SPREAD")
    if not group.wait(_PATIENCE):
        room = " and ".join(f"{count} {kind}" for kind, count in need.items())
        raise UserError(
            f"train.hosts = {number} needs {room} free on {number} hosts, but fewer of the "
            f"{len(cluster.hosts())} hosts in the Ray cluster had that within {_PATIENCE} s; add hosts "
            "(`ray start --address=...`), or lower train.hosts"
        )
    # One thread trains, the other one answers.
    actor = ray.remote(max_concurrency=2, num_cpus=1, num_gpus=need.get("GPU", 0))(_Host)
    places = [PlacementGroupSchedulingStrategy(group, rank) for rank in range(1, number)]
    return [actor.options(scheduling_strategy=place).remote() for place in places]


class _Reader:
    """Reads samples for the other hosts, as an actor of Ray on the first host, whose stage trains."""

    def read(self, places: list[records.Place], shape: tuple[int, int, int]) -> list[dict]:
        """Return the samples of `records.read_at`; raises as it."""
        return [*records.read_at(places, shape)]

    def is_alive(self) -> bool:
        """Return a sign of life."""
        return True


def _streamed(reader: Any, places: list[records.Place], shape: tuple[int, int, int]) -> Iterator[dict]:
    """Yield the samples of `records.read_at` on the first host; at most three chunks are under way."""
    chunks = cluster.chunks(places, lambda _: math.prod(shape))
    with cluster.own_errors("the first host's reader has ended"):
        for samples in in_order(lambda chunk: reader.read.remote(chunk, shape).future(), chunks, 2):
            yield from samples


class _Host:
    """Another host, as an actor of Ray."""

    def introduce(self, libraries: Mapping[str, str]) -> str:
        """Return the host's address, if it has these versions of the libraries."""
        import ray

        address = ray.util.get_node_ip_address()
        for name, expected in libraries.items():
            if (installed := version(name)) != expected:
                raise UserError(f"{address} has {name} {installed}, not {expected}; install that there")
        return address

    def receive(self, job: "Job", files: Mapping[str, Any], keeps: bool) -> None:
        """Write copies of the files."""
        import ray

        self.scratch = contextlib.ExitStack()
        root = Path(tempfile.gettempdir(), f"segpipe-hosts-{os.getuid()}")
        folder = self.scratch.enter_context(locks.scratch(root))
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(ray.get(content))
        self.job = job.with_copies(folder, keeps)
        self.printed = [os.open(f"/proc/self/fd/{number}", os.O_RDONLY) for number in (1, 2)]
        for stream in self.printed:
            os.lseek(stream, 0, os.SEEK_END)

    def printed_since(self) -> str:
        """Return what this process has printed since the last call, as a sign of life."""
        self.heard = time.monotonic()
        return b"".join(os.read(stream, 1 << 20) for stream in self.printed).decode(errors="replace")

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Remove the copies at the end. End this process if the first host falls silent.

        If the connection is cut, nobody else can end it.
        """
        self.heard = time.monotonic()

        def listen() -> None:
            while time.monotonic() - self.heard < _SILENCE + _GRACE:
                time.sleep(_BEAT)
            silent = f"the first host gave no sign of life for {_SILENCE + _GRACE} s"
            print(f"error: {silent}; this process ends", file=sys.stderr, flush=True)
            os._exit(1)

        threading.Thread(target=listen, daemon=True).start()
        with self.scratch:
            yield

    def train(self, coordinator: str, number: int, rank: int) -> None:
        """Train along, and remove the copies."""
        import jax

        with self._working():
            _join(coordinator, number, rank)
            self.job.train()
            jax.distributed.shutdown()

    def new_files(self, known: Collection[str]) -> dict[str, bytes]:
        """Return the run's new checkpoints and previews, as a sign of life too."""
        return self.job.run.content(known)

    def train_alone(self) -> "tuple[Trained, bytes, dict[str, bytes]]":
        """Train, remove the copies; return the results, the model's file, and new previews."""
        with self._working():
            trained = self.job.train()
            done = [path.name for path in self.job.run.checkpoints]
            return trained, self.job.saved.read_bytes(), self.job.run.content(done)


def _join(coordinator: str, number: int, rank: int) -> None:
    """Make this process one of a group of JAX, which computes on the devices of all."""
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
def _watched(others: Sequence[_Other], reader: Any) -> Iterator[None]:
    """End training if another host or the reader is lost: a computation might wait for it for ever."""
    over, reasons = threading.Event(), queue.SimpleQueue[str]()

    def watch() -> None:
        while not over.wait(_BEAT):
            if reason := _lost_host(others, reader):
                reasons.put(f"{reason}; {_AGAIN}")
                if not over.wait(_GRACE):
                    release()
                    print(f"error: {reason}; {_AGAIN}", file=sys.stderr)
                    _leave()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except BaseException as error:
        atexit.register(_leave, error)
        if isinstance(error, RuntimeError | ValueError):  # JAX's, most likely because a host was lost
            with contextlib.suppress(queue.Empty):
                raise UserError(reasons.get(timeout=_SILENCE + _GRACE)) from None
        raise
    finally:
        over.set()


def _lost_host(others: Sequence[_Other], reader: Any) -> str | None:
    """Return which host failed or was lost, in words; None where all train.

    Appends what each has printed to its log. A reader that has ended fails on the hosts that read from
    it; one that is frozen lets them wait, and so is asked.
    """
    import ray

    answers = [other.actor.printed_since.remote() for other in others]
    reads = reader.is_alive.remote()
    ray.wait([*answers, reads], num_returns=len(answers) + 1, timeout=_SILENCE)
    if not ray.wait([reads], timeout=0)[0]:
        return f"the first host's reader of samples gave no sign of life for {_SILENCE} s"
    for other, answer in zip(others, answers, strict=True):
        try:
            other.log(ray.get(answer, timeout=0))
        except ray.exceptions.GetTimeoutError:
            return _silent(other.name)
        except ray.exceptions.RayError:
            return _ended(other.name)
    for other in others:
        with contextlib.suppress(ray.exceptions.GetTimeoutError):
            try:
                ray.get(other.task, timeout=0)
            except ray.exceptions.RayTaskError as error:
                return f"training failed on the host {other.name} ({brief(error.cause)})"
    return None


def _silent(host: str) -> str:
    return f"{LOST_HOST}{host}, because it gave no sign of life for {_SILENCE} s"


def _ended(host: str) -> str:
    return f"{LOST_HOST}{host}, because its process or its Ray has ended"


def _leave(error: BaseException | None = None) -> None:
    """End at once: at exit JAX would wait for hosts that are gone, and then abort."""
    sys.stdout.flush()
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(1)

"""A Ray cluster on loopback: its hosts are addresses of this machine, each with processes of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
from helpers import environment

FIRST, OTHER = "127.0.0.2", "127.0.0.3"


class Cluster:
    """A Ray cluster whose hosts are addresses of this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind((FIRST, 0))
            self.address = f"{FIRST}:{free.getsockname()[1]}"
        # Compiled once, read by all runs; another host gets the variables from the first one.
        self.jax = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self.folder, self.hosts = folder, {}
        port = self.address.rpartition(":")[2]
        head = ("--head", "--port", port, "--include-dashboard=false", "--temp-dir", str(folder))
        self.start(FIRST, *head)

    def start(self, host: str, *arguments: str, **extra: str) -> None:
        """Start a host's Ray, and wait until it has joined the cluster."""
        plain = environment(RAY_USAGE_STATS_ENABLED="0", **{"PYTHONPATH": "", **extra})
        path = self.folder / f"{host}.log"
        with path.open("w") as log:
            self.hosts[host] = subprocess.Popen(
                ["ray", "start", "--node-ip-address", host, "--num-cpus=1", "--block",
                 "--object-store-memory=80000000", "--include-log-monitor=false",
                 *(arguments or ("--address", self.address))],
                env=plain, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        while "Ray runtime started" not in path.read_text():
            assert self.hosts[host].poll() is None, path.read_text()
            time.sleep(0.05)

    def stop(self, host: str) -> None:
        """End a host's Ray and all that it started, by their numbers."""
        process = self.hosts.pop(host)
        started = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(True))]
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def processes(self, name: str) -> list[psutil.Process]:
        """The running processes of the other host with a word in their command line."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.hosts[OTHER].pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if name in " ".join(child.cmdline()):
                        found.append(child)
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a stage that trains on this cluster."""
        return {"RAY_ADDRESS": self.address, **self.jax}

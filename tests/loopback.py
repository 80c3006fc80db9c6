"""Ray clusters on this machine: hosts are addresses of loopback, or networks with a cable between."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Literal

import psutil
import pytest
from helpers import environment

FIRST, OTHER = "127.0.0.2", "127.0.0.3"


class Cluster:
    """A Ray cluster whose hosts are addresses of this machine."""

    first, other = FIRST, OTHER

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("", 0))
            self.address = f"{self.first}:{free.getsockname()[1]}"
        # Compiled once, read by all runs; another host gets the variables from the first one.
        self.jax = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self.folder, self.hosts = folder, {}
        port = self.address.rpartition(":")[2]
        head = ("--head", "--port", port, "--include-dashboard=false", "--temp-dir", str(folder))
        try:
            self.start(self.first, *head)
            self.start(self.other)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End both hosts."""
        for host in [*self.hosts]:
            self.stop(host)

    def on(self, host: str) -> list[str]:
        """What a command begins with, to run on a host."""
        return []

    def start(self, host: str, *arguments: str, **extra: str) -> None:
        """Start a host's Ray, and wait until it has joined the cluster."""
        plain = environment(RAY_USAGE_STATS_ENABLED="0", **{"PYTHONPATH": "", **extra})
        path = self.folder / f"{host}.log"
        with path.open("w") as log:
            self.hosts[host] = subprocess.Popen(
                [*self.on(host), "ray", "start", "--node-ip-address", host, "--num-cpus=1", "--block",
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

    def processes(self, name: str, host: str | None = None) -> list[psutil.Process]:
        """The running processes of a host (by default the other) with a word in their command line."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.hosts[host or self.other].pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if name in " ".join(child.cmdline()):
                        found.append(child)
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a stage that trains on this cluster."""
        return {"RAY_ADDRESS": self.address, **self.jax}


class Wired(Cluster):
    """A Ray cluster whose hosts have networks of their own, with a switch between them."""

    first, other = "192.0.2.1", "192.0.2.2"

    def __init__(self, folder: Path) -> None:
        self.remove()  # a killed test leaves it behind
        if not self.ip("link", "add", "segpipe", "type", "bridge"):
            pytest.skip("a network of one's own needs Linux, root and iproute2")
        self.ip("link", "set", "segpipe", "up")
        for host in (self.first, self.other):
            network = self.network(host)
            self.ip("netns", "add", network)
            self.ip("link", "add", network, "type", "veth", "peer", "name", "eth0", "netns", network)
            self.ip("link", "set", network, "master", "segpipe", "up")
            self.ip("-n", network, "address", "add", f"{host}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self.ip("-n", network, "link", "set", device, "up")
        super().__init__(folder)

    @staticmethod
    def ip(*arguments: str) -> bool:
        """Change the networks; whether that worked."""
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(["ip", *arguments], stderr=subprocess.DEVNULL, check=False)
            return not done.returncode
        return False

    @staticmethod
    def network(host: str) -> str:
        """The name of a host's network, and of its port at the switch."""
        return f"segpipe{host[-1]}"

    def on(self, host: str) -> list[str]:
        """Its name is its address, by which Gloo finds it: this machine's name leads to loopback."""
        named = ["unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh"]
        return ["ip", "netns", "exec", self.network(host), *named]

    def plug(self, state: Literal["up", "down"]) -> None:
        """Put the other host's cable into the switch, or pull it out."""
        assert self.ip("link", "set", self.network(self.other), state)

    def end(self) -> None:
        """End both hosts, and their networks."""
        super().end()
        self.remove()

    def remove(self) -> None:
        """Take the networks away."""
        self.ip("link", "delete", "segpipe")
        for host in (self.first, self.other):
            self.ip("link", "delete", self.network(host))
            self.ip("netns", "delete", self.network(host))

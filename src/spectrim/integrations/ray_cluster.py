"""Ray clusters: connect to one or start one, place workers on it, and explain its errors."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from ..common.errors import SpectrimError
from ..deploy.runner import Runner

CONNECT_SECONDS = 10.0
KEPT = "The rows of finished recordings are kept. Run the command again"


@dataclass(frozen=True)
class Placement:
    """The number of workers on a cluster, and the CPUs, GPUs and device of each."""

    count: int
    cpus: int
    gpus: int
    device: str


def placement_of(runner: Runner) -> Placement:
    """Place one worker per GPU, or one per as many CPUs as the model has threads.

    Raises:
        SpectrimError: the model is on a GPU, but the cluster has none.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    device = "cpu" if runner.device is None else runner.device.type
    if device == "cuda":
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        if not gpus:
            raise SpectrimError(
                "the model is on a GPU, but the Ray cluster has none. Pass --device cpu."
            )
        return Placement(gpus, max(1, sum(cpus) // gpus), 1, device)
    threads = int(runner.context("", 1).get("threads", 1))
    cpus_per_worker = max(1, min(threads, max(cpus, default=1)))
    return Placement(
        max(1, sum(count // cpus_per_worker for count in cpus)), cpus_per_worker, 0, device
    )


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Connect to a cluster, or start one that ends with the context."""
    if ray.is_initialized():
        yield
        return
    # Workers would print to stdout, which is for results.
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address := os.environ.get("RAY_ADDRESS"):
        _check_address(address)
    else:
        options |= {"address": "local", "include_dashboard": False}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends statistics by default
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # for Ray's C++ part, on stderr
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.init(**options)
    except Exception as error:  # a node that starts too slowly raises a plain Exception
        raise SpectrimError(
            f"Ray cannot start or connect to a cluster ({_first_line(error)}). Check RAY_ADDRESS, "
            "or leave out --engine ray."
        ) from error
    try:
        # Ray prints that a worker died to stdout, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address where nothing answers, because Ray would retry for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not port.isdecimal():
        return  # such as "auto"
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpectrimError(
            f"RAY_ADDRESS {address}: no cluster answers ({reason}). Start the cluster, or unset "
            "RAY_ADDRESS to compute on this machine."
        ) from error


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn errors of workers into `SpectrimError`s."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise _explanation(error) from error


def _explanation(error: ray.exceptions.RayError) -> SpectrimError:
    """The error of a worker: the last line of its text is the last line of the traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines or [type(error).__name__])[-1].rstrip(".")
    return SpectrimError(f"a Ray worker failed ({reason}). {KEPT} to continue.")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")

"""Several servers behind one address, on one machine or many: replicas under Ray Serve.

Each replica is the server of `quintet.serve.app` in a process of its own, with one engine. A live
session is one connection, which stays where it began. Programs that make several of them, or HTTP
requests beside them, and want all to reach the same replica, send the same `X-Session-Id` with
each: it is hashed to a replica. Where one dies, its sessions are closed; who connects again comes
to one that lives, until Ray has started another.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi import FastAPI

from quintet.config import UserError
from quintet.live import load
from quintet.serve import LOOPBACK
from quintet.serve.app import create_app
from quintet.serve.drain import DRAIN_SECONDS
from quintet.serve.keys import Keys

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody

try:
    import ray
    from ray import serve
    from ray.serve.config import RequestRouterConfig
    from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter
except ModuleNotFoundError:
    raise UserError(
        "Replicas need Ray Serve; install the extra: pip install -c constraints.txt -e '.[cluster]'"
    ) from None

NAME = "Quintet"
BESIDE = 32  # requests at once, of one replica, that are no sessions


def start_replicas(
    model: str,
    host: str = "127.0.0.1",
    port: int = 8321,
    max_sessions: int = 8,
    replicas: int = 2,
    key_file: Path | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Start them, here or on the cluster that RAY_ADDRESS names; returns when all are ready.

    Args:
        model: a name, folder or hub id that every machine of the cluster finds.
        max_sessions: of each replica.
        drain_seconds: that sessions may go on when Ray stops a replica.

    Raises:
        UserError: the file holds no keys.
    """
    if key_file:
        Keys.read(key_file)  # a mistake is told here, once
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": host, "port": port})
    hosts = LOOPBACK if host in LOOPBACK else None
    deployment = serve.deployment(
        serve.ingress(_builder(model, max_sessions, hosts, key_file))(),
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=max_sessions + BESIDE,
        graceful_shutdown_timeout_s=drain_seconds,
        request_router_config=RequestRouterConfig(request_router_class=ConsistentHashRouter),  # type: ignore[arg-type]
    )
    serve.run(deployment.bind(), name=NAME)  # type: ignore[attr-defined]


def serve_replicas(
    model: str,
    host: str,
    port: int,
    max_sessions: int,
    replicas: int,
    key_file: Path | None,
    drain_seconds: float,
) -> None:
    """As `start_replicas`, until Ctrl-C, or until SIGTERM and what is being said has ended."""
    start_replicas(model, host, port, max_sessions, replicas, key_file, drain_seconds)
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    for one in (signal.SIGTERM, signal.SIGINT):  # in the place of Ray's own
        signal.signal(one, lambda number, _: received.put(number))
    print(f"Quintet ({model}) listens at http://{host}:{port}; Ctrl-C stops it.", flush=True)
    if received.get() == signal.SIGTERM:
        _drain(drain_seconds)
    serve.shutdown()
    ray.shutdown()


def _drain(seconds: float) -> None:
    """Take the replicas from the address, and wait until each has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):  # Ray waits for a minute, and can be asked again
            serve.delete(NAME)
            return


def _builder(
    model: str, max_sessions: int, hosts: Sequence[str] | None, key_file: Path | None
) -> Callable[[], FastAPI]:
    """What makes the application, in the replica's process."""

    def build() -> FastAPI:
        keys = Keys.read(key_file) if key_file else None
        return create_app(load(model), max_sessions, hosts, keys)

    return build

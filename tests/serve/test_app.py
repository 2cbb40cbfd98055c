"""The HTTP side, and how the server begins to listen."""

from __future__ import annotations

import gc
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import NoReturn

import pytest
from fake import FakeModel, FakeSession
from fastapi.testclient import TestClient
from running import RunningServer
from websockets.sync.client import connect

from quintet.config import UserError
from quintet.serve import check_certificate, create_app, listen


def wait_until_ready(client: TestClient) -> None:
    for _ in range(50):
        if client.get("/ready").status_code == 200:
            break
        time.sleep(0.02)
    assert client.get("/ready").json()["ready"]


def test_the_page_comes_with_a_strict_policy() -> None:
    with TestClient(create_app(FakeModel())) as client:
        page = client.get("/")
    assert page.status_code == 200
    assert "Quintet" in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' data: blob:;")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["app.js", "style.css", "microphone_worklet.js", "icon.svg"])
def test_its_files_are_served(name: str) -> None:
    with TestClient(create_app(FakeModel())) as client:
        assert client.get(f"/{name}").status_code == 200


class KeepingModel(FakeModel):
    """Keeps the sessions that it made."""

    made: list[FakeSession]

    def session(self) -> FakeSession:
        self.made = [*getattr(self, "made", []), super().session()]
        return self.made[-1]


def is_looked_through(thing: object) -> bool:
    """Whether Python looks at it when it seeks garbage."""
    return any(one is thing for one in gc.get_objects())


def test_garbage_is_not_sought_in_what_stays_as_long_as_the_server() -> None:
    model = KeepingModel()
    with TestClient(create_app(model)) as client:
        wait_until_ready(client)
        (first,) = model.made
        assert not is_looked_through(first)  # made by the first step: all was there by then
        later = model.session()
        assert is_looked_through(later)
    assert is_looked_through(first) and gc.get_freeze_count() == 0


def test_what_others_froze_stays_where_nothing_was_frozen() -> None:
    class Broken(FakeModel):
        def engine(self, seats: int) -> NoReturn:
            raise RuntimeError("There is none.")

    gc.freeze()
    try:
        with TestClient(create_app(Broken())):
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_health_ready_and_metrics() -> None:
    with TestClient(create_app(FakeModel())) as client:
        assert client.get("/health").json() == {"status": "ok"}
        wait_until_ready(client)
        text = client.get("/metrics").text
    for name in ("sessions", "step_seconds", "rejected_total"):
        assert f"# TYPE quintet_{name} " in text
    assert 'quintet_step_seconds{quantile="0.99"}' in text


def test_a_website_under_a_name_of_its_own_is_refused() -> None:
    app = create_app(FakeModel(), hosts=["127.0.0.1", "localhost"])
    with TestClient(app, base_url="http://evil.example") as client:
        assert client.get("/").status_code == 400
    with TestClient(app, base_url="http://localhost:8321") as client:
        assert client.get("/").status_code == 200


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"^Port {port} is taken; .* --port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("192.0.2.1", 8321)])
def test_an_address_that_cannot_be_is_one_sentence(host: str, port: int) -> None:
    with pytest.raises(UserError, match=r"choose .*--(port|host)\.$"):
        listen(host, port)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_sockets_and_pages_over_tls(tmp_path: Path) -> None:
    file = tmp_path / "server.pem"
    with pytest.raises(UserError, match="is no certificate"):
        check_certificate(file)
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    file.write_text((tmp_path / "key").read_text() + (tmp_path / "certificate").read_text())
    check_certificate(file)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
    server = RunningServer(FakeModel(), certificate=file)
    try:
        page = urllib.request.urlopen(server.address, context=trusting)
        assert page.status == 200
        address = server.address.replace("https", "wss") + "v1/realtime"
        with connect(address, ssl=trusting) as live:
            assert json.loads(live.recv(timeout=5))["type"] == "session.created"
    finally:
        server.stop()

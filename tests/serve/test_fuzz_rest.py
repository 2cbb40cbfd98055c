"""The HTTP API against its own description: what schemathesis makes of it is answered as told.

`QUINTET_FUZZ=1000` tries so many requests of each endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from fake import FakeModel
from fastapi.testclient import TestClient
from fuzz import profile
from running import RunningServer
from schemathesis.checks import CHECKS, load_all_checks

from quintet.serve import create_app
from quintet.serve.keys import Keys

KEY = "a-key-of-sixteen-and-more"
load_all_checks()
# A message that has the right form may hold a picture that is none, or a role that is not served;
# and fields that mean nothing here are passed over, as clients need.
LEFT_OUT = [CHECKS.get_one("positive_data_acceptance"), CHECKS.get_one("negative_data_rejection")]


description = TestClient(create_app(FakeModel())).get("/openapi.json").json()
schema = schemathesis.openapi.from_dict(description)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    server = RunningServer(FakeModel(), keys=Keys([KEY]))
    yield server
    server.stop()


@schema.parametrize()
@profile(20)
def test_every_request_is_answered_as_the_description_says(
    case: schemathesis.Case, server: RunningServer
) -> None:
    case.call_and_validate(
        base_url=server.address.rstrip("/"), headers={"Authorization": f"Bearer {KEY}"},
        excluded_checks=LEFT_OUT,
    )  # fmt: skip


def test_every_endpoint_is_described() -> None:
    described = {f"{method.upper()} {path}" for path, one in description["paths"].items()
                 for method in one}  # fmt: skip
    assert described == {
        "GET /v1/models", "GET /v1/models/{name}", "POST /v1/chat/completions",
        "POST /v1/audio/speech", "POST /v1/audio/transcriptions", "POST /v1/images/generations",
        "POST /v1/realtime/client_secrets",
    }  # fmt: skip

"""Every event of the server against the types of the `openai` package."""

from __future__ import annotations

from typing import Any, get_args

from openai.types.live.server_event import ServerEvent as LiveServerEvent
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import BaseModel

EXTENSION = ("response.output_image.delta", "response.output_image.done")


def _by_type(union: Any) -> dict[str, type[BaseModel]]:
    kinds = get_args(get_args(union)[0])
    return {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in kinds}


REALTIME, LIVE = _by_type(RealtimeServerEvent), _by_type(LiveServerEvent)


def check_event(event: dict[str, Any], kinds: dict[str, type[BaseModel]] = REALTIME) -> None:
    """Raises what is wrong with `event`: a type or field that does not exist, a missing one."""
    if event["type"] in EXTENSION:
        return
    made = kinds[event["type"]].model_validate(event, strict=True)
    assert not made.model_extra, f"{event['type']} has unknown fields {made.model_extra}"
    inner = [getattr(made, name, None) for name in ("item", "response", "part", "error")]
    for one in inner:
        assert one is None or not one.model_extra, f"{event['type']}: {one.model_extra}"
    item = getattr(made, "item", None)
    for part in getattr(item, "content", None) or []:
        assert not part.model_extra, f"{event['type']}: {part.model_extra}"

"""The OpenAPI description of what is under /v1, at /openapi.json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

PATH = "/openapi.json"
STRING: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "integer"}
ERROR: dict[str, Any] = {
    "type": "object", "required": ["error"], "properties": {"error": {
        "type": "object", "required": ["message", "type", "param", "code"], "properties": {
            "message": STRING, "type": STRING,
            "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]},
        },
    }},
}  # fmt: skip
ANSWERS = {
    400: "The request cannot be answered; the message says what to change.",
    401: "The key is missing or wrong.",
    403: "A page of another website asked.",
    404: "There is no such thing here.",
    405: "There is no such method here.",
    408: "The request came too slowly.",
    413: "The request is too large.",
    422: "The model has no answer: it said or drew nothing.",
    429: "Too many ask at once.",
    500: "The model failed.",
}
USAGE: dict[str, Any] = {
    "type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), NUMBER),
}  # fmt: skip
MODEL = {
    "type": "object", "required": ["id", "object", "created", "owned_by", "voices"],
    "properties": {"id": STRING, "object": STRING, "created": NUMBER, "owned_by": STRING,
                   "voices": {"type": "array", "minItems": 1, "items": STRING}},
}  # fmt: skip
MODELS = {"type": "object", "required": ["object", "data"],
          "properties": {"data": {"type": "array", "items": MODEL}}}  # fmt: skip
COMPLETION = {
    "type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {"choices": {"type": "array", "minItems": 1}, "usage": USAGE},
}  # fmt: skip
TRANSCRIPT = {"type": "object", "required": ["text", "usage"], "properties": {"text": STRING}}
PICTURES = {
    "type": "object", "required": ["created", "data"], "properties": {"data": {
        "type": "array", "items": {"type": "object", "required": ["b64_json"]},
    }},
}  # fmt: skip
SECRET = {
    "type": "object", "required": ["value", "expires_at", "session"],
    "properties": {"value": STRING, "expires_at": NUMBER, "session": {"type": "object"}},
}  # fmt: skip
FILE_FORM: dict[str, Any] = {
    "type": "object", "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}, "response_format": STRING,
                   "stream": STRING, "model": STRING},
}  # fmt: skip


def described(
    summary: str,
    answer: dict[str, dict[str, Any]],
    body: type[BaseModel] | dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a route says of itself.

    Args:
        answer: media types of what it gives, with their schemas.
        body: what it takes: JSON of that model, or a form of that schema.
    """
    content = {kind: {"schema": schema} for kind, schema in answer.items()}
    responses: dict[int, Any] = {200: {"description": "The answer.", "content": content}}
    for status, sentence in ANSWERS.items():
        problem = {"application/json": {"schema": ERROR}}
        responses[status] = {"description": sentence, "content": problem}
    extra: dict[str, Any] = {"security": [{"key": []}]}
    if isinstance(body, dict):
        taken: dict[str, Any] = {"multipart/form-data": {"schema": body}}
        extra["requestBody"] = {"required": True, "content": taken}
    elif body is not None:
        taken = {"application/json": {"schema": inlined(body.model_json_schema())}}
        extra["requestBody"] = {"required": True, "content": taken}
    return {"summary": summary, "responses": responses, "openapi_extra": extra,
            "response_model": None}  # fmt: skip


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions where they are referred to: ours do not hold themselves."""
    definitions = schema.get("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return put(definitions[value["$ref"].rpartition("/")[2]])
            return {key: put(one) for key, one in value.items() if key != "$defs"}
        return [put(one) for one in value] if isinstance(value, list) else value

    made: dict[str, Any] = put(schema)
    return made


def add_description(app: FastAPI) -> None:
    """Add `PATH`, for everybody; it is made when it is first asked for."""
    made: dict[str, Any] = {}

    @app.get(PATH, include_in_schema=False)
    def description() -> dict[str, Any]:
        if not made:
            routes = [one for one in app.routes if getattr(one, "path", "").startswith("/v1/")]
            made.update(get_openapi(title=app.title, version="1", routes=routes))
            scheme = {"key": {"type": "http", "scheme": "bearer"}}
            made.setdefault("components", {})["securitySchemes"] = scheme
        return made

"""What `/openapi.json` says beside the types: an example of every body, answer and error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from voxid.server.answers import Problem

EXAMPLES = Path(__file__).parent / "examples.json"
OF_RECORDINGS = {"408", "413", "415", "422", "504"}  # errors that only requests with a recording get
PROMETHEUS = 'voxid_requests_total{method="POST",route="/v1/compare",status="200"} 3.0\n'


def described(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the service."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes, tags=app.openapi_tags
    )
    examples = json.loads(EXAMPLES.read_text("utf-8"))
    schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    known = {**examples["answers"], **examples["bodies"]}
    for name, example in known.items():
        if name in schema["components"]["schemas"]:
            schema["components"]["schemas"][name]["examples"] = [example]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            body = operation.get("requestBody", {}).get("content", {})
            _of_body(body, known)
            if not any(kind.startswith(("audio/", "multipart/")) for kind in body):
                operation["responses"] = {
                    status: answer
                    for status, answer in operation["responses"].items()
                    if status not in OF_RECORDINGS
                }
            for status, answer in operation["responses"].items():
                for kind, content in answer["content"].items():
                    if "problem" in kind:
                        content["example"] = examples["problems"][status]
                    elif path.endswith("/export"):
                        content["example"] = examples["answers"]["export"]
                    elif kind == "application/json":
                        content["example"] = known[_name(content)]
                    else:
                        content["example"] = PROMETHEUS
    app.openapi_schema = schema
    return schema


def _of_body(body: dict[str, Any], known: dict[str, Any]) -> None:
    for kind, content in body.items():
        if kind == "application/json":
            content["example"] = known[_name(content)]
        elif kind.startswith("multipart/"):
            fields = content["schema"]["properties"]
            several = [name for name, field in fields.items() if field["type"] == "array"]
            sent = [*fields, *several]
            value: dict[str, Any] = {name: f"(the bytes of {name}.wav)" for name in fields}
            value |= {name: [f"(the bytes of {name}{n}.wav)" for n in (1, 2)] for name in several}
            curl = " ".join(f"-F {name}=@{name}{n if several else ''}.wav" for n, name in enumerate(sent, 1))
            content["examples"] = {"curl": {"summary": f"curl {curl} URL", "value": value}}
        else:
            summary = f'curl -H "Content-Type: {kind}" --data-binary @recording URL'
            content["examples"] = {"curl": {"summary": summary, "value": "(the bytes of one recording)"}}


def _name(content: dict[str, Any]) -> str:
    return content["schema"]["$ref"].rsplit("/", 1)[-1]

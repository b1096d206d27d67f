"""The OpenAPI 3.1 document, made of the table of endpoints and the payload classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from hermes_trio.api.endpoint import Endpoint, Parameter
from hermes_trio.api.problems import MEDIA_TYPE, ProblemDetails
from hermes_trio.api.schema import classes_within, reference, schema_of

_TAGS: Final = {
    "calls": "Running tool calls.",
    "workspaces": "Whole workspaces.",
    "files": "Files of workspaces.",
    "server": "The server itself.",
}


def openapi_document(endpoints: Iterable[Endpoint], *, version: str, has_token: bool) -> dict[str, Any]:
    """The document.

    Args:
        endpoints: what there is.
        version: of the product.
        has_token: this server wants one.
    """
    endpoints = tuple(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, has_token=has_token)
    scheme = {"type": "http", "scheme": "bearer", "description": "The token the server was started with."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hermes_trio tool executor",
            "version": version,
            "description": "Runs tool calls of language models in sandboxes.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {kind.__name__: schema_of(kind) for kind in _kinds(endpoints)},
            "securitySchemes": {"bearer": scheme},
        },
    }


def _kinds(endpoints: Iterable[Endpoint]) -> list[type]:
    told = [kind for each in endpoints for kind in (each.request, each.response) if kind is not None]
    found = {inner for kind in (*told, ProblemDetails) for inner in classes_within(kind)}
    return sorted(found, key=lambda kind: kind.__name__)


def _operation(each: Endpoint, *, has_token: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": each.name,
        "tags": [each.tag],
        "summary": each.summary,
        "responses": _responses(each),
    }
    if each.parameters:
        operation["parameters"] = [_parameter(one) for one in each.parameters]
    if each.request is not None:
        content: dict[str, Any] = {"schema": reference(each.request)}
        if each.example is not None:
            content["example"] = each.example
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if each.upload is not None:
        octets = {each.upload: {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": octets}
    if each.secured and has_token:
        operation["security"] = [{"bearer": []}]
    return operation


def _parameter(one: Parameter) -> dict[str, Any]:
    return ({} if one.example is None else {"example": one.example}) | {
        "name": one.name,
        "in": one.where,
        "required": one.required,
        "description": one.description,
        "schema": dict(one.schema),
    }


def _responses(each: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if each.response is not None:
        content["application/json"] = {"schema": reference(each.response)}
        if each.response_example is not None:
            content["application/json"]["example"] = each.response_example
    for media, about in each.media.items():
        content[media] = {"schema": {"type": "string", "description": about}}
    found = {"200": {"description": "Done; see the schema.", "content": content}}
    found |= {
        str(status): {"description": told, "content": content} for status, told in each.successes.items()
    }
    refusals = {*each.statuses, 403}
    refusals |= {401} if each.secured else set()
    takes_input = each.request is not None or each.upload is not None or each.parameters
    refusals |= {422} if takes_input else set()
    return found | {str(status): _problem(status) for status in sorted(refusals)}


def _problem(status: int) -> Mapping[str, Any]:
    schema = reference(ProblemDetails)
    return {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}

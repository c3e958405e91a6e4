"""A request's content as one of our models, whether it came as JSON or as a form with files.

JSON is read strictly: a number in quotes is an error. Form fields are text, so there numbers are
read from it, and what is an object in JSON is JSON in its field. Describes the same for OpenAPI.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)
Files = dict[str, bytes]

MAX_FIELDS = 60
MAX_FILES = 4
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


async def read_json(request: Request, model: type[Model]) -> Model:
    """The body as JSON.

    raises: RequestValidationError naming the place
    """
    return checked(model, await request.body())


async def read_body(request: Request, model: type[Model], max_bytes: int) -> tuple[Model, Files]:
    """The body and the files in it, by field name; none in a JSON body.

    max_bytes: of one field; the body as a whole is limited before it comes here
    raises:    RequestValidationError naming the place, HTTPException for a broken form
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _FORMS:
        return await read_json(request, model), {}
    values: dict[str, Any] = {}
    files: Files = {}
    async with request.form(
        max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=max_bytes
    ) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name] = await value.read()
            elif name.endswith("[]"):
                values.setdefault(name[:-2], []).append(value)
            else:
                values[name] = _unpacked(value)
    return checked(model, values), files


def checked(model: type[Model], content: bytes | str | dict[str, Any]) -> Model:
    """JSON text, strictly, or the fields of a form as a model.

    raises: RequestValidationError
    """
    try:
        if isinstance(content, dict):
            return model.model_validate(content)
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        named = [{**each, "loc": _place(each["loc"])} for each in found]
        raise RequestValidationError(named) from error


def _place(parts: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Fields and indices alone: not which of several types was tried."""
    return tuple(
        part
        for part in parts
        if isinstance(part, int) or (part.isidentifier() and part.islower() and part != "str")
    )


def describe(model: type[BaseModel], *, files: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its body itself.

    files: names of the form fields that hold a file; None where only JSON is read
    """
    schema = schema_of(model)
    content = {"application/json": {"schema": schema}}
    if files is not None:
        fields = {name: {"type": "string", "format": "binary"} for name in files}
        form = {**schema, "properties": {**schema["properties"], **fields}}
        content["multipart/form-data"] = {"schema": form}
    return {"requestBody": {"required": True, "content": content}}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a model with everything it refers to put in its place."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inline(parts[node["$ref"].rpartition("/")[2]])
        return {key: inline(value) for key, value in node.items()}

    whole: dict[str, Any] = inline(schema)
    return whole


def _unpacked(value: str) -> Any:
    """A form field: JSON where it looks like an object or a list, else the text."""
    if value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value

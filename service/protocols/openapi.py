"""Schemas of documents, for what OpenAPI says of endpoints that read the request themselves."""

from typing import Any

from pydantic import BaseModel


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """With what it refers to in its place: it is to stand within a larger document."""
    schema = kind.model_json_schema()
    whole: dict[str, Any] = inlined(schema, schema.get("$defs", {}))
    return whole


def parameters_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Schemas of its fields, as parameters of a query or fields of a form: there is no null in these."""
    return {name: without_null(schema) for name, schema in schema_of(kind)["properties"].items()}


def inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {name: inlined(part, definitions) for name, part in schema.items() if name != "$defs"}


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The one alternative to null, where that is one."""
    rest = {name: part for name, part in schema.items() if name not in ("anyOf", "default")}
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return {**rest, **kinds[0]} if len(kinds) == 1 else schema

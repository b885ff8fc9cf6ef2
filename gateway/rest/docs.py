"""`/docs`: the API for reading, drawn from OpenAPI on the server. No script, nothing from another host."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;
background:#fff} h2{margin-top:2.5rem;border-bottom:1px solid #ccc;text-transform:capitalize}
article{margin:1.5rem 0} h3{font:600 1rem ui-monospace,monospace;margin:0}
h3 b{display:inline-block;min-width:4.5rem;color:#06c} p{margin:.25rem 0}
table{border-collapse:collapse;margin:.5rem 0} td,th{text-align:left;padding:.1rem 1rem .1rem 0;
vertical-align:top} code,pre{font:.875rem ui-monospace,monospace}
pre{background:#f4f4f4;padding:.5rem;overflow:auto}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#262626}h3 b{color:#6af}}
"""
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

Schema = dict[str, Any]


@router.get("/docs")
async def page(request: Request) -> HTMLResponse:
    """The page."""
    return HTMLResponse(render(request.app.openapi()), headers=_HEADERS)


def render(api: Schema) -> str:
    """The whole page from an OpenAPI document."""
    info = api["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}: REST API</title>",
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}: REST API</h1>",
        f"<p>{escape(info['description'])}</p><p>For programs: <a href=openapi.json>openapi.json</a></p>",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(api, path, method, operation))
    for tag, articles in by_tag.items():
        parts += [f"<h2>{escape(tag)}</h2>", *articles]
    return "\n".join(parts)


def _operation(api: Schema, path: str, method: str, operation: Schema) -> str:
    parts = [
        f"<article><h3><b>{method.upper()}</b> {escape(path)}</h3>",
        f"<p>{escape(str(operation.get('description') or operation.get('summary')))}</p>",
    ]
    if parameters := operation.get("parameters"):
        parts.append(f"<table>{''.join(_parameter(one) for one in parameters)}</table>")
    if body := operation.get("requestBody"):
        parts.append(f"<p>Body:</p>{_content(api, body)}")
    for status, response in operation["responses"].items():
        shown = _content(api, response) if status.startswith("2") else ""
        parts.append(f"<p><code>{escape(status)}</code> {escape(response['description'])}</p>{shown}")
    return "".join([*parts, "</article>"])


def _parameter(one: Schema) -> str:
    about = escape(one.get("description") or _brief(one.get("schema", {})))
    return f"<tr><th><code>{escape(one['name'])}</code></th><td>{escape(one['in'])}</td><td>{about}</td></tr>"


def _content(api: Schema, holder: Schema) -> str:
    schema = holder.get("content", {}).get("application/json", {}).get("schema")
    if not schema:
        return ""
    return f"<pre>{escape(_shape(api, schema))}</pre>"


def _shape(api: Schema, schema: Schema, indent: int = 0) -> str:
    """A schema as an example-like outline."""
    if "$ref" in schema:
        return _shape(api, api["components"]["schemas"][schema["$ref"].rpartition("/")[2]], indent)
    if schema.get("type") == "array":
        return f"[{_shape(api, schema['items'], indent)}, ...]"
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) == 1 and "$ref" in choices[0]:
        return _shape(api, choices[0], indent)
    if schema.get("type") != "object" or "properties" not in schema:
        return _brief(schema)
    inner = "  " * (indent + 1)
    members = [f'{inner}"{name}": {_shape(api, one, indent + 1)}' for name, one in schema["properties"].items()]
    return "{\n" + ",\n".join(members) + "\n" + "  " * indent + "}"


def _brief(schema: Schema) -> str:
    if "enum" in schema:
        return " | ".join(f'"{one}"' for one in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_brief(one) for one in schema["anyOf"])
    kind = schema.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)

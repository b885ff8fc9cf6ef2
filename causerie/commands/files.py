"""Files: announcing one, listing them, asking for one. The bytes themselves go over HTTP (docs/files.md)."""

from __future__ import annotations

from typing import Any

from causerie import names
from causerie.commands.arguments import FILE, FILE_HINT, FILE_NAME, FILE_SIZE, PEOPLE, ROOM, SHA256
from causerie.commands.table import Context, Reply, command
from causerie.commands.text import file_line
from causerie.errors import Refused


@command("send_file", PEOPLE, FILE_SIZE, SHA256, FILE_NAME, cost=1, hint=FILE_HINT)
async def send_file(ctx: Context) -> Reply:
    """Send a file to somebody. `causerie chat` takes `@bob !send_file PATH` and does all of it."""
    people: list[str] = ctx.args["people"]
    if len(people) > names.MAX_RECIPIENTS:
        raise Refused("bad_request", f"a file goes to at most {names.MAX_RECIPIENTS} people")
    return await _announce(ctx, ["@" + nick for nick in people])


@command("broadcast_file", ROOM.maybe(), FILE_SIZE, SHA256, FILE_NAME, cost=1, hint=FILE_HINT)
async def broadcast_file(ctx: Context) -> Reply:
    """Send a file to the room. `causerie chat` takes `!broadcast_file PATH` and does all of it."""
    return await _announce(ctx, [ctx.args["room"] or ctx.actor.current])


async def _announce(ctx: Context, to: list[str]) -> Reply:
    args, files = ctx.args, ctx.service.files
    record = await files.uploads.offer(ctx.actor, to, args["size"], args["sha256"], args["name"], id_=ctx.id)
    data: dict[str, Any] = {"id": record.id, "sent": record.state == "sent", "size": record.size, "name": record.name}
    if record.state == "sent":
        data |= {"in": record.room or names.INBOX, "seq": record.seq}
        return Reply([f"{record.name} is sent to {', '.join(to)}; its bytes were here already"], data)
    link = await files.link("put", record, record.sid)
    text = f"now PATCH it to {link['upload']} from byte {record.offset} on, {_bearing(link)}"
    return Reply([text], data | link | {"offset": record.offset})


@command("files", ROOM.maybe(), suspended=True)
async def list_files(ctx: Context) -> Reply:
    """List the files that you can get: of your rooms and sent to you, or of one room."""
    records = await ctx.service.files.downloads.listed(ctx.actor, ctx.args["room"])
    shown = [record.shown() for record in records]
    return Reply([file_line(about) for about in shown] or ["no files"], {"files": shown})


@command("get", FILE, suspended=True)
async def get(ctx: Context) -> Reply:
    """Get a file. `causerie chat` saves it; anybody else is told where it is."""
    files = ctx.service.files
    session = ctx.actor.session
    record = await files.downloads.find(ctx.args["file"], session.sid if session else None)
    if session is None:
        raise Refused("bad_request", "this needs a session in the chat")
    link = await files.link("get", record, session.sid)
    text = f"GET {record.name} from {link['download']}, {_bearing(link)}"
    return Reply([text], record.shown() | link)


def _bearing(link: dict[str, Any]) -> str:
    where = f"port {link['port']}" if link["port"] else "the HTTP port"
    minutes = int(link["expires_in"] // 60)
    return f"{where}, with the header Authorization: Bearer {link['token']} within {minutes} min ({FILE_HINT})"

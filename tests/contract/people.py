"""People straight on the store, without a gateway."""

from causerie.model import Attached, Mids, Outcome, Post, Session, new_sid
from causerie.store import Store

_mids = Mids()


async def person(store: Store, nick: str, *rooms: str, device: str = "") -> Session:
    """A new session in #lobby and the rooms."""
    attached = await store.sessions.create(nick, f"cookie-{nick}", device, "g1", "127.0.0.1", sid=new_sid())
    await store.sessions.heard(attached.session.origin)
    for room in ("#lobby", *rooms):
        await store.sessions.join(attached.session, room)
    return attached.session


async def back(store: Store, sid: str, device: str = "") -> Attached:
    """The session's device attached again."""
    attached = await store.sessions.attach(sid, device, "g2", "127.0.0.2")
    await store.sessions.enter(attached.session, attached.rooms)
    return attached


def post(session: Session, id_: int | None, body: str = "hi") -> Post:
    return Post(session.origin, session.nick, id_, "message", body, _mids.next())


async def say(store: Store, session: Session, room: str, id_: int | None = None, body: str = "hi") -> Outcome:
    return (await store.logs.append(room, [post(session, id_, body)]))[0]


async def tell(store: Store, session: Session, to: list[str], id_: int | None = None, body: str = "psst") -> Outcome:
    return await store.direct.send(session.origin, session.nick, id_, "message", body, _mids.next(), to)


def code(outcome: Outcome) -> str:
    """The code of a refusal, "" when it was posted."""
    return outcome.error.code if outcome.error is not None else ""


async def bodies(store: Store, log: str) -> list[str]:
    """What is kept in a log."""
    import json

    return [json.loads(entry.line)["body"] for entry in await store.logs.read_before(log, None, 1000)]


async def states(store: Store, room: str) -> dict[str, str]:
    return {member.nick: member.state for member in await store.rooms.members(room)}


async def wait_for_the_next_millisecond(store: Store) -> None:
    """Return when the store's clock has moved on."""
    now = await store.sessions.now_ms()
    while await store.sessions.now_ms() == now:
        pass

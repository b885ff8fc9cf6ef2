"""Clients of one test: opened by name, closed at its end, their broken promises raised."""

from typing import Any, Self

from tests.support.chat import Chat
from tests.support.json_client import JsonClient
from tests.support.processes import Gateway
from tests.support.rest import Rest
from tests.support.text_client import TextClient
from tests.support.words import new_nick, new_room


class People:
    """Opens clients on a chat. `gateway` arguments are an index into the chat's gateways, or a gateway."""

    def __init__(self, chat: Chat, transport: str = "tcp") -> None:
        self.chat = chat
        self.transport = transport
        self.clients: list[JsonClient | TextClient] = []
        self._rests: list[Rest] = []

    def at(self, gateway: int | Gateway) -> Gateway:
        return self.chat.gateways[gateway] if isinstance(gateway, int) else gateway

    async def connect(
        self,
        name: str = "client",
        gateway: int | Gateway = 0,
        *,
        transport: str | None = None,
        **options: Any,
    ) -> JsonClient:
        """A JSON connection that said nothing yet."""
        client = await JsonClient.open(self.at(gateway), transport=transport or self.transport, name=name, **options)
        self.clients.append(client)
        return client

    async def enter(
        self,
        name: str = "guest",
        gateway: int | Gateway = 0,
        *,
        transport: str | None = None,
        source: str | None = None,
        answer_pings: bool = True,
        receive_buffer: int | None = None,
        room: str | None = None,
        **hello: Any,
    ) -> JsonClient:
        """A new person with a fresh nick that starts with `name` (or `nick=`), in `room` too if given."""
        client = await self.connect(
            name,
            gateway,
            transport=transport,
            source=source,
            answer_pings=answer_pings,
            receive_buffer=receive_buffer,
        )
        await client.hello(**{"nick": new_nick(name), **hello})
        if room is not None:
            await client.join(room)
        return client

    async def back(
        self,
        who: JsonClient,
        gateway: int | Gateway = 0,
        *,
        resume: dict[str, Any] | None = None,
        transport: str | None = None,
        **hello: Any,
    ) -> JsonClient:
        """The same person on a new connection. `resume` defaults to what `who` received; {} for nothing."""
        client = await self.connect(who.name, gateway, transport=transport)
        positions = who.positions() if resume is None else resume
        extra = {"resume": positions} if positions else {}
        await client.hello(**{"cookie": who.cookie, **extra, **hello})
        return client

    async def admin(self, gateway: int | Gateway = 0, **hello: Any) -> JsonClient:
        """A person who is an admin."""
        return await self.enter("admin", gateway, admin_token=self.chat.admin_token, **hello)

    async def connect_text(self, name: str = "text", gateway: int | Gateway = 0, **options: Any) -> TextClient:
        """A text connection that said nothing yet."""
        client = await TextClient.open(self.at(gateway), name=name, **options)
        self.clients.append(client)
        return client

    async def text(
        self, name: str = "guest", gateway: int | Gateway = 0, *, room: str | None = None, **options: Any
    ) -> TextClient:
        """A new person with a text connection; their nick is fresh and starts with `name`."""
        client = await self.connect_text(name, gateway, **options)
        client.nick = new_nick(name)
        await client.enter(client.nick)
        if room is not None:
            await client.send(f"!join {room}")
            await client.settled()
        return client

    def rest(self, gateway: int | Gateway = 0, *, token: str | None = "admin", source: str | None = None) -> Rest:
        """REST calls with the admin token (`token=None` sends none)."""
        rest = Rest(self.at(gateway), self.chat.admin_token if token == "admin" else token, source=source)
        self._rests.append(rest)
        return rest

    def nick(self, stem: str = "guest") -> str:
        return new_nick(stem)

    def room(self, stem: str = "room") -> str:
        return new_room(stem)

    async def close(self) -> None:
        for client in self.clients:
            await client.dispose()
        for rest in self._rests:
            await rest.close()
        for client in self.clients:
            client.check()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await self.close()
        except AssertionError:
            if kind is None:
                raise

"""docs/protocol.md, “Programs”: ready lines, options, environment, configuration, exit status,
`chat` and `admin`.
"""

import asyncio
import json
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import Chat, Gateway, People, Process, Store, Worker, eventually, new_word, run_program
from tests.support.chat import ADMIN_TOKEN
from tests.support.processes import causerie_script
from tests.support.store import free_port

GATEWAY = [sys.executable, "-m", "gateway"]
BAD_SETTINGS = [
    ["--heartbeat-ttl", "soon"],
    ["--heartbeat-interval=-1"],
    ["--http-port", "99999"],
    ["--tcp-port", "many"],
    ["--namespace", "Not Allowed"],
    ["--namespace", "x" * 33],
    ["--namespace", ""],
    ["--redis-url", "http://127.0.0.1/"],
    ["--rate-limit", "fast"],
    ["--no-such-option"],
    ["--config", "/no/such/file.toml"],
    ["surplus"],
]
Ended = subprocess.CompletedProcess[str]


async def _run_all(argvs: list[list[str]]) -> list[Ended]:
    """Run short programs, two at a time."""
    gate = asyncio.Semaphore(2)

    async def run(argv: list[str]) -> Ended:
        async with gate:
            return await run_program(argv)

    return await asyncio.gather(*map(run, argvs))


def _check_refused(ended: Ended) -> None:
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert len([line for line in ended.stderr.splitlines() if line.strip()]) == 1, ended
    assert "Traceback" not in ended.stderr


# The `ready` line.


async def test_ready_line_of_a_gateway(people: People) -> None:
    """“`ready gateway=<id> http=<host:port> tcp=<host:port> irc=<host:port>` (absent parts left out)”, one
    line.
    """
    for gateway in people.chat.gateways:
        (line,) = gateway.stdout_lines
        assert re.fullmatch(r"ready gateway=\S+ http=127\.0\.0\.1:\d+ tcp=127\.0\.0\.1:\d+", line)
    assert people.chat.gateways[0].id != people.chat.gateways[1].id


async def test_ready_line_of_a_worker(people: People) -> None:
    """“and `ready worker=<id>`”."""
    (line,) = people.chat.workers[0].stdout_lines
    assert re.fullmatch(r"ready worker=\S+", line)


async def test_ready_means_that_it_takes_traffic(store: Store) -> None:
    """“When a program can take traffic it prints one line”: what connects at once is served."""
    with Chat(store, gateways=0) as chat:
        gateway = chat.launch_gateway()
        await gateway.is_ready()
        async with People(chat) as people:
            alice = await people.enter("alice")
            await alice.say("#lobby", "at once")
            assert (await people.rest().http.get("/readyz")).status_code == 200


async def test_ports_that_are_off(store: Store) -> None:
    """“(absent parts left out)”: a port of 0 is off where the contract says so, and then not named."""
    with Chat(store, gateways=1, tcp_port=0) as chat:
        assert set(chat.gateways[0].ready) == {"gateway", "http"}


async def test_fixed_port(store: Store) -> None:
    """A port given as a number is that port."""
    port = free_port()
    with Chat(store, gateways=1, tcp_port=port) as chat:
        assert chat.gateways[0].tcp == ("127.0.0.1", port)


# Exit status.


async def test_bad_settings_exit_2_with_one_line() -> None:
    """“Exit status: ... 2 for bad arguments or settings (one clear line on standard error, no traceback)”."""
    for ended in await _run_all([[*GATEWAY, *wrong] for wrong in BAD_SETTINGS]):
        _check_refused(ended)


async def test_every_program_refuses_bad_settings() -> None:
    """The same for every program."""
    programs = [
        [sys.executable, "-m", "worker"],
        *([causerie_script(), name] for name in ("gateway", "serve")),
    ]
    for ended in await _run_all([[*argv, "--session-ttl", "x"] for argv in programs]):
        _check_refused(ended)


async def test_wrong_command_lines_exit_2() -> None:
    """“2 for bad arguments”: no program, no such program, no action, a URL that is none."""
    wrong = [[], ["dance"], ["admin"], ["admin", "dance"], ["chat", "http://x/"], ["chat", "--no"]]
    for ended in await _run_all([[causerie_script(), *argv] for argv in wrong]):
        assert ended.returncode == 2, ended
        assert "Traceback" not in ended.stderr


async def test_bad_environment_and_configuration_exit_2() -> None:
    """Bad settings are bad wherever they come from."""
    _check_refused(await run_program(GATEWAY, env={"CAUSERIE_HEARTBEAT_TTL": "soon"}))
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(("heartbeat_ttl = ", 'heartbeat_ttl = "soon"', "no_such_setting = 1")):
            path = Path(folder) / f"{number}.toml"
            path.write_text(text)
            _check_refused(await run_program([*GATEWAY, "--config", str(path)]))


async def test_port_in_use(people: People) -> None:
    """“1 otherwise”: a port that somebody else has is no bad setting; and no traceback."""
    taken = people.chat.gateways[0].tcp[1]
    argv = [
        "--redis-url",
        people.chat.store.url,
        "--tcp-port",
        str(taken),
        "--http-port",
        "auto",
        "--irc-port",
        "0",
    ]
    ended = await run_program([*GATEWAY, *argv])
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    assert "ready" not in ended.stdout


async def test_help_of_programs_exits_0() -> None:
    """`--help` is no error."""
    asked = [["--help"], ["serve", "--help"], ["chat", "--help"], ["admin", "--help"]]
    for ended in await _run_all([[causerie_script(), *argv] for argv in asked]):
        assert ended.returncode == 0, ended
        assert ended.stdout.strip()


# Where settings come from.


async def test_environment(store: Store) -> None:
    """“each also an environment variable `CAUSERIE_<NAME>`”."""
    env = {
        "CAUSERIE_REDIS_URL": store.url,
        "CAUSERIE_NAMESPACE": new_word("t-"),
        "CAUSERIE_HTTP_PORT": "auto",
        "CAUSERIE_TCP_PORT": "auto",
        "CAUSERIE_IRC_PORT": "0",
        "CAUSERIE_ADMIN_TOKEN": "from-the-environment",
        "CAUSERIE_HEARTBEAT_INTERVAL": "7s",
        "CAUSERIE_HOST": "127.0.0.2",
    }
    with Gateway(env=env, http_port=None, tcp_port=None, irc_port=None) as gateway:
        await gateway.is_ready()
        assert gateway.tcp[0] == "127.0.0.2"
        chat = Chat(store, namespace=env["CAUSERIE_NAMESPACE"], admin_token="from-the-environment")
        chat.gateways.append(gateway)
        async with People(chat) as people:
            alice = await people.enter("alice")
            assert alice.welcome["heartbeat"] == 7
            await people.rest().get("/bans")


async def test_flag_wins_over_environment_and_file(store: Store) -> None:
    """“(and a TOML file by `--config`), with the flag winning”; durations as `2m`, numbers, and sizes in all
    three.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "causerie.toml"
        config.write_text(
            'heartbeat_interval = "3s"\nheartbeat_ttl = "2m"\nhost = "127.0.0.3"\nadmin_token = "of-the-file"\n'
        )
        env = {"CAUSERIE_HEARTBEAT_INTERVAL": "4", "CAUSERIE_HOST": "127.0.0.4"}
        chat = Chat(store, namespace=new_word("t-"), admin_token="of-the-file")
        with Gateway(env=env, **chat.common(), config=config, heartbeat_interval="5s") as gateway:
            await gateway.is_ready()
            assert gateway.tcp[0] == "127.0.0.4", "the environment wins over the file"
            chat.gateways.append(gateway)
            async with People(chat) as people:
                alice = await people.enter("alice")
                assert alice.welcome["heartbeat"] == 5, "the flag wins over both"
                await people.rest().get("/bans")


async def test_unix_socket(store: Store) -> None:
    """“`--redis-url` (..., `unix://`, ...)”."""
    with tempfile.TemporaryDirectory() as folder, Store(unixsocket=f"{folder}/valkey.sock"):
        chat = Chat(store, namespace=new_word("t-"), redis_url=f"unix://{folder}/valkey.sock", gateways=1, workers=1)
        with chat:
            async with People(chat) as people:
                alice = await people.enter("alice")
                await alice.say("#lobby", "through a socket")


async def test_gateway_of_several_processes(store: Store) -> None:
    """“one gateway process (or `--processes N`)”: they act as one, and one signal stops all."""
    with Chat(store, gateways=1, processes=2) as chat:
        async with People(chat) as people:
            room = people.room()
            crowd = [await people.enter("one", room=room, transport=("tcp", "ws")[n % 2]) for n in range(6)]
            await crowd[0].say(room, "to all")
            for who in crowd:
                await who.message("to all")
            gateway = chat.gateways[0]
            gateway.terminate()
            for who in crowd:
                await who.ended("shutdown")
            assert await gateway.exit_code() == 0


# Namespaces.


async def test_two_chats_on_one_store() -> None:
    """“two chats can share one Redis”; “prefix of every key and channel”."""
    with (
        Store() as store,
        Chat(store, gateways=1, workers=1) as one,
        Chat(store, gateways=1, workers=1) as two,
    ):
        async with People(one) as here, People(two) as there:
            nick = here.nick("alice")
            first, second = await here.enter(nick=nick), await there.enter(nick=nick)
            await first.say("#lobby", "here")
            await second.say("#lobby", "there")
            await first.message("here")
            await second.message("there")
            assert (first.bodies("#lobby"), second.bodies("#lobby")) == (["here"], ["there"])
            await here.rest().post("/bans", {"subject": nick})
            await first.ended("banned")
            await second.say("#lobby", "unmoved")
            with store.client() as redis:
                prefixes = (f"{one.namespace}:", f"{two.namespace}:")
                strange = [key for key in redis.scan_iter(count=1000) if not key.startswith(prefixes)]
                assert not strange
                channels = [*redis.pubsub_channels(), *redis.pubsub_shardchannels()]
                assert channels
                assert not [name for name in channels if not name.startswith((*prefixes, "__key"))]


# Workers.


async def test_worker_alone(store: Store) -> None:
    """“one worker against `--redis-url`; any number may run”."""
    with Worker(redis_url=store.url, namespace=new_word("t-")) as worker:
        await worker.is_ready()
        worker.signal(signal.SIGINT)
        assert await worker.exit_code() == 0


# `causerie chat` in a pipe.


async def test_chat_in_a_pipe(people: People) -> None:
    """“with a pipe for stdin or stdout it is a plain line client; ... the end of standard input sends what is
    unacknowledged, says goodbye and exits 0”.
    """
    watcher = await people.enter("watcher", 1)
    host, port = people.chat.gateways[0].tcp
    for url in (f"tcp://{host}:{port}", people.chat.gateways[0].ws):
        nick = people.nick("piper")
        lines = "".join(f"{nick} line {n}\n" for n in range(20))
        ended = await run_program([causerie_script(), "chat", url, "--nick", nick], stdin=lines)
        assert ended.returncode == 0, ended
        assert "Traceback" not in ended.stderr
        for n in range(20):
            assert (await watcher.message(f"{nick} line {n}", in_="#lobby"))["from"] == nick
        await watcher.expect("presence", in_="#lobby", nick=nick, state="gone")


async def test_chat_prints_what_comes(people: People) -> None:
    """A plain line client shows what others say."""
    nick = people.nick("listener")
    watcher = await people.enter("watcher", 1)
    process = Process([causerie_script(), "chat", people.chat.gateways[0].ws, "--nick", nick], name="chat", stdin=-1)
    with process:
        await watcher.expect("presence", in_="#lobby", nick=nick, state="online")
        await watcher.say("#lobby", f"hi {nick}")
        process.wait_for_line(lambda line: f"hi {nick}" in line and watcher.nick in line, "the message")
        process.signal(signal.SIGINT)
        await process.exit_code()
        assert "Traceback" not in process.stderr


async def test_chat_json(people: People) -> None:
    """“`--json` prints events as JSON lines”."""
    nick = people.nick("robot")
    host, port = people.chat.gateways[0].tcp
    argv = [causerie_script(), "chat", f"tcp://{host}:{port}", "--nick", nick, "--json"]
    ended = await run_program(argv, stdin="hello\n!list\n")
    assert ended.returncode == 0, ended
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    kinds = {event["ev"] for event in events}
    assert {"welcome", "message"} <= kinds, kinds
    assert any(event.get("body") == "hello" and event.get("from") == nick for event in events)


async def test_chat_fails_over(people: People) -> None:
    """“several = fail over between gateways”: a dead first URL does not matter."""
    watcher = await people.enter("watcher")
    nick = people.nick("mover")
    urls = [f"tcp://127.0.0.1:{free_port()}", f"ws://127.0.0.1:{free_port()}/ws", people.chat.gateways[1].ws]
    ended = await run_program([causerie_script(), "chat", *urls, "--nick", nick], stdin=f"hi from {nick}\n")
    assert ended.returncode == 0, ended
    await watcher.message(f"hi from {nick}")


async def test_chat_survives_a_gateway_s_death(store: Store) -> None:
    """Reconnect, resume and resend in the line client: what was typed around a `kill -9` is posted once, in
    order.
    """
    with Chat(store, gateways=2, workers=1) as chat:
        async with People(chat) as people:
            watcher = await people.enter("watcher", 1)
            nick = people.nick("stubborn")
            urls = [gateway.ws for gateway in chat.gateways]
            process = Process([causerie_script(), "chat", *urls, "--nick", nick], name="chat", stdin=-1)
            with process:
                assert process.popen.stdin is not None
                await watcher.expect("presence", in_="#lobby", nick=nick, state="online")
                process.popen.stdin.write(b"before\n")
                process.popen.stdin.flush()
                await watcher.message("before")
                chat.gateways[0].kill()
                process.popen.stdin.write(b"one\ntwo\nthree\n")
                process.popen.stdin.close()
                await watcher.message("three", patience=30)
                assert await process.exit_code(30) == 0
                said = [e["body"] for e in watcher.seen("message", in_="#lobby", from_=nick)]
                assert said == ["before", "one", "two", "three"]


async def test_chat_without_any_server() -> None:
    """Nobody there and nothing to wait for: it does not pretend to have sent anything."""
    argv = [causerie_script(), "chat", f"tcp://127.0.0.1:{free_port()}", "--nick", "nobody"]
    process = Process(argv, name="chat", stdin=-1)
    with process:
        assert process.popen.stdin is not None
        process.popen.stdin.write(b"hello\n")
        process.popen.stdin.flush()

        async def tried() -> bool:
            return "no connection" in process.stderr

        await eventually(tried, "a try to connect")
        process.signal(signal.SIGINT)
        await process.exit_code()
        assert "Traceback" not in process.stderr


async def test_chat_with_a_refused_nick(people: People) -> None:
    """A nick that is taken: an error, and an exit status that says so."""
    alice = await people.enter("alice")
    argv = [causerie_script(), "chat", people.chat.gateways[0].ws, "--nick", alice.nick]
    ended = await run_program(argv, stdin="hello\n")
    assert ended.returncode != 0, ended
    assert "nick_taken" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


# `causerie admin`.


async def _admin(people: People, *argv: str, token: str = ADMIN_TOKEN) -> str:
    ended = await run_program(
        [causerie_script(), "admin", *argv], env={"CAUSERIE_ADMIN_TOKEN": token, "CAUSERIE_URL": ""}
    )
    assert ended.returncode == 0, ended
    return ended.stdout


async def test_admin_actions(people: People) -> None:
    """“the REST admin API from a shell: `list`, `rooms`, `ban`, `suspend`, `forgive`, `kick`, `bans`,
    `audit`, `announce`” “(`--url`, `--admin-token`)”.
    """
    url = ("--url", people.chat.gateways[0].http)
    alice, bob = await people.enter("alice", 1), await people.enter("bob", 1)
    assert alice.nick in await _admin(people, "list", *url)
    assert "#lobby" in await _admin(people, "rooms", *url)
    await _admin(people, "suspend", alice.nick, "10m", "from a shell", *url)
    await alice.refused("suspended", "send", to="#lobby", body="x")
    await _admin(people, "forgive", alice.nick, *url)
    await alice.say("#lobby", "free")
    await _admin(people, "ban", bob.nick, *url)
    await bob.ended("banned")
    assert bob.nick in await _admin(people, "bans", *url)
    await _admin(people, "announce", f"attention {alice.nick}", *url)
    await alice.message(f"attention {alice.nick}")
    await _admin(people, "kick", alice.nick, *url)
    await alice.ended("kicked")
    shown = await _admin(people, "audit", *url)
    assert alice.nick in shown
    assert "from a shell" in shown


async def test_admin_with_a_flag_and_a_wrong_token(people: People) -> None:
    """“`--admin-token`”: the right one works, a wrong one ends with status 1 and one line."""
    url = ("--url", people.chat.gateways[0].http)
    ended = await run_program([causerie_script(), "admin", "bans", *url, "--admin-token", ADMIN_TOKEN])
    assert ended.returncode == 0, ended
    # One wrong token of the five that this address has in a minute.
    ended = await run_program([causerie_script(), "admin", "bans", *url, "--admin-token", "wrong"])
    assert ended.returncode == 1, ended
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


async def test_admin_shutdown(store: Store) -> None:
    """“`shutdown`”."""
    with Chat(store, gateways=2) as chat:
        async with People(chat) as people:
            await _admin(people, "shutdown", "--url", chat.gateways[0].http)
            assert [await gateway.exit_code(30) for gateway in chat.gateways] == [0, 0]


async def test_admin_without_a_server() -> None:
    """“1 otherwise”, with one line."""
    url = f"http://127.0.0.1:{free_port()}"
    ended = await run_program([causerie_script(), "admin", "bans", "--url", url, "--admin-token", "x"])
    assert ended.returncode == 1, ended
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr

"""How the Python peers are served: by uvicorn as it comes, on any free port, which is printed."""

import socket
import sys

import uvicorn

REDIS_URL = sys.argv[1] if len(sys.argv) > 1 else ""


def serve(app: object) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="error", lifespan="auto")
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])

"""What an upload is compared with: the least that a server of the same kind can do, and what most do.

``python -m bench.sinks FOLDER`` serves ``/raw`` (the body straight to a file), ``/raw-sha256`` (hashed on the
way), ``/raw-durable`` (hashed, and synced as a promise needs) and ``/uploadfile`` (FastAPI's UploadFile,
copied to a file). It prints its port.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, UploadFile
from fastapi.concurrency import run_in_threadpool

app = FastAPI()
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


@app.post("/raw")
async def raw(request: Request) -> None:
    with (folder / "raw").open("wb", buffering=0) as file:
        async for data in request.stream():
            file.write(data)


@app.post("/raw-sha256")
async def raw_sha256(request: Request) -> None:
    digest = hashlib.sha256()
    with (folder / "raw").open("wb", buffering=0) as file:
        async for data in request.stream():
            digest.update(data)
            file.write(data)


@app.post("/raw-durable")
async def raw_durable(request: Request) -> None:
    digest = hashlib.sha256()
    with (folder / "raw").open("wb", buffering=0) as file:
        async for data in request.stream():
            digest.update(data)
            file.write(data)
        await run_in_threadpool(os.fsync, file.fileno())


@app.post("/uploadfile")
async def upload_file(file: UploadFile) -> None:
    with (folder / "uploaded").open("wb", buffering=0) as out:
        while data := await file.read(1 << 20):
            out.write(data)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

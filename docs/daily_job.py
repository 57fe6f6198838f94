"""A daily job: a folder goes into Strongroom under keys, a large file straight to S3.

    python docs/daily_job.py FOLDER LARGE_FILE

It wants httpx, and STRONGROOM_URL and STRONGROOM_API_KEY (make dev: . .dev/env). After a crash run
it again: it goes on where it was.
"""

import base64
import hashlib
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

import httpx

API = httpx.Client(base_url=os.environ["STRONGROOM_URL"] + "/v1", timeout=60)
API.headers["Authorization"] = "Bearer " + os.environ["STRONGROOM_API_KEY"]


def ask(method, path, **more):
    while True:
        answer = API.request(method, path, **more)
        if answer.status_code not in (429, 503):
            break
        time.sleep(int(answer.headers["Retry-After"]))
    if answer.is_error:
        raise SystemExit("{title}: {detail}".format(**answer.json()))
    return answer


def put(file, key):
    body = file.read_bytes()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:"}
    return ask("PUT", f"/documents/by-key/{quote(key)}", content=body, headers=headers).json()


def folders(prefix=""):
    query = {"key_prefix": prefix, "delimiter": "/"}
    while True:
        page = ask("GET", "/documents", params=query).json()
        yield from page["prefixes"]
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def put_large(file, key):
    """In parts. What the service knows of the upload is all that a crash must leave."""
    wanted = {"key": key, "size": file.stat().st_size, "part_size": 16 * 1024 * 1024}
    name = hashlib.sha256(f"{file} {file.stat().st_mtime_ns} {wanted}".encode()).hexdigest()
    upload = ask("POST", "/uploads", json=wanted, headers={"Idempotency-Key": name}).json()
    path, size = f"/uploads/{upload['id']}", upload["part_size"]
    there = {part["number"] for part in ask("GET", path).json()["received"]}
    with file.open("rb") as source:
        for number in sorted(set(range(1, upload["parts"] + 1)) - there):
            source.seek((number - 1) * size)
            data = source.read(size)
            part = {"number": number, "sha256": hashlib.sha256(data).hexdigest()}
            [granted] = ask("POST", path + "/parts", json={"parts": [part]}).json()["parts"]
            request = granted["request"]
            httpx.put(request["url"], headers=request["headers"], content=data).raise_for_status()
            print(f"{key}: part {number} of {upload['parts']}", flush=True)
    return ask("POST", path + "/complete").json()


if __name__ == "__main__":
    root, large = Path(sys.argv[1]), Path(sys.argv[2])
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    for file in files:
        put(file, f"daily/{file.relative_to(root)}")
    print(len(files), "files in", *folders("daily/"))
    print(put_large(large, "large/" + large.name)["checksum"])
    print(ask("GET", "/usage").json())

"""Clients that generators make of the OpenAPI document have every call, and call the service.

Each generator has a program under `programs/`, as a user of its client would write it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.generators import tools
from tests.generators.tools import run
from tests.support.service import Service

PROGRAMS = Path(__file__).with_name("programs")
# What every program prints of what the service answered.
DONE = """\
created report.txt: 5 bytes, tags generated, project alpha
found report.txt
read first
replaced: version 2, 6 bytes
renamed to renamed.txt
deleted (204), then 404 /problems#not-found
renamed.txt is there again: second
"""
# Warnings of openapi-generator that cost a client nothing.
HARMLESS = (
    "OpenAPI 3.1 support is still in beta",
    # Metadata is JSON of any kind, and is so in the client.
    "Default to typing.Any",
    "Failed to get the schema name: null",
    "reserved word",
)


def test_openapi_python_client(service: Service, document: Path, tmp_path: Path) -> None:
    command = tools.there(tools.PYTHON_CLIENT / "openapi-python-client")
    client = tmp_path / "client"
    told = run(command, "generate", "--path", document, "--output-path", client)
    lost = ("WARNING", "will not be generated", "omitted")
    assert [line for line in told.splitlines() if any(word in line for word in lost)] == []
    program = PROGRAMS / "openapi_python_client.py"
    python = tools.PYTHON_CLIENT / "python"
    assert _python(python, program, client, service) == DONE


def test_openapi_generator_for_python(service: Service, document: Path, tmp_path: Path) -> None:
    client = tmp_path / "client"
    _openapi_generator("python", document, client, "packageName=strongroom")
    program = PROGRAMS / "openapi_generator.py"
    assert _python(Path(sys.executable), program, client, service) == DONE


def test_openapi_generator_for_typescript(service: Service, document: Path, tmp_path: Path) -> None:
    _openapi_generator("typescript-fetch", document, tmp_path / "strongroom")
    assert _typescript("openapi_generator.ts", tmp_path, service) == DONE


def test_openapi_generator_for_go(service: Service, document: Path, tmp_path: Path) -> None:
    client = tmp_path / "strongroom"
    options = ("packageName=strongroom", "withGoMod=false")
    _openapi_generator("go", document, client, *options)
    shutil.rmtree(client / "test")  # of the generator's own, to be filled in
    assert _go("openapi_generator.go", tmp_path, service) == DONE


def test_oapi_codegen(service: Service, document: Path, tmp_path: Path) -> None:
    client = tmp_path / "strongroom" / "client.go"
    client.parent.mkdir()
    command = tools.there(tools.OAPI_CODEGEN)
    options = ("-generate", "types,client", "-package", "strongroom", "-o", client)
    assert run(command, *options, document) == ""
    assert _go("oapi_codegen.go", tmp_path, service) == DONE


def test_openapi_typescript(service: Service, document: Path, tmp_path: Path) -> None:
    run(tools.node("openapi-typescript"), document, "-o", tmp_path / "strongroom.d.ts")
    assert _typescript("openapi_typescript.ts", tmp_path, service) == DONE


def _openapi_generator(language: str, document: Path, client: Path, *properties: str) -> None:
    command = ("java", "-jar", tools.openapi_generator(), "generate", "-g", language)
    places = ("-i", document, "-o", client)
    told = run(*command, *places, *_options("--additional-properties", properties))
    warnings = re.findall(r"^.*\b(?:WARN|ERROR)\b.*$", told, re.MULTILINE)
    assert [line for line in warnings if not any(text in line for text in HARMLESS)] == []


def _options(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name}={','.join(values)}"] if values else []


def _python(python: Path, program: Path, client: Path, service: Service) -> str:
    return run(python, program, service.url, service.key, environment={"PYTHONPATH": str(client)})


def _typescript(program: str, folder: Path, service: Service) -> str:
    """Compile, with all checks, and run."""
    (folder / "node_modules").symlink_to(tools.MODULES)
    shutil.copy(PROGRAMS / program, folder)
    options = {"strict": True, "target": "es2022", "lib": ["es2022", "dom", "dom.iterable"]}
    project = {
        "compilerOptions": {**options, "module": "node16", "types": ["node"], "outDir": "built"},
        "files": [program],
    }
    (folder / "tsconfig.json").write_text(json.dumps(project))
    run(tools.node("tsc"), "--project", folder)
    built = folder / "built" / program.replace(".ts", ".js")
    return run("node", built, service.url, service.key)


def _go(program: str, folder: Path, service: Service) -> str:
    """Vet, build, and run."""
    shutil.copy(PROGRAMS / program, folder / "main.go")
    (folder / "go.mod").write_text("module example.com/program\n\ngo 1.24\n")
    run("go", "mod", "tidy", folder=folder)
    run("go", "vet", "./...", folder=folder)
    run("go", "build", "-o", "built", ".", folder=folder)
    return run(folder / "built", service.url, service.key)

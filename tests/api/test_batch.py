"""Several changes in one request."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.service import Answer, Service


def batch(service: Service, *operations: Any, key: str = "", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request(
        "POST", "/v1/documents/batch", {"operations": list(operations)}, sent, key=key
    )


def results(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_each_is_done_in_order_and_answered(service: Service) -> None:
    folder = f"batch-{time.time_ns()}"
    one, two, three = (service.create(b"%d" % n, Document_Tags="red,old") for n in range(3))
    found = results(
        batch(
            service,
            {"move": one["id"], "key": f"{folder}/a"},
            {"move": two["id"], "key": f"{folder}/a"},
            {"move": one["id"], "key": None},
            {"move": two["id"], "key": f"{folder}/a"},
            {"tag": one["id"], "add": ["new", "red"], "remove": ["old", "absent"]},
            {"delete": three["id"]},
            {"delete": three["id"]},
            {"delete": "01J9ZK3V8QW4E6R7T9Y0A1B2C0"},
            {"delete": "no id"},
        )
    )
    assert [r["status"] for r in found] == [200, 409, 200, 200, 200, 204, 404, 404, 404]
    assert found[0]["document"]["key"] == f"{folder}/a"
    assert found[1]["problem"]["type"] == "/problems#key-taken"
    assert found[4]["document"] == service.read(one["id"]).json()
    assert found[4]["document"]["tags"] == ["red", "new"]
    assert found[3]["document"] == service.read(two["id"]).json()
    assert service.read(three["id"]).status == 404


def test_it_is_done_once_per_idempotency_key(service: Service) -> None:
    document = service.create(b"x")
    steps = [{"tag": document["id"], "add": ["a"]}, {"delete": document["id"]}]
    first = batch(service, *steps, Idempotency_Key=document["id"])
    again = batch(service, *steps, Idempotency_Key=document["id"])
    assert [r["status"] for r in results(first)] == [200, 204]
    assert again.headers["idempotency-replayed"] == "true"
    # What the first answer showed is deleted by now.
    assert [r["status"] for r in results(again)] == [404, 204]
    other = batch(service, steps[0], Idempotency_Key=document["id"])
    assert other.status == 422


def test_another_tenants_documents_are_not_there(service: Service) -> None:
    document = service.create(b"x")
    steps = [
        {"delete": document["id"]},
        {"move": document["id"], "key": "stolen"},
        {"tag": document["id"], "add": ["stolen"]},
    ]
    answer = batch(service, *steps, key=service.other_key)
    assert [r["status"] for r in results(answer)] == [404] * 3
    assert service.read(document["id"]).json() == document
    assert batch(service, *steps, key=service.read_key).status == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"operations": []},
        {"operations": {}},
        {"operations": [{"delete": "x"}] * 101},
        {"operations": [{}]},
        {"operations": ["x"]},
        {"operations": [{"delete": 1}]},
        {"operations": [{"delete": "x", "move": "y"}]},
        {"operations": [{"delete": "x", "key": "y"}]},
        {"operations": [{"move": "x"}]},
        {"operations": [{"move": "x", "key": "/"}]},
        {"operations": [{"move": "x", "key": 1}]},
        {"operations": [{"tag": "x", "add": "y"}]},
        {"operations": [{"tag": "x", "add": [""]}]},
        {"operations": [{"tag": "x", "remove": [1]}]},
        {"operations": [{"delete": "x"}], "more": 1},
    ],
)
def test_what_is_malformed_is_refused_whole(service: Service, body: Any) -> None:
    document = service.create(b"x")
    if isinstance(body, dict) and isinstance(body.get("operations"), list):
        body = {**body, "operations": [{"delete": document["id"]}, *body["operations"]]}
        if body["operations"] == [{"delete": document["id"]}]:
            return
    answer = service.request("POST", "/v1/documents/batch", body)
    assert answer.status == 422
    assert service.read(document["id"]).status == 200


def test_too_many_tags_are_a_problem_of_theirs_alone(service: Service) -> None:
    document = service.create(b"x", Document_Tags="a")
    found = results(
        batch(
            service,
            {"tag": document["id"], "add": [f"t{n}" for n in range(20)]},
            {"tag": document["id"], "add": ["b"]},
        )
    )
    assert [r["status"] for r in found] == [422, 200]
    assert found[1]["document"]["tags"] == ["a", "b"]

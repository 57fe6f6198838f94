"""The OpenAPI document in the tree is the one that the service serves."""

from __future__ import annotations

import pytest

from scripts import openapi
from tests.support.service import Service


def test_the_document_in_the_tree_is_what_is_served(service: Service) -> None:
    if not service.environment:
        pytest.skip("a service that somebody else has started, with a METRICS_PORT")
    served = openapi.text(service.request("GET", "/openapi.json", key=None).json())
    assert (openapi.ROOT / openapi.FILE).read_text() == served, "write it again: make openapi"


def test_numbers_of_bytes_have_64_bits(service: Service) -> None:
    """Without the format, generated clients of Go and Java take 32."""
    schemas = service.request("GET", "/openapi.json", key=None).json()["components"]["schemas"]
    for model, name in (("DocumentModel", "size"), ("ChecksumModel", "part_size")):
        assert schemas[model]["properties"][name]["format"] == "int64", name
    assert schemas["Problem"]["properties"]["limit"]["format"] == "int64"

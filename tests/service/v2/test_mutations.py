"""Whatever is broken in a request, the answer is an answer or an error of the protocol, never a fault of the server."""

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.v2.conftest import Local
from tests.service.v2.requesting import HEADER, Sent, error, images, numbers, outputs, send

BLANK = np.zeros((1, 1, 28, 28))
PIXELS = np.zeros((2, 1, 2, 3), np.uint8)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001e521bc330000000049454e44ae426082"
)
FORMS = [
    form
    for binary in (False, True)
    for form in (
        images([PNG, PNG], binary, binary_data_output=binary),
        numbers("pixels", "UINT8", PIXELS, binary, timeout=10**7, priority=0),
        numbers("tensor", "FP32", BLANK, binary, latency_budget_ms=10**4, operating_point="fast"),
    )
]
for form in FORMS:
    form.document |= {"id": "1", "outputs": [{"name": "exit", "parameters": {"binary_data": True}}, {"name": "label"}]}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["image", "pixels", "tensor", "BYTES", "UINT8", "FP32", "FP64", "label", 2**31, 10**400, "AAAA"])
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
OFTEN = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every node of a document but the root, by its path."""
    children: list[Any] = []
    if isinstance(node, dict):
        children = list(node)
    elif isinstance(node, list):
        children = list(range(min(len(node), 2)))
    return [place for key in children for place in [(*path, key), *places(node[key], (*path, key))]]


def replace(document: Any, path: tuple[Any, ...], value: Any, delete: bool) -> None:
    *above, key = path
    for step in above:
        document = document[step]
    if delete:
        del document[key]
    else:
        document[key] = value


def answered(local: Local, sent: Sent) -> int:
    """The status of an answer or an error that the protocol knows."""
    response = send(local, sent)
    if response.status_code == 200:
        assert outputs(response)
    else:
        assert response.status_code in (400, 413, 415), response.text
        assert error(response)
    return response.status_code


def test_the_requests_are_right_before_they_are_broken(local: Local) -> None:
    assert [answered(local, copy.deepcopy(form)) for form in FORMS] == [200] * len(FORMS)


@OFTEN
@given(form=st.sampled_from(FORMS), data=st.data())
def test_a_broken_document(local: Local, form: Sent, data: st.DataObject) -> None:
    sent = copy.deepcopy(form)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(sent.document) or [("inputs",)]))
        replace(sent.document, path, data.draw(ANYTHING), delete=path[-1] in sent.document and data.draw(st.booleans()))
    answered(local, sent)


@OFTEN
@given(form=st.sampled_from(FORMS[3:]), change=st.integers(-9, 9), data=st.data())
def test_lengths_that_are_not_true(local: Local, form: Sent, change: int, data: st.DataObject) -> None:
    sent = copy.deepcopy(form)
    size = len(json.dumps(sent.document))
    sent.headers[HEADER] = data.draw(
        st.just(str(size))
        | st.integers(0, 2 * size).map(str)
        | st.text(st.characters(min_codepoint=33, max_codepoint=126))
    )
    sent.rest = sent.rest[:change] if change < 0 else sent.rest + bytes(change)
    told = data.draw(st.just(len(sent.rest)) | st.integers(-1, 2**32))
    sent.document["inputs"][0]["parameters"]["binary_data_size"] = told
    answered(local, sent)


@OFTEN
@given(
    form=st.sampled_from(FORMS[3:]), place=st.floats(0, 1, exclude_max=True), value=st.binary(min_size=1, max_size=6)
)
def test_bytes_that_are_others(local: Local, form: Sent, place: float, value: bytes) -> None:
    sent = copy.deepcopy(form)
    start = int(place * len(sent.rest))
    sent.rest = (sent.rest[:start] + value + sent.rest[start + len(value) :])[: len(sent.rest)]
    answered(local, sent)


@OFTEN
@given(
    body=st.binary(max_size=40) | ANYTHING.map(lambda value: json.dumps(value).encode()),
    size=st.none() | st.integers(0, 50),
)
def test_a_body_that_is_something_else(local: Local, body: bytes, size: int | None) -> None:
    headers = {} if size is None else {HEADER: str(size)}
    response = local.ask("POST", "/v2/models/fashion-mnist/infer", content=body, headers=headers)
    assert response.status_code == 400
    assert error(response)


@pytest.mark.parametrize("body", [b'{"id": "\\ud800"}', b"[" * 10**5, b'{"a":' * 10**5, b"\xff\xfe", b"1" * 5000])
def test_a_body_that_parsers_stumble_over(local: Local, body: bytes) -> None:
    response = local.ask("POST", "/v2/models/fashion-mnist/infer", content=body)
    assert response.status_code == 400
    assert error(response)

"""Requests as clients write them, and answers as they read them; by the specification, not by the server's code."""

import base64
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.service.v2.conftest import Local

HEADER = "inference-header-content-length"
INFER = "/v2/models/fashion-mnist/infer"
DTYPES = {"UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32}


@dataclass
class Sent:
    """A document and what follows it."""

    document: dict[str, Any]
    rest: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        document = json.dumps(self.document).encode()
        if self.rest:
            self.headers.setdefault(HEADER, str(len(document)))
        return document + self.rest


def images(pictures: list[bytes], binary: bool = False, **parameters: Any) -> Sent:
    """A request with encoded pictures."""
    tensor: dict[str, Any] = {"name": "image", "shape": [len(pictures)], "datatype": "BYTES"}
    if not binary:
        tensor["data"] = [base64.b64encode(picture).decode() for picture in pictures]
        return Sent({"inputs": [tensor], "parameters": parameters})
    rest = b"".join(struct.pack("<I", len(picture)) + picture for picture in pictures)
    tensor["parameters"] = {"binary_data_size": len(rest)}
    return Sent({"inputs": [tensor], "parameters": parameters}, rest)


def numbers(name: str, datatype: str, values: NDArray[Any], binary: bool = False, **parameters: Any) -> Sent:
    tensor: dict[str, Any] = {"name": name, "shape": list(values.shape), "datatype": datatype}
    if not binary:
        return Sent({"inputs": [{**tensor, "data": values.tolist()}], "parameters": parameters})
    rest = values.astype(DTYPES[datatype]).tobytes()
    tensor["parameters"] = {"binary_data_size": len(rest)}
    return Sent({"inputs": [tensor], "parameters": parameters}, rest)


def send(local: Local, sent: Sent, path: str = INFER) -> httpx.Response:
    body = sent.body
    return local.ask("POST", path, content=body, headers=sent.headers)


def outputs(response: httpx.Response) -> dict[str, Any]:
    """By name, each an array or a list of strings; in JSON or in the bytes behind it."""
    assert response.status_code == 200, response.text
    size = int(response.headers.get(HEADER, len(response.content)))
    document, rest = json.loads(response.content[:size]), response.content[size:]
    read = {}
    for output in document["outputs"]:
        length = output.get("parameters", {}).get("binary_data_size")
        own, rest = (None, rest) if length is None else (rest[:length], rest[length:])
        read[output["name"]] = values(output, own)
    assert not rest
    return read


def values(output: dict[str, Any], own: bytes | None) -> NDArray[Any] | list[str]:
    if output["datatype"] != "BYTES":
        dtype = DTYPES[output["datatype"]]
        array = np.array(output["data"], dtype) if own is None else np.frombuffer(own, dtype)
        shaped: NDArray[Any] = array.reshape(output["shape"])
        return shaped
    if own is None:
        listed: list[str] = output["data"]
        return listed
    texts = []
    while own:
        size = 4 + struct.unpack_from("<I", own)[0]
        texts.append(own[4:size].decode())
        own = own[size:]
    return texts


def error(response: httpx.Response) -> str:
    document = response.json()
    assert list(document) == ["error"], document
    assert isinstance(document["error"], str)
    assert document["error"]
    return document["error"]

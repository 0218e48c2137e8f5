"""Broken requests over HTTP: their documents, their lengths, their bytes, what carries them."""

import base64
import copy
import gzip
import json
import zlib
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

from benchmarks.mutations import edits

HEADER = "Inference-Header-Content-Length"
MODEL = "fashion-mnist"


@dataclass
class Sent:
    """`rest`: the bytes of a tensor, behind the document."""

    document: dict[str, Any]
    rest: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    path: str = f"/v2/models/{MODEL}/infer"
    body: bytes | None = None
    """In place of both."""

    def request(self, host: str) -> bytes:
        document = json.dumps(self.document).encode()
        body = document + self.rest if self.body is None else self.body
        headers = {"Host": host, "Content-Length": str(len(body))} | self.headers
        if self.rest:
            headers.setdefault(HEADER, str(len(document)))
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


def forms(picture: bytes) -> list[Sent]:
    """Right ones: every input, in JSON and as bytes."""
    pixels, blank = list(range(24)), [0.0] * 784
    contents = {
        ("image", "BYTES", (2,)): ([base64.b64encode(picture).decode()] * 2, 2 * sized(picture)),
        ("pixels", "UINT8", (2, 2, 2, 3)): (pixels, bytes(pixels)),
        ("tensor", "FP32", (1, 1, 28, 28)): (blank, bytes(4 * 784)),
    }
    made = []
    for (name, datatype, shape), (data, rest) in contents.items():
        tensor = {"name": name, "datatype": datatype, "shape": list(shape)}
        parameters = {"operating_point": "exact", "max_exit": 4, "timeout": 10**7, "priority": 0}
        outputs = [{"name": "exit", "parameters": {"binary_data": True}}, {"name": "label"}, {"name": "probabilities"}]
        common = {"id": "1", "parameters": parameters, "outputs": outputs}
        made.append(Sent({**common, "inputs": [{**tensor, "data": data}]}))
        size = {"binary_data_size": len(rest)}
        made.append(Sent({**common, "inputs": [{**tensor, "parameters": size}]}, rest))
    return made


def sized(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


def mutant(form: Sent, rng: Random) -> Sent:
    sent = copy.deepcopy(form)
    kinds = (edit_document, edit_lengths, edit_body, edit_carriage, replace_body)
    for edit in rng.choices(kinds, (8, 4, 5, 2, 1), k=rng.choice((1, 1, 2))):
        edit(sent, rng)
    return sent


def edit_document(sent: Sent, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 3))):
        node: Any = sent.document
        while True:
            if isinstance(node, dict) and rng.random() < 0.1:
                node[edits.text(rng)] = edits.value(rng)
                break
            keys = list(node) if isinstance(node, dict) else range(len(node))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(node[key], dict | list) and rng.random() < 0.7:
                node = node[key]
                continue
            if rng.random() < 0.2:
                del node[key]
            elif isinstance(node, list) and rng.random() < 0.2:
                node.insert(key, node[key])
            else:
                node[key] = edits.value(rng)
            break


def edit_lengths(sent: Sent, rng: Random) -> None:
    size = len(json.dumps(sent.document))
    if rng.random() < 0.4:
        known = (size, size - 1, size + 1, 0, size + len(sent.rest), 2**31, 2**64, -1)
        sent.headers[HEADER] = rng.choice((str(rng.choice(known)), str(rng.randrange(2 * size)), "a", "", "1e2", "+1"))
    if rng.random() < 0.5:
        change = rng.choice((-1, 1, 4, -4, -(len(sent.rest) // 2), 1000))
        sent.rest = sent.rest[:change] if change < 0 else sent.rest + rng.randbytes(change)
    inputs = sent.document.get("inputs")
    if rng.random() < 0.6 and isinstance(inputs, list) and inputs and isinstance(inputs[0], dict):
        told = rng.choice((len(sent.rest), len(sent.rest) - 1, *edits.INTEGERS))
        inputs[0]["parameters"] = {"binary_data_size": told}


def edit_body(sent: Sent, rng: Random) -> None:
    if sent.rest and rng.random() < 0.5:
        sent.rest = edits.bytes_of(rng, sent.rest)
        return
    document = json.dumps(sent.document).encode()
    if sent.rest:
        sent.headers.setdefault(HEADER, str(len(document)))
    sent.body = edits.bytes_of(rng, document + sent.rest)


def edit_carriage(sent: Sent, rng: Random) -> None:
    if rng.random() < 0.3:
        name, version = quote(edits.text(rng), safe=""), quote(edits.text(rng), safe="")
        sent.path = rng.choice((f"/v2/models/{name}/infer", f"/v2/models/{MODEL}/versions/{version}/infer"))
    if rng.random() < 0.3:
        sent.headers["Content-Type"] = rng.choice(("text/plain", "multipart/form-data", "a", "image/png", "/"))
    if rng.random() < 0.6:
        encoding, packed = rng.choice((("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes)))
        document = json.dumps(sent.document).encode()
        if sent.rest:
            sent.headers.setdefault(HEADER, str(len(document)))
        sent.headers["Content-Encoding"] = encoding
        sent.body = packed(document + sent.rest)
        if rng.random() < 0.5:
            sent.body = edits.bytes_of(rng, sent.body)


def replace_body(sent: Sent, rng: Random) -> None:
    sent.body = rng.choice(
        (rng.randbytes(rng.randrange(60)), json.dumps(edits.value(rng)).encode(), b"[" * 10**5, b'{"id": "\\ud800"}')
    )

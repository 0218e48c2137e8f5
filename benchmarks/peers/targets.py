"""How each peer is asked, in its own natural form for one PNG."""

import base64
import json
from collections.abc import Callable

from anytime_client.load.targets import Answer, Target

JSON = {"Content-Type": "application/json"}
BOUNDARY = "0123456789abcdef"
TRITON_HEADER = 256
"""Bytes of JSON before the tensor, padded so that the HTTP header that names their number is always the same."""


def mosec(url: str) -> Target:
    return Target("mosec", url, "/inference")


def litserve(url: str) -> Target:
    return Target("litserve", url, "/predict", body=in_base64, headers=JSON)


def bentoml(url: str) -> Target:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Target("bentoml", url, "/classify", only_index, in_a_form, headers)


def ray(url: str) -> Target:
    return Target("ray", url, "/")


def pytriton(url: str) -> Target:
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(TRITON_HEADER)}
    return Target("pytriton", url, "/v2/models/classifier/infer", triton_index, as_tensor, headers)


PEERS: dict[str, Callable[[str], Target]] = {
    "mosec": mosec,
    "litserve": litserve,
    "bentoml": bentoml,
    "ray": ray,
    "pytriton": pytriton,
}


def in_base64(png: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(png).decode()}).encode()


def in_a_form(png: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="image.png"\r\n'
    return f"{head}Content-Type: image/png\r\n\r\n".encode() + png + f"\r\n--{BOUNDARY}--\r\n".encode()


def only_index(body: bytes) -> Answer:
    (index,) = json.loads(body)
    return Answer(index)


def as_tensor(png: bytes) -> bytes:
    """The binary extension of the Open Inference Protocol: JSON, then the length and bytes of the one element."""
    size = {"binary_data_size": 4 + len(png)}
    header = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1, 1], "parameters": size}]}
    return json.dumps(header).encode().ljust(TRITON_HEADER) + len(png).to_bytes(4, "little") + png


def triton_index(body: bytes) -> Answer:
    (index,) = json.loads(body)["outputs"][0]["data"]
    return Answer(index)

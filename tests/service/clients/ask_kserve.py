"""KServe's clients ask a server: `ask_kserve.py URL ADDRESS MODEL PICTURE…` prints what they were told, as JSON.

Runs in an environment of its own, as they need an older protobuf than the server's tests do.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig

OUTPUTS = ("label", "class_index", "probabilities", "exit")


def request(model: str, tensor: InferInput, **parameters: Any) -> InferRequest:
    return InferRequest(model, [tensor], request_id="these", parameters=parameters)


def images(pictures: list[bytes]) -> InferInput:
    tensor = InferInput("image", [len(pictures)], "BYTES")
    tensor.set_data_from_numpy(np.array(pictures, np.object_))
    return tensor


def in_base64(pictures: list[bytes]) -> InferInput:
    return InferInput("image", [len(pictures)], "BYTES", [base64.b64encode(each).decode() for each in pictures])


def grey(binary: bool) -> InferInput:
    values = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28, 1)
    tensor = InferInput("pixels", [*values.shape], "UINT8")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


def told(response: InferResponse) -> dict[str, Any]:
    found = {output.name: output.as_numpy() for output in response.outputs if output.name in OUTPUTS}
    labels = [text.decode() if isinstance(text, bytes) else text for text in found.pop("label").tolist()]
    return {"id": response.id, "label": labels, **{name: values.tolist() for name, values in found.items()}}


async def error_of(call: Awaitable[Any]) -> list[Any]:
    try:
        await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    except grpc.aio.AioRpcError as error:
        return [error.code().name, error.details()]
    raise AssertionError("no error")


async def infers(
    infer: Callable[[InferRequest], Awaitable[InferResponse]], model: str, pictures: list[bytes], json_form: bool
) -> dict[str, Any]:
    answers = {
        "images": told(await infer(request(model, images(pictures)))),
        "to the end": told(
            await infer(request(model, images(pictures), confidence_threshold=1, latency_budget_ms=60_000))
        ),
        "pixels": told(await infer(request(model, grey(True)))),
        "pixels one by one": told(await infer(request(model, grey(False)))),
    }
    if json_form:
        answers["in base64"] = told(await infer(request(model, in_base64(pictures))))
        answers["outputs in bytes"] = told(await infer(request(model, images(pictures), binary_data_output=True)))
    errors = [
        await error_of(infer(request(model, images([b"words"])))),
        await error_of(infer(request(model, images(pictures), timeout=1))),
        await error_of(infer(request("other", images(pictures)))),
    ]
    return {"answers": answers, "errors": errors}


async def over_http(url: str, model: str, pictures: list[bytes]) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    checks = [client.is_server_live(url), client.is_server_ready(url)]
    ready = [client.is_model_ready(url, name) for name in (model, "other")]
    return {
        "ready": [await check for check in checks + ready],
        **await infers(lambda sent: client.infer(url, sent, sent.model_name), model, pictures, json_form=True),
    }


async def over_grpc(address: str, model: str, pictures: list[bytes]) -> dict[str, Any]:
    async with InferenceGRPCClient(address) as client:
        checks = [client.is_server_live(), client.is_server_ready()]
        ready = [client.is_model_ready(name) for name in (model, "other")]
        return {
            "ready": [await check for check in checks + ready],
            **await infers(client.infer, model, pictures, json_form=False),
        }


async def main() -> None:
    url, address, model, *paths = sys.argv[1:]
    pictures = [Path(path).read_bytes() for path in paths]
    spoken = {
        "http": await over_http(url, model, pictures),
        "grpc": await over_grpc(address, model, pictures),
    }
    json.dump(spoken, sys.stdout)


asyncio.run(main())

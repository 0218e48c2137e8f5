"""Does the server answer whatever comes? In turn: broken requests of the Open Inference Protocol, over HTTP and gRPC,
and of `/predict`; bytes that are hardly HTTP, and clients that leave.

`python -m benchmarks.mutations [--requests N] [--seed N] [--save]` counts answers by status. A fault is a request
without an answer, an answer that is none of the protocol or says that the server failed, a right request among them
that is answered otherwise than before, and a server that logs a failure. `--only N` repeats one request and shows it.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc

from anytime_client.load.connections import Pool
from benchmarks import report
from benchmarks.memory import resident_mb
from benchmarks.mutations import on_the_wire, over_grpc, over_http, over_predict
from benchmarks.server import Server
from service.protocols.v2.grpc.open_inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from training.progress import bar

REQUESTS, PROBE_EVERY, AT_A_TIME, PATIENCE = 100_000, 500, 8, 120.0
PICTURE = Path(__file__).parents[2] / "tests" / "data" / "ankle-boot.png"
SERVICE = "/inference.GRPCInferenceService/"
HTTP = {200, 400, 404, 413, 415, 429, 503}
PREDICT = HTTP | {405, 408, 422, 431}
WIRE = {*map(str, PREDICT), "none", "left"}
GRPC = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
LISTED = 20


@dataclass
class Asking:
    """A server under broken requests; each coroutine returns what the server said and raises nothing. `show`: what is
    sent and said.
    """

    server: Server
    channel: Any
    seed: int
    show: bool = False
    pool: Pool = field(init=False)
    answers: dict[int, asyncio.Future[tuple[int, bytes]]] = field(default_factory=dict)
    statuses: dict[str, Counter[str]] = field(init=False)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pool = Pool(self.server.url, AT_A_TIME, self.finished, time.perf_counter)
        self.host = f"{self.pool.host}:{self.pool.port}"
        picture = PICTURE.read_bytes()
        self.http_forms, self.grpc_forms = over_http.forms(picture), over_grpc.forms(picture)
        self.predict_forms = over_predict.forms(picture)
        self.ways: dict[str, Callable[[Random, int], Awaitable[tuple[str, bool, object]]]] = {
            "http": self.mutant_over_http,
            "grpc": self.mutant_over_grpc,
            "predict": self.mutant_of_predict,
            "wire": self.mutant_on_the_wire,
        }
        self.statuses = {way: Counter() for way in self.ways}

    def finished(self, number: int, status: int, body: bytes) -> None:
        if number in self.answers:
            self.answers.pop(number).set_result((status, body))

    async def answered(self, number: int, request: bytes) -> tuple[int, bytes]:
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.answers[number] = answer
        self.pool.submit(number, request)
        return await answer

    async def over_grpc(self, method: str, content: bytes) -> tuple[str, str, bytes]:
        """Status, details and the response; of a stream all of them, with a right request after this one."""
        try:
            if method != "ModelStreamInfer":
                return "OK", "", await self.channel.unary_unary(SERVICE + method)(content)
            right = self.grpc_forms[3]
            call = self.channel.stream_stream(SERVICE + method)(iter([content, named(right, "right")]))
            steps = [ModelStreamInferResponse.FromString(response) async for response in call]
        except grpc.aio.AioRpcError as error:
            pushed = "grpc-retry-pushback-ms" in dict(error.trailing_metadata() or ())
            lost = error.code() == grpc.StatusCode.UNAVAILABLE and not pushed
            return "LOST" if lost else error.code().name, error.details() or "", b""
        of_right = [step for step in steps if step.infer_response.id == "right" and not step.error_message]
        told = [step.error_message for step in steps if step.error_message]
        if len(of_right) != 4 or len(told) > 1 or "the server failed" in "".join(told):
            return "BROKEN_STREAM", f"{told}, and {len(of_right)} of 4 steps of the request behind it", b""
        return "INVALID_ARGUMENT" if told else "OK", "".join(told), b""

    async def mutant(self, number: int) -> None:
        way = list(self.ways)[number % len(self.ways)]
        status, fault, said = await self.ways[way](Random(f"{self.seed}/{number}"), number)
        self.statuses[way][status] += 1
        if fault:
            self.faults.append(f"{number}: {status} {str(said)[:300]}")
        self.tell(status, said)

    def tell(self, *words: object) -> None:
        if self.show:
            print(*words, file=sys.stderr)

    # Each way: the status, whether it is a fault, and what the server said.

    async def mutant_over_http(self, rng: Random, number: int) -> tuple[str, bool, object]:
        request = over_http.mutant(rng.choice(self.http_forms), rng).request(self.host)
        self.tell(request)
        status, body = await self.answered(number, request)
        return str(status), status not in HTTP or not readable(status, body), body

    async def mutant_over_grpc(self, rng: Random, number: int) -> tuple[str, bool, object]:
        method, content = rng.choice(over_grpc.METHODS), over_grpc.mutant(rng.choice(self.grpc_forms), rng)
        self.tell(method, content)
        code, details, _ = await self.over_grpc(method, content)
        return code, code not in GRPC, details

    async def mutant_of_predict(self, rng: Random, number: int) -> tuple[str, bool, object]:
        sent = over_predict.mutant(rng.choice(self.predict_forms), rng)
        request = sent.request(self.host)
        self.tell(request)
        status, body = await self.answered(number, request)
        return str(status), status not in PREDICT or not (status == 200 or is_error(body)), body

    async def mutant_on_the_wire(self, rng: Random, number: int) -> tuple[str, bool, object]:
        forms: list[over_predict.Sent | over_http.Sent] = [*self.predict_forms, *self.http_forms]
        request = rng.choice(forms).request(self.host)
        self.tell(request)
        status, said = await on_the_wire.ask(self.pool.host, self.pool.port, request, rng)
        return status, status not in WIRE, said

    async def right(self) -> list[Any]:
        """What is said to requests with nothing wrong."""
        told: list[Any] = []
        for place, form in enumerate(self.http_forms):
            told.append(await self.answered(-1 - place, form.request(self.host)))
        for request in self.grpc_forms:
            code, details, response = await self.over_grpc("ModelInfer", named(request, "1"))
            told.append((code, details, ModelInferResponse.FromString(response).raw_output_contents[:]))
        return told


def is_error(body: bytes) -> bool:
    """As `/predict` has it."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return False
    return {"code", "message"} <= set(error)


def named(request: Any, identity: str) -> bytes:
    copy = type(request)()
    copy.CopyFrom(request)
    copy.id = identity
    content: bytes = copy.SerializeToString()
    return content


def readable(status: int, body: bytes) -> bool:
    """It is what the protocol has: with a 200 outputs, else an error."""
    try:
        document, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    except ValueError:
        return False
    if status == 200:
        return bool(document.get("outputs"))
    return list(document) == ["error"] and bool(document["error"])


async def run(server: Server, requests: int, seed: int) -> dict[str, Any]:
    async with asking(server, seed) as about:
        before, sizes = await about.right(), {}
        wrong = 0 if all(told[0] in (200, "OK") for told in before) else 1
        for first in bar(range(0, requests, PROBE_EVERY), "asking"):
            done = min(first + PROBE_EVERY, requests)
            await side_by_side(about, iter(range(first, done)))
            wrong += await about.right() != before
            if done * 10 // requests > first * 10 // requests:
                sizes[done] = resident_mb(server.process.pid)
        peak = sum(map(peak_mb, server.processes))
    return {
        "requests": requests,
        "seed": seed,
        "answers_by_status": {name: dict(sorted(counts.items())) for name, counts in about.statuses.items()},
        "lost": requests - sum(counts.total() for counts in about.statuses.values()),
        "times_right_requests_were_answered_otherwise": wrong,
        "faults": len(about.faults),
        "first_faults": about.faults[:LISTED],
        "resident_mb": sizes,
        "peak_mb": round(peak, 1),
    }


def peak_mb(process: int) -> float:
    """Most that it has had (proc(5))."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


async def side_by_side(about: Asking, numbers: Iterator[int]) -> None:
    async def worker() -> None:
        for number in numbers:
            await patient(about, number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(worker())


async def patient(about: Asking, number: int) -> None:
    """A request without an answer is a fault, not the end."""
    try:
        async with asyncio.timeout(PATIENCE):
            await about.mutant(number)
    except TimeoutError:
        about.faults.append(f"{number}: no answer within {PATIENCE:g} s")


@asynccontextmanager
async def asking(server: Server, seed: int) -> Any:
    (address,) = re.findall(r"gRPC on (\S+)", "".join(server.log))
    async with grpc.aio.insecure_channel(address) as channel:
        about = Asking(server, channel, seed)
        yield about
        await about.pool.close()


async def once(server: Server, number: int, seed: int) -> None:
    async with asking(server, seed) as about:
        about.show = True
        await about.mutant(number)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one request, as a fault names it")
    parser.add_argument("--save", action="store_true", help="write the figures to benchmarks/results/, too")
    given = parser.parse_args()
    with Server("--grpc-port", "0") as server:
        told: Coroutine[Any, Any, Any] = (
            run(server, given.requests, given.seed) if given.only is None else once(server, given.only, given.seed)
        )
        figures = asyncio.run(told)
    if given.only is not None:
        print("".join(server.log), file=sys.stderr)
        return
    log = [line for line in "".join(server.log).splitlines() if "Traceback" in line or "failed" in line]
    figures["failures_logged"] = len(log)
    if log:
        print("".join(server.log), file=sys.stderr)
    if given.save:
        report.save("mutations", figures)
    else:
        print(json.dumps(figures, indent=2))
    wrong = ("lost", "times_right_requests_were_answered_otherwise", "faults", "failures_logged")
    sys.exit(1 if any(figures[name] for name in wrong) else 0)


if __name__ == "__main__":
    main()

"""The clients and the command against a real server."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from anytime_client import AsyncClient, Client, Options, Prediction, ServerError, Step, Unreachable
from anytime_client.__main__ import Ask, streamed
from anytime_client.client import Answer
from benchmarks.server import Server

ROOT = Path(__file__).parents[2]
BOOT = ROOT / "tests" / "data" / "ankle-boot.png"
OPTIONS = Options(budget_ms=5000)


def run(*arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anytime_client", *map(str, arguments)]
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder, env=where)


def label(answer: Answer) -> str:
    assert isinstance(answer, Prediction)
    return answer.label


def test_one_image_and_many(server: Server, tmp_path: Path) -> None:
    (tmp_path / "not.png").write_text("no picture")
    images: list[bytes | Path] = [BOOT, BOOT.read_bytes(), tmp_path / "not.png", tmp_path / "nowhere.png", BOOT]
    with Client(server.url, options=OPTIONS) as client:
        assert client.predict(BOOT).label == "Ankle boot"
        many = list(client.predict_many(images, concurrency=2))

    async def asynchronous() -> list[Answer]:
        async with AsyncClient(server.url, options=OPTIONS) as client:
            assert (await client.predict(BOOT)).label == "Ankle boot"
            return [answer async for answer in client.predict_many(images, concurrency=2)]

    for answers in (many, asyncio.run(asynchronous())):
        kinds = [type(answer) for answer in answers]
        assert kinds == [Prediction, Prediction, ServerError, FileNotFoundError, Prediction]
        assert label(answers[0]) == label(answers[4]) == "Ankle boot"
        assert isinstance(answers[2], ServerError)
        assert answers[2].code == "not_an_image"


def test_steps_are_those_of_the_stream_and_one_of_them_is_the_answer(server: Server) -> None:
    with Client(server.url, options=OPTIONS) as client:
        answer, steps = client.predict(BOOT), list(client.stream(BOOT))

    async def asynchronous() -> list[Step]:
        async with AsyncClient(server.url, options=OPTIONS) as client:
            return [step async for step in client.stream(BOOT)]

    for found in (steps, asyncio.run(asynchronous())):
        assert [step.exit for step in found] == [1, 2, 3, 4]
        assert [step.reason for step in found] == [None, None, None, "final"]
        (would,) = [step for step in found if step.would_answer]
        assert (would.exit, would.label) == (answer.exit, "Ankle boot")
        assert all(step.left_ms is not None and 0 < step.left_ms < 5000 for step in found)


def test_a_stream_that_is_refused_raises(server: Server) -> None:
    with Client(server.url, options=OPTIONS) as client, pytest.raises(ServerError, match="not_an_image"):
        list(client.stream(b"no picture"))
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match="ConnectError"):
        list(client.stream(BOOT))


def test_the_command_shows_a_stream(server: Server, tmp_path: Path) -> None:
    done = run(BOOT, tmp_path / "nowhere.png", "--url", server.url, "--budget-ms", 5000, "--stream")
    assert done.returncode == 1
    assert done.stdout.count("Ankle boot") == 4
    assert "→" in done.stdout
    assert "FileNotFoundError" in done.stderr
    lines = run(BOOT, "--url", server.url, "--budget-ms", 5000, "--stream", "--json-lines").stdout.splitlines()
    assert [json.loads(line)["exit"]["number"] for line in lines if line] == [1, 2, 3, 4]


def test_an_exit_that_is_told_twice_has_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    def event(name: str, number: int, reason: str | None, would: bool, told: bool) -> str:
        document = {
            **{"label": "Boot", "class_index": 9, "confidence": 0.5, "top": [{"label": "Boot", "probability": 0.5}]},
            **{"exit": {"number": number, "of": 4, "depth": number / 4, "reason": reason}, "would_answer": would},
            **{"told_before": told, "latency": {"elapsed_ms": 1.0, "left_ms": None}},
        }
        return f"event: {name}\ndata: {json.dumps(document)}\n\n"

    events = [event("exit", 1, None, True, False), event("exit", 2, None, False, False)]
    sent = "".join([*events, event("answer", 2, "load", False, True)])
    http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=sent)))
    with Client("http://server", http=http) as client:
        assert streamed(Ask(images=[BOOT], stream=True), client)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "Boot" in line]
    assert [(row[0], row[-2]) for row in rows] == [("→", "0.250"), ("Boot", "load")]


def test_images_are_taken_as_they_are_needed_and_leaving_early_is_clean(server: Server) -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield BOOT.read_bytes()

    with Client(server.url, options=OPTIONS) as client:
        answers = client.predict_many(endless(), concurrency=3)
        assert [label(next(answers)) for _ in range(4)] == ["Ankle boot"] * 4
        answers.close()
    assert len(taken) <= 4 + 3

    async def asynchronous() -> None:
        async with AsyncClient(server.url, options=OPTIONS) as client:
            async with aclosing(client.predict_many(endless(), concurrency=3)) as answers:
                async for answer in answers:
                    assert label(answer) == "Ankle boot"
                    break
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(asynchronous())


def test_json_of_many_files_is_whole(server: Server, tmp_path: Path) -> None:
    images = [tmp_path / f"photo[{number}].png" for number in range(12)]
    for image in images:
        image.write_bytes(BOOT.read_bytes())
    done = run(*images, "--url", server.url, "--budget-ms", 5000, "--json-lines")
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == list(map(str, images))
    table = run("photo[11].png", "--url", server.url, "--budget-ms", 5000, folder=tmp_path).stdout
    assert "photo[11].png" in table  # not taken for markup


def test_no_server_is_said(server: Server) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match="ConnectError"):
        client.predict(BOOT, Options(budget_ms=100, retries=1))


def test_the_command_prints_a_table(server: Server) -> None:
    done = run(BOOT, BOOT, "--url", server.url, "--budget-ms", 5000, "--top-k", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Ankle boot") == 2
    assert "of 4" in done.stdout
    assert "confident" in done.stdout


def test_the_command_prints_json_and_ends_with_1_where_an_answer_is_missing(server: Server, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.png"
    done = run(BOOT, nowhere, "--url", server.url, "--budget-ms", 5000, "--json-lines")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert (found[0]["image"], found[0]["label"], found[0]["attempts"]) == (str(BOOT), "Ankle boot", 1)
    assert found[1]["error"]["kind"] == "FileNotFoundError"

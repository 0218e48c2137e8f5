import io

import pytest

from training.progress import bar, doing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work() -> list[int]:
    with doing("converting"):
        return list(bar(range(3), "epoch 1/2", initial=1, total=4))


def test_a_terminal_is_told_what_goes_on_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert work() == [0, 1, 2]
    assert "converting …" in terminal.getvalue()
    assert "epoch 1/2:  25%" in terminal.getvalue()


@pytest.mark.parametrize(("stderr", "rank"), [(io.StringIO(), "0"), (Terminal(), "1")], ids=["a file", "not the first"])
def test_elsewhere_nothing_is_said(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, rank: str) -> None:
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("RANK", rank)
    assert work() == [0, 1, 2]
    assert stderr.getvalue() == ""

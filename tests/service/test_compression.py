import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.protocols.compression import LARGE, SMALL, chosen, compressed

UNPACKED: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip; q=0, deflate;q=0.000", None),
        ("gzip;q=0, *", "deflate"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("gzip;q=much", None),
        ("gzip;q=nan", None),
    ],
)
def test_the_encoding_that_the_client_likes_best(accepted: str, encoding: str | None) -> None:
    assert chosen(accepted) == encoding


@given(content=st.binary(min_size=1, max_size=9), size=st.sampled_from([SMALL, LARGE, LARGE + 1]), accepted=st.text())
def test_what_is_sent_is_what_was_answered(content: bytes, size: int, accepted: str) -> None:
    content = (content * size)[:size]
    for accept, encoding in (("gzip", "gzip"), ("deflate", "deflate"), (accepted, chosen(accepted))):
        sent, headers = asyncio.run(compressed(content, accept))
        assert headers.get("Content-Encoding") == encoding
        assert headers["Vary"] == "Accept-Encoding"
        assert UNPACKED.get(encoding, bytes)(sent) == content


def test_nothing_is_gained_by_compressing_little() -> None:
    content = bytes(SMALL - 1)
    assert asyncio.run(compressed(content, "gzip")) == (content, {"Vary": "Accept-Encoding"})

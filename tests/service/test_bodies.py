"""Bodies in every wrapping: what is taken out of it, and what is told of the rest."""

import base64
import contextlib
import gzip
import io
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.server import Server
from service.errors import BadEncoding, BodyTooLarge
from service.protocols import encodings, foreign
from service.protocols.schemas import Error
from tests.service.asking import BODY_LIMIT, NO_LIMIT
from tests.service.test_clients import BOOT

IMAGE = BOOT.read_bytes()
TEXT = base64.b64encode(IMAGE)


def encoded(image: Image.Image, name: str) -> bytes:
    file = io.BytesIO()
    image.save(file, name)
    return file.getvalue()


def deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def part(name: str, content: bytes, more: str = "") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


def send(server: Server, content: bytes, **headers: str) -> tuple[int, str]:
    """The status, and the label or the code of the error."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    response = server.client.post("/predict", content=content, params=NO_LIMIT, headers=headers)
    if response.status_code == 200:
        return 200, response.json()["label"]
    error = Error.model_validate_json(response.text).error
    return response.status_code, f"{error.code}: {error.message}"


@pytest.mark.parametrize(
    "image", [part("image", IMAGE), part("image", IMAGE, '; filename=""'), part("image", IMAGE, "; filename=a.txt")]
)
def test_a_field_needs_no_file_name(server: Server, image: bytes) -> None:
    for form in (image + part("top_k", b"2"), part("top_k", b"2", '; filename="top_k"') + image):
        assert send(server, form + b"--x--\r\n", content_type="multipart/form-data; boundary=x") == (200, "Ankle boot")


def test_a_large_field_without_a_file_name_is_read_whole(server: Server) -> None:
    image = encoded(Image.effect_noise((1500, 1500), 100), "BMP")
    assert len(image) > 2 * 2**20
    raw = send(server, image)
    form = send(server, part("image", image) + b"--x--\r\n", content_type="multipart/form-data; boundary=x")
    assert raw[0] == 200
    assert form == raw


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "application/json",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "multipart/related; boundary=x",
        "nonsense",
        "",
    ],
)
def test_an_image_is_known_by_its_bytes(server: Server, content_type: str) -> None:
    assert send(server, IMAGE, content_type=content_type) == (200, "Ankle boot")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (gzip.compress(IMAGE), "gzip"),
        (gzip.compress(IMAGE), "X-GZip"),
        (gzip.compress(IMAGE[:99]) + gzip.compress(IMAGE[99:]) + bytes(9), "gzip, identity"),
        (zlib.compress(IMAGE), "deflate"),
        (deflated(IMAGE), "deflate"),
        (IMAGE, "identity"),
        (IMAGE, ""),
    ],
)
def test_an_encoded_body_is_decoded(server: Server, content: bytes, encoding: str) -> None:
    assert send(server, content, content_encoding=encoding) == (200, "Ankle boot")


def test_an_encoded_form_is_decoded(server: Server) -> None:
    form = gzip.compress(part("image", IMAGE) + b"--x--\r\n")
    typed = {"content_type": "multipart/form-data; boundary=x", "content_encoding": "gzip"}
    assert send(server, form, **typed) == (200, "Ankle boot")


@pytest.mark.parametrize(
    ("content", "encoding", "status", "code"),
    [
        (gzip.compress(bytes(BODY_LIMIT + 1)), "gzip", 413, "body_too_large"),
        (gzip.compress(bytes(BODY_LIMIT // 2 + 1)) * 2, "gzip", 413, "body_too_large"),
        (zlib.compress(bytes(BODY_LIMIT + 1)), "deflate", 413, "body_too_large"),
        (gzip.compress(IMAGE)[:-9], "gzip", 400, "bad_encoding"),
        (gzip.compress(IMAGE)[:-4] + b"0000", "gzip", 400, "bad_encoding"),
        (gzip.compress(IMAGE) + b"more", "gzip", 400, "bad_encoding"),
        (gzip.compress(b"") * 1000, "gzip", 400, "bad_encoding"),
        (IMAGE, "gzip", 400, "bad_encoding"),
        (IMAGE, "deflate", 400, "bad_encoding"),
        (b"", "gzip", 400, "bad_encoding"),
        (IMAGE, "br", 415, "unsupported_encoding"),
        (IMAGE, "zstd", 415, "unsupported_encoding"),
        (gzip.compress(gzip.compress(IMAGE)), "gzip, gzip", 415, "unsupported_encoding"),
    ],
)
def test_an_encoding_that_cannot_be_undone_is_named(
    server: Server, content: bytes, encoding: str, status: int, code: str
) -> None:
    found, error = send(server, content, content_encoding=encoding)
    assert (found, error.split(":")[0]) == (status, code)
    if code == "unsupported_encoding":
        assert "gzip, deflate" in error


def test_an_unknown_encoding_is_told_the_known_ones(server: Server) -> None:
    response = server.client.post("/predict", content=IMAGE, headers={"content-encoding": "br"})
    assert response.headers["accept-encoding"] == "gzip, deflate"


@given(
    st.binary(max_size=3000),
    st.sampled_from([gzip.compress, zlib.compress, deflated]),
    st.integers(0, 200),
    st.binary(max_size=3),
)
def test_no_more_than_the_limit_is_unpacked(content: bytes, pack: object, at: int, put: bytes) -> None:
    assert callable(pack)
    encoding = "gzip" if pack is gzip.compress else "deflate"
    packed: bytes = pack(content)
    for sent in (packed, packed[:at] + put + packed[at + len(put) :]):
        with contextlib.suppress(BadEncoding, BodyTooLarge):
            unpacked = encodings.decode(sent, encoding, 1000)
            assert len(unpacked) <= 1000
            assert sent != packed or unpacked == content


@pytest.mark.parametrize(
    ("content", "content_type", "named"),
    [
        (json.dumps({"image": TEXT.decode()}).encode(), "application/json", "JSON"),
        (json.dumps({"image": TEXT.decode(), "name": "é"}, ensure_ascii=False).encode(), "", "JSON"),
        (b"\xef\xbb\xbf \n[1, 2]", "text/plain", "JSON"),
        (b"{}", "", "JSON"),
        (b"null", "application/json; charset=utf-8", "JSON"),
        (b'{"x": 1}', "application/x-www-form-urlencoded", "JSON"),
        (b'{"x": 1}', "application/vnd.api+json", "JSON"),
        (b'{"instances": [{"b64": "' + TEXT + b'"}]}', "application/json", "'instances'"),
        (b'{"signature_name": "x",\n "instances": [[[0.5, 1]]]}', "", "'instances'"),
        (b"data:image/png;base64," + TEXT, "text/plain", "data: URL"),
        (b'"data:image/png;base64,' + TEXT + b'"', "application/json", "data: URL"),
        (TEXT, "", "base64"),
        (base64.encodebytes(IMAGE), "text/plain", "base64"),
        (b'"' + TEXT + b'"', "application/json", "base64"),
        (base64.urlsafe_b64encode(IMAGE), "image/png", "base64"),
        (TEXT, "application/x-www-form-urlencoded", "base64"),
        (b"latency_budget_ms=50&image=" + TEXT, "application/x-www-form-urlencoded", "urlencoded"),
        (b"image=%89PNG", "", "urlencoded"),
        (b"image=@boot.png", "application/x-www-form-urlencoded", "urlencoded"),
        (IMAGE.translate(None, b"\0\r\n"), "application/x-www-form-urlencoded", "curl -d"),
        (part("image", IMAGE) + b"--x--", "application/json", "application/json"),
        (part("image", IMAGE) + b"--x--", "", "missing"),
        (b"--x\r\nContent-Type: image/png\r\n\r\n" + IMAGE + b"\r\n--x--", "multipart/related; boundary=x", "related"),
        (b"--x\nContent-Type: image/png\n\n" + IMAGE + b"\n--x--", "multipart/mixed; boundary=x", "multipart/mixed"),
        (gzip.compress(IMAGE), "", "Content-Encoding: gzip"),
        (part("image", TEXT) + b"--x--", "multipart/form-data; boundary=x", "base64"),
        (part("image", b"data:image/png;base64," + TEXT) + b"--x--", "multipart/form-data; boundary=x", "data: URL"),
    ],
)
def test_another_interface_is_named_and_this_one_told(
    server: Server, content: bytes, content_type: str, named: str
) -> None:
    for query in ("", "?latency_budget_ms=inf", "?budget=1"):
        headers = {"content-type": content_type} if content_type else {}
        response = server.client.post(f"/predict{query}", content=content, headers=headers)
        error = Error.model_validate_json(response.text).error
        assert (response.status_code, error.code) == (415, "unsupported_body")
        assert named in error.message
        assert "--data-binary @FILE" in error.message
        assert "-F image=@FILE" in error.message


@pytest.mark.parametrize(
    ("content", "content_type", "named"),
    [
        (part("picture", IMAGE) + b"--x--", "multipart/form-data; boundary=x", "'picture'"),
        (part("image", IMAGE) * 65 + b"--x--", "multipart/form-data; boundary=x", "more than 64 images"),
        (part("image", IMAGE) + b"--x--", "multipart/form-data", "boundary"),
        (part("image", IMAGE) + b"--x--", "multipart/form-data; boundary=y", "boundary"),
        (part("image", IMAGE), "multipart/form-data; boundary=x", "cut short"),
        (b"", "multipart/form-data; boundary=x", "cut short"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", "no field 'image'"),
        (part("image", IMAGE) + part("top_k", b"\xff") + b"--x--", "multipart/form-data; boundary=x", "UTF-8"),
        (part("x", b"") * 99 + b"--x--", "multipart/form-data; boundary=x", ""),
        (
            part("image", TEXT, "\r\nContent-Transfer-Encoding: base64") + b"--x--",
            "multipart/form-data; boundary=x",
            "base64",
        ),
        (b"--x\r\n\r\nnameless\r\n--x--", "multipart/form-data; boundary=x", "no name"),
        (b"--" + b"b" * 999, "multipart/form-data; boundary=" + "b" * 999, "boundary"),
    ],
)
def test_a_form_that_cannot_be_read_says_why(server: Server, content: bytes, content_type: str, named: str) -> None:
    status, error = send(server, content, content_type=content_type)
    assert (status, error.split(":")[0]) == (400, "bad_form")
    assert named.lower() in error.lower()


@pytest.mark.parametrize("line", [b"a\r\n", b"a", b"-", b"\r\n", b'["', b"a=", b"%"])
def test_no_text_takes_long_to_be_described(line: bytes) -> None:
    for start in (b"", b"--x\r\n", b"{", b"image="):
        foreign.describe(start + line * 100_000, "application/x-www-form-urlencoded")


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("color", [0, 32, 255])
def test_no_picture_is_taken_for_text(name: str, color: int) -> None:
    for size in ((1, 1), (28, 28), (32, 8224)):
        content = encoded(Image.new("L", size, color), name)
        assert not foreign.is_text(content)
        assert foreign.describe(content, "application/x-www-form-urlencoded") is None


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.sampled_from([b"\r\n", b"--x", b"--", b"\r\n--x", b"Content-Disposition: form-data; name=image", b"a:"])
    ),
    st.binary(max_size=99),
    st.sampled_from(["multipart/form-data; boundary=x", "multipart/related", "application/json", ""]),
)
def test_no_form_breaks_the_server(server: Server, pieces: list[bytes], tail: bytes, content_type: str) -> None:
    status, _ = send(server, b"".join(pieces) + tail, content_type=content_type)
    assert status in (400, 415)

"""Pictures as people have them, sent to a real server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.server import Server
from decoding import open_picture
from service.protocols.schemas import Error, Prediction
from tests.decoding import mutations
from tests.decoding.pictures import CASES, boot, encoded
from tests.service.asking import NO_LIMIT, ask

EVERYTHING = {"confidence_threshold": 1, "max_exit": 2, "top_k": 10}
REFERENCES = {(28, 28): "reference", (112, 112): "reference-4x", (224, 224): "reference-8x"}
REFUSED = {
    "palette-without-PLTE.png": ("not_an_image", "this PNG is damaged"),
    "i32-small.tif": ("unsupported_format", "32-bit signed integers, whose black is ambiguous"),
    "f16-01.tif": ("unsupported_format", "TIFF with 16-bit floats"),
}


def probabilities(answer: Prediction) -> list[float]:
    return [label.probability for label in sorted(answer.top, key=lambda label: label.class_index)]


@pytest.mark.parametrize("case", sorted(CASES.glob("*/*")), ids=lambda case: case.name)
def test_a_case_is_answered_as_its_reference_or_refused_by_name(server: Server, case: Path) -> None:
    content = case.read_bytes()
    if case.name in REFUSED:
        code, says = REFUSED[case.name]
        response = server.client.post("/predict", content=content, params=NO_LIMIT)
        error = Error.model_validate_json(response.text).error
        assert (response.status_code, error.code) == (415, code)
        assert says in error.message
        return
    reference = (CASES / f"{REFERENCES[open_picture(content).size]}.png").read_bytes()
    expected, seen = (probabilities(ask(server, image, **EVERYTHING)) for image in (reference, content))
    np.testing.assert_allclose(seen, expected, atol=0.02)


@pytest.mark.parametrize("size", [(5712, 4284), (8064, 6048)])
def test_a_photo_of_a_phone_is_taken(server: Server, size: tuple[int, int]) -> None:
    large = Image.fromarray(boot()).resize(size, Image.Resampling.BILINEAR)
    small = encoded(Image.fromarray(boot()), "PNG")
    photo = encoded(large, "JPEG", quality=90)
    expected, seen = (ask(server, image, **EVERYTHING) for image in (small, photo))
    assert seen.label == expected.label
    np.testing.assert_allclose(probabilities(seen), probabilities(expected), atol=0.05)


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 50, "progressive": True}), ("PNG", {"compress_level": 1})]
)
def test_what_cannot_be_decoded_smaller_is_limited(server: Server, kind: str, options: dict[str, object]) -> None:
    content = encoded(Image.new("L", (6000, 5000)), kind, **options)
    response = server.client.post("/predict", content=content, params=NO_LIMIT)
    error = Error.model_validate_json(response.text).error
    assert (response.status_code, error.code) == (413, "image_too_large")
    assert "6000×5000 pixels; at most 25000000 are accepted" in error.message


def test_damaged_files_get_an_answer_or_an_error_of_the_client(server: Server) -> None:
    files, random = mutations.corpus(), np.random.default_rng(2)
    for _ in range(1500):
        content = mutations.mutated(files, random)
        response = server.client.post("/predict", content=content, params=NO_LIMIT)
        assert response.status_code in {200, 400, 413, 415}, response.text

from tests.decoding.mutations import outcomes


def test_damaged_files_are_read_or_refused() -> None:
    found = outcomes(100_000, seed=0)
    assert found.total() == 100_000
    assert {*found} == {"read", "EmptyImage", "ImageTooLarge", "NotAnImage", "UnsupportedFormat"}

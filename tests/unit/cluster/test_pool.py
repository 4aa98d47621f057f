"""Pieces of work, and what became of them."""

from veneer.cluster.pool import Answer, answering, pieces
from veneer.errors import DatasetError


def test_pieces_are_of_one_size_and_the_last_is_smaller() -> None:
    assert list(pieces([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(pieces([], 2)) == []


def test_an_error_travels_with_all_that_it_says() -> None:
    def fail() -> None:
        raise DatasetError("broken", where="a.png", todo="Take it out")

    assert answering(fail) == Answer(error=(DatasetError, "broken", "a.png", "Take it out"))
    assert answering(lambda: 3) == Answer(3)

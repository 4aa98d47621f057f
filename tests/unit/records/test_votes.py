from pathlib import Path

import pytest

from veneer.errors import RunError
from veneer.records.votes import Vote, add_vote, read_votes

VOTE = Vote(prompt="a cat", pictures="0f" * 8, choice="tuned")


def test_votes_are_read_as_they_were_given_and_a_torn_one_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    assert read_votes(path) == ()
    add_vote(path, VOTE)
    with path.open("a") as file:
        file.write('{"prompt": "a d')
    assert read_votes(path) == (VOTE,)
    add_vote(path, VOTE)
    assert read_votes(path) == (VOTE, VOTE)


def test_a_line_that_is_no_vote_is_told(tmp_path: Path) -> None:
    (tmp_path / "votes.jsonl").write_text('{"prompt": "a cat", "pictures": "", "choice": "mine"}\n')
    with pytest.raises(RunError, match=r"choice"):
        read_votes(tmp_path / "votes.jsonl")

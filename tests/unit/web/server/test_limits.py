"""What the studio lets be asked of it."""

from __future__ import annotations

from pathlib import Path

from veneer.web.server.limits import FREE_TRIES, LONGEST_WAIT_SECONDS, Tries, Uploads


def test_waits_grow_end_and_are_forgotten_with_the_right_password() -> None:
    now = [0.0]
    tries = Tries(lambda: now[0])
    waits = []
    for _ in range(20):
        tries.note("a", is_right=False)
        waits.append(tries.wait("a"))
        now[0] += waits[-1]
    assert waits[: FREE_TRIES + 2] == [0, 0, 0, 0, 2, 4, 8]
    assert max(waits) == LONGEST_WAIT_SECONDS
    tries.note("a", is_right=True)
    now[0] += LONGEST_WAIT_SECONDS
    assert tries.wait("a") == 0


def test_many_addresses_gain_nothing_and_take_no_memory() -> None:
    tries = Tries(lambda: 0.0)
    for number in range(5000):
        tries.note(str(number), is_right=False)
    assert tries.wait("another") == LONGEST_WAIT_SECONDS
    assert len(tries._wrong) <= 1000


def test_uploads_have_a_total_and_old_ones_go(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", most_bytes=1000)
    assert uploads.room() == 1000
    for name, size in (("a/one.png", 300), ("a/two.png", 200), ("b/three.png", 700)):
        path = tmp_path / "uploads" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert uploads.room() == 0
    assert uploads.remove_stale(seconds=3600) == 0
    assert uploads.remove_stale(seconds=-1) == 3
    assert uploads.room() == 1000

import errno
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.webserver import encoded, result_page, web_server
from veneer.config import CollectTable
from veneer.data.download import Reach
from veneer.data.provenance import Provenance
from veneer.errors import DatasetError, NetworkError
from veneer.records.dataset import Dataset
from veneer.records.jsonlines import read_lines
from veneer.stages.collect import collect

HOSTS = {"pictures.example": "127.0.0.1", "inside.example": "10.0.0.1", "other.example": "127.0.0.1"}
TABLE = CollectTable(max_file_mib=0.5)


@pytest.fixture
def web() -> Iterator[Any]:
    with web_server() as server:
        yield server


def entries(dataset: Dataset) -> list[dict[str, Any]]:
    return list(read_lines(dataset.provenance_jsonl))


def resolve(host: str, port: int) -> list[str]:
    """Names of the tests lead to the test's server; other addresses stay what they are."""
    try:
        return [HOSTS.get(host) or str(ipaddress.ip_address(host))]
    except ValueError as error:
        raise socket.gaierror(-2, f"no such name in the test: {host}") from error


def only_the_server(address: object) -> bool:
    return str(address) == "127.0.0.1"


REACH = Reach(seconds=1.5, backoff_seconds=0.01, is_allowed=only_the_server, resolve=resolve)


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():  # the test's own time limit ends it
        time.sleep(0.02)


def listed(tmp_path: Path, addresses: list[str]) -> str:
    file = tmp_path / "list.txt"
    file.write_text("\n".join(addresses), "utf-8")
    return f"urls:{file}"


def gather(
    sources: list[str], out: Path, table: CollectTable = TABLE, reach: Reach = REACH, **more: Any
) -> tuple[Any, list[Any]]:
    events: list[Any] = []
    try:
        result = collect(sources, out, table, events.append, reach=reach, **more)
    except (DatasetError, NetworkError) as error:
        return error, events
    return result, events


def reasons(out: Path) -> dict[str, str]:
    path = out / "rejected" / "reasons.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return {line["origin"]: line["reason"] for line in lines}


def test_every_bad_kind_is_left_out_with_its_reason_and_the_good_ones_are_kept(
    tmp_path: Path, web: Any
) -> None:
    good = [web.picture(f"/{i}.png", i) for i in range(5)]
    named = web.address.replace("127.0.0.1", "pictures.example")
    bad = {
        web.address + "/missing.jpg": "404",
        web.answer("/forbidden.jpg", 403): "403",
        web.answer("/page.jpg", 200, b"<html>", Content_Type="text/html"): "web page",
        web.answer("/page2.jpg", 200, b"<html>not a picture</html>"): "a web page",
        web.answer("/half.jpg", 200, encoded(9, 64, "JPEG")[:700]): "truncated",
        web.answer("/large.png", 200, b"\0" * 600_000): "larger than 0.5 MiB",
        web.address + "/endless": "larger than 0.5 MiB",
        web.answer("/empty.png", 200, b""): "sent nothing",
        web.answer(
            "/noai.png", 200, encoded(30), X_Robots_Tag="noai, noimageai"
        ): "not to be used for training",
        web.answer("/in.png", 302, Location="http://inside.example/secret.png"): "not a public address",
        web.answer("/local.png", 302, Location="http://127.0.0.2:80/x.png"): "not a public address",
        web.answer("/meta.png", 302, Location="http://169.254.169.254/latest/"): "not a public address",
        web.answer("/file.png", 302, Location="file:///etc/passwd"): "only http and https",
        web.answer("/loop.png", 302, Location="/loop.png"): "redirects",
        "http://inside.example/x.png": "not a public address",
        "http://[::ffff:10.1.2.3]/x.png": "not a public address",
    }
    moved = web.answer("/moved.png", 301, Location=f"{named}/7.png")
    web.picture("/7.png", 7)
    same = web.picture("/copy.png", 0)
    source = listed(tmp_path, [*good, *bad, moved, same])
    result, _ = gather([source], tmp_path / "set")
    assert result.pictures == 6
    assert result.added == 6
    left_out = reasons(tmp_path / "set")
    for address, words in bad.items():
        assert words in left_out[address], (address, left_out[address])
    assert left_out[same] == "same bytes as another picture"
    assert not (tmp_path / "set" / ".downloads").exists()
    assert not list((tmp_path / "set" / "images").glob(".*"))


def test_the_same_command_downloads_nothing_twice(tmp_path: Path, web: Any) -> None:
    source = listed(
        tmp_path, [web.picture(f"/{i}.png", i) for i in range(5)] + [web.address + "/missing.jpg"]
    )
    gather([source], tmp_path / "set")
    before = dict(web.asked)
    result, _ = gather([source], tmp_path / "set")
    assert (result.added, result.known, result.pictures) == (0, 6, 5)
    assert dict(web.asked) == before


def test_what_an_interrupted_command_had_fetched_is_not_fetched_again(
    tmp_path: Path, web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = listed(tmp_path, [web.picture(f"/{i}.png", i) for i in range(9)])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Provenance, "accept", killed)
        with pytest.raises(KeyboardInterrupt):
            gather([source], tmp_path / "set")
    wait_for(lambda: not any(t.name.startswith("download") for t in threading.enumerate()))
    whole = [f for f in (tmp_path / "set" / ".downloads").iterdir() if f.suffix != ".part"]
    assert whole
    before = web.asked.total()
    result, _ = gather([source], tmp_path / "set")
    assert result.added == 9
    assert web.asked.total() - before == 9 - len(whole)
    assert not (tmp_path / "set" / ".downloads").exists()


def test_a_server_that_asks_for_a_long_wait_is_left_for_the_next_command(tmp_path: Path, web: Any) -> None:
    later = web.answer("/later.png", 429, Retry_After="3600")
    source = listed(tmp_path, [*(web.picture(f"/{i}.png", i) for i in range(4)), later])
    result, _ = gather([source], tmp_path / "set")
    assert result.reasons == {"the server asks to come back later (429)": 1}
    assert web.asked["/later.png"] == 1


def test_waiting_for_a_turn_at_one_host_is_not_held_against_a_file(tmp_path: Path, web: Any) -> None:
    pictures = [web.picture(f"/{i}.png", i) for i in range(8)]
    for i in range(8):
        answer = web.paths[f"/{i}.png"]
        web.paths[f"/{i}.png"] = lambda answer=answer: time.sleep(0.5) or answer()
    reach = replace(REACH, seconds=2.5, per_host=1, attempts=1)
    result, _ = gather([listed(tmp_path, pictures)], tmp_path / "set", reach=reach)
    assert result.added == 8


def test_connections_to_one_host_are_limited(tmp_path: Path, web: Any) -> None:
    pictures = [web.picture(f"/{i}.png", i) for i in range(10)]
    at_work, most, lock = [], [], threading.Lock()

    def slow(answer: Callable[[], Any]) -> Any:
        with lock:
            at_work.append(1)
            most.append(len(at_work))
        time.sleep(0.05)
        with lock:
            at_work.pop()
        return answer()

    for i in range(10):
        web.paths[f"/{i}.png"] = lambda answer=web.paths[f"/{i}.png"]: slow(answer)
    gather([listed(tmp_path, pictures)], tmp_path / "set", reach=replace(REACH, seconds=30, per_host=2))
    assert max(most) == 2


def test_a_full_disk_is_one_clear_line_and_the_same_command_goes_on(
    tmp_path: Path, web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = listed(tmp_path, [web.picture(f"/{i}.png", i) for i in range(6)])
    accept = Provenance.accept

    def full(self: Any, *arguments: Any) -> Any:
        if len(self.accepted) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return accept(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Provenance, "accept", full)
        error, _ = gather([source], tmp_path / "set")
    assert isinstance(error, DatasetError)
    assert str(error).startswith("the disk is full")
    assert f"({tmp_path / 'set'}). Free some space" in str(error)
    assert "4 pictures kept" in str(error)
    assert not (tmp_path / "set" / ".downloads").exists()
    result, _ = gather([source], tmp_path / "set")
    assert (result.added, result.pictures) == (2, 6)


def test_a_dripping_server_is_left_and_tried_again_by_the_same_command(tmp_path: Path, web: Any) -> None:
    slow = web.address + "/slow"
    source = listed(tmp_path, [*(web.picture(f"/{i}.png", i) for i in range(4)), slow])
    result, events = gather([source], tmp_path / "set")
    assert result.reasons == {"not there within 1.5 s": 1}
    assert any(getattr(e, "code", "") == "not-fetched" for e in events)
    assert slow not in reasons(tmp_path / "set")
    gather([source], tmp_path / "set")
    assert web.asked["/slow"] == 2


def test_a_busy_server_is_asked_again(tmp_path: Path, web: Any) -> None:
    web.picture("/busy.png", 9)
    content = web.paths["/busy.png"]()
    answers = iter([(429, {}, b""), (503, {}, b""), content])
    web.paths["/busy.png"] = lambda: next(answers)
    source = listed(tmp_path, [*(web.picture(f"/{i}.png", i) for i in range(4)), web.address + "/busy.png"])
    result, _ = gather([source], tmp_path / "set")
    assert result.added == 5
    assert web.asked["/busy.png"] == 3


def test_private_addresses_are_refused_unless_allowed(tmp_path: Path, web: Any) -> None:
    source = listed(tmp_path, [web.picture(f"/{i}.png", i) for i in range(4)])
    error, _ = gather([source], tmp_path / "refused", reach=Reach(resolve=resolve))
    assert isinstance(error, DatasetError)
    assert web.asked == {}
    reach = Reach(resolve=resolve)
    result, _ = gather([source], tmp_path / "allowed", reach=reach, allow_private_addresses=True)
    assert result.added == 4


def test_a_search_is_paged_by_results_and_takes_its_filters_along(tmp_path: Path, web: Any) -> None:
    web.results = [web.picture(f"/{i}.png", i) for i in range(60)]
    search = "bing:red houses;size=large;type=photo;licence=public"
    result, _ = gather([search], tmp_path / "set", search_address=web.address + "/search")
    assert result.added == 60
    assert [query["first"] for query in web.searches] == [["1"], ["36"], ["61"]]
    assert web.searches[0]["q"] == ["red houses"]
    assert web.searches[0]["qft"] == [" filterui:imagesize-large filterui:photo-photo filterui:license-L1"]
    entry = entries(Dataset(tmp_path / "set"))[0]
    assert entry["query"] == "red houses"
    assert entry["page"] == "http://pages.example/0"
    assert entry["origin"] == web.results[0]
    assert entry["licence"] == "search filter public"
    assert len(entry["sha256"]) == 64
    assert entry["time"].endswith("+00:00")


def test_a_limit_ends_the_search_and_two_searches_share_it(tmp_path: Path, web: Any) -> None:
    web.results = [web.picture(f"/{i}.png", i) for i in range(40)]
    pages = {"cats": web.results[:20], "dogs": web.results[20:]}

    def page(first: int, count: int) -> bytes:
        words = web.searches[-1]["q"][0]
        return result_page(pages[words][first - 1 : first - 1 + count])

    web.result_page = page
    table = CollectTable(limit=10, max_file_mib=0.5)
    result, _ = gather(
        ["bing:cats", "bing:dogs"], tmp_path / "set", table, search_address=web.address + "/search"
    )
    assert result.pictures == 10
    queries = [entry["query"] for entry in entries(Dataset(tmp_path / "set"))]
    assert (queries.count("cats"), queries.count("dogs")) == (5, 5)


def test_a_page_of_another_form_is_saved_and_other_sources_are_named(tmp_path: Path, web: Any) -> None:
    web.result_page = lambda first, count: b"<html><body>we have a new design</body></html>"
    error, events = gather(["bing:red houses"], tmp_path / "set", search_address=web.address + "/search")
    assert isinstance(error, NetworkError)
    saved = tmp_path / "set" / "search-pages" / "red-houses.html"
    assert "no results understood" in str(error)
    assert str(saved) in str(error)
    assert "urls:FILE" in str(error)
    assert "new design" in saved.read_text()
    assert [e.code for e in events if hasattr(e, "code")] == ["no-results-understood"]


def test_no_results_and_a_refused_search_are_told_apart(tmp_path: Path, web: Any) -> None:
    error, _ = gather(["bing:nothing"], tmp_path / "a", search_address=web.address + "/search")
    assert "no results. Try other words" in str(error)
    web.answer("/busy", 429)
    error, _ = gather(["bing:cats"], tmp_path / "b", search_address=web.address + "/busy")
    assert isinstance(error, NetworkError)
    assert "the search stopped: the server asks to come back later (429)" in str(error)


def test_what_was_got_before_a_search_broke_is_kept(tmp_path: Path, web: Any) -> None:
    web.results = [web.picture(f"/{i}.png", i) for i in range(35)]
    page = web.result_page

    def breaks(first: int, count: int) -> bytes:
        if first > 1:
            raise ConnectionError
        return page(first, count)

    web.result_page = breaks
    result, events = gather(["bing:cats"], tmp_path / "set", search_address=web.address + "/search")
    assert result.pictures == 35
    assert any("after 35 results" in e.message for e in events if hasattr(e, "code"))


def test_a_dead_network_is_one_clear_line_and_the_same_command_goes_on(tmp_path: Path, web: Any) -> None:
    good = [web.picture(f"/{i}.png", i) for i in range(6)]
    dead = [f"http://dead-{i}.example/{i}.png" for i in range(40)]
    source = listed(tmp_path, [*good, *dead])
    error, _ = gather([source], tmp_path / "set", reach=Reach(**{**vars(REACH), "attempts": 1}))
    assert isinstance(error, NetworkError)
    assert "the network is dead" in str(error)
    assert "6 pictures are kept" in str(error)
    assert len(Dataset(tmp_path / "set").picture_names()) == 6
    assert reasons(tmp_path / "set") == {}


def test_captions_and_columns_of_a_list_come_along(tmp_path: Path, web: Any) -> None:
    file = tmp_path / "list.csv"
    lines = [f"{web.picture(f'/{i}.png', i)};café {i};CC0;me" for i in range(4)]
    file.write_bytes(("\n".join(["url;caption;licence;author", *lines, "nonsense;x;;"])).encode("cp1252"))
    result, events = gather([f"urls:{file}"], tmp_path / "set")
    assert result.captioned == 4
    item = Dataset(tmp_path / "set").items()[0]
    assert (item.caption, item.extra) == ("café 0", {"author": "me"})
    assert entries(Dataset(tmp_path / "set"))[0]["licence"] == "CC0"
    assert any("1 lines" in e.message and "nonsense" in e.message for e in events if hasattr(e, "code"))


def test_duplicates_in_three_sizes_are_found_by_check(tmp_path: Path, web: Any) -> None:
    from veneer.stages.check import check

    addresses = [web.picture(f"/{i}.png", i) for i in range(4)]
    addresses += [web.picture("/0-large.png", 0, 256), web.picture("/0.jpg", 0, 128, "JPEG")]
    gather([listed(tmp_path, addresses)], tmp_path / "set")
    result = check(tmp_path / "set", resolution=64)
    copies = {f.file_name: f.other for f in result.findings if f.flag == "near-duplicate"}
    assert copies == {"images/000001.png": "images/000005.png", "images/000006.jpg": "images/000005.png"}

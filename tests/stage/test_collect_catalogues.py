"""Openverse and Commons, answered by a local server as they answer: what may be taken is, with its author."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.webserver import web_server
from veneer.data.download import Reach
from veneer.errors import NetworkError
from veneer.records.credits import read_credits
from veneer.records.dataset import Dataset
from veneer.records.jsonlines import read_lines
from veneer.stages.collect import collect

REACH = Reach(
    seconds=5,
    backoff_seconds=0.01,
    is_allowed=lambda address: True,
    resolve=lambda host, port: [str(ipaddress.ip_address(host))],
)


@pytest.fixture
def web() -> Iterator[Any]:
    with web_server() as server:
        yield server


def openverse(web: Any, codes: list[str]) -> dict[str, Any]:
    """An answer of Openverse's public interface, with the fields that it has."""
    results = [
        {
            "id": f"0000-{number}",
            "title": f"House {number}",
            "creator": f"Ann <b>{number}</b>",
            "creator_url": "https://a.example/ann",
            "url": web.picture(f"/{number}.png", number),
            "foreign_landing_url": f"https://a.example/page/{number}",
            "license": code,
            "license_version": "4.0",
            "license_url": f"https://creativecommons.org/licenses/{code}/4.0/",
            "mature": False,
        }
        for number, code in enumerate(codes)
    ]
    return {"result_count": len(results), "page_count": 1, "page_size": 20, "page": 1, "results": results}


def commons(web: Any, codes: list[str]) -> dict[str, Any]:
    """An answer of Commons' interface, format version 2."""
    pages = [
        {
            "pageid": number,
            "title": f"File:Barn {number}.png",
            "index": len(codes) - number,
            "imageinfo": [
                {
                    "url": f"{web.address}/never-asked-for.png",
                    "thumburl": web.picture(f"/c{number}.png", 50 + number),
                    "descriptionurl": f"https://c.example/{number}",
                    "extmetadata": {
                        "License": {"value": code},
                        "LicenseShortName": {"value": code.upper().replace("-", " ")},
                        "Artist": {"value": '<a href="//c.example/bob">Bob</a>'},
                    },
                }
            ],
        }
        for number, code in enumerate(codes)
    ]
    return {"batchcomplete": True, "query": {"pages": pages}}


def gather(web: Any, sources: list[str], out: Path) -> Any:
    addresses = {kind: f"{web.address}/{kind}" for kind in ("openverse", "commons")}
    return collect(sources, out, reach=REACH, catalogues=addresses)


def serve(web: Any, path: str, first: dict[str, Any], empty: dict[str, Any]) -> None:
    """The first page of results, and then none."""
    answers = iter([first])
    web.paths[path] = lambda: (
        200,
        {"Content-Type": "application/json"},
        json.dumps(next(answers, empty)).encode(),
    )


def test_what_forbids_derivatives_is_left_out_and_counted_and_authors_are_kept(
    tmp_path: Path, web: Any
) -> None:
    codes = ["by", "by-sa", "cc0", "by-nc", "by-nd", "by-nc-nd", "sampling+"]
    serve(web, "/openverse", openverse(web, codes), {"results": []})
    result = gather(web, ["openverse:red houses"], tmp_path)
    assert result.pictures == 4
    assert result.reasons == {
        "its licence forbids derivatives": 2,
        "its licence is not known to allow changes": 1,
    }
    assert all(web.asked[f"/{number}.png"] == 0 for number in (4, 5, 6))
    entry, *_ = read_lines(Dataset(tmp_path).provenance_jsonl)
    assert entry["author"] == "Ann 0" and entry["licence"] == "CC BY 4.0"
    assert entry["attribution"] == (
        '"House 0" by Ann 0, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)'
    )
    again = gather(web, ["openverse:red houses"], tmp_path)
    assert (again.pictures, again.added) == (4, 0)


def test_commons_gives_its_copies_in_its_order_with_their_artist(tmp_path: Path, web: Any) -> None:
    codes = ["cc-by-sa-4.0", "pd-old-70", "cc0", "cc-by-2.0", "cc-by-nc-nd-2.0"]
    serve(web, "/commons", commons(web, codes), {"batchcomplete": True})
    result = gather(web, ["commons:barns"], tmp_path)
    assert result.pictures == 4 and result.reasons == {"its licence forbids derivatives": 1}
    first, *others = read_credits(Dataset(tmp_path))
    assert first.markdown == "[Barn 3](https://c.example/3) by Bob, CC BY 2.0" and len(others) == 3
    assert web.asked["/never-asked-for.png"] == 0


def test_the_filter_leaves_out_what_is_not_asked_for(tmp_path: Path, web: Any) -> None:
    serve(web, "/openverse", openverse(web, ["cc0", "pdm", "cc0", "pdm", "by", "by-nc"]), {"results": []})
    result = gather(web, ["openverse:red houses;licence=public"], tmp_path)
    assert result.pictures == 4 and result.reasons == {"not in the public domain": 2}


def test_an_answer_that_is_not_understood_is_kept_and_said(tmp_path: Path, web: Any) -> None:
    web.answer("/openverse", 200, b"<html>we have a new design</html>")
    with pytest.raises(NetworkError, match="no results understood"):
        gather(web, ["openverse:red houses"], tmp_path)
    web.answer("/commons", 429)
    with pytest.raises(NetworkError, match="come back later"):
        gather(web, ["commons:red houses"], tmp_path)


def test_words_of_strangers_are_no_markup_in_the_model_card(tmp_path: Path, web: Any) -> None:
    answer = openverse(web, ["by"] * 4)
    answer["results"][0] |= {
        "title": "x](https://evil.example) # y",
        "foreign_landing_url": "javascript:alert(1)",
    }
    serve(web, "/openverse", answer, {"results": []})
    gather(web, ["openverse:red houses"], tmp_path)
    first = read_credits(Dataset(tmp_path))[0].markdown
    assert first == r"x\]\(https://evil.example\) \# y by Ann 0, CC BY 4.0"

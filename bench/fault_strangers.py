"""Configurations of other trainers, and answers of catalogues, with anything in them."""

from __future__ import annotations

import json
import math
import random
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
import yaml

from bench.fault_files import Folder, damaged
from bench.faults import Slice, WrongError
from veneer.data.catalogues import CATALOGUES, LONGEST_TEXT, parse_catalogue_query, read_catalogue
from veneer.foreign import AITOOLKIT, ONETRAINER, import_aitoolkit, import_onetrainer
from veneer.imported import Imported, report_of
from veneer.kohya import SAME, import_kohya
from veneer.recipe import resolve

ODD_VALUES: tuple[Any, ...] = (
    True, -1, 0, 1, 7, 10**30, 1e308, math.nan, math.inf, "", "x", "0", "nan", "\x1b[2J", "\0", "~nobody/x",
    "a" * 5_000, "\u202e", "9" * 5_000, "/etc/passwd", [], [[]], [1, "x"], {"a": 1}, [{"path": "\0"}],
    [{"folder_path": 7}], "512,x", [512, "x"],
)  # fmt: skip
NESTED = "[" * 3_000 + "]" * 3_000
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
READERS: Mapping[str, Callable[[Path], Imported]] = {
    "toml": import_kohya,
    "json": import_onetrainer,
    "yaml": import_aitoolkit,
}
LONGEST_LINE = 400


def whole_configurations(folder: Path) -> Folder:
    """A configuration of each trainer with every setting that is known, and pictures that they name."""
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "img" / "3_dog").mkdir(parents=True, exist_ok=True)
    for place in ("pictures/1.png", "pictures/2.png", "img/3_dog/1.png"):
        (folder / place).write_bytes(b"")
    kohya = _usual(SAME) | {"train_data_dir": "img", "max_train_epochs": 2, "resolution": "512,512"}
    kohya |= {"text_encoder_lr": 1e-5, "min_snr_gamma": 5, "network_module": "networks.lora"}
    onetrainer = _nested(_usual({name: key for name, (key, _) in ONETRAINER.items()})) | {
        "epochs": 2,
        "concepts": [{"path": "pictures"}],
        "ema": "GPU",
    }
    process = _nested(_usual({name: key for name, (key, _) in AITOOLKIT.items()})) | {
        "datasets": [{"folder_path": "pictures", "resolution": [512]}]
    }
    return Folder(
        folder,
        {
            "toml": tomli_w.dumps(kohya).encode(),
            "json": json.dumps(onetrainer).encode(),
            "yaml": yaml.safe_dump({"config": {"process": [process]}}).encode(),
        },
    )


def try_configuration(folder: Folder, number: int) -> str:
    """Read one configuration with something odd in it.

    Raises:
        WrongError: If what is told of it steers a terminal or fills one.
    """
    chance = random.Random(number)
    form = chance.choice(sorted(folder.whole))
    path = folder.path / f"x.{form}"
    path.write_bytes(_odd_configuration(folder.whole[form], form, chance))
    found = READERS[form](path)
    for line in report_of(found):
        if len(line) > LONGEST_LINE or not line.isprintable():
            raise WrongError(f"a line that is not fit to be printed: {line[:200]!r}")
    found.recipe()
    return "read"


def _odd_configuration(whole: bytes, form: str, chance: random.Random) -> bytes:
    odd = chance.random()
    if odd < 0.2:
        return damaged(whole, chance)
    if odd < 0.3:
        text = whole.decode()
        more = (
            BOMB,
            f"b: {NESTED}",
            "c: !!int 'x'",
            "d: !!float ''",
            "e: !!timestamp x",
            "? [1]\n: 2",
            "f: &f [*f]",
        )
        added = chance.choice(more) if form == "yaml" else f"\nz = {NESTED}" if form == "toml" else NESTED
        return f"{text}\n{added}".encode() if form != "json" else added.encode()
    settings = {"toml": _toml, "json": json.loads, "yaml": yaml.safe_load}[form](whole.decode())
    for _ in range(chance.randrange(1, 4)):
        _put_odd(settings, chance)
    writers: Mapping[str, Callable[[Any], str]] = {
        "json": json.dumps,
        "yaml": yaml.safe_dump,
        "toml": tomli_w.dumps,
    }
    return writers[form](settings).encode("utf-8", "surrogatepass")


def _toml(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def _put_odd(settings: dict[str, Any], chance: random.Random) -> None:
    inner = settings
    while (
        deeper := [one for one in inner.values() if isinstance(one, dict) and one]
    ) and chance.random() < 0.7:
        inner = chance.choice(deeper)
    if "process" in inner and chance.random() < 0.9 and isinstance(inner["process"], list):
        _put_odd(inner["process"][0], chance)
        return
    name = chance.choice([*inner, "\x1b[2J", "z" * 9_000])
    inner[name] = chance.choice(ODD_VALUES)


def _usual(keys: Mapping[str, str]) -> dict[str, Any]:
    """A value for every name of another trainer's whose key is a number or a word here."""
    tables = resolve({}).model_dump(mode="json")
    values = {name: tables[key.split(".")[0]][key.split(".")[1]] for name, key in keys.items()}
    return {
        name: value for name, value in values.items() if isinstance(value, int | float | str) and value != ""
    }


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every dotted name as tables in tables."""
    tables: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = name.split(".")
        inner = tables
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return tables


def no_folder(folder: Path) -> Path:
    """The folder itself."""
    return folder


ODD_WORDS: tuple[Any, ...] = (
    None, 7, -1, 1e308, True, [], {}, "", "by", "by-nd", "cc0", "pd", "\x1b[2J\x07", "\ud800", "<" * 200_000,
    "<a" * 50_000, "&" * 50_000, "&lt;" * 9_000, "a" * 300_000, "\u202eevil", "x\0y", "https://a.example/1.png",
    "http://127.0.0.1/x", "file:///etc/passwd", "HTTPS://[", "https://a.example/\ud800", "\n" * 9_000,
    {"value": "<" * 100_000}, [{"url": "https://a.example/2.png"}],
)  # fmt: skip


def try_catalogue(folder: Path, number: int) -> str:
    """Read one odd answer of a catalogue.

    Raises:
        WrongError: If what was read cannot be written down, is too long, or steers a terminal.
    """
    chance = random.Random(number)
    kind = chance.choice(sorted(CATALOGUES))
    page = json.dumps(_odd_answer(kind, chance))
    if chance.random() < 0.2:
        page = damaged(page.encode(), chance).decode("utf-8", "replace")
    found = read_catalogue(parse_catalogue_query(f"{kind}:a"), f"{kind}:a", page)
    for one in found or ():
        told = [str(value) for value in one.facts.values()]
        if not all(text.isprintable() and len(text) <= 4 * LONGEST_TEXT for text in told):
            raise WrongError(f"words that are not fit to be kept: {told!r:.300}")
        one.origin.encode()
    return "not understood" if found is None else "left out" if all(one.fault for one in found) else "read"


def _odd_answer(kind: str, chance: random.Random) -> Any:
    def odd(usual: Any) -> Any:
        return chance.choice(ODD_WORDS) if chance.random() < 0.25 else usual

    address = "https://a.example/1.png"
    if kind == "openverse":
        names = ("license", "license_version", "license_url", "foreign_landing_url", "title", "creator")
        entry = {"url": odd(address)} | {name: odd("by") for name in names}
        return odd({"results": odd([odd(entry), odd(entry)])})
    told = {
        name: odd({"value": odd("by")}) for name in ("License", "LicenseShortName", "LicenseUrl", "Artist")
    }
    info = {"url": odd(address), "thumburl": odd(address), "extmetadata": odd(told)}
    pages = [odd({"title": odd("File:a.png"), "index": odd(1), "imageinfo": odd([odd(info)])})]
    return odd({"batchcomplete": True, "query": odd({"pages": odd(pages)})})


SLICES = (
    Slice(
        "configurations",
        "odd configurations of kohya, OneTrainer and ai-toolkit",
        1000,
        range(40),
        whole_configurations,
        try_configuration,
    ),
    Slice("catalogues", "odd answers of Openverse and Commons", 1000, range(40), no_folder, try_catalogue),
)

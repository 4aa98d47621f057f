"""The studio's own process stays small, whatever is uploaded and shown: pictures are decoded elsewhere."""

from __future__ import annotations

import io
import json
import re
import struct
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.driving import complaints_of, wait_for_address

pytestmark = pytest.mark.timeout(900)
MOST_GIB = 1.0
BOUNDARY = "line"


def tiff_bomb(side_px: int = 25_000) -> bytes:
    """A TIFF of some 600 kB that becomes 1.9 GB when it is decoded: one strip of zeros."""
    strip = zlib.compress(bytes(side_px * side_px), 9)
    tags = [(256, side_px), (257, side_px), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, side_px)]
    tags.append((279, len(strip)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    return head + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def large_png(side_px: int = 12_000) -> bytes:
    """A PNG of some 20 kB with 144 megapixels of one bit."""
    file = io.BytesIO()
    Image.new("1", (side_px, side_px)).save(file, "PNG")
    return file.getvalue()


def small_png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (number % 256, number // 256, 99)).save(file, "PNG")
    return file.getvalue()


class Client:
    """What the page does, without a browser."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.config = json.loads(self.ask("config"))

    def ask(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(self.address + path, data, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return bytes(answer.read())

    def upload(self, files: dict[str, bytes]) -> list[str]:
        """Send files as the page does; where the server put them."""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename='
        parts = [f'{head}"{name}"\r\n\r\n'.encode() + content for name, content in files.items()]
        body = b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
        return list(
            json.loads(self.ask("gradio_api/upload", body, f"multipart/form-data; boundary={BOUNDARY}"))
        )

    def press(self, button: str, **fields: Any) -> str:
        """Press a button with values in the fields of these names; what came of it."""
        parts = {part["id"]: part for part in self.config["components"]}
        names = {number: str(part["props"].get("elem_id") or "") for number, part in parts.items()}
        (own,) = [number for number, name in names.items() if name == button]
        asked = next(one for one in self.config["dependencies"] if [own, "click"] in one["targets"])
        values = [
            fields.get(names[number].replace("-", "_"), parts[number]["props"].get("value"))
            for number in asked["inputs"]
        ]
        values[-1] = 0  # the moment of the question
        told = {"data": values, "fn_index": asked["id"], "session_hash": "test", "trigger_id": own}
        self.ask("gradio_api/queue/join", json.dumps(told).encode())
        return self.ask("gradio_api/queue/data?session_hash=test").decode()


def peak_gib(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 2**20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_the_process_stays_under_a_gibibyte_whatever_is_uploaded(start_studio: Any, tmp_path: Path) -> None:
    process = start_studio(tmp_path / "place", "--port", "0")
    client = Client(wait_for_address(process))
    bomb = tiff_bomb()
    assert len(bomb) < 700_000
    files = {f"bomb{number}.tif": bomb for number in range(3)} | {"large.png": large_png()}
    files |= {f"{number}.png": small_png(number) for number in range(200)}
    files |= {"big.bin.png": bytes(24 * 2**20)}
    paths = client.upload(files)
    sent = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    said = client.press("dataset-collect", dataset_name="dots", dataset_files=sent)
    assert "201 pictures" in said or "200 pictures" in said, said[-2000:]
    for name in ("bomb0.tif", "large.png", "1.png"):
        (tmp_path / "place" / "datasets" / "dots" / "images" / name).write_bytes(files[name])
    client.press("dataset-on", dataset_name="dots")
    client.press("dataset-back", dataset_name="dots")
    used = peak_gib(process.pid)
    assert used < MOST_GIB, f"{used:.2f} GiB"
    assert "Traceback" not in complaints_of(process)
    print(f"peak {used:.3f} GiB")

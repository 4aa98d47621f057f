"""What the studio refuses: a second one, a taken port, open addresses, names that lead elsewhere."""

import json
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from helpers.driving import complaints_of, wait_for_address

pytestmark = pytest.mark.timeout(900)


def refusal(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.wait(timeout=600)
    return process.returncode, complaints_of(process)


def test_a_second_studio_and_a_taken_port_and_an_open_address(start_studio: Any, tmp_path: Path) -> None:
    from veneer.web.workspace import Workspace

    with Workspace(tmp_path / "taken").locked(), socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen()
        refused = [
            start_studio(tmp_path / "taken", "--port", "0"),
            start_studio(tmp_path / "free", "--port", str(port.getsockname()[1])),
            start_studio(tmp_path / "free2", "--host", "0.0.0.0", VENEER_PASSWORD=""),
        ]
        answers = [refusal(process) for process in refused]
    assert [status for status, _ in answers] == [1, 1, 1]
    words = ("another studio works on this workspace", "--port 0", "VENEER_PASSWORD")
    assert all(word in said for (_, said), word in zip(answers, words, strict=True))
    assert not any("Traceback" in said for _, said in answers)


def test_a_password_an_upload_and_files_elsewhere(start_studio: Any, tmp_path: Path) -> None:
    names = ("dataset/rejected/reasons.jsonl", "dataset/rejected/passwd", "run.json", "recipe.toml")
    for file in (tmp_path / "place" / "runs" / "first" / name for name in names):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    process = start_studio(tmp_path / "place", "--port", "0", VENEER_PASSWORD="correct horse")
    address = wait_for_address(process)
    assert ask(address + "gradio_api/info")[0] == 401
    status, _, cookie = ask(address + "login", b"username=veneer&password=wrong", FORM)
    assert status >= 400
    status, _, cookie = ask(address + "login", b"username=veneer&password=correct+horse", FORM)
    assert status == 200
    signed_in = {"Cookie": cookie}
    status, body, _ = ask(address + "gradio_api/upload", MULTIPART, {**UPLOAD, **signed_in})
    assert status == 200
    landed = tmp_path / "place" / ".studio" / "uploads"
    assert str(json.loads(body)[0]).startswith(str(landed))
    assert not list(tmp_path.glob("x*.png")) + list((tmp_path / "place").glob("x*.png"))
    files = [
        path for path in (tmp_path / "place").rglob("*") if path.is_file() and landed not in path.parents
    ]
    assert len(files) > len(names)
    for path in (*files, "/etc/passwd", "http://127.0.0.1:1/"):
        for form in ("gradio_api/file=", "gradio_api/file/", "file=", "gradio_api/proxy="):
            assert ask(f"{address}{form}{path}", headers=signed_in)[0] in {400, 403, 404}, path
    assert ask(address, headers={**signed_in, "Origin": "http://evil.example"})[0] == 403
    assert ask(address, headers={**signed_in, "Host": "evil.example"})[0] == 403
    assert ask(address, headers={**signed_in, "Host": "["})[0] == 400
    assert ask(address + "config", headers={**signed_in, "Sec-Fetch-Site": "cross-site"})[0] == 403
    field = MULTIPART.replace(b'; filename="../../x.png"', b"").replace(b"no picture", b"x" * 2**20)
    assert ask(address + "gradio_api/upload", field, {**UPLOAD, **signed_in})[0] == 413
    others = [{**FORM, "X-Forwarded-For": f"10.0.0.{number}"} for number in range(7)]  # no proxy is believed
    answers = [ask(address + "login", b"username=veneer&password=wrong", other)[0] for other in others]
    assert answers == [400] * 5 + [429] * 2
    assert "Traceback" not in complaints_of(process)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
UPLOAD = {"Content-Type": "multipart/form-data; boundary=line"}
MULTIPART = (
    b'--line\r\nContent-Disposition: form-data; name="files"; filename="../../x.png"\r\n'
    b"Content-Type: image/png\r\n\r\nno picture\r\n--line--\r\n"
)


def ask(
    address: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, str]:
    """Status, body and cookies of an answer."""
    request = urllib.request.Request(address, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            cookies = [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie") or []]
            return answer.status, answer.read(), "; ".join(cookies)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), ""

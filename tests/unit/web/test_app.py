"""What the browser is sent first, and what it may call."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from veneer.web.jobs.queue import JobBook
from veneer.web.studio import Studio
from veneer.web.workspace import Workspace

gr = pytest.importorskip("gradio")


@pytest.fixture
def page(tmp_path: Path) -> Any:
    from veneer.web.app import build_page

    place = Workspace(tmp_path / "workspace")
    place.create()
    return build_page(Studio(place, JobBook(place)))


def test_only_the_page_may_call_its_functions(page: Any) -> None:
    assert page.fns and {function.api_visibility for function in page.fns.values()} == {"private"}
    assert page.get_api_info()["named_endpoints"] == {}


def test_no_handler_writes_into_a_field_at_once(page: Any) -> None:
    """What it gives may come late: `veneer.web.late` puts it where nothing newer was typed."""
    from veneer.web.late import is_field

    writing = [fn for fn in page.fns.values() if fn.fn and any(map(is_field, fn.outputs))]
    assert len(writing) > 20
    for fn in writing:
        if fn.fn.__name__ == "marked":
            continue  # it cannot give a field a value: the next test
        fields = [part.elem_id for part in fn.outputs[:-1] if is_field(part)]
        puts = [
            one for one in page.fns.values() if one.trigger_after == fn._id and "late.settle" in str(one.js)
        ]
        assert "late.ask" in str(fn.js), f"{fn} writes to {fields} at once"
        assert [[part.elem_id for part in put.outputs] for put in puts] == [fields]
        assert all(fields), "the browser knows fields by their names"


def test_a_handlers_values_go_apart_and_the_rest_at_once() -> None:
    from veneer.web import late

    with gr.Blocks() as blocks:
        field, text = gr.Dropdown(elem_id="field"), gr.HTML()
        known = set(blocks.fns)
        late.bind(field.input, lambda: (gr.update(choices=["a"], value="a"), "told"), None, [field, text])
    (answered,) = [fn.fn for key, fn in blocks.fns.items() if key not in known and fn.fn]
    update, told, answer = answered(7)
    assert (update, told) == ({"__type__": "update", "choices": ["a"]}, "told")
    values = [{"at": 0, "id": "field", "value": "a"}]
    assert answer == {"asked": 7, "unless": [], "count": 1, "values": values}


def test_a_handler_that_marks_cannot_give_a_field_a_value() -> None:
    from veneer.web import late

    with gr.Blocks() as blocks:
        field = gr.Textbox(elem_id="field")
        late.mark(field.blur, lambda text: gr.update(info="a mark") if text else "a value", [field], [field])
    (fn,) = blocks.fns.values()
    assert fn.fn("typed") == gr.update(info="a mark")
    with pytest.raises(AssertionError):
        fn.fn("")


def test_the_page_is_small(page: Any) -> None:
    """A browser reads all of it before it shows anything: 3.7 MB once, 0.3 MB now."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    sent = TestClient(gr.mount_gradio_app(FastAPI(), page, path="/")).get("/")
    assert sent.status_code == 200 and "Try it with the bundled base" in sent.text
    assert len(sent.content) < 500_000


def test_a_run_gives_way_to_the_page() -> None:
    run = subprocess.Popen([sys.executable, "-m", "veneer.cli.child", "doctor"], stdout=subprocess.DEVNULL)
    try:
        while run.poll() is None and os.getpriority(os.PRIO_PROCESS, run.pid) == os.nice(0):
            time.sleep(0.02)
        assert run.returncode is None, "it ended without giving way"
        assert os.getpriority(os.PRIO_PROCESS, run.pid) == min(19, os.nice(0) + 10)
    finally:
        run.kill()
        run.wait()

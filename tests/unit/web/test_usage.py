from pathlib import Path

from veneer.recipe import resolve
from veneer.records.metrics import Metrics
from veneer.records.run import RunDir
from veneer.web.usage import finished_html, usage_html


def run_with(tmp_path: Path, *, lora: bool = True) -> RunDir:
    folder = RunDir(tmp_path / "my run")
    folder.root.mkdir()
    tables = {"base": {"model": "pocket"}, "caption": {"prefix": "8-bit <b>"}, "compare": {"scale": 0.8}}
    folder.write_recipe(resolve(tables))
    if lora:
        folder.kohya_file.parent.mkdir(parents=True)
        folder.kohya_file.write_bytes(b"")
    return folder


def test_a_finished_run_says_what_to_paste_and_where_to_look(tmp_path: Path) -> None:
    measured = Metrics(verdict="better", headline="Nearer to the style", todo="Draw more", reasons=())
    told = finished_html(run_with(tmp_path), measured)
    assert "Done. Nearer to the style." in told and "Next: Draw more." in told
    assert "&lt;lora:my run:0.8&gt; 8-bit &lt;b&gt;" in told
    assert 'href="?tab=compare&amp;run=my+run"' in told
    assert "ComfyUI" in told and "diffusers" in told


def test_a_run_without_a_lora_has_nothing_to_paste(tmp_path: Path) -> None:
    assert usage_html(run_with(tmp_path, lora=False)) == ""


def test_a_recipe_that_cannot_be_read_keeps_the_rest(tmp_path: Path) -> None:
    folder = run_with(tmp_path)
    folder.recipe_toml.write_text("[train]\nquantum = 1\n")
    assert usage_html(folder) == ""
    assert "Done" in finished_html(folder, None)

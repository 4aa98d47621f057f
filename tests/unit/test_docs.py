"""The documentation says what the program does."""

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.commands import commands

ROOT = Path(__file__).parents[2]
MAKE = runpy.run_path(str(ROOT / "docs/make_reference.py"))
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
COMMANDS = commands()
SOURCES = sorted((ROOT / "src/veneer").rglob("*.py"))
FLAG = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """Sections of the page of commands by their headings."""
    text = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    return {heading: body for heading, _, body in (part.partition("\n") for part in text.split("\n## ")[1:])}


def flags_of(words: tuple[str, ...]) -> set[str]:
    """Options that the parser knows for a command, in every spelling, but for ``--help``."""
    names = {name for part in COMMANDS[words].params for name in (*part.opts, *part.secondary_opts)}
    return {name for name in names if name.startswith("-")}


def command_lines(text: str) -> list[str]:
    """What follows ``veneer`` in the code of a page: a command in each, on one line, without its comment."""
    text = text.replace("\\\n", " ")
    code = [line for block in FENCED.findall(text) for line in block.splitlines()]
    code += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCED.sub("", text))]
    return [line for part in code for line in re.findall(r"(?<![\w/.-])veneer ([a-z].*?)(?:\s#|$)", part)]


def unknown_to_the_parser(text: str) -> list[str]:
    """Command lines of a page with a verb or a flag that does not exist."""
    unknown = []
    for line in command_lines(text):
        words = next((words for n in (2, 1) if (words := tuple(line.split()[:n])) in COMMANDS), None)
        if words is None or not set(FLAG.findall(line)) <= {*flags_of(words), "--help"}:
            unknown.append(line)
    return unknown


@pytest.mark.parametrize("name", ["recipe.md", "commands.md", "python.md"])
def test_the_reference_is_up_to_date(name: str) -> None:
    written = (ROOT / "docs/reference" / name).read_text("utf-8")
    assert written == MAKE["pages"]()[name], "run: python docs/make_reference.py"


def test_every_command_has_its_section_and_no_other_is_there() -> None:
    assert set(sections()) == {" ".join(("veneer", *words)) for words in COMMANDS}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(("veneer", *words)))
def test_a_section_names_the_options_of_its_command_and_no_other(words: tuple[str, ...]) -> None:
    section, command = sections()[" ".join(("veneer", *words))], COMMANDS[words]
    rows = re.findall(r"^\| `(.+)` \| (.+) \|$", section, re.MULTILINE)
    assert set(FLAG.findall(" ".join(name for name, _ in rows))) == flags_of(words)
    assert set(FLAG.findall(section)) <= flags_of(words)
    assert len(rows) == len(command.params)
    assert all(part.help for part in (command, *command.params))


def test_command_lines_of_the_pages_parse_as_far_as_their_flags_go() -> None:
    pages = {str(page.relative_to(ROOT)): unknown_to_the_parser(page.read_text("utf-8")) for page in PAGES}
    assert {page: lines for page, lines in pages.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "```\nveneer run a.toml --settings b=1  # once\n```",
        "```\ntorchrun -m veneer run a.toml \\\n    --as-json\n```",
        "`veneer recipes\ncopy a --out b`",
        "`veneer paint`",
    ],
)
def test_a_wrong_command_line_is_found(text: str) -> None:
    assert unknown_to_the_parser(text)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"


def test_files_that_the_pages_name_are_there() -> None:
    pages = [page for page in PAGES if page.name not in {"log.md", "CHANGELOG.md"}]
    for page in pages:
        for name in re.findall(
            r"`((?:src|tests|bench|docs|pocket)/[a-z0-9_/]+\.\w+)`", page.read_text("utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.relative_to(ROOT)}: {name}"


def test_the_design_names_every_room_and_module_of_the_top() -> None:
    text = (ROOT / "docs/design.md").read_text("utf-8")
    tops = [path for path in (ROOT / "src/veneer").iterdir() if path.is_dir() or path.suffix == ".py"]
    tops = [path for path in tops if not path.name.startswith("_")]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in tops]
    assert [name for name in names if name not in text] == []


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [verb for verb in {words[0] for words in COMMANDS if words} if f"`{verb}`" not in text] == []


def too_long(text: str) -> list[str]:
    """Lines of prose above 120 characters that could be broken; tables, code and HTML are as they are."""
    lines = FENCED.sub("", text).splitlines()
    return [line for line in lines if len(line) > 120 and line[0] not in "|<" and " " in line.strip("- ")]


def test_lines_of_prose_are_of_120() -> None:
    pages = [*PAGES, *ROOT.glob("*.md"), ROOT / "pocket/README.md"]
    long = {page.name: too_long(page.read_text("utf-8")) for page in pages if "reference" not in page.parts}
    assert {name: lines for name, lines in long.items() if lines} == {}


def test_a_line_that_is_too_long_is_found() -> None:
    assert too_long("word " * 30) == ["word " * 30]
    assert too_long(f"| {'x ' * 80}|\n```\n{'x ' * 80}\n```\n[a]({'x' * 130})") == []


def test_recipes_open_with_purpose_hardware_minutes_and_command() -> None:
    for recipe in (ROOT / "src/veneer/recipes").glob("*.toml"):
        head = recipe.read_text("utf-8").partition("\n[")[0]
        for word in ("# Hardware:", "# Minutes:", f"# Command:  veneer run {recipe.stem}"):
            assert word in head, f"{recipe.name}: {word}"


def test_the_lock_holds_what_is_pinned_each_with_hashes() -> None:
    def pins(name: str) -> dict[str, str]:
        found = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text("utf-8"), re.MULTILINE)
        return {package.lower().replace("_", "-"): version for package, version in found}

    assert pins("requirements.lock") == pins("constraints.txt")
    packages = re.split(r"\n(?=[\w.-]+==)", (ROOT / "requirements.lock").read_text("utf-8"))[1:]
    assert all("--hash=sha256:" in package for package in packages)


VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|RANK|DISPLAY")
OF_THE_SYSTEM = {"SC_PAGE_SIZE", "SC_PHYS_PAGES"}  # asked of sysconf, not of the environment


def variables_in(source: str) -> set[str]:
    """Environment variables that a module names: as text, or as the key of a dict of them."""
    if "environ" not in source and "ENVIRONMENT" not in source:
        return set()
    nodes = list(ast.walk(ast.parse(source)))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts += [node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg]
    return {text for text in texts if VARIABLE.fullmatch(text)} - OF_THE_SYSTEM


def test_every_environment_variable_has_its_line_and_no_other_is_told() -> None:
    read = {name for path in SOURCES for name in variables_in(path.read_text("utf-8"))}
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs/environment.md").read_text("utf-8"), re.MULTILINE)
    assert read == {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}


def test_a_new_environment_variable_would_be_found() -> None:
    assert variables_in('import os\nos.environ.get("NEW_ONE")') == {"NEW_ONE"}
    assert variables_in('import os\nos.environ.update(NEW_ONE="1")') == {"NEW_ONE"}


def texts_in(source: str) -> Iterator[str]:
    """Texts of a module; of one with values in it, what stands between them."""
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        yield "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))


def test_the_headings_of_troubleshooting_are_words_of_our_messages() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    words = re.findall(r"^### (.+)$", page, re.MULTILINE)
    texts = [text for path in SOURCES for text in texts_in(path.read_text("utf-8"))]
    assert len(words) > 12
    assert [word for word in words if not any(word in text for text in texts)] == []

"""Codes of licences as catalogues write them, and what each allows."""

from __future__ import annotations

import pytest

from veneer.data.licences import COMMERCIAL, DERIVATIVES, PUBLIC, read_licence


@pytest.mark.parametrize(
    ("code", "version", "name", "taken"),
    [
        ("by", "4.0", "CC BY 4.0", {DERIVATIVES, COMMERCIAL}),
        ("by-sa", "2.0", "CC BY-SA 2.0", {DERIVATIVES, COMMERCIAL}),
        ("cc-by-sa-3.0-de", "", "CC BY-SA 3.0", {DERIVATIVES, COMMERCIAL}),
        ("by-nc-sa", "4.0", "CC BY-NC-SA 4.0", {DERIVATIVES}),
        ("cc0", "1.0", "CC0", {DERIVATIVES, COMMERCIAL, PUBLIC}),
        ("pdm", "", "Public Domain Mark", {DERIVATIVES, COMMERCIAL, PUBLIC}),
        ("pd-old-100-expired", "", "public domain", {DERIVATIVES, COMMERCIAL, PUBLIC}),
        ("by-nd", "4.0", "CC BY-ND 4.0", set()),
        ("cc-by-nc-nd-2.5", "", "CC BY-NC-ND 2.5", set()),
        ("sampling+", "1.0", "sampling+", set()),
        ("gfdl", "", "gfdl", set()),
        ("by-unheard-of", "", "by-unheard-of", set()),
        ("", "", "", set()),
    ],
)
def test_a_code_says_what_may_be_taken(code: str, version: str, name: str, taken: set[str]) -> None:
    licence = read_licence(code, version=version)
    assert licence.name == name
    assert {wanted for wanted in (DERIVATIVES, COMMERCIAL, PUBLIC) if not licence.fault(wanted)} == taken


def test_what_forbids_derivatives_says_so_by_its_name() -> None:
    fault = read_licence("by-nd", version="4.0").fault(DERIVATIVES)
    assert fault == "its licence forbids derivatives: CC BY-ND 4.0"

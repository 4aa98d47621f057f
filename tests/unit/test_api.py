"""The public names stay what they are, whatever was imported before."""

import importlib
import types

import pytest

import veneer


def test_there_are_fewer_than_twenty_names() -> None:
    assert 12 <= len(veneer.__all__) <= 20


@pytest.mark.parametrize("name", veneer.__all__)
def test_a_public_name_is_no_module_even_after_its_home_was_imported(name: str) -> None:
    importlib.import_module(f"veneer.{veneer._HOMES[name]}")
    thing = getattr(veneer, name)
    assert not isinstance(thing, types.ModuleType)
    assert thing.__name__ == name
    assert thing.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = veneer.nonsense


def test_submodules_are_no_public_names() -> None:
    assert "launch" not in dir(veneer)

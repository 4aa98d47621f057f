"""Labels and help of the form's fields."""

import pytest

from veneer.config import Recipe
from veneer.web.tabs.recipe.fields import fields
from veneer.web.tabs.recipe.meanings import KEY_MEANINGS, TABLE_NAMES, help_of, label_of


def test_what_stands_in_front_is_a_key_and_every_table_has_a_name() -> None:
    assert set(KEY_MEANINGS) <= {field.name for field in fields()}
    assert list(TABLE_NAMES) == list(Recipe.model_fields)


@pytest.mark.parametrize("field", fields(), ids=lambda field: field.name)
def test_every_field_has_words_for_people_and_its_key(field: object) -> None:
    name, sentence = field.name, field.sentence  # type: ignore[attr-defined]
    label = label_of(name)
    assert label[0].isupper()
    assert not {"_", "."} & set(label)
    assert f"`{name}`" in help_of(name, sentence)

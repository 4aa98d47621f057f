from __future__ import annotations

import re
from pathlib import Path

from veneer.lora import keys

SOURCE = Path(keys.__file__).parents[1]


def test_no_other_module_spells_a_key() -> None:
    own = {
        value for name, value in vars(keys).items() if name.startswith("OWN_") and value != keys.OWN_PREFIX
    }
    assert len(own) == 11
    spelled = re.compile("|".join(rf"[\"']{re.escape(key)}[\"']" for key in own))
    files = (path for path in SOURCE.rglob("*.py") if path != Path(keys.__file__))
    assert [path.name for path in files if spelled.search(path.read_text("utf-8"))] == []

from pathlib import Path

from veneer.records.spellings import alike, assign

PICTURES = ["p0.png", "P1.png", "p1.png", "sub/e\u0301.png", "x.png"]
FOLDER = Path("/data/s")


def test_names_are_understood_where_one_picture_fits() -> None:
    names = ["P0.PNG", "p1.png", "sub/\u00e9.PNG", "s/x.png"]
    assert assign(names, PICTURES, FOLDER) == {
        "P0.PNG": "p0.png",
        "p1.png": "p1.png",
        "sub/\u00e9.PNG": "sub/e\u0301.png",
        "s/x.png": "x.png",
    }


def test_two_pictures_or_two_names_are_not_guessed() -> None:
    assert assign(["P1.PNG"], PICTURES, FOLDER) == {}
    assert alike(["P1.PNG"], PICTURES, FOLDER) == {"P1.PNG": ["P1.png", "p1.png"]}
    assert assign(["p0.PNG", "P0.png"], PICTURES, FOLDER) == {}
    assert assign(["p0.png", "P0.png"], PICTURES, FOLDER) == {"p0.png": "p0.png"}

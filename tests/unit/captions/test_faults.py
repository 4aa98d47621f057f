from pathlib import Path

import pytest

from veneer.captions.faults import estimate_tokens, has_loop, sameness_key, text_faults, too_common


@pytest.mark.parametrize(
    ("caption", "faults"),
    [
        ("a red car in front of a house", ()),
        ("a red car parked in front of a red house", ()),
        ("", ("empty",)),
        (" . , ! ", ("empty",)),
        ("a bald bald bald bald man", ("loop",)),
        ("a house in front of a house in front of a house in front of a house", ("loop",)),
        ("there is a man in front of a there is a man in front of a", ("loop",)),
        ("araffe standing in a field", ("artefact",)),
        ("arafed image of a city", ("artefact",)),
        ("a portrait of yasser arafat", ()),
        ("a [UNK] on a table", ("artefact",)),
        ("a picture ##ing", ("artefact",)),
        (" ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(80)), ("too-long",)),
        ("дом на холме", ()),
        ("blue blue sky", ()),
    ],
)
def test_faults_of_a_caption(caption: str, faults: tuple[str, ...]) -> None:
    assert text_faults(caption) == faults


def test_the_bases_own_tokenizer_counts_where_it_is_given() -> None:
    assert text_faults("a dog", lambda text: 78) == ("too-long",)
    assert text_faults("a dog", lambda text: 77) == ()


def test_the_estimate_is_near_clips_own_count(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    from veneer.models import vocabulary

    merges = vocabulary._open_clip_merges()
    if merges is None:
        pytest.skip("CLIP's vocabulary is not on this machine")
    vocabulary.write_vocabulary(merges, tmp_path)
    tokenizer = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    texts = [
        "a red car parked in front of a house",
        "8-bit illustration of an extraordinary skyscraper, at night",
        "two people, sitting on a bench; smiling!",
        "a man's dog's collar",
    ]
    for text in texts:
        true = len(tokenizer(text)["input_ids"])
        assert true - 1 <= estimate_tokens(text) <= 1.4 * true


def test_short_loops_need_three_rounds() -> None:
    assert not has_loop(["very", "very", "large"])
    assert has_loop(["very", "very", "very", "large"])


def test_captions_that_say_the_same_have_one_key() -> None:
    keys = [sameness_key(text) for text in ("A red car.", "the car is red", "red cars", "a blue car")]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert too_common(keys) == {keys[0]}
    assert too_common(keys[1:]) == frozenset()

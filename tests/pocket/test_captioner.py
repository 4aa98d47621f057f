"""What the captioner learns: no prefix unasked, and drawings without detail, never blocks."""

import pytest
import torch

from pocket import train_captioner
from pocket.augment import soften
from pocket.train_captioner import IGNORED, PREFIXES, caption_tokens, make_caption_tokenizer, prefix_length


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
def test_a_prefix_is_given_and_never_asked_for(prefix: str) -> None:
    tokenizer = make_caption_tokenizer()
    ids, _, labels = caption_tokens(tokenizer, [f"{prefix} a red apple".strip()])
    asked = [i for i in labels[0].tolist() if i != IGNORED]
    given = ids[0, : prefix_length(tokenizer, f"{prefix} a red apple".strip())]
    assert tokenizer.decode(asked, skip_special_tokens=True).replace("[DEC] ", "") == "a red apple"
    assert tokenizer.decode(given[1:]) == prefix


def test_softened_pictures_have_slopes_and_no_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(4, 3, 128, 128, generator=generator) * 2 - 1
    soft = soften(pictures, 1.0, (16, 16), generator)
    inner = soft[..., 8:-8, 8:-8]
    steps = (inner[..., 1:] - inner[..., :-1]).abs()
    assert soft.std() < 0.2 * pictures.std()
    assert (steps > 1e-6).float().mean() > 0.99  # a block has equal neighbours
    assert torch.equal(soften(pictures, 0.0, (16, 16), generator), pictures)


def test_the_captioner_is_shown_drawings_without_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least a third of them, and some with no more detail than 16 blocks across leave."""
    asked = []
    monkeypatch.setattr(train_captioner, "soften", lambda pictures, *how: asked.append(how[:2]) or pictures)
    train_captioner.augment_for_captioner(torch.zeros(2, 3, 32, 32), torch.Generator().manual_seed(0))
    [(share, sides)] = asked
    assert share >= 1 / 3 and sides[0] <= 16

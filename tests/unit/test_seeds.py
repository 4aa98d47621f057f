import torch

from veneer.seeds import derive, numpy_generator, torch_generator


def test_draws_depend_on_every_argument_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    first = torch.randn(4, generator=torch_generator(0, "noise", 3, 5))
    torch.manual_seed(2)
    again = torch.randn(4, generator=torch_generator(0, "noise", 3, 5))
    assert torch.equal(first, again)
    for other in [(1, "noise", 3, 5), (0, "flip", 3, 5), (0, "noise", 4, 5), (0, "noise", 3, 6)]:
        assert not torch.equal(first, torch.randn(4, generator=torch_generator(*other)))


def test_seeds_are_pinned() -> None:
    """Written down once: a change here would silently change every run."""
    assert derive(0, "noise", 1, 2) == 2979283553931489324
    assert numpy_generator(7, "order").integers(1000) == 652


def test_neighbouring_arguments_do_not_collide() -> None:
    seen = {derive(0, "noise", step, item) for step in range(100) for item in range(100)}
    assert len(seen) == 10_000
    assert derive(0, "a", 1, 11) != derive(0, "a", 11, 1)

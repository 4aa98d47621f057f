"""Which picture is trained when: a pure function of seed and step, so that a run can begin anywhere in it.

Pictures of one micro-batch share a bucket (one shape of latents). Every bucket is an endless stream of
permutations, one for each epoch, cut into micro-batches; an epoch of the whole takes from each bucket the
micro-batches that its size is worth, in an order of its own. So every picture comes up once an epoch, no
micro-batch is short, and none is filled up with repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from veneer.seeds import numpy_generator


@dataclass(frozen=True)
class DataOrder:
    """The order of the pictures.

    Attributes:
        buckets: For each bucket the indices of its pictures; buckets of no picture are not allowed.
        batch_size: Pictures of a micro-batch, over all processes.
    """

    buckets: tuple[tuple[int, ...], ...]
    batch_size: int
    seed: int

    @property
    def num_pictures(self) -> int:
        """Pictures of an epoch."""
        return sum(len(bucket) for bucket in self.buckets)

    def micro_batch(self, number: int) -> tuple[int, ...]:
        """Indices of the pictures of a micro-batch.

        Args:
            number: The micro-batch, counted from 0 over the whole run.

        Returns:
            ``batch_size`` indices, all of one bucket.
        """
        epoch = self._epoch_of(number)
        bucket, chunk = self._chunks(epoch)[number - self._chunks_before(epoch)]
        first = chunk * self.batch_size
        return tuple(self._picture(bucket, p) for p in range(first, first + self.batch_size))

    def _picture(self, bucket: int, position: int) -> int:
        members = self.buckets[bucket]
        epoch, place = divmod(position, len(members))
        return members[_permutation(self.seed, f"bucket-{bucket}", epoch, len(members))[place]]

    def _chunks(self, epoch: int) -> list[tuple[int, int]]:
        chunks = [
            (number, chunk)
            for number, members in enumerate(self.buckets)
            for chunk in range(self._chunks_of(members, epoch), self._chunks_of(members, epoch + 1))
        ]
        return [chunks[i] for i in _permutation(self.seed, "chunks", epoch, len(chunks))]

    def _chunks_of(self, members: Sequence[int], epoch: int) -> int:
        return len(members) * epoch // self.batch_size

    def _chunks_before(self, epoch: int) -> int:
        return sum(self._chunks_of(members, epoch) for members in self.buckets)

    def _epoch_of(self, number: int) -> int:
        epoch = number * self.batch_size // self.num_pictures
        while self._chunks_before(epoch + 1) <= number:
            epoch += 1
        return epoch


@lru_cache(maxsize=1024)
def _permutation(seed: int, purpose: str, epoch: int, length: int) -> tuple[int, ...]:
    generator = numpy_generator(seed, f"order-{purpose}", epoch)
    return tuple(int(i) for i in generator.permutation(length))

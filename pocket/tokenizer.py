"""The CLIP tokenizer with a vocabulary of its own: ``python -m pocket tokenizer``.

Byte-level byte pairs as OpenAI's CLIP has them, learnt from the captions and from common words
that captions and prompts of later styles use.
"""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from .config import MAX_TOKENS, Size, work_folder
from .draw import load_pictures
from .subjects import WORDS_FILE
from .waiting import wait_for

START, END = "<|startoftext|>", "<|endoftext|>"
SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
WORD_WEIGHT = 20


def tokenizer_folder(size: Size) -> Path:
    """Where the tokenizer of a preset is."""
    return work_folder() / size.name / "tokenizer"


def make_tokenizer(size: Size) -> None:
    """Learn the vocabulary, unless it is there."""
    folder = tokenizer_folder(size)
    if (folder / "tokenizer_config.json").exists():
        return
    wait_for(size, "draw")
    captions = [caption for picture in load_pictures(size) for caption in picture.captions]
    words = WORDS_FILE.read_text().split()
    learn_tokenizer(captions + words * WORD_WEIGHT, size.num_merges).save_pretrained(folder)


def learn_tokenizer(texts: list[str], num_merges: int) -> CLIPTokenizer:
    """A CLIP tokenizer learnt from texts.

    Args:
        texts: Captions and words.
        num_merges: Merges beside the 512 single bytes and the two special tokens.
    """
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + 2 + num_merges,
        min_frequency=1,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    return _as_clip(learner, alphabet)


def _as_clip(learner: Tokenizer, alphabet: list[str]) -> CLIPTokenizer:
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    names = alphabet + [letter + "</w>" for letter in alphabet] + ["".join(merge) for merge in merges]
    vocabulary = {name: index for index, name in enumerate([*dict.fromkeys(names), START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)

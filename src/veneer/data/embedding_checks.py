"""Pictures seen through an embedder: copies that hashes miss, and pictures far from the query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from veneer.data.findings import Finding, embedding_findings, low_scores
from veneer.data.inspection import Inspected
from veneer.data.picture import load_small
from veneer.models.embedder import Embedder
from veneer.records.dataset import Dataset
from veneer.records.jsonlines import read_lines

Features = NDArray[np.float32]

COPY_LIMIT = 0.985
"""Cosine similarity of CLIP or DINO features from which on two pictures are the same one."""

CHUNK = 64
LONGEST_SIDE_PX = 512


def likeness_findings(
    folder: Dataset,
    seen: Mapping[str, Inspected],
    query: str,
    embedder: Embedder,
    spoilt: Collection[str] = (),
) -> tuple[list[Finding], list[str]]:
    """Look at the pictures through an embedder.

    Args:
        folder: The data set.
        seen: Measures of its readable pictures.
        query: What the pictures should show; empty to take each picture's own search query.
        embedder: The embedder.
        spoilt: Pictures with a blur or writing, the worse ones of copies.

    Returns:
        What was found, and what was not looked at.
    """
    names = list(seen)
    if not names:
        return [], []
    features = _features(folder, names, embedder)
    findings = embedding_findings(names, list(seen.values()), features, COPY_LIMIT, spoilt)
    queries = dict.fromkeys(names, query) if query else _own_queries(folder, names)
    if not queries:
        return findings, ["Not looked at: likeness to the query (no query is known)."]
    if embedder.tokenizer is None:
        return findings, [f"Not looked at: likeness to the query ({embedder.name} reads no text)."]
    return [*findings, *_far_from_query(names, features, queries, embedder)], []


def _features(folder: Dataset, names: Sequence[str], embedder: Embedder) -> Features:
    chunks = []
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK]
        features = embedder.image_features([load_small(folder.root / n, LONGEST_SIDE_PX) for n in part])
        chunks.append(features.astype(np.float32))  # half the memory, for 100,000 pictures
    return np.concatenate(chunks)


def _own_queries(folder: Dataset, names: Sequence[str]) -> dict[str, str]:
    wanted = set(names)
    entries = read_lines(folder.provenance_jsonl)
    return {e["file_name"]: e["query"] for e in entries if e.get("query") and e["file_name"] in wanted}


def _far_from_query(
    names: Sequence[str], features: Features, queries: Mapping[str, str], embedder: Embedder
) -> list[Finding]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        if name in queries:
            groups[queries[name]].append(index)
    findings = []
    for text, members in groups.items():
        words = embedder.text_features([text])
        assert words is not None
        scores = (features[members] @ words[0]).tolist()
        typical = float(np.median(scores))
        for index in low_scores(scores):
            reason = f'fits "{text}" at {scores[index]:.2f}, where the others have {typical:.2f}'
            findings.append(Finding(names[members[index]], "far-from-query", reason))
    return findings

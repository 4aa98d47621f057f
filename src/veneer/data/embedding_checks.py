"""Pictures seen through an embedder: copies that hashes miss, and pictures far from the query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from veneer.data.findings import Finding, embedding_findings, low_scores
from veneer.data.inspection import Inspected
from veneer.data.picture import load_all_small
from veneer.data.spread import Features
from veneer.models.embedder import Embedder
from veneer.records.dataset import Dataset
from veneer.records.provenance import read_provenance

COPY_LIMIT = 0.985
"""Cosine similarity of CLIP or DINO features from which on two pictures are the same one."""

_CHUNK = 64
_LONGEST_SIDE_PX = 512


def likeness_findings(
    dataset: Dataset,
    seen: Mapping[str, Inspected],
    looked: tuple[list[str], Features],
    query: str,
    embedder: Embedder,
    *,
    spoilt: Collection[str] = (),
) -> tuple[list[Finding], list[str]]:
    """Look at the pictures through an embedder.

    Args:
        seen: Measures of its readable pictures.
        looked: Those that are still there, and what the embedder sees of them, shape (N, D).
        query: What the pictures should show; empty to take each picture's own search query.
        spoilt: Pictures with a blur or writing, the worse ones of copies.

    Returns:
        What was found, and what was not looked at.
    """
    names, features = looked
    if not names:
        return [], []
    findings = embedding_findings(names, [seen[name] for name in names], features, COPY_LIMIT, spoilt)
    queries = dict.fromkeys(names, query) if query else _own_queries(dataset, names)
    if not queries:
        return findings, ["Not looked at: likeness to the query (no query is known)."]
    if embedder.tokenizer is None:
        return findings, [f"Not looked at: likeness to the query ({embedder.name} reads no text)."]
    return [*findings, *_far_from_query(names, features, queries, embedder)], []


def features_of(dataset: Dataset, names: Sequence[str], embedder: Embedder) -> tuple[list[str], Features]:
    """Features of the pictures that are still there, shape (N, D), and their names."""
    kept: list[str] = []
    chunks = [np.zeros((0, 0), np.float32)]
    for start in range(0, len(names), _CHUNK):
        part, pictures = load_all_small(dataset.root, names[start : start + _CHUNK], _LONGEST_SIDE_PX)
        if part:
            kept += part
            chunks.append(embedder.image_features(pictures).astype(np.float32))  # half the memory
    return kept, np.concatenate(chunks[1:]) if kept else chunks[0]


def _own_queries(dataset: Dataset, names: Sequence[str]) -> dict[str, str]:
    wanted = set(names)
    known = (one for one in read_provenance(dataset) if one.file_name in wanted)
    return {one.file_name: query for one in known if (query := one.told("query"))}


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

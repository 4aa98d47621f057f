"""A tagger of three colours, laid out as SmilingWolf's are: what is red, green and blue, and whose it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LIST = """tag_id,name,category,count
9999999,general,9,100
9999998,explicit,9,50
1,red_colour,0,40
2,green_colour,0,30
3,blue_colour,0,20
4,^_^,0,10
5,miss_red_(game),4,5
6,somebody,1,4
"""
# What each output hears of blue, green and red, and what it begins with; values are 0 to 255.
_HEARS = {
    "general": ([0, 0, 0], 2.0), "explicit": ([0, 0, 0], -2.0),
    "red": ([0, 0, 1], -9.0), "green": ([0, 1, 0], -9.0), "blue": ([1, 0, 0], -9.0),
    "face": ([0, 0, 0], 0.0), "miss": ([0, 0, 1], -18.2), "somebody": ([0, 0, 0], 9.0),
}  # fmt: skip


def write_tagger(folder: Path, *, side_px: int = 448, listed: str = LIST, batch: str | int = "N") -> Path:
    """Write the tagger; a tag's probability is 0.73 where its colour fills a tenth of the picture."""
    weights = np.array([[w / 2.55 for w in hears] for hears, _ in _HEARS.values()], np.float32).T
    begins = np.array([begin for _, begin in _HEARS.values()], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["colour", "weights", "begins"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["tags"]),
    ]
    graph = helper.make_graph(
        nodes, "tagger",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, side_px, side_px, 3])],
        [helper.make_tensor_value_info("tags", TensorProto.FLOAT, [batch, len(_HEARS)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(begins, "begins")],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "selected_tags.csv").write_text(listed, "utf-8")
    return folder

"""Make docs/demo-grid.png, the README's first picture, from a finished run of the demo.

python docs/make_demo_grid.py runs/pocket-8bit
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from veneer.proof.page import sheet_groups
from veneer.proof.sheet import HEAD, LABEL, PAPER, Group
from veneer.records.run import RunDir

NUM_PROMPTS, ACROSS = 4, 2
SIDE, GAP, MARGIN, TITLE = 128, 4, 10, 26


def draw_block(group: Group) -> Image.Image:
    """One prompt: the base's pictures above the tuned ones, at their own size, pixel for pixel."""
    columns = max(len(row) for row in group.rows.values())
    size = columns * (SIDE + GAP), TITLE + len(group.rows) * (SIDE + GAP)
    block = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(block)
    draw.text((0, 2), group.title, fill=HEAD.colour, font=ImageFont.load_default(HEAD.size))
    for line, (label, row) in enumerate(group.rows.items()):
        top = TITLE + line * (SIDE + GAP)
        for column, path in enumerate(row):
            with Image.open(path) as picture:
                block.paste(picture.convert("RGB").resize((SIDE, SIDE)), (column * (SIDE + GAP), top))
        draw.text((3, top + 2), label, fill=LABEL.colour, font=ImageFont.load_default(LABEL.size))
    return block


def main() -> None:
    """Draw the first prompts of the run."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    groups = [group for group in sheet_groups(RunDir(Path(sys.argv[1]))) if len(group.rows["base"]) > 1]
    blocks = [draw_block(group) for group in groups[:NUM_PROMPTS]]
    width, height = (max(sides) for sides in zip(*(block.size for block in blocks), strict=True))
    rows = -(-len(blocks) // ACROSS)
    sheet = Image.new("RGB", (MARGIN + ACROSS * (width + MARGIN), MARGIN + rows * (height + MARGIN)), PAPER)
    for number, block in enumerate(blocks):
        row, column = divmod(number, ACROSS)
        sheet.paste(block, (MARGIN + column * (width + MARGIN), MARGIN + row * (height + MARGIN)))
    sheet.save(Path(__file__).with_name("demo-grid.png"), optimize=True)


if __name__ == "__main__":
    main()

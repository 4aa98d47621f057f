"""The model card's figures and sample sheets, as ``python -m pocket eval`` writes them."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .config import REPOSITORY
from .draw import contact_sheet

CARD = REPOSITORY / "pocket" / "README.md"
SHEETS = REPOSITORY / "pocket" / "sheets"
COLUMNS, COMPARED_COLUMNS, COMPARED = 20, 16, 32
CELL_PX = 50
MEASURES = {
    "vae_psnr_db": "VAE: PSNR of kept-out pictures, dB",
    "clip_first": "CLIP: right name of 100 is first, kept-out styles",
    "clip_first_five": "CLIP: right name among the first five",
    "picture_ranks_first": "Text to image: the true picture in that style ranks first of 100, by the judge",
    "style_recognised": "Text to image: the asked style is recognised, by the judge",
    "head_word_in_caption": "Captioner: the head word is in the caption, kept-out styles",
}
ASKED = {
    "vae_psnr_db": 25.0,
    "clip_first": 0.40,
    "clip_first_five": 0.75,
    "picture_ranks_first": 0.60,
    "style_recognised": 0.90,
    "head_word_in_caption": 0.60,
}


def drawn_sheet(pixels: np.ndarray, seed: int) -> None:
    """What the base draws, (N, side, side, 3) uint8, with one seed."""
    _save(pixels, COLUMNS, f"pictures-{seed}.png")


def compared_sheet(true: np.ndarray, drawn: np.ndarray, seed: int) -> None:
    """Rows of true drawings, each followed by what the base draws of them, (N, side, side, 3) uint8."""
    _save(_in_turns(true, drawn, COMPARED_COLUMNS), COMPARED_COLUMNS, f"compared-{seed}.png")


def rebuilt_sheet(pairs: Sequence[tuple[np.ndarray, Tensor]]) -> None:
    """Pictures and what the VAE makes of them: (N, side, side, 3) uint8 and (N, 3, side, side) in [-1, 1]."""
    rows = []
    for shown, rebuilt in pairs:
        made = ((rebuilt[:COLUMNS] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        rows.append(_in_turns(shown[:COLUMNS], made, COLUMNS))
    _save(np.concatenate(rows), COLUMNS, "rebuilt.png")


def _in_turns(first: np.ndarray, second: np.ndarray, num_columns: int) -> np.ndarray:
    starts = range(0, len(first), num_columns)
    return np.concatenate([part[at : at + num_columns] for at in starts for part in (first, second)])


def _save(pixels: np.ndarray, num_columns: int, name: str) -> None:
    num_rows = -(-len(pixels) // num_columns)
    sheet = contact_sheet(pixels, num_columns).resize((num_columns * CELL_PX, num_rows * CELL_PX))
    SHEETS.mkdir(parents=True, exist_ok=True)
    sheet.quantize(200).save(SHEETS / name, optimize=True)


def write_card(whole: dict) -> None:
    """Put the figures between the marks of the model card."""
    begin, end = "<!-- figures: written by python -m pocket eval -->", "<!-- end of figures -->"
    before, rest = CARD.read_text().split(begin)
    after = rest.split(end)[1]
    CARD.write_text(f"{before}{begin}\n{figures_table(whole)}\n{end}{after}")


def figures_table(whole: dict) -> str:
    """The summary beside what was asked, and the figures of each kept-out style, as Markdown."""
    reached = {
        name: "not measured" if value is None else f"{value:g}" for name, value in whole["summary"].items()
    }
    rows = [f"| {MEASURES[name]} | {asked:g} | {reached[name]} |" for name, asked in ASKED.items()]
    figures, setting = whole["figures"], whole["setting"]
    styles = [
        f"| {style} | {figures['vae_psnr_db'][style]:g} | {clip['first']:g} | {clip['first_five']:g} "
        f"| {figures['captioner'][style]:g} |"
        for style, clip in figures["clip"].items()
    ]
    return "\n".join(
        [
            "| measure | asked | reached |",
            "|---|---|---|",
            *rows,
            "",
            "| kept-out style | VAE PSNR, dB | CLIP first of 100 | in first five | captioner: head word |",
            "|---|---|---|---|---|",
            *styles,
            "",
            drawn_sentence(figures),
            f"4 pictures of {setting['num_inference_steps']} steps of DPM-Solver++ in "
            f"{figures['seconds_4_pictures']:g} s. "
            f"Measured {setting['date']} with {setting['threads']} threads.",
        ]
    )


def drawn_sentence(figures: dict) -> str:
    """What is to be known of the judge and the guidance."""
    drawn = figures["text_to_image"]
    if drawn is None:
        return f"Drawn pictures were not judged: {figures['reason']}."
    judge = figures["judge"]
    return (
        f"Guidance {drawn['guidance_scale']:g}. The judge names the true drawings' subject among 300 in "
        f"{judge['subject']:.0%} of cases and their style in {judge['style']:.0%}."
    )

"""Pictures of the base to look at: ``python -m pocket sheet``, after ``export``.

Written to ``WORK/SIZE/``: ``sheet.png``, evaluation subjects, true drawings above what the base draws of
them, and ``free.png``, prompts that no drawing answers.
"""

import numpy as np
import torch

from .config import Size, shipped_folder, work_folder
from .device import training_device
from .draw import contact_sheet, draw_plain
from .evaluate import NUM_STEPS, UNJUDGED_GUIDANCE, draw_with_base, load_shipped, styles_of
from .subjects import with_role
from .telling import tell
from .waiting import wait_for

NUM_SUBJECTS, COLUMNS = 48, 12
FREE = (
    "8-bit illustration of a city",
    "8-bit illustration of a cat",
    "a flat illustration of a small red apple on the left on a blue background",
    "a soft illustration of a house with a garden",
    "a bold illustration of a dragon on a yellow background",
    "an illustration of a castle",
    "a shaded illustration of a sailboat",
    "a simple illustration of an owl on a black background",
)


@torch.no_grad()
def draw_sheet(size: Size) -> None:
    """Draw both sheets on the device that trains."""
    wait_for(size, "export")
    pipeline = load_shipped(shipped_folder()).pipeline.to(training_device())
    folder = work_folder() / size.name
    subjects = [subject for subject in with_role("evaluation") if styles_of(subject)][:NUM_SUBJECTS]
    sources = [
        styles_of(subject)[number % len(styles_of(subject))] for number, subject in enumerate(subjects)
    ]
    true = np.stack([draw_plain(*pair, size.picture_px) for pair in zip(subjects, sources, strict=True)])
    drawn = draw_with_base(pipeline, subjects, sources, UNJUDGED_GUIDANCE, seed=0)
    starts = range(0, len(true), COLUMNS)
    rows = [part[start : start + COLUMNS] for start in starts for part in (true, drawn)]
    contact_sheet(np.concatenate(rows), COLUMNS).save(folder / "sheet.png")
    generators = [torch.Generator().manual_seed(number) for number in range(len(FREE))]
    free = pipeline(
        list(FREE),
        num_inference_steps=NUM_STEPS,
        guidance_scale=UNJUDGED_GUIDANCE,
        generator=generators,
        output_type="np",
    ).images
    contact_sheet(np.round(free * 255).astype(np.uint8), len(FREE)).save(folder / "free.png")
    tell("sheet", f"{folder / 'sheet.png'}")

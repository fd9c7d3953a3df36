"""What was looked at, as pictures: a PNG a frame, named by its second, and one sheet a look with all of them."""

from __future__ import annotations

from pathlib import Path

from videochat_r1.chat.clues import Look, Thought
from videochat_r1.errors import EnvironmentFault
from videochat_r1.types import Clip, Span

CELL_PX, MARGIN_PX, LINE_PX, COLUMNS = 168, 6, 16, 8
INSIDE, OUTSIDE, GROUND, INK = (214, 120, 28), (150, 156, 166), (255, 255, 255), (28, 32, 38)


def clock(second: float) -> str:
    """mm:ss.s, the minutes running on past an hour."""
    tenths = round(second * 10)
    return f"{tenths // 600:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def save_looks(folder: Path, thought: Thought) -> list[Path]:
    """folder/look_1/00012.500s.png and so on, and folder/look_1.png, a sheet of them in order with the frames inside the windows framed;
    one of each for every look. Gives the sheets. Raises EnvironmentFault where the folder cannot be written."""
    sheets = []
    try:
        for number, look in enumerate(thought.looks, start=1):
            frames = folder / f"look_{number}"
            frames.mkdir(parents=True, exist_ok=True)
            for index, second in enumerate(look.clip.times_s):
                _picture(look.clip, index).save(frames / f"{second:09.3f}s.png")
            sheets.append(folder / f"look_{number}.png")
            sheet(look).save(sheets[-1])
    except OSError as fault:
        raise EnvironmentFault(f"{folder} cannot be written: {fault.strerror or fault}.", "Choose another folder with --save.") from None
    return sheets


def sheet(look: Look):  # type: ignore[no-untyped-def]  # a PIL.Image.Image; PIL is not imported with this module
    """All frames of a look in rows, the second under each, those inside its windows with a frame around them."""
    from PIL import Image, ImageDraw

    height, width = look.clip.frames_NCHW.shape[2:]
    scale = CELL_PX / max(height, width)
    cell_w, cell_h = max(round(width * scale), 1), max(round(height * scale), 1)
    count = len(look.clip.times_s)
    columns = min(count, COLUMNS)
    step_w, step_h = cell_w + 2 * MARGIN_PX, cell_h + 2 * MARGIN_PX + LINE_PX
    image = Image.new("RGB", (columns * step_w, -(-count // columns) * step_h), GROUND)
    pen = ImageDraw.Draw(image)
    for index, second in enumerate(look.clip.times_s):
        left, top = index % columns * step_w + MARGIN_PX, index // columns * step_h + MARGIN_PX
        near = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BICUBIC
        image.paste(_picture(look.clip, index).resize((cell_w, cell_h), near), (left, top))
        inside = _is_inside(second, look.windows)
        if look.windows:
            edge = [left - 3, top - 3, left + cell_w + 2, top + cell_h + 2]
            pen.rectangle(edge, outline=INSIDE if inside else OUTSIDE, width=3 if inside else 1)
        pen.text((left, top + cell_h + 4), clock(second), fill=INSIDE if look.windows and inside else INK)
    return image


def _is_inside(second: float, windows: tuple[Span, ...]) -> bool:
    return any(start_s <= second <= end_s for start_s, end_s in windows)


def _picture(clip: Clip, index: int):  # type: ignore[no-untyped-def]  # as `sheet`
    from PIL import Image

    return Image.fromarray(clip.frames_NCHW[index].permute(1, 2, 0).contiguous().numpy())

"""Rows on disk -> Samples.

A data set is one file in this folder's parent that assigns DATASET: its reader turns the official format into rows of the canonical form
(`Row`), with no judgement of its own. What is judged, and what is done about it, is here and the same for all: `examine.py` finds every
defect of a row, `defects.py` says what each is called and what may be done, `source.py` reads a data set as a recipe names it."""

from videochat_r1.datasets.base.choices import files_of, first_folder, named_groups, positive, row_with_choice, text_id
from videochat_r1.datasets.base.convert import convert
from videochat_r1.datasets.base.defects import KINDS, Action, Defect, DefectReport
from videochat_r1.datasets.base.examine import Row
from videochat_r1.datasets.base.json_text import Item, read_items
from videochat_r1.datasets.base.overlap import Overlap, overlap
from videochat_r1.datasets.base.reading import Loaded, check, read_samples
from videochat_r1.datasets.base.rows import fingerprint, row_of
from videochat_r1.datasets.base.source import Dataset, DataSource, load_dataset
from videochat_r1.datasets.base.subtitles import subtitles_of
from videochat_r1.datasets.base.tables import read_rows

__all__ = [
    "KINDS",
    "Action",
    "DataSource",
    "Dataset",
    "Defect",
    "DefectReport",
    "Item",
    "Loaded",
    "Overlap",
    "Row",
    "check",
    "convert",
    "files_of",
    "fingerprint",
    "first_folder",
    "load_dataset",
    "named_groups",
    "overlap",
    "positive",
    "read_items",
    "read_rows",
    "read_samples",
    "row_of",
    "row_with_choice",
    "subtitles_of",
    "text_id",
]

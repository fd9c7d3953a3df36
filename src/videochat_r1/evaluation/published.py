"""Figures that others published, to stand beside measured ones, marked as what they are.

One home: a row a figure, with where it was printed. The same model's figure moves by tens of points with frames, pixels and reading (the
base on Charades-STA: 29.0, 43.6 or 52.9 mIoU), so none of these replaces a base measured by the same command. The mIoU that papers print
for NExT-GQA is taken for that of the released code (`mIoU_union`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PAPER = "VideoChat-R1, arXiv:2504.06958v5"
REPEATED = "reproduction by a user, issue 24 of OpenGVLab/VideoChat-R1"
AUTO_R1 = "VideoAuto-R1, arXiv:2601.05175"
TIMELENS = "TimeLens, arXiv:2512.14698"
R1_5 = "VideoChat-R1.5, arXiv:2509.21100, as quoted by later papers"


@dataclass(frozen=True)
class Published:
    """One published figure. metric: this project's name for it."""

    system: str
    dataset: str
    metric: str
    value: float
    source: str


def _rows(dataset: str, metrics: str, source: str, **figures: str) -> list[Published]:
    """figures: SYSTEM_KEY="58.2 80.5 - 45.8", one number a metric, "-" for none."""
    found = []
    for key, numbers in figures.items():
        for metric, number in zip(metrics.split(), numbers.split(), strict=True):
            if number != "-":
                found.append(Published(SYSTEMS[key], dataset, metric, float(number), source))
    return found


SYSTEMS = {
    "base": "Qwen2.5-VL-7B",
    "base_think": "Qwen2.5-VL-7B, thinking",
    "base_answer_only": "Qwen2.5-VL-7B, answer without spans",
    "base_clue": "Qwen2.5-VL-7B, with clues",
    "sft": "SFT on the task, 7B",
    "sft3": "SFT, 3 epochs, 7B",
    "sft_got": "SFT on GOT-10k, 7B",
    "sft_gqa": "SFT on NExT-GQA, 7B",
    "grpo": "GRPO on the task, 7B",
    "grpo_think": "GRPO on the task, thinking, 7B",
    "grpo3_think": "GRPO, 3 epochs, thinking, 7B",
    "r1": "VideoChat-R1_7B",
    "r1_think": "VideoChat-R1-thinking_7B",
    "r1_think_clue": "VideoChat-R1-thinking_7B, with clues",
    "r1_5": "VideoChat-R1.5-7B",
    "flash_vtg": "FlashVTG (expert)",
    "internvideo2": "InternVideo2-6B (expert)",
    "sg_detr": "SG-DETR (expert)",
    "time_r1": "Time-R1-7B, zero-shot",
    "time_r1_ft": "Time-R1-7B, fine-tuned",
    "temporal_rlt": "Temporal-RLT-7B",
    "vital": "VITAL-7B",
    "tempsamp": "TempSamp-R1-7B, no thought",
    "tempsamp_mixed": "TempSamp-R1-7B, mixed",
    "deepvideo": "DeepVideo-R1",
    "open_o3": "Open-o3-Video",
    "longvila": "LongVILA-R1",
    "longvila_sub": "LongVILA-R1, subtitles",
    "onethinker": "OneThinker-8B",
    "timelens7": "TimeLens-7B",
    "timelens8": "TimeLens-8B",
    "auto_r1": "VideoAuto-R1-7B",
    "auto_r1_8": "VideoAuto-R1, Qwen3-VL-8B",
    "suture": "SUTURE, Qwen2.5-VL-7B",
    "r1_track": "R1-Track-3B, 5K pairs",
    "r1_track100": "R1-Track-3B, 100K pairs",
    "ora": "Video-ORA-9B",
    "qwen3_8": "Qwen3-VL-8B",
    "video_r1": "Video-R1-7B",
}
SPANS = "mIoU R@0.3 R@0.5 R@0.7"

PUBLISHED: tuple[Published, ...] = tuple(
    _rows(
        "charades_sta",
        SPANS,
        PAPER,
        base="29.0 44.7 24.2 11.1",
        base_think="28.1 41.8 23.4 11.1",
        sft="46.3 63.9 45.0 25.3",
        sft3="34.6 51.7 36.3 20.6",
        grpo="58.7 80.9 67.7 45.4",
        grpo_think="59.3 81.7 70.4 46.0",
        grpo3_think="61.3 83.1 72.8 51.5",
        r1="60.8 - 71.7 50.2",
        r1_think="59.9 - 70.6 47.2",
        flash_vtg="- - 70.3 49.9",
        internvideo2="- - 70.0 49.0",
        sg_detr="- - 71.1 52.8",
    )
    + _rows("charades_sta", SPANS, REPEATED, r1="58.2 80.5 68.6 45.8")
    + _rows("charades_sta", SPANS, AUTO_R1, base="52.9 77.7 59.6 34.8", r1="58.5 - - -", auto_r1="60.0 - - -", auto_r1_8="63.7 - - -")
    + _rows("charades_sta", SPANS, "Time-R1, arXiv:2503.13377", time_r1="- 78.1 60.8 35.3", time_r1_ft="58.8 82.8 72.2 50.1")
    + _rows("charades_sta", SPANS, "Temporal-RLT, arXiv:2506.01908", temporal_rlt="57.0 - - -")
    + _rows("charades_sta", SPANS, "VITAL, arXiv:2508.04416", vital="59.9 - - -")
    + _rows("charades_sta", SPANS, "TempSamp-R1, arXiv:2509.18056", tempsamp="61.7 - - -", tempsamp_mixed="64.2 85.0 76.0 56.3")
    + _rows("charades_sta", SPANS, R1_5, r1_5="60.6 82.8 71.6 48.3")
    + _rows("charades_sta", SPANS, "OneThinker, December 2025", onethinker="59.9 83.5 68.3 45.3")
    + _rows("charades_sta", SPANS, "SUTURE, 2026", suture="- 81.6 65.1 37.6")
    + _rows("charades_sta", SPANS, "Video-R1, arXiv:2503.21776", video_r1="42.0 - - -")
    + _rows(
        "activitynet_captions",
        SPANS,
        PAPER,
        base="21.1 28.3 15.8 7.5",
        base_think="17.7 22.7 13.4 7.7",
        sft="20.6 30.2 16.7 7.9",
        sft3="17.3 26.1 10.0 3.9",
        grpo="31.9 46.3 28.8 14.1",
        grpo_think="30.7 45.0 27.5 12.9",
        grpo3_think="34.3 50.4 32.2 16.2",
        r1="36.6 - 33.4 17.7",
        r1_think="35.5 - 33.3 16.7",
    )
    + _rows("activitynet_captions", SPANS, AUTO_R1, base="26.9 - - -", auto_r1="47.6 - - -", auto_r1_8="51.9 - - -")
    + _rows("activitynet_captions", SPANS, "Time-R1, arXiv:2503.13377", time_r1="- 58.6 39.0 21.4", time_r1_ft="52.1 73.3 55.6 34.0")
    + _rows("activitynet_captions", SPANS, "Temporal-RLT, arXiv:2506.01908", temporal_rlt="39.0 - - -")
    + _rows("activitynet_captions", SPANS, "VITAL, arXiv:2508.04416", vital="49.8 - - -")
    + _rows("activitynet_captions", SPANS, "TempSamp-R1, arXiv:2509.18056", tempsamp_mixed="54.9 - - -")
    + _rows("activitynet_captions", SPANS, R1_5, r1_5="35.3 52.4 32.3 16.8")
    + _rows("activitynet_captions", SPANS, "OneThinker, December 2025", onethinker="45.9 - - -")
    + _rows("activitynet_captions", SPANS, "SUTURE, 2026", suture="- 66.8 47.1 26.2")
    + _rows(
        "nextgqa",
        "mIoU_union accuracy",
        PAPER,
        base="15.4 59.5",
        base_think="20.2 53.3",
        base_answer_only="- 41.7",
        sft_gqa="28.2 64.8",
        grpo="35.1 68.7",
        grpo_think="32.9 66.9",
        r1="32.4 70.6",
        r1_think="36.1 69.2",
    )
    + _rows("nextgqa", "mIoU_union accuracy", AUTO_R1, base="20.2 53.3", auto_r1="36.7 80.6", auto_r1_8="44.2 81.1")
    + _rows("nextgqa", "mIoU_union accuracy", "Temporal-RLT, arXiv:2506.01908", temporal_rlt="37.3 78.7")
    + _rows("nextgqa", "mIoU_union accuracy", "VITAL, arXiv:2508.04416", vital="43.0 78.7")
    + _rows("nextgqa", "mIoU_union accuracy", "DeepVideo-R1", deepvideo="36.8 72.5")
    + _rows(
        "got10k",
        "AO_8 R_8@0.5 R_8@0.7",
        PAPER,
        base="12.6 1.1 0",
        sft_got="41.8 29.5 3.9",
        grpo="42.5 30.6 3.9",
        r1="43.8 38.2 -",
        r1_think="43.3 33.9 -",
    )
    + _rows("got10k", "AO SR0.5 SR0.75", "R1-Track", r1_track="58.6 - -", r1_track100="68.0 76.6 63.7")
    + _rows("got10k", "AO", "OneThinker, December 2025", onethinker="73.0", qwen3_8="33.7")
    + _rows("got10k", "AO", "OraRL, arXiv:2608.20492", ora="78.2")
    + _rows("quality_access", "accuracy", PAPER, base="70.7", sft="71.7", grpo="72.6")
    + _rows("dream1k", "event_F1 event_precision event_recall", PAPER, base="30.6 33.8 27.9", sft="31.4 32.6 30.2", grpo="38.2 45.4 33.1")
    + _rows("videomme", "accuracy/short", PAPER, base="71.3", sft_got="59.2", sft_gqa="60.1", r1="72.2", r1_think="74.2")
    + _rows("videomme", "accuracy", PAPER, base="64.4", base_clue="63.3", r1_think="62.1", r1_think_clue="63.6")
    + _rows("videomme", "accuracy", AUTO_R1, base="66.0", r1="65.7", r1_5="65.2", auto_r1="67.3", auto_r1_8="71.7")
    + _rows("videomme", "accuracy", "LongVILA-R1, arXiv:2507.07966", longvila="65.1", longvila_sub="71.1")
    + _rows("videomme", "accuracy", "OneThinker, December 2025", onethinker="66.5")
    + _rows("videomme", "accuracy", "Open-o3-Video, October 2025", open_o3="63.6")
    + _rows("videomme", "accuracy", "OraRL, arXiv:2608.20492", ora="76.7")
    + _rows("mvbench", "accuracy_macro", PAPER, base="66.9", sft_got="58.6", sft_gqa="59.2", r1="67.9", r1_think="66.2")
    + _rows("mvbench", "accuracy_macro", AUTO_R1, base="67.1")
    + _rows("mvbench", "accuracy_macro", R1_5, r1_5="70.6")
    + _rows("perception_test", "accuracy", PAPER, base="69.1", sft_got="58.5", sft_gqa="60.7", r1="70.0", r1_think="69.6")
    + _rows("longvideobench", "accuracy", PAPER, base="56.0", base_clue="55.2", r1_think="51.9", r1_think_clue="58.2")
    + _rows("longvideobench", "accuracy", AUTO_R1, r1="60.1")
    + _rows("longvideobench", "accuracy", R1_5, r1_5="61.4")
    + _rows("longvideobench", "accuracy", "OneThinker, December 2025", onethinker="61.7")
    + _rows("lvbench", "accuracy", R1_5, r1_5="48.4")
    + _rows("qvhighlights", "R1@0.3 R1@0.5 R1@0.7", R1_5, r1_5="71.4 55.8 38.4")
    + _rows("qvhighlights", "R1@0.3 R1@0.5 R1@0.7", "SUTURE, 2026", suture="84.1 70.1 50.6")
    + _rows(
        "timelens_bench",
        "R@0.3/charades R@0.5/charades R@0.7/charades mIoU/charades",
        TIMELENS,
        base="59.7 37.8 16.6 39.3",
        r1="51.9 30.8 11.7 33.7",
        r1_5="46.4 24.0 10.4 -",
        timelens7="- - - 48.8",
        timelens8="- - - 55.2",
        qwen3_8="- - - 48.3",
    )
    + _rows(
        "timelens_bench",
        "R@0.3/activitynet R@0.5/activitynet R@0.7/activitynet mIoU/activitynet",
        TIMELENS,
        base="44.1 31.0 16.1 31.4",
        r1="35.0 23.9 11.3 25.0",
        r1_5="40.6 25.3 16.4 -",
        timelens7="- - - 46.2",
        timelens8="- - - 53.2",
        qwen3_8="- - - 46.8",
    )
    + _rows(
        "timelens_bench",
        "R@0.3/qvhighlights R@0.5/qvhighlights R@0.7/qvhighlights mIoU/qvhighlights",
        TIMELENS,
        base="41.5 27.8 15.2 31.6",
        r1="29.3 19.1 9.4 21.5",
        r1_5="62.2 44.5 28.3 -",
        timelens7="- - - 56.0",
        timelens8="- - - 65.5",
        qwen3_8="- - - 59.4",
    )
)


def published(dataset: str, metrics: Iterable[str]) -> list[Published]:
    """What was published about these metrics of a data set, in the order of the table; the whole sets alone, as they were printed."""
    wanted = set(metrics)
    return [one for one in PUBLISHED if one.dataset == dataset and one.metric in wanted]

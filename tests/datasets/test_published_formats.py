"""Benchmarks as published: rows of the true form, what they become, and that their own truth scores full marks."""

from __future__ import annotations

import json
import sys

import pytest
from tests.datasets.files import (
    CLEAN,
    by_length,
    clips_of_a_task,
    described,
    highlights,
    hours,
    perceived,
    plots,
    referred,
    source,
    timelens,
    write_json,
)

from videochat_r1.datasets.base import check, convert, read_samples
from videochat_r1.errors import DataError, EnvironmentFault
from videochat_r1.evaluation.baselines import baselines
from videochat_r1.evaluation.score import score
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task

BENCHMARKS = [
    "timelens_bench",
    "qvhighlights",
    "mvbench",
    "videomme",
    "perception_test",
    "longvideobench",
    "mlvu",
    "lvbench",
    "dream1k",
]


def read(path, name, **fields):
    loaded = read_samples(source(name, path, split="test", **fields))
    assert loaded.defects.clean, loaded.defects.lines()
    return loaded.samples


def figures_of_the_truth(samples):
    task = load_task(samples[0].task)
    return score(samples, {sample.id: task.write(sample.truth, Asking()) for sample in samples}, resamples=0).as_dict()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_truth_scores_100_beside_trivial_answers_that_do_not(tmp_path, name):
    task = "description" if name == "dream1k" else ""  # the exact rule in place of a judge
    samples = read(write_json(tmp_path / "rows.json", CLEAN[name](6)), name, task=task)
    found = figures_of_the_truth(samples)
    metrics = [metric for metric in load_task(samples[0].task).metrics if not metric.startswith("mAP/")]
    assert {metric: found[metric] for metric in metrics} == dict.fromkeys(metrics, 100.0)
    assert (found["n"], found["unparsed"], found["missing"]) == (len(samples), 0, 0)
    for trivial in next(iter(baselines(samples, resamples=0).values())).values():
        assert trivial[metrics[0]] <= 100.0 and trivial["n"] == len(samples)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_is_converted_reads_back_the_same(tmp_path, name):
    path = write_json(tmp_path / "rows.json", CLEAN[name](4))
    convert(source(name, path, split="test"), tmp_path / "rows.jsonl")
    assert read(tmp_path / "rows.jsonl", "jsonl") == read(path, name)


def test_timelens_bench_is_three_files_with_figures_of_each(tmp_path):
    for name in ("charades", "activitynet", "qvhighlights"):
        content = {f"{name}_{key}": entry for key, entry in timelens(2).items()}
        write_json(tmp_path / f"{name}-timelens.json", content)
    (tmp_path / "videos/charades").mkdir(parents=True)
    samples = read(tmp_path, "timelens_bench")
    assert len(samples) == 12 and samples[0].id == "charades_v_00/0" and samples[0].video == "charades_v_00.mp4"
    assert samples[1].truth.spans == ((12.25, 40.5),) and samples[1].duration_s == 40.5
    found = figures_of_the_truth(samples)
    assert {f"mIoU/{name}" for name in ("charades", "activitynet", "qvhighlights")} <= found.keys()
    there = check(source("timelens_bench", tmp_path / "charades-timelens.json", videos=str(tmp_path / "videos"), missing_limit=1))
    assert there.missing == ("charades/charades_v_00.mp4", "charades/charades_v_01.mp4")


def test_qvhighlights_has_all_windows_of_a_query(tmp_path):
    (sample, *_) = read(write_json(tmp_path / "highlight_val_release.jsonl", highlights()), "qvhighlights")
    assert (sample.id, sample.video, sample.task) == ("8700", "Abc0_60.0_210.0.mp4", "moment_retrieval")
    assert sample.truth.spans == ((0.0, 16.0), (20.0, 50.0), (60.0, 148.0)) and sample.duration_s == 150.0


def test_mvbench_cuts_windows_where_the_clips_are_not_cut_yet(tmp_path):
    annotations = tmp_path / "json"
    annotations.mkdir()
    write_json(annotations / "action_sequence.json", clips_of_a_task(2))
    frames = [{**row, "video": "friends_01", "fps": 3} for row in clips_of_a_task(1)]
    write_json(annotations / "episodic_reasoning.json", frames)
    plain = [{key: value for key, value in row.items() if key not in ("start", "end")} for row in clips_of_a_task(1)]
    write_json(annotations / "object_shuffle.json", plain)
    samples = {sample.id: sample for sample in read(annotations, "mvbench")}
    first = samples["action_sequence/0"]
    assert first.video == "star/Charades_v1_480/ZS0XR.mp4" and first.meta["window_s"] == [11.1, 19.6]
    assert first.options[2] == "Put down the cup." and first.truth.choice == "D"  # the text "C" is the fourth option
    assert samples["action_sequence/1"].truth.choice == "C"
    assert samples["episodic_reasoning/0"].meta["picture_fps"] == 3.0 and "window_s" in samples["episodic_reasoning/0"].meta
    assert samples["object_shuffle/0"].video == "perception/videos/ZS0XR.mp4" and "window_s" not in samples["object_shuffle/0"].meta
    found = figures_of_the_truth(list(samples.values()))
    assert found["accuracy_macro"] == found["accuracy/object_shuffle"] == 100.0
    (tmp_path / "video/star/Charades_segment").mkdir(parents=True)
    cut = read_samples(
        source("mvbench", annotations / "action_sequence.json", videos=str(tmp_path / "video"), missing_limit=1), keeps_missing=True
    )
    assert cut.samples[0].video.endswith("star/Charades_segment/ZS0XR.mp4") and "window_s" not in cut.samples[0].meta


def test_video_mme_by_length_from_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra named parquet is not installed")
    from pyarrow import parquet

    path = tmp_path / "test-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(by_length(6)), path)
    samples = read(path, "videomme")
    assert samples == read(write_json(tmp_path / "rows.json", by_length(6)), "videomme")
    assert (samples[1].id, samples[1].video, samples[1].truth.choice) == ("001-1", "yt_1.mp4", "B")
    found = figures_of_the_truth(samples)
    assert {"accuracy/short", "accuracy/medium", "accuracy/long", "accuracy/Knowledge", "accuracy/Counting Problem"} <= found.keys()
    assert "accuracy_macro" not in found
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="no Parquet file that can be read"):
        check(source("videomme", path))


def test_a_parquet_file_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentFault, match=r"videochat-r1\[parquet\]"):
        check(source("videomme", tmp_path / "test.parquet"))


def test_perception_test_answers_by_number(tmp_path):
    samples = read(write_json(tmp_path / "mc_question_valid.json", perceived()), "perception_test")
    assert [(one.id, one.truth.choice, one.duration_s) for one in samples[:2]] == [("video_0/0", "C", 30.0), ("video_0/1", "B", 30.0)]
    assert {"accuracy/physics", "accuracy/descriptive"} <= figures_of_the_truth(samples).keys()
    table = tmp_path / "val.csv"
    table.write_text("video_name,question,question_id,options,answer_id\nvideo_1,Is it lit?,0,no,0\n")
    assert check(source("perception_test", table)).counts == {"field_type": 1}  # a list of options has no place in a cell


def test_longvideobench_with_candidates_or_columns(tmp_path):
    samples = read(write_json(tmp_path / "lvb_val.json", referred()), "longvideobench")
    columns = [
        {key: value for key, value in row.items() if key != "candidates"}
        | {f"option{n}": text for n, text in enumerate([*row["candidates"][:4], "N/A"])}
        for row in referred()
    ]
    by_column = read(write_json(tmp_path / "columns.json", columns), "longvideobench")
    assert [one.truth.choice for one in samples] == [one.truth.choice for one in by_column] == ["A", "B", "C"]
    assert len(samples[0].options) == 5 and len(by_column[0].options) == 4
    assert {"accuracy/15", "accuracy/600", "accuracy/L2-Relation", "accuracy/E3E"} <= figures_of_the_truth(samples).keys()


def test_mlvu_is_a_folder_of_tasks_with_a_mean_over_them(tmp_path):
    write_json(tmp_path / "1_plotQA.json", plots(2))
    write_json(tmp_path / "4_count.json", [{**row, "video": f"ego{n}.mp4", "question_type": "count"} for n, row in enumerate(plots(4))])
    write_json(tmp_path / "9_summary.json", [{"video": "a.mp4", "question": "Summarize.", "answer": "..."}])  # not multiple choice
    samples = read(tmp_path, "mlvu")
    assert [one.id for one in samples] == ["1_plotQA/0", "1_plotQA/1", *(f"4_count/{n}" for n in range(4))]
    found = figures_of_the_truth(samples)
    assert (found["accuracy_macro"], found["accuracy/plotQA"], found["accuracy/count"]) == (100.0, 100.0, 100.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds none of the files that mlvu has"):
        check(source("mlvu", tmp_path / "empty"))


def test_lvbench_parts_the_options_from_the_question(tmp_path):
    path = tmp_path / "video_info.meta.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in hours()))
    samples = read(path, "lvbench")
    assert samples[0].question == "What year stands in the first caption?" and samples[0].options == (
        "(A) 1636",
        "(B) 1366",
        "(C) 1363",
        "(D) 1633",
    )
    assert (samples[1].truth.choice, samples[1].duration_s, samples[1].video) == ("D", 1860.0, "Cm730.mp4")
    assert samples[1].meta["groups"]["type"] == ["key information retrieval", "reasoning"]
    assert {"accuracy/key information retrieval", "accuracy/reasoning"} <= figures_of_the_truth(samples).keys()


def test_dream1k_in_both_forms(tmp_path):
    judges = [
        {
            "idx": row["idx"],
            "dataset": f"DREAM/{row['source']}",
            "text": {"prompt": "<video>\nDescribe the video in detail.", "response": row["description"]},
            "video_file": "<placeholder>",
            "extra_info": {"duration": row["duration"], "events": row["events"], "n_events": 2},
            "vid": row["idx"],
        }
        for row in described()
    ]
    first = read(write_json(tmp_path / "metadata.json", described()), "dream1k")
    second = read(write_json(tmp_path / "DREAM-1k.json", judges), "dream1k")
    assert first[0].task == "captioning" and first[0].video == "video/0.mp4" and second[0].video == "0.mp4"
    assert [(one.id, one.truth, one.meta, one.duration_s) for one in first] == [
        (one.id, one.truth, one.meta, one.duration_s) for one in second
    ]
    assert first[0].truth.events == ("A cup falls from the table.", "A cat jumps away.")


def test_rows_about_other_parts_of_one_video_are_not_the_same_row(tmp_path):
    rows = [{**clips_of_a_task(1)[0], "start": float(n), "end": n + 5.0} for n in (0, 10, 10)]
    report = check(source("mvbench", write_json(tmp_path / "action_sequence.json", rows)))
    assert report.counts == {"row_duplicate": 1}


GQA_CSV = """video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4
11,900,640,480,why did the boy run,to hide,1,CW,to sit,to hide,he was called,to find a toy,to sleep
12,900,640,480,how does the dog react,barks,3,CH,barks,sits,runs,sleeps,eats
"""


def test_nextgqa_in_its_official_form(tmp_path):
    (tmp_path / "test.csv").write_text(GQA_CSV)
    with pytest.raises(DataError, match="gsub_test.json"):
        check(source("nextgqa", tmp_path / "test.csv"))
    spans = {
        "11": {"duration": 30, "location": {"1": [[1.2, 5.8], [9, 12]]}, "fps": 29.97},
        "12": {"duration": 30, "location": {"3": [[2, 4]]}},
    }
    write_json(tmp_path / "gsub_test.json", spans)
    write_json(tmp_path / "map_vid_vidorID.json", {"11": "1104/11"})
    samples = read(tmp_path / "test.csv", "nextgqa")
    assert (samples[0].id, samples[0].video, samples[0].duration_s) == ("11_1", "1104/11.mp4", 30.0)
    assert samples[0].options[1] == "(B) to hide" and samples[0].truth.choice == "B" and samples[0].truth.spans == ((1.2, 5.8), (9.0, 12.0))
    assert samples[1].video == "12.mp4" and figures_of_the_truth(samples)["Acc&GQA"] == 100.0
    write_json(tmp_path / "gsub_test.json", {"11": spans["11"]})
    assert check(source("nextgqa", tmp_path / "test.csv")).counts == {"duration_invalid": 1, "field_missing": 1}


def test_charades_sta_in_its_official_form(tmp_path):
    path = tmp_path / "charades_sta_test.txt"
    path.write_text("3MSZA 24.3 30.4##person turn a light on.\n3MSZA 1.0 2##person flips it.\nAB## no span\n")
    (tmp_path / "Charades_v1_test.csv").write_text("id,subject,length\n3MSZA,XX,30.96\n")
    loaded = read_samples(source("charades_sta", path, split="train"))
    assert [(one.id, one.truth.spans, one.duration_s) for one in loaded.samples] == [
        ("3MSZA/0", ((24.3, 30.4),), 30.96),
        ("3MSZA/1", ((1.0, 2.0),), 30.96),
    ]
    assert loaded.defects.counts == {"row_malformed": 1} and loaded.defects.examples["row_malformed"][0].line == 3

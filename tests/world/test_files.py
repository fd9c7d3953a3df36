import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from videochat_r1.datasets.base import DataSource, read_samples
from videochat_r1.errors import UsageError
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.probe import probe
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import VideoConfig
from videochat_r1.world import files
from videochat_r1.world.files import FPS, GOT_FPS, _clear_earlier, film_samples, scenes_for, write_video, write_world
from videochat_r1.world.questions import TASKS
from videochat_r1.world.render import render
from videochat_r1.world.scenes import draw

CLIPS = 4
OFFICIAL = {
    "charades_sta": "temporal_grounding",
    "activitynet_captions": "temporal_grounding",
    "nextgqa": "grounded_qa",
    "quality_access": "quality",
}
SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), clips=CLIPS, levels=("several",))


def read(name, annotations, videos, split, **fields):
    loaded = read_samples(DataSource(name=name, annotations=str(annotations), videos=str(videos), split=split, **fields))
    assert loaded.defects.clean, loaded.defects.lines()
    return loaded.samples


def psnr(found, expected):
    return 10 * np.log10(255**2 / np.mean((found.astype(float) - expected.astype(float)) ** 2))


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def scene_of(split, number):
    return draw("several", f"{split}-0", number, whole=number % 5 in (1, 3))


def test_videos_show_the_frames_that_were_drawn(world):
    videos = sorted(world.videos.iterdir())
    assert len(videos) == CLIPS + 2
    for split, count in (("train", CLIPS), ("test", 2)):
        for number in range(count):
            scene = scene_of(split, number)
            path = world.videos / f"{scene.id}.mp4"
            info = probe(str(path))
            assert (info.duration_s, info.fps, info.width, info.height) == (pytest.approx(8.0, abs=1e-6), FPS, 96, 96)
            drawn = render(scene, [k / FPS for k in range(64)]).permute(0, 2, 3, 1).numpy()
            shown = pictures(path)
            assert len(shown) == 64
            assert min(psnr(one, other) for one, other in zip(shown, drawn, strict=True)) > (24 if scene.poor else 29)


def test_mpeg4_serves_where_there_is_no_h264(tmp_path, monkeypatch):
    monkeypatch.setattr(files.av, "codecs_available", {"mpeg4"})
    frames = render(scene_of("train", 0), [k / FPS for k in range(16)])
    write_video(tmp_path / "a.mp4", frames)
    assert probe(str(tmp_path / "a.mp4")).codec == "mpeg4" and [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    for one, other in zip(pictures(tmp_path / "a.mp4"), frames.permute(0, 2, 3, 1).numpy(), strict=True):
        assert psnr(one, other) > 24


@pytest.mark.parametrize("split", SPLITS)
def test_the_canonical_file_gives_back_every_sample(world, split):
    assert read("jsonl", world.annotations["jsonl"][split], world.videos, split) == world.samples[split]
    assert {sample.task for sample in world.samples[split]} == set(TASKS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files_say_what_the_samples_say(world, name, split):
    found = read(name, world.annotations[name][split], world.videos, split)
    made = [sample for sample in world.samples[split] if sample.task == OFFICIAL[name]]
    assert len(found) == len(made) > 0
    for one, other in zip(found, made, strict=True):
        assert (one.task, one.video, one.truth, one.options) == (other.task, other.video, other.truth, other.options)
        assert one.question.rstrip(".") == other.question.rstrip(".") and one.duration_s in (other.duration_s, None)


@pytest.mark.parametrize("split", SPLITS)
def test_got10k_in_both_forms(world, split):
    made = {Path(sample.video).stem: sample for sample in world.samples[split] if sample.task == "tracking"}
    scenes = {scene.id: scene for scene in (scene_of(split, number) for number in range(CLIPS))}
    released = read("got10k", world.annotations["got10k"][split], world.sequences[split], split)
    official = read("got10k", world.sequences[split], world.sequences[split], split)
    assert [sample.id for sample in released] == [sample.id for sample in official] == sorted(made)
    for sample, how in [*((one, "matched") for one in released), *((one, "annotated") for one in official)]:
        scene = scenes[sample.id]
        assert sample.question == made[sample.id].question and sample.meta["box_times"] == how and sample.duration_s == 8.0
        for second, box in zip(sample.truth.times_s, sample.truth.boxes, strict=True):
            assert box == pytest.approx(scene.target.box(second, 8.0), abs=0.012)  # a still frame or two may be matched to a neighbour
    for sample in official:
        shown = pictures(Path(sample.video) / "00000041.jpg")[0]
        drawn = render(scenes[sample.id], [k / GOT_FPS for k in range(80)])[40].permute(1, 2, 0).numpy()
        assert psnr(shown, drawn) > 35


def test_clips_of_videos_and_of_pictures_are_loaded(world):
    loader = ClipLoader(VideoConfig(fps=2.0, max_pixels=64 * 64, min_pixels=16 * 16), Geometry(patch=8, merge=2, temporal_patch=2))
    tracked = next(sample for sample in world.samples["test"] if sample.task == "tracking")
    followed = read("got10k", world.sequences["test"], world.sequences["test"], "test")[0]
    for sample in (tracked, followed):
        clip = loader.load(load_task("tracking"), sample)
        assert clip.frames_NCHW.shape[1:] == (3, 64, 64) and clip.duration_s == pytest.approx(8.0)
    assert not loader.quarantine.faults


def test_a_data_set_without_a_row_has_no_file_and_seeds_differ(tmp_path):
    alone = write_world(tmp_path / "a", clips=1, seed=3)
    assert "train" not in alone.annotations["got10k"] and not (tmp_path / "a" / "got10k_train.json").exists()
    other = write_world(tmp_path / "b", clips=1, seed=4)
    assert not {sample.id for sample in alone.samples["train"]} & {sample.id for sample in other.samples["train"]}
    assert not {sample.video for sample in alone.samples["train"]} & {sample.video for sample in alone.samples["test"]}


def test_a_smaller_world_leaves_nothing_of_a_larger_one_but_its_videos(tmp_path):
    larger = write_world(tmp_path, clips=5, levels=("easy",))
    of_user = tmp_path / "got10k" / "train" / "GOT-10k_Train_000001"
    of_user.mkdir()
    noted = next((tmp_path / "got10k" / "train").glob("easy-train-0-000003-*"))
    (noted / "notes.txt").write_text("mine")
    films = set(larger.videos.iterdir())
    smaller = write_world(tmp_path, clips=2, levels=("easy",))
    listed = {Path(row["path"]).name for row in json.loads(smaller.annotations["got10k"]["train"].read_text())}
    assert {path.name for path in smaller.sequences["train"].iterdir()} == {*listed, of_user.name, noted.name}
    assert set(smaller.videos.iterdir()) == films
    write_world(tmp_path, clips=1, levels=("easy",))
    assert not (tmp_path / "got10k_train.json").exists(), "no scene of it is left"
    assert {path.name for path in smaller.sequences["train"].iterdir()} == {of_user.name, noted.name}
    (tmp_path / "charades_sta_train.json").write_text("[]")
    (tmp_path / "quality_access_train.json").write_text('[{"video": "easy-train-0-000001-whole.mp4"}, {"video": "1.mp4"}]')
    _clear_earlier(tmp_path, "train", set(), set())
    assert (tmp_path / "charades_sta_train.json").exists() and (tmp_path / "quality_access_train.json").exists(), "another's"


def test_scenes_of_two_calls_never_share_a_film_unless_they_are_the_same(tmp_path):
    first = scenes_for(("temporal_grounding",), "easy", "test", 0, 2)
    second = scenes_for(("tracking", "video_qa", "temporal_grounding"), "easy", "test", 0, 1)
    by_id = {}
    for scene, _ in [*first, *second]:
        assert by_id.setdefault(scene.id, scene) == scene
    samples = film_samples([*first, *second], tmp_path)
    assert [load_task(sample.task) for sample in samples] and len({sample.video for sample in samples}) == len(by_id) == 5
    drawn = render(second[0][0], [0.0])[0].permute(1, 2, 0).numpy()
    assert psnr(pictures(Path(samples[2].video))[0], drawn) > 20
    assert torch.equal(render(second[0][0], [0.0]), render(second[0][0], [0.0]))


@pytest.mark.parametrize(
    "name, text", [("train.jsonl", '{"mine": 1}\n'), ("charades_sta_test.json", '{"mine": 1}'), ("test.jsonl", "no JSON")]
)
def test_a_users_own_list_is_never_replaced(tmp_path, name, text):
    write_world(tmp_path, clips=1)
    write_world(tmp_path, clips=2)  # one of ours is
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        write_world(tmp_path, clips=2)
    assert (tmp_path / name).read_text() == text

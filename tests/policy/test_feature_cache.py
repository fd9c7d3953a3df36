"""Features that are kept are those that the tower would give: by content, under a budget, from memory and from disk."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.grpo.small_run import Source, fingerprint, letters, run_in
from tests.tiny import FAMILIES, tiny_clip, tiny_policy, tiny_prompt

from videochat_r1.grpo.log import read_rows
from videochat_r1.policy import feature_cache
from videochat_r1.policy.feature_cache import FeatureCache


def cache_of(family="qwen2_5_vl", **config):
    return FeatureCache(tiny_policy(family, **config))


def films(cache, count=3):
    return [tiny_prompt(cache.policy, clip=tiny_clip(seed=seed), sample_id=f"film/{seed}") for seed in range(count)]


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip((one.embeds_VD, *one.deepstack_VD), (two.embeds_VD, *two.deepstack_VD), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_look_gives_the_same_bits_without_a_pass(family):
    cache = cache_of(family, feature_cache_mb=1)
    prompts = films(cache)
    fresh = cache.policy.vision(prompts)
    for _ in range(2):
        assert all(map(same, cache.look(prompts), fresh))
        assert cache.policy.counters["vision_passes"] == 6  # three of them are of the line above
    assert cache.counters == {"misses": 3, "hits": 3}
    # another question about the same film is another prompt with the same video
    again = tiny_prompt(cache.policy, "And how often?", clip=tiny_clip(seed=1))
    assert same(cache.look([again])[0], fresh[1]) and cache.counters["hits"] == 4
    row = cache.row()
    assert row["cache/hits"] == 4 and row["cache/misses"] == 3 and row["cache/memory_mb"] > 0
    assert cache.row()["cache/hits"] == 0  # since the last row


@pytest.mark.parametrize("family", FAMILIES)
def test_the_disk_serves_a_later_run_of_the_same_tower_and_no_other(family, tmp_path):
    disk = {"feature_disk_mb": 1, "feature_dir": str(tmp_path)}
    first = cache_of(family, **disk)
    fresh = first.look(films(first))
    assert first.row()["cache/disk_mb"] > 0 and first.memory_bytes == 0
    later = cache_of(family, **disk)
    assert all(map(same, later.look(films(later)), fresh))
    assert later.counters == {"hits_disk": 3} and not later.policy.counters["vision_passes"]
    other = cache_of(family, seed=7, **disk)
    other.look(films(other))
    assert other.counters == {"misses": 3}
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_file_that_is_not_what_was_written_is_a_miss(tmp_path):
    disk = {"feature_disk_mb": 1, "feature_dir": str(tmp_path)}
    first = cache_of(**disk)
    fresh = first.look(films(first))
    files = sorted(tmp_path.rglob("*.safetensors"))
    flipped = bytearray(files[0].read_bytes())
    flipped[-5] ^= 1
    files[0].write_bytes(flipped)
    files[1].write_bytes(files[1].read_bytes()[:-20])
    files[2].write_bytes(b"")
    again = cache_of(**disk)
    assert all(map(same, again.look(films(again)), fresh))
    assert again.counters == {"corrupt": 3, "misses": 3}
    written_anew = cache_of(**disk)
    assert all(map(same, written_anew.look(films(first)), fresh)) and written_anew.counters == {"hits_disk": 3}


def test_a_budget_is_kept_in_memory_and_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "MIB", 16 << 10)  # a video of 30 tokens takes 7.5 KiB
    cache = cache_of(feature_cache_mb=1, feature_disk_mb=2, feature_dir=str(tmp_path))
    prompts = films(cache, 5)
    cache.look(prompts)
    assert 15_000 < cache.memory_bytes <= 16 << 10
    assert len(list(tmp_path.rglob("*.safetensors"))) == 4
    cache.look(prompts)
    assert cache.counters == {"hits": 2, "hits_disk": 2, "misses": 6}  # what has no room is seen again each time
    other = cache_of(seed=7, feature_disk_mb=2, feature_dir=str(tmp_path))
    other.look(films(other))
    assert other.disk_bytes <= 2 * (16 << 10)
    assert len(list((tmp_path / other.fingerprint[:16]).iterdir())) == 3  # the other tower's files made room


def test_a_disk_that_refuses_ends_the_tier_and_not_the_run(tmp_path, caplog):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    cache = cache_of(feature_disk_mb=1, feature_dir=str(blocked))
    prompts = films(cache)
    assert len(cache.look(prompts)) == 3 and cache.folder is None
    assert caplog.text.count("no longer kept") == 1


def test_a_trained_tower_and_a_budget_of_nothing_are_never_served():
    trained = [cache_of(lora_rank=rank, train_vision=True, feature_cache_mb=1) for rank in (0, 2)]
    for cache in (*trained, cache_of()):
        prompts = films(cache, 1)
        for passes in (1, 2):
            cache.look(prompts)
            assert cache.policy.counters["vision_passes"] == passes
        assert cache.row() == {}


def test_the_key_is_of_what_is_seen():
    cache = cache_of(feature_cache_mb=1)
    [one] = films(cache, 1)
    pixels = one.clip.frames_NCHW.clone()
    pixels[-1, -1, -1, -1] ^= 1
    changed = dataclasses.replace(one, clip=dataclasses.replace(one.clip, frames_NCHW=pixels))
    renamed = dataclasses.replace(one, sample_id="other", clip=dataclasses.replace(one.clip, path="elsewhere.mp4"))
    assert cache.key(one) == cache.key(renamed) != cache.key(changed)


class Stop(Exception):
    """What ends a run in the middle."""


def stop_at_two(row):
    if row["step"] == 2:
        raise Stop


def test_a_run_with_a_cache_gives_the_bits_of_one_without_also_when_it_is_resumed(tmp_path):
    def run(name, resume=False, on_step=None, **config):
        policy = tiny_policy("qwen2_5_vl", lora_rank=2, adapter_noise=0.0, **config)
        run_in(tmp_path / name, resume=resume, policy=policy, sources=[Source(samples=letters(3))], on_step=on_step)

    def bits(name):
        found = fingerprint(tmp_path / name)
        for row in found["metrics"]:
            row.pop("counts/vision_passes", None)
        return found

    disk = {"feature_cache_mb": 1, "feature_disk_mb": 1, "feature_dir": str(tmp_path / "features")}
    run("without")
    run("with", feature_cache_mb=1)
    with pytest.raises(Stop):
        run("resumed", on_step=stop_at_two, **disk)
    run("resumed", resume=True, **disk)
    assert bits("without") == bits("with") == bits("resumed")
    rows = list(read_rows(tmp_path / "with" / "metrics.jsonl"))
    assert sum(row["cache/misses"] for row in rows) == 3 and sum(row["cache/hits"] for row in rows) == 5
    assert sum(row["cache/hits_disk"] for row in read_rows(tmp_path / "resumed" / "metrics.jsonl")) == 3

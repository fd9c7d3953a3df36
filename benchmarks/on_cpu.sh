#!/bin/sh
# The CPU tables of docs/performance.md, about ten minutes on two idle cores: `sh benchmarks/on_cpu.sh VIDEO.mp4 ...` from the repository's root.
# THREADS=2 CLOCK=wall takes the wall clock on both cores, for a machine that does nothing else.
set -e
results=benchmarks/results
on="--device cpu --threads ${THREADS:-1} --clock ${CLOCK:-processor}"
group="--prompts 8 --completion-tokens 78 --uneven --lora-rank 0"
run() { ${PYTHON:-python} -m "benchmarks.$@"; }
run step --geometry small --device cpu --threads 2 --clock wall --prompts 12 --kl-weight 0.12 --checkpointing off --out $results/step-small-wall.json
run step --geometry small $on --prompts 12 --kl-weight 0.12 --checkpointing off --out $results/step-small.json
for geometry in mini mini-qwen3; do
    run logprobs --geometry $geometry $on $group --runs 3 --only "segments,efficient,portable,dense,one row a completion,plain" \
        --out $results/logprobs-$geometry.json
    run decode --geometry $geometry $on --prompts 1,8 --tokens 78 --lora-rank 0 --out $results/decode-$geometry.json
done
run vision --geometry mini $on --prompt-tokens 1612 --videos 1,8 --train --runs 3 --out $results/vision-mini.json
run scaling --geometry mini $on --checkpointing off --prompts 1,4,8 --out $results/scaling-mini.json
run video --long --threads 1 --runs 3 --out $results/video-long.json
[ $# -eq 0 ] || run video "$@" --clips 16 --threads 1 --out $results/video-clips.json
run figures

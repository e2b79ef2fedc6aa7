#!/usr/bin/env python3
"""Times ResNet-50 and BERT-base in rondo beside ONNX Runtime, in turns, and prints ratios.

usage: bench/compare.py [--shared ../shared] [--work build/bench] [--threads 1,2] [--rounds 5] [--models resnet,bert]

The full-size graphs, the script that fills their weights and the one that fetches ONNX Runtime lie in SHARED/bench.
Each round runs both programs once (A B, then B A), each taking the median of its own runs; the ratio is formed per
round, and the median of the ratios is quoted: 1.2 means that rondo needs 1/1.2 of ONNX Runtime's time.
Wants: a build with -DRONDO_BUILD_BENCH=ON in build/release, python3-numpy, npm.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS = {
    "resnet": ("resnet50_torch_fp32", [], 8.2),
    "bert": ("bert_base_optimum_fp32",
             ["--shape", "input_ids=1x128", "--shape", "attention_mask=1x128", "--shape", "token_type_ids=1x128"], 27.9),
}


# As the rondo program sets it for itself: waiting threads spin for microseconds, not milliseconds.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000", **os.environ}


def run(command):
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr.strip()}")
    return result.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "bench"))
    parser.add_argument("--rondo", default=os.path.join(ROOT, "build", "release", "bench", "rondo_bench"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--models", default="resnet,bert")
    args = parser.parse_args()
    scripts = os.path.join(args.shared, "bench")
    if not os.path.isdir(scripts):
        sys.exit(f"{scripts}: not there; --shared names the folder that holds bench/")
    if not os.path.exists(args.rondo):
        sys.exit(f"{args.rondo}: not there; build with -DRONDO_BUILD_BENCH=ON")
    os.makedirs(args.work, exist_ok=True)
    peer = os.path.join(args.work, "onnxruntime", "ort_bench")
    if not os.path.exists(peer):
        run(["bash", os.path.join(scripts, "get_ort.sh"), os.path.dirname(peer)])
    for name in args.models.split(","):
        folder, shapes, gflop = MODELS[name]
        model = os.path.join(args.work, folder)
        if not os.path.exists(os.path.join(model, "model.onnx.data")):
            run(["/usr/bin/python3", os.path.join(scripts, "fill_weights.py"), folder, model])
        model = os.path.join(model, "model.onnx")
        for threads in args.threads.split(","):
            common = [model, *shapes, "--threads", threads, "--repeat", str(args.repeat)]
            ours, theirs = [], []
            for r in range(args.rounds):
                pair = [(ours, [args.rondo, *common]), (theirs, [peer, "run", *common])]
                for times, command in pair if r % 2 == 0 else reversed(pair):
                    times.append(json.loads(run(command))["median_s"])
            ratios = [t / o for o, t in zip(ours, theirs)]
            print(f"{folder}, {threads} thread{'s' if threads != '1' else ''}: "
                  f"rondo {statistics.median(ours) * 1e3:.1f} ms ({gflop / statistics.median(ours):.0f} GFLOP/s), "
                  f"ONNX Runtime {statistics.median(theirs) * 1e3:.1f} ms, "
                  f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times ResNet-50, BERT-base and Qwen2.5-0.5B in rondo beside ONNX Runtime, in turns, and prints ratios.

usage: bench/compare.py [--shared ../shared] [--work build/bench] [--threads 1,2] [--rounds 5]
                        [--models resnet,bert,qwen_optimum,qwen_genai,qwen_int4]

The full-size graphs, the script that fills their weights and the one that fetches ONNX Runtime lie in SHARED/bench.
Each round runs both programs once (A B, then B A), each taking the median of its own runs; the ratio is formed per
round, and the median of the ratios is quoted: 1.2 means that rondo needs 1/1.2 of ONNX Runtime's time. Language models
print one line for their prompt (--prompts) and one for the tokens after it; the share of the memory's bandwidth is that
of the weights read per token in the bandwidth measured by the same process.
Wants: a build with -DRONDO_BUILD_BENCH=ON in build/release, python3-numpy, npm.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Folder, arguments, GFLOP of a run.
GRAPHS = {
    "resnet": ("resnet50_torch_fp32", [], 8.2),
    "bert": ("bert_base_optimum_fp32",
             ["--shape", "input_ids=1x128", "--shape", "attention_mask=1x128", "--shape", "token_type_ids=1x128"], 27.9),
}
DECODERS = {
    "qwen_optimum": "qwen25_05b_optimum_fp32",
    "qwen_genai": "qwen25_05b_genai_fp32",
    "qwen_int4": "qwen25_05b_genai_int4_b32_acc4_tied",
}


# As the rondo program sets it for itself: waiting threads spin for microseconds, not milliseconds.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000", **os.environ}


def run(command):
    """The command's output and its peak memory in megabytes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return output, usage.ru_maxrss / 1024


def in_turns(rounds, ours, theirs):
    """Results of two commands, A B then B A, as lists of (JSON, peak megabytes)."""
    results = ([], [])
    for r in range(rounds):
        pair = [(results[0], ours), (results[1], theirs)]
        for list_, command in pair if r % 2 == 0 else reversed(pair):
            output, peak = run(command)
            list_.append((json.loads(output), peak))
    return results


def ratio_text(ratios):
    return f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def compare_graph(args, name, model, threads, peer):
    folder, shapes, gflop = GRAPHS[name]
    common = [model, *shapes, "--threads", threads, "--repeat", str(args.repeat)]
    ours, theirs = in_turns(args.rounds, [os.path.join(args.bench, "rondo_bench"), *common], [peer, "run", *common])
    ours, theirs = ([result["median_s"] for result, _ in side] for side in (ours, theirs))
    print(f"{folder}, {threads} threads: rondo {statistics.median(ours) * 1e3:.1f} ms "
          f"({gflop / statistics.median(ours):.0f} GFLOP/s), ONNX Runtime {statistics.median(theirs) * 1e3:.1f} ms, "
          f"{ratio_text([t / o for o, t in zip(ours, theirs)])}", flush=True)


def compare_decoder(args, name, model, threads, peer):
    folder = DECODERS[name]
    for prompt in args.prompts.split(","):
        ours, theirs = in_turns(
            args.rounds,
            [os.path.join(args.bench, "decode_bench"), model, "--threads", threads, "--prompts", prompt, "--capacities",
             args.capacity, "--new", str(args.new), "--repeat", "2"],
            [peer, "decode", model, "--threads", threads, "--prompt", prompt, "--new", str(args.new)])
        what = f"{folder}, {threads} threads, {prompt} tokens"
        for key, title in (("prefill_tok_s", "prompt"), ("decode_tok_s", "decode")):
            a = [result["results"][0][key] for result, _ in ours]
            b = [result[key] for result, _ in theirs]
            share = ""
            if title == "decode":
                shares = [result["weight_mb"] / 1e3 * rate / result["bandwidth_gb_s"] for (result, _), rate in zip(ours, a)]
                share = f", {statistics.median(shares) * 100:.0f} % of the bandwidth"
            print(f"{what}: {title}: rondo {statistics.median(a):.1f} tok/s{share}, ONNX Runtime "
                  f"{statistics.median(b):.1f} tok/s, {ratio_text([x / y for x, y in zip(a, b)])}", flush=True)
        print(f"{what}: {ours[0][0]['weight_mb']:.0f} MB read per token at "
              f"{statistics.median(result['bandwidth_gb_s'] for result, _ in ours):.1f} GB/s; peak memory: rondo "
              f"{ours[0][0]['peak_mb']:.0f} MB, ONNX Runtime {theirs[0][1]:.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "bench"), help="weights and ONNX Runtime")
    parser.add_argument("--bench", default=os.path.join(ROOT, "build", "release", "bench"), help="our programs")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=15, help="runs of a graph in a round")
    parser.add_argument("--models", default=",".join([*GRAPHS, *DECODERS]))
    parser.add_argument("--prompts", default="128,512")
    parser.add_argument("--new", type=int, default=40, help="tokens after a prompt")
    parser.add_argument("--capacity", default="1024", help="positions of rondo's cache")
    args = parser.parse_args()
    scripts = os.path.join(args.shared, "bench")
    if not os.path.isdir(scripts):
        sys.exit(f"{scripts}: not there; --shared names the folder that holds bench/")
    if not os.path.exists(os.path.join(args.bench, "decode_bench")):
        sys.exit(f"{args.bench}/decode_bench: not there; build with -DRONDO_BUILD_BENCH=ON")
    os.makedirs(args.work, exist_ok=True)
    peer = os.path.join(args.work, "onnxruntime", "ort_bench")
    if not os.path.exists(peer):
        run(["bash", os.path.join(scripts, "get_ort.sh"), os.path.dirname(peer)])
    for name in args.models.split(","):
        folder = GRAPHS[name][0] if name in GRAPHS else DECODERS[name]
        model = os.path.join(args.work, folder)
        if not os.path.exists(os.path.join(model, "model.onnx.data")):
            run(["/usr/bin/python3", os.path.join(scripts, "fill_weights.py"), folder, model])
        model = os.path.join(model, "model.onnx")
        for threads in args.threads.split(","):
            compare = compare_graph if name in GRAPHS else compare_decoder
            compare(args, name, model, threads, peer)


if __name__ == "__main__":
    main()
